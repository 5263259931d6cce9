"""Read claims from files; what is missing, unknown or contradictory is refused by the name of its field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from assay.catalogue.query import Catalogue
from assay.catalogue.reader import read_yaml
from assay.claims.claim import (
    CONDITIONS,
    DENOMINATORS,
    DEPLOYMENTS,
    KINDS,
    METRICS,
    OPEN,
    PRICES,
    RELATIONS,
    Check,
    Claim,
)
from assay.errors import BadInput, UnknownName
from assay.llm.formats import CHOICES
from assay.units import SI_UNIT

_REQUIRED = ("id", "text", "who", "when", "source", "kind", "subject", "metric", "factor", "denominator")
_FIELDS = (
    *_REQUIRED, "baseline", "against", "stated", "tested", "open", "checks", "beside", "resource", "bound",
    "about",
)  # fmt: skip
_CHECK_FIELDS = ("name", "expression", "equals", "relation", "tolerance", "dimension", "says")
_IDENT = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_WHEN = re.compile(r"((?:19|20)\d{2}(?:-\d{2}){0,2})(?: to ((?:19|20)\d{2}(?:-\d{2}){0,2}))?")


def claims(facts: Catalogue) -> dict[str, Claim]:
    """Return all claims of the catalogue and of the user's facts, by id."""
    found: dict[str, Claim] = {}
    for name, content in facts.tables("claims").items():
        for claim in read(content, f"{name}.yaml"):
            found[claim.id] = claim
    return found


def load(path: Path) -> tuple[Claim, ...]:
    """Return the claims of one file.

    Raises:
        BadFact: it cannot be read as YAML.
        BadInput: a missing, unknown or contradictory field, named.
    """
    return read(read_yaml(path), str(path))


def find(facts: Catalogue, name: str) -> Claim:
    """Return one claim of the catalogue.

    Raises:
        UnknownName: no such claim.
    """
    known = claims(facts)
    if name not in known:
        raise UnknownName("claim", name, known)
    return known[name]


def read(content: Any, file: str) -> tuple[Claim, ...]:
    """Return the claims in the content of a file: one mapping, or a list under `claims`.

    Raises:
        BadInput: see `load`.
    """
    if isinstance(content, Mapping) and "claims" in content:
        entries = content["claims"]
        if stray := set(content) - {"claims", "sources"}:
            raise BadInput(
                f"{file}: {', '.join(sorted(map(str, stray)))} stands beside `claims`.", "Indent it."
            )
    else:
        entries = [content]
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise BadInput(f"{file}: `claims` is no list.", "Write - id: ..., one claim an entry.")
    found = tuple(_claim(entry, file) for entry in entries)
    ids = [claim.id for claim in found]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise BadInput(f"{file}: id: {twice[0]} is given twice.", "Give every claim its own id.")
    return found


class _Reader:
    """Reads the fields of one claim; every complaint names file, claim and field."""

    def __init__(self, entry: Mapping[str, Any], file: str) -> None:
        self.entry = entry
        self.place = f"{file}: {entry.get('id') or 'claim'}"

    def wrong(self, name: str, why: str, hint: str = "") -> BadInput:
        return BadInput(f"{self.place}: {name}: {why}.", hint)

    def known(self, given: Mapping[str, Any], allowed: Sequence[str], prefix: str = "") -> None:
        for key in given:
            if key not in allowed:
                close = get_close_matches(str(key), allowed, n=1, cutoff=0.5)
                hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(allowed)}."
                raise self.wrong(f"{prefix}{key}", "is no field of a claim", hint)

    def word(self, name: str, allowed: Sequence[str], default: str = "") -> str:
        value = str(self.entry.get(name, default))
        if value not in allowed:
            raise self.wrong(name, f"{value!r} is none of {', '.join(item or '(empty)' for item in allowed)}")
        return value

    def number(self, value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.wrong(name, f"{value!r} is no number above zero", "Write for example 10.")
        return float(value)

    def text(self, value: Any, name: str) -> str:
        """Return one line or paragraph of text; a number stands for itself, as in `who: 360`."""
        if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(name, f"{value!r} is no text")
        text = str(value).strip()
        if strange := [sign for sign in text if not sign.isprintable() and sign != "\n"]:
            raise self.wrong(name, f"holds the character {strange[0]!r}", "Write plain text.")
        return text

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.entry.get(name) or ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, Sequence) or not all(
            isinstance(item, str) and item.strip() for item in items
        ):
            raise self.wrong(name, "is no text or list of texts")
        if twice := [item for item in items if list(items).count(item) > 1]:
            raise self.wrong(name, f"{twice[0]} is given twice")
        return tuple(self.text(item, name) for item in items)

    def when(self) -> str:
        """Return the date, or the span of dates, that the claim was made."""
        value = self.text(self.entry["when"], "when")
        match = _WHEN.fullmatch(value)
        hint = "Write 2026-01-05, 2026-01 or 2020 to 2024."
        try:
            ends = [_first_day(part) for part in match.groups() if part] if match else []
        except ValueError:
            ends = []
        if not ends:
            raise self.wrong("when", f"{value!r} is no date", hint)
        if ends[-1] < ends[0]:
            raise self.wrong("when", f"{value!r} ends before it starts", hint)
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.entry.get(name) or {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "is no mapping", "Write condition: value, one a line.")
        return value


