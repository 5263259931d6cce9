"""A claim is data: who said what of whom, against what, under which stated and open conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from assay.catalogue.query import Catalogue
from assay.catalogue.reader import read_yaml
from assay.errors import BadInput, UnknownName

KINDS = ("arithmetic", "consistency", "peak", "performance")
METRICS = ("throughput", "interactivity")
DENOMINATORS = ("chip", "system", "rack", "MW", "USD", "user", "none")
RELATIONS = ("=", ">=", "<=")
#: Conditions that `stated` and `tested` fix, and how each is read.
CONDITIONS = ("model", "lengths", "interactivity", "weights", "deployment", "price", "chips")
#: Ways the two sides are deployed.
DEPLOYMENTS = ("best", "alike", "uneven")
PRICES = ("own", "contract", "list", "spot", "purchase")
#: Words of `open`.
OPEN = (*CONDITIONS, "baseline", "denominator", "software", "workload", "power", "precision", "quality")
_REQUIRED = ("id", "text", "who", "when", "source", "kind", "subject", "metric", "factor", "denominator")
_FIELDS = (
    *_REQUIRED, "baseline", "against", "stated", "tested", "open", "checks", "beside", "resource", "bound",
    "about",
)  # fmt: skip
_CHECK_FIELDS = ("name", "expression", "equals", "relation", "tolerance", "dimension", "says")
_IDENT = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_WHEN = re.compile(r"(19|20)\d{2}(-\d{2}){0,2}( to (19|20)\d{2}(-\d{2}){0,2})?")


@dataclass(frozen=True, slots=True)
class Check:
    """One expression and what it should be.

    Attributes:
        name: what it is, in words.
        expression: over named facts, see `assay.claims.arithmetic`.
        equals: number or expression it is compared with.
        relation: one of `RELATIONS`.
        tolerance: relative play that still counts as equal.
        dimension: dimension of both, for display ("" = a plain number).
        says: what it means for the claim when it does not hold, or of the number.
    """

    name: str
    expression: str
    equals: float | str = 1.0
    relation: str = "="
    tolerance: float = 0.05
    dimension: str = ""
    says: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        id, text, who, when: name, the claim in one sentence, its author, its date.
        sources: keys of sources, or words.
        kind: one of `KINDS`.
        subject, baseline: catalogue names for peaks and performance, words otherwise.
        against: further baselines that an open baseline may mean.
        metric: `METRICS` for performance; words otherwise.
        factor: what is claimed.
        bound: "up to" where the claim says so, else "".
        denominator: one of `DENOMINATORS`.
        stated: conditions that the claim fixes; `tested`: what is swept for those it leaves open.
        open: names of conditions left open.
        resource: field of the chip that a peak compares.
        checks: what decides an arithmetic claim; `beside`: what is shown with it.
        about: what a reader must know.
        file: where it was read.
    """

    id: str
    text: str
    who: str
    when: str
    sources: tuple[str, ...]
    kind: str
    subject: str
    metric: str
    factor: float
    denominator: str
    baseline: str = ""
    against: tuple[str, ...] = ()
    bound: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    tested: Mapping[str, Any] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    resource: str = ""
    checks: tuple[Check, ...] = ()
    beside: tuple[Check, ...] = ()
    about: str = ""
    file: str = ""

    def condition(self, name: str) -> Any:
        """Return a condition as stated, else as tested, else None."""
        return self.stated.get(name, self.tested.get(name))


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

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.entry.get(name) or ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, Sequence) or not all(
            isinstance(item, str) and item.strip() for item in items
        ):
            raise self.wrong(name, "is no text or list of texts")
        return tuple(items)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.entry.get(name) or {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "is no mapping", "Write condition: value, one a line.")
        return value


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
    if not _WHEN.fullmatch(str(entry["when"])):
        raise reader.wrong(
            "when", f"{entry['when']!r} is no date", "Write 2026-01-05, 2026-01 or 2020 to 2024."
        )
    claim = Claim(
        id=str(entry["id"]),
        text=str(entry["text"]),
        who=str(entry["who"]),
        when=str(entry["when"]),
        sources=reader.texts("source"),
        kind=reader.word("kind", KINDS),
        subject=str(entry["subject"]),
        metric=str(entry["metric"]),
        factor=reader.number(entry["factor"], "factor"),
        denominator=reader.word("denominator", DENOMINATORS),
        baseline=str(entry.get("baseline") or ""),
        against=reader.texts("against"),
        bound=reader.word("bound", ("", "up to", "at least")),
        stated=_conditions(reader, "stated"),
        tested=_conditions(reader, "tested"),
        open=reader.texts("open"),
        resource=str(entry.get("resource") or ""),
        checks=_checks(reader, "checks"),
        beside=_checks(reader, "beside"),
        about=str(entry.get("about") or ""),
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
        if not isinstance(value, Mapping) or set(value) - {"subject", "baseline"}:
            raise reader.wrong(
                name, "is no mapping of subject and baseline", "Write {subject: fp4, baseline: fp8}."
            )
        return {side: tuple([item] if isinstance(item, str) else item) for side, item in value.items()}
    if key == "chips":
        return int(reader.number(value, name))
    allowed = {"deployment": DEPLOYMENTS, "price": PRICES}.get(key)
    if allowed and (strange := [item for item in items if item not in allowed]):
        raise reader.wrong(name, f"{strange[0]!r} is none of {', '.join(allowed)}")
    return tuple(str(item) for item in items)


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
        if not isinstance(equals, int | float | str) or isinstance(equals, bool):
            raise reader.wrong(f"{where}.equals", f"{equals!r} is neither number nor expression")
        given = {
            **entry,
            "equals": equals,
            "expression": str(entry["expression"]),
            "name": str(entry["name"]),
        }
        found.append(Check(**given))
    return tuple(found)


def _consistent(claim: Claim, reader: _Reader) -> None:
    """Refuse fields that contradict each other."""
    if both := sorted(set(claim.stated) & set(claim.open)):
        raise reader.wrong(both[0], "is both stated and open", "A condition is one or the other.")
    if both := sorted(set(claim.stated) & set(claim.tested)):
        raise reader.wrong(f"tested.{both[0]}", "is stated already", "Only open conditions are tested.")
    if strange := [word for word in claim.open if word not in OPEN]:
        raise reader.wrong("open", f"{strange[0]!r} is no condition", f"Known: {', '.join(OPEN)}.")
    silicon = claim.kind in ("peak", "performance")
    if silicon and not claim.baseline:
        raise reader.wrong("baseline", "is missing", f"A {claim.kind} claim compares two platforms.")
    if silicon and claim.subject == claim.baseline:
        raise reader.wrong("baseline", "is the subject itself")
    if silicon and claim.checks:
        raise reader.wrong(
            "checks", f"contradicts kind {claim.kind}", "Use kind arithmetic, or move them to beside."
        )
    if not silicon and not claim.checks:
        raise reader.wrong("checks", "is missing", f"A claim of kind {claim.kind} needs an expression.")
    if (claim.kind == "peak") != bool(claim.resource):
        raise reader.wrong(
            "resource", "belongs to kind peak and only to it", "Write resource: memory_bandwidth."
        )
    if claim.kind == "performance":
        _performance(claim, reader)


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
