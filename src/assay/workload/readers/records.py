"""One JSON object a line: Mooncake, Bailian, and any object whose keys say what they are.

An extractor takes one object and yields what a row needs; what it cannot find it refuses by name. Formats
that describe sessions are in `agents`, spans in `spans`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from assay.errors import BadInput
from assay.workload.readers import clock
from assay.workload.readers.rows import Rows, shown
from assay.workload.readers.source import BadRow
from assay.workload.readers.tables import MEASURED, resolve

NANO = 1_000_000_000
_MOST_NS = 9_200_000_000_000_000_000
_ID_BITS = 64


class Row(NamedTuple):
    """A request as read: time in ns, tokens, session, turn, prefix blocks, what was measured."""

    time: int | None
    isl: float
    osl: float
    session: str = ""
    turn: float = float("nan")
    blocks: Sequence[int] = ()
    block_tokens: int = 0
    priority: float = float("nan")
    measured: Mapping[str, float] = {}


class Unreadable(ValueError):
    """What is wrong with one object."""


Extractor = Callable[[Mapping[str, Any]], Iterator[Row]]


def number(record: Mapping[str, Any], key: str, *, text: bool = False) -> float:
    """Return a number of an object.

    Args:
        record: the object.
        key: of the number.
        text: whether a number written as a string is one.

    Raises:
        Unreadable: missing or no number.
    """
    value = record.get(key)
    if value is None:
        raise Unreadable(f"no {key}")
    if text and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise Unreadable(f"{key} is {shown(value)}, not a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"{key} is {shown(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise Unreadable(f"{key} is {shown(value)}, too large") from None


def optional(record: Mapping[str, Any], key: str, factor: float = 1.0) -> float:
    """Return a number of an object times `factor`, NaN where there is none."""
    value = record.get(key)
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) * factor if known and value is not None else float("nan")


def nanoseconds(record: Mapping[str, Any], key: str, unit: str) -> int:
    """Return a time of an object, ns.

    Args:
        record: the object.
        key: of the time.
        unit: key of `clock.NANOSECONDS`, `iso`, or "" = by what it looks like.

    Raises:
        Unreadable: missing or no time.
    """
    value = record.get(key)
    if isinstance(value, str) and unit in {"", "iso"} and clock.is_iso(value):
        times, good = clock.from_iso([value])
        if not good[0]:
            raise Unreadable(f"{key} is {shown(value)}, not an ISO 8601 time")
        return int(times[0])
    plain = number(record, key, text=unit == "ns")
    unit = unit if unit not in {"", "iso"} else clock.epoch_unit(plain)
    exact = value if unit == "ns" and isinstance(value, (int, str)) else None
    scaled = plain * clock.NANOSECONDS[unit]
    if not 0 <= scaled < _MOST_NS:  # NaN too
        raise Unreadable(f"{key} is {shown(value)}, not a time in {unit} (a number, not negative)")
    return (
        int(exact)
        if isinstance(exact, int) or (isinstance(exact, str) and exact.isdigit())
        else round(scaled)
    )


def block_ids(record: Mapping[str, Any], key: str) -> Sequence[int]:
    """Return a list of block hashes, as signed 64-bit numbers.

    Raises:
        Unreadable: no list of whole numbers of 64 bits.
    """
    value = record.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise Unreadable(f"{key} is {shown(value)}, not a list of whole numbers")
    half = 1 << (_ID_BITS - 1)
    if value and not (-half <= min(value) and max(value) < 2 * half):
        raise Unreadable(f"{key} holds a number of more than {_ID_BITS} bits")
    return (
        value
        if not value or max(value) < half
        else [item - 2 * half if item >= half else item for item in value]
    )


def mooncake(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield a row of a Mooncake trace: ms, lengths, ids of 512-token prefix blocks."""
    yield Row(
        nanoseconds(record, "timestamp", "ms"),
        number(record, "input_length"),
        number(record, "output_length"),
        blocks=block_ids(record, "hash_ids"),
        block_tokens=512,
    )