def _first_day(text: str) -> date:
    """Return the first day of a year, month or day."""
    parts = [int(part) for part in text.split("-")]
    return date(*[*parts, 1, 1][:3])


def _claim(entry: Any, file: str) -> Claim:
    if not isinstance(entry, Mapping):
        raise BadInput(f"{file}: a claim is no mapping.", f"It needs {', '.join(_REQUIRED)}.")
    reader = _Reader(entry, file)
    reader.known(entry, _FIELDS)
    for name in _REQUIRED:
        if entry.get(name) in (None, "", []):
            raise reader.wrong(name, "is missing", f"A claim needs {', '.join(_REQUIRED)}.")
    if not _IDENT.fullmatch(str(entry["id"])):
        raise reader.wrong("id", f"{str(entry['id'])[:80]!r}", "Use small letters, digits, dots and dashes.")
    claim = Claim(
        id=str(entry["id"]),
        text=reader.text(entry["text"], "text"),
        who=reader.text(entry["who"], "who"),
        when=reader.when(),
        sources=reader.texts("source"),
        kind=reader.word("kind", KINDS),
        subject=reader.text(entry["subject"], "subject"),
        metric=reader.text(entry["metric"], "metric"),
        factor=reader.number(entry["factor"], "factor"),
        denominator=reader.word("denominator", DENOMINATORS),
        baseline=reader.text(entry.get("baseline") or "", "baseline"),
        against=reader.texts("against"),
        bound=reader.word("bound", ("", "up to", "at least")),
        stated=_conditions(reader, "stated"),
        tested=_conditions(reader, "tested"),
        open=reader.texts("open"),
        resource=reader.text(entry.get("resource") or "", "resource"),
        checks=_checks(reader, "checks"),
        beside=_checks(reader, "beside"),
        about=reader.text(entry.get("about") or "", "about"),
        file=file,
    )
    _consistent(claim, reader)
    return claim


def _conditions(reader: _Reader, name: str) -> dict[str, Any]:
    given = reader.mapping(name)
    reader.known(given, CONDITIONS, f"{name}.")
    return {key: _condition(reader, f"{name}.{key}", key, value) for key, value in given.items()}


def _condition(reader: _Reader, name: str, key: str, value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise reader.wrong(name, "is empty")
    if key == "interactivity":
        return tuple(reader.number(item, name) for item in items)
    if key == "lengths":
        return tuple(_lengths(reader, name, item) for item in items)
    if key == "weights":
        return _weights(reader, name, value)
    if key == "chips":
        chips = reader.number(value, name)
        if chips != int(chips):
            raise reader.wrong(name, f"{value!r} is no whole number of chips")
        return int(chips)
    allowed = {"deployment": DEPLOYMENTS, "price": PRICES}.get(key)
    if allowed and (strange := [item for item in items if item not in allowed]):
        raise reader.wrong(name, f"{strange[0]!r} is none of {', '.join(allowed)}")
    return tuple(reader.text(item, name) for item in items)


def _weights(reader: _Reader, name: str, value: Any) -> dict[str, tuple[str, ...]]:
    hint = "Write {subject: fp4, baseline: fp8}."
    if not isinstance(value, Mapping) or not value or set(value) - {"subject", "baseline"}:
        raise reader.wrong(name, "is no mapping of subject and baseline", hint)
    found = {}
    for side, given in value.items():
        items = given if isinstance(given, list) else [given]
        if not items or not all(isinstance(item, str) for item in items):
            raise reader.wrong(f"{name}.{side}", f"{given!r} is no weight format", hint)
        if strange := [item for item in items if item not in CHOICES]:
            raise reader.wrong(
                f"{name}.{side}", f"{strange[0]!r} is no weight format", f"Known: {', '.join(CHOICES)}."
            )
        found[side] = tuple(items)
    return found


def _lengths(reader: _Reader, name: str, value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,8})/(\d{1,8})", str(value).replace(" ", ""))
    if not match or not int(match[1]) or not int(match[2]):
        raise reader.wrong(name, f"{value!r} are no lengths", "Write input/output tokens, such as 8192/1024.")
    return int(match[1]), int(match[2])


