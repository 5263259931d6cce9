"""YAML as facts are written in: the 1.2 core schema, one document, no tags.

`3.35e12` is a number, `no` and `2026-11-23` are text, a repeated key is an error. Everything that is wrong
becomes a `BadFact` that names the file and the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import BadFact

#: Largest file read, bytes, and deepest nesting accepted.
LARGEST = 5_000_000
DEEPEST = 40
#: Most values in one file, aliases written out.
MOST_NODES = 500_000
_LONGEST_NUMBER = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FRAME = frozenset({"StreamStartEvent", "StreamEndEvent", "DocumentStartEvent", "DocumentEndEvent"})
_STRING_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})


def read_yaml(path: Path, name: str = "") -> Any:
    """Return the content of one YAML file.

    Args:
        path: the file.
        name: what to call it in errors; the path if empty.

    Raises:
        BadFact: unreadable, larger than `LARGEST`, not UTF-8, or not valid YAML as above.
    """
    name = name or str(path)
    try:
        if path.stat().st_size > LARGEST:
            raise BadFact(
                f"{name}: larger than {LARGEST // 1_000_000} MB.", "Facts are small; split the file."
            )
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise BadFact(f"{name}: cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError as error:
        raise BadFact(f"{name}: not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from None
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Any:
    """Return the content of one YAML document.

    Raises:
        BadFact: see the module.
    """
    import yaml

    loader = getattr(yaml, "CLoader", None) or yaml.Loader
    try:
        events = iter(yaml.parse(text, Loader=loader))
        return _Builder(events, name).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not valid text"
        raise BadFact(f"{name}:{where} not valid YAML ({problem}).", "Is the file complete?") from None
    except RecursionError:
        raise BadFact(f"{name}: nested too deeply.", "Write it flat.") from None


class _Builder:
    """Builds the data of one document from its events; counts nodes, so that aliases cannot explode."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self.events = events
        self.name = name
        self.nodes = 0
        self.anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> Any:
        found = False
        root: Any = None
        for event in self.events:
            if type(event).__name__ in _FRAME:
                continue
            if found:
                raise BadFact(f"{self.name}: holds more than one document.", "Split it at the `---` line.")
            root = self.node(event, 0)
            found = True
        return root

    def node(self, event: Any, depth: int) -> Any:
        kind = type(event).__name__
        start = self.nodes
        if kind == "AliasEvent":
            value, size = self.anchors.get(event.anchor, (None, 0))
            if not size:
                raise self.error(
                    event, f"refers to itself or to nothing (*{event.anchor})", "Write the value out."
                )
            self.count(event, size)
            return value
        self.count(event, 1)
        value = self.scalar(event) if kind == "ScalarEvent" else self.collection(event, kind, depth)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.nodes - start)
        return value

    def collection(self, event: Any, kind: str, depth: int) -> Any:
        if depth >= DEEPEST:
            raise self.error(event, f"is nested more than {DEEPEST} deep", "Write it flat.")
        if event.tag is not None and not event.implicit:
            raise self.error(event, f"uses the tag {event.tag}", "Leave the tag out.")
        if kind == "MappingStartEvent":
            return self.mapping(depth)
        items = []
        for child in self.events:
            if type(child).__name__ == "SequenceEndEvent":
                break
            items.append(self.node(child, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for event in self.events:
            kind = type(event).__name__
            if kind == "MappingEndEvent":
                break
            if kind != "ScalarEvent":
                raise self.error(event, "has a key that is no word", "Write `name: value`.")
            if event.value in entries:
                raise self.error(event, f"repeats {event.value[:80]!r}", "Keep one of the two.")
            entries[event.value] = self.node(next(self.events), depth + 1)
        return entries

    def scalar(self, event: Any) -> Any:
        text = event.value
        if not event.implicit[0]:
            if event.tag not in _STRING_TAGS:
                raise self.error(event, f"uses the tag {event.tag}", "Leave the tag out.")
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if text[0] not in "+-.0123456789":
            return text
        whole = _INT.fullmatch(text)
        if whole or _FLOAT.fullmatch(text):
            if len(text) > _LONGEST_NUMBER:
                raise self.error(event, f"has a number of {len(text)} digits", "Write it as 1.5e12.")
            return int(text) if whole else float(text)
        special = _SPECIAL.fullmatch(text)
        return float(f"{special[1] or ''}{special[2] or special[3]}") if special else text

    def count(self, event: Any, size: int) -> None:
        self.nodes += size
        if self.nodes > MOST_NODES:
            raise self.error(
                event, f"expands to more than {MOST_NODES} values", "Facts are small; split the file."
            )

    def error(self, event: Any, what: str, hint: str) -> BadFact:
        return BadFact(f"{self.name}: line {event.start_mark.line + 1} {what}.", hint)