def bailian() -> Extractor:
    """Return an extractor of Qwen-Bailian rows: s, lengths, turn, ids of 16-token prefix blocks.

    A session is a chat with all its ancestors, named by the oldest; ancestors come first in the file.
    """
    oldest: dict[Any, str] = {}

    def extract(record: Mapping[str, Any]) -> Iterator[Row]:
        own, parent = record.get("chat_id"), record.get("parent_chat_id")
        if not isinstance(own, int | str) or not isinstance(parent, int | str | None):
            raise Unreadable(f"chat_id is {shown(own)}, parent_chat_id is {shown(parent)}")
        name = oldest.get(parent, str(own if parent in {None, -1} else parent))
        oldest[own] = name
        yield Row(
            nanoseconds(record, "timestamp", "s"),
            number(record, "input_length"),
            number(record, "output_length"),
            session=name,
            turn=optional(record, "turn"),
            blocks=block_ids(record, "hash_ids"),
            block_tokens=16,
        )

    return extract


def generic(record: Mapping[str, Any], given: Mapping[str, str], time_unit: str, file: str) -> Extractor:
    """Return an extractor for objects like this one, by the names of its keys.

    Raises:
        BadInput: no keys for the token counts.
    """
    keys = list(record)
    places, unit = resolve(keys, given, time_unit, file)
    # what was measured need not stand in the first object
    names = {what: what for what in MEASURED} | {what: keys[place] for what, place in places.items()}

    def extract(item: Mapping[str, Any]) -> Iterator[Row]:
        session = item.get(names["session"]) if "session" in names else None
        yield Row(
            nanoseconds(item, names["arrival"], unit) if "arrival" in names else None,
            number(item, names["isl"]),
            number(item, names["osl"]),
            session="" if session is None else str(session),
            turn=optional(item, names["turn"]) if "turn" in names else float("nan"),
            priority=optional(item, names["priority"]) if "priority" in names else float("nan"),
            measured={what: optional(item, names[what]) for what in MEASURED},
        )

    return extract


def parsed(lines: Sequence[str], first: int, bad: list[BadRow]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line, object) of the lines that hold one; the others join `bad`."""
    for line, text in enumerate(lines, first):
        if not text or text.isspace():
            continue
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            bad.append(BadRow(line, f"not JSON: {error.msg} at column {error.colno}"))
            continue
        except (ValueError, RecursionError) as error:
            bad.append(BadRow(line, f"not JSON that can be read: {shown(str(error))}"))
            continue
        if isinstance(record, dict):
            yield line, record
        else:
            bad.append(BadRow(line, f"{shown(record)} is not an object"))


def read_rows(
    records: Iterator[tuple[int, Mapping[str, Any]]], extract: Extractor, bad: list[BadRow]
) -> Rows:
    """Return the rows of some objects; those that cannot be read join `bad`."""
    lines: list[int] = []
    found: list[Row] = []
    size = 0
    for line, record in records:
        try:
            for row in extract(record):
                if row.blocks and size and row.block_tokens != size:
                    bad.append(BadRow(line, f"blocks of {row.block_tokens} tokens after blocks of {size}"))
                    continue
                size = row.block_tokens if row.blocks else size
                found.append(row)
                lines.append(line)
        except Unreadable as error:
            bad.append(BadRow(line, str(error)))
    return _columns(lines, found, bad)


def _columns(lines: Sequence[int], found: Sequence[Row], bad: list[BadRow]) -> Rows:
    size = len(found)
    timed = all(row.time is not None for row in found)
    names = dict.fromkeys(name for row in found for name in row.measured)
    rows = Rows(
        line=np.array(lines, np.int64),
        time=np.array([row.time for row in found], np.int64) if timed else None,
        isl=np.fromiter((row.isl for row in found), np.float64, count=size),
        osl=np.fromiter((row.osl for row in found), np.float64, count=size),
        session=[row.session for row in found],
        turn=np.fromiter((row.turn for row in found), np.float64, count=size),
        priority=np.fromiter((row.priority for row in found), np.float64, count=size),
        measured={
            name: np.array([row.measured.get(name, float("nan")) for row in found], np.float64)
            for name in names
        },
        bad=bad,
    )
    block_tokens = max((row.block_tokens for row in found), default=0)
    if block_tokens:
        rows.block_tokens = block_tokens
        rows.counts = np.fromiter((len(row.blocks) for row in found), np.int64, count=size)
        rows.ids = np.fromiter(
            (item for row in found for item in row.blocks), np.int64, count=int(rows.counts.sum())
        )
    return rows


def document(text: str, file: str) -> list[Mapping[str, Any]]:
    """Return the objects of a file that is one JSON document.

    Raises:
        BadInput: no JSON, or nothing like a list of objects.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(
            f"{file!r} is no JSON{where}: {shown(str(error))}.", "Write one object a line."
        ) from None
    items = data if isinstance(data, list) else [data]
    return [item if isinstance(item, dict) else {} for item in items]