def _checks(reader: _Reader, name: str) -> tuple[Check, ...]:
    entries = reader.entry.get(name) or []
    if not isinstance(entries, list):
        raise reader.wrong(name, "is no list", "Write - {name: ..., expression: ...}, one check an entry.")
    found = []
    for number, entry in enumerate(entries, 1):
        where = f"{name}[{number}]"
        if not isinstance(entry, Mapping):
            raise reader.wrong(where, "is no mapping")
        reader.known(entry, _CHECK_FIELDS, f"{where}.")
        for key in ("name", "expression"):
            if not entry.get(key):
                raise reader.wrong(f"{where}.{key}", "is missing")
        if entry.get("relation", "=") not in RELATIONS:
            raise reader.wrong(
                f"{where}.relation", f"{entry['relation']!r} is none of {', '.join(RELATIONS)}"
            )
        tolerance = entry.get("tolerance", 0.05)
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < 1:
            raise reader.wrong(f"{where}.tolerance", f"{tolerance!r} is no share from 0 to 1", "Write 0.05.")
        equals = entry.get("equals", reader.entry["factor"])
        plain = isinstance(equals, str) or (isinstance(equals, int | float) and abs(equals) < float("inf"))
        if not plain or isinstance(equals, bool):
            raise reader.wrong(f"{where}.equals", f"{equals!r} is neither number nor expression")
        dimension = entry.get("dimension") or ""
        if dimension and dimension not in SI_UNIT:
            raise reader.wrong(
                f"{where}.dimension", f"{dimension!r} is no dimension", f"Known: {', '.join(SI_UNIT)}."
            )
        words = {
            key: reader.text(entry.get(key) or "", f"{where}.{key}") for key in ("name", "expression", "says")
        }
        found.append(Check(**{**entry, **words, "equals": equals, "dimension": dimension}))
    return tuple(found)


def _consistent(claim: Claim, reader: _Reader) -> None:
    """Refuse fields that contradict each other."""
    if both := sorted(set(claim.stated) & set(claim.open)):
        raise reader.wrong(both[0], "is both stated and open", "A condition is one or the other.")
    if both := sorted(set(claim.stated) & set(claim.tested)):
        raise reader.wrong(f"tested.{both[0]}", "is stated already", "Only open conditions are tested.")
    if strange := [word for word in claim.open if word not in OPEN]:
        raise reader.wrong("open", f"{strange[0]!r} is no condition", f"Known: {', '.join(OPEN)}.")
    if claim.kind != "performance" and claim.tested:
        raise reader.wrong("tested", f"contradicts kind {claim.kind}", "Only performance is swept.")
    if (claim.kind == "peak") != bool(claim.resource):
        raise reader.wrong(
            "resource", "belongs to kind peak and only to it", "Write resource: memory_bandwidth."
        )
    if claim.kind in ("peak", "performance"):
        _silicon(claim, reader)
    elif not claim.checks:
        raise reader.wrong("checks", "is missing", f"A claim of kind {claim.kind} needs an expression.")
    if claim.kind == "performance":
        _performance(claim, reader)


def _silicon(claim: Claim, reader: _Reader) -> None:
    """Refuse what contradicts a comparison of two platforms."""
    if not claim.baseline:
        raise reader.wrong("baseline", "is missing", f"A {claim.kind} claim compares two platforms.")
    for name, item in (("baseline", claim.baseline), *(("against", item) for item in claim.against)):
        if item == claim.subject:
            raise reader.wrong(name, "is the subject itself", "Name another platform.")
    if claim.checks:
        raise reader.wrong(
            "checks", f"contradicts kind {claim.kind}", "Use kind arithmetic, or move them to beside."
        )
    if claim.kind == "peak" and claim.stated:
        raise reader.wrong("stated", "contradicts kind peak", "A ratio of peaks has no conditions.")


def _performance(claim: Claim, reader: _Reader) -> None:
    if claim.metric not in METRICS:
        raise reader.wrong("metric", f"{claim.metric!r} is none of {', '.join(METRICS)}")
    if claim.condition("model") is None:
        raise reader.wrong(
            "model", "is neither stated nor tested", "Write stated: {model: kimi-k2-thinking}."
        )
    if (claim.metric == "interactivity") != (claim.denominator == "user"):
        raise reader.wrong(
            "denominator", f"{claim.denominator} contradicts metric {claim.metric}", "A speed is per user."
        )
    if claim.denominator == "none":
        raise reader.wrong("denominator", "is none", "Throughput is per chip, rack, MW or USD.")
    if claim.condition("price") is not None and claim.denominator != "USD":
        raise reader.wrong("price", f"contradicts denominator {claim.denominator}", "Only USD needs a price.")
