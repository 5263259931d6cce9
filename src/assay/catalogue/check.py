"""Integrity of the facts: what `assay check` and the tests of the data run.

Sources resolve, units are known, values are sane, names are unique, systems point at chips, totals of a
rack agree with its chips, prices are dated. Nothing is repaired here; every finding names file and field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.catalogue import compiled
from assay.catalogue.entries import squeeze
from assay.catalogue.evidence import BASES, KINDS, months, rivals, weigh
from assay.catalogue.fields import (
    CHIP_DIMENSIONS,
    CHIP_TEXTS,
    KINDS_OF_CHIP,
    MEMORY_KINDS,
    SYSTEM_DIMENSIONS,
    SYSTEM_TEXTS,
    TOPOLOGIES,
)
from assay.catalogue.query import Catalogue
from assay.catalogue.records import price
from assay.errors import AssayError, BadFact, NoEvidence
from assay.units import SI_UNIT, parse_quantity, show

#: Least numbers of entries.
LEAST = {"models": 110, "chips": 60, "systems": 30, "prices": 120}
#: Part by which a published total may differ from chips times the chip's value.
TOLERANCE = 0.05
_ROUNDING = 0.001
_ID = re.compile(r"[A-Z][A-Z0-9_]*")
#: total of a system -> field of the chip, and how often each chip counts (both directions of a link: 2).
_TOTALS = {
    "memory_total": ("memory_capacity", 1),
    "sram_total": ("memory_capacity", 1),
    "memory_bandwidth_total": ("memory_bandwidth", 1),
    "sram_bandwidth_total": ("memory_bandwidth", 1),
    "link_bandwidth_total": ("link_bandwidth", 2),
    "bf16_total": ("bf16", 1),
    "fp8_total": ("fp8", 1),
    "fp4_total": ("fp4", 1),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or doubtful.

    Attributes:
        level: "error" or "warning".
        file: data file.
        field: where in it.
        message: what is wrong.
    """

    level: str
    file: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.field}: {self.message}"


def check(root: Path = compiled.DATA, extra: Sequence[Path] = ()) -> list[Finding]:
    """Return everything wrong with the facts, errors first.

    Args:
        root: folder of the data files.
        extra: folders or files of the user; the first error in them is reported, and what is missing
            for a prediction as a warning.
    """
    try:
        data = {name: compiled.section(name, root) for name in ("chips", "systems", "models", "prices")}
        sources = compiled.section("sources", root)["sources.yaml"]
        ranges = compiled.section("defaults", root)["defaults.yaml"]["ranges"]
        measured = compiled.section("measurements/achievable", root)["measurements/achievable.yaml"]
    except BadFact as error:
        return [Finding("error", str(root), "", str(error))]
    inspection = _Inspection(sources, ranges)
    found = [
        *inspection.sources_dated(),
        *inspection.chips(data["chips"]),
        *inspection.systems(data["systems"], data["chips"]),
        *inspection.models(data["models"]),
        *inspection.prices(data["prices"], data["chips"]),
        *inspection.rows(measured["rows"], "measurements/achievable.yaml"),
        *cited(root, sources),
        *counts(data),
        *(overlaid(root, extra) if extra else ()),
    ]
    return sorted(found, key=lambda finding: (finding.level != "error", finding.file, finding.field))


def overlaid(root: Path, extra: Sequence[Path]) -> Iterator[Finding]:
    """Yield what is wrong with the user's own chips, systems and models."""
    try:
        known = Catalogue(extra, root)
        files = _files(Catalogue((), root))
        for what, names, get in (
            ("chip", known.chips(), known.chip),
            ("system", known.systems(), known.system),
            ("model", known.models(), known.model),
        ):
            for name in names:
                if known.entry(what, name)["file"] not in files:
                    yield from _tried(get, what, name)
    except AssayError as error:
        yield Finding("error", ", ".join(map(str, extra)), "", str(error))


def _files(ours: Catalogue) -> set[str]:
    return {
        str(ours.entry(what, name)["file"])
        for what, names in (("chip", ours.chips()), ("system", ours.systems()), ("model", ours.models()))
        for name in names
    }


def _tried(get: Callable[[str], object], what: str, name: str) -> Iterator[Finding]:
    try:
        get(name)
    except NoEvidence as error:
        yield Finding("warning", what, name, str(error))
    except AssayError as error:
        yield Finding("error", what, name, str(error))


def cited(root: Path, sources: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a warning for every source id of the other data files that resolves nowhere.

    A `source` in words says itself where it is; an id must stand in sources.yaml or in the file's own
    `sources`.
    """
    for folder in ("calibrations", "engines", "workloads", "latency", "quality"):
        try:
            files = compiled.section(folder, root)
        except BadFact:
            continue
        for file, content in files.items():
            own = content.get("sources") or {}
            for source in sorted({*_citations(content)} - {*sources, *own}):
                yield Finding("warning", file, "source", f"{source!r} is not in sources.yaml.")


def _citations(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key == "source" and isinstance(value, str):
                if _ID.fullmatch(value):
                    yield value
            else:
                yield from _citations(value)
    elif isinstance(content, list):
        for value in content:
            yield from _citations(value)


def counts(data: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield an error for every section with fewer entries than `LEAST`."""
    sizes = {
        "models": sum(len(content["models"]) for content in data["models"].values()),
        "chips": len(data["chips"]),
        "systems": len(data["systems"]),
        "prices": sum(len(content.get("prices", ())) for content in data["prices"].values()),
    }
    for name, size in sizes.items():
        if size < LEAST[name]:
            yield Finding("error", name, "", f"{size} entries, at least {LEAST[name]} are expected.")


class _Inspection:
    """Checks against one list of sources and one set of sane ranges."""

    def __init__(self, sources: Mapping[str, Any], ranges: Mapping[str, Mapping[str, str]]) -> None:
        self.known = sources
        self.limits = {
            dimension: tuple(parse_quantity(ends[end], dimension) for end in ("low", "high"))
            for dimension, ends in ranges.items()
        }

    def sources_dated(self) -> Iterator[Finding]:
        for ident, entry in self.known.items():
            if not entry.get("where"):
                yield Finding("error", "sources.yaml", ident, "says not where it is.")
            yield from self.date(entry, "sources.yaml", ident)

    def date(self, entry: Mapping[str, Any], file: str, field: str) -> Iterator[Finding]:
        try:
            months(str(entry.get("date") or ""), "date")
        except BadFact as error:
            yield Finding("error", file, field, error.message)

    def source(self, entry: Mapping[str, Any], file: str, field: str) -> Iterator[Finding]:
        source = entry.get("source") or entry.get("id")
        if source not in self.known:
            yield Finding("error", file, field, f"source {source!r} is not in sources.yaml.")

    def fact(self, fact: Any, dimension: str | None, file: str, field: str) -> Iterator[Finding]:
        if not isinstance(fact, Mapping) or "value" not in fact:
            yield Finding("error", file, field, "has no value.")
            return
        yield from self.source(fact, file, field)
        yield from self.date(fact, file, field)
        if fact.get("basis") not in BASES:
            yield Finding("error", file, field, f"basis {fact.get('basis')!r} is none of {', '.join(BASES)}.")
        try:
            for conflict in rivals(fact, field):
                yield from self.source(conflict, file, f"{field}.conflicts")
            if dimension is not None:
                yield from self.quantity(fact, dimension, file, field)
        except BadFact as error:
            yield Finding("error", file, field, error.message)

    def quantity(self, fact: Mapping[str, Any], dimension: str, file: str, field: str) -> Iterator[Finding]:
        found = weigh(fact, dimension, field)
        if found is None or dimension not in self.limits:
            return
        low, high = self.limits[dimension]
        if not low <= found.low <= found.high <= high:
            shown = show(found.value, SI_UNIT[dimension])
            yield Finding("error", file, field, f"{shown} is outside the sane range; is the unit right?")

    def facts(
        self, entry: Mapping[str, Any], dimensions: Mapping[str, str], texts: tuple[str, ...], file: str
    ) -> Iterator[Finding]:
        for field, fact in (entry.get("facts") or {}).items():
            text = field in texts and isinstance(fact, Mapping) and isinstance(fact.get("value"), (str, bool))
            if field not in dimensions and field not in texts:
                yield Finding("error", file, field, "is no known field.")
            numeric = None if text else dimensions.get(field)
            if isinstance(fact, Mapping) and fact.get("unit") == "RMB":
                numeric = None
            yield from self.fact(fact, numeric, file, field)

    def chips(self, files: Mapping[str, Any]) -> Iterator[Finding]:
        yield from named(files)
        for file, entry in files.items():
            for key, words in (("kind", KINDS_OF_CHIP), ("memory_kind", MEMORY_KINDS)):
                if entry.get(key) not in words:
                    yield Finding("error", file, key, f"{entry.get(key)!r} is none of {', '.join(words)}.")
            for key in ("name", "vendor", "generation", "status"):
                if not entry.get(key):
                    yield Finding("error", file, key, "is missing.")
            yield from self.facts(entry, CHIP_DIMENSIONS, CHIP_TEXTS, file)

    def systems(self, files: Mapping[str, Any], chips: Mapping[str, Any]) -> Iterator[Finding]:
        yield from named(files)
        by_id = {entry["id"]: entry for entry in chips.values()}
        for file, entry in files.items():
            if entry.get("topology") not in TOPOLOGIES:
                yield Finding("error", file, "topology", f"{entry.get('topology')!r} is no known one.")
            yield from self.facts(entry, SYSTEM_DIMENSIONS, SYSTEM_TEXTS, file)
            chip = by_id.get(entry.get("chip"))
            if chip is None:
                yield Finding("error", file, "chip", f"{entry.get('chip')!r} is no chip of the catalogue.")
                continue
            for field in ("domain", "node", "max_chips"):
                if field not in entry["facts"]:
                    yield Finding("error", file, field, "is missing.")
            yield from totals(entry, chip, file)
        housed = {entry.get("chip") for entry in files.values()}
        for ident in by_id.keys() - housed:
            yield Finding("error", "systems", ident, "chip without a system.")

    def models(self, files: Mapping[str, Any]) -> Iterator[Finding]:
        models = [(file, *item) for file, content in files.items() for item in content["models"].items()]
        yield from unique(
            (file, name, (*entry.get("aliases", ()), entry["hf_id"])) for file, name, entry in models
        )
        for file, name, entry in models:
            for key in ("hf_id", "released", "licence", "architecture", "sources"):
                if not entry.get(key):
                    yield Finding("error", file, f"{name}.{key}", "is missing.")
            for source in entry.get("sources") or ():
                yield from self.source(source, file, f"{name}.sources")
            for field, fact in (entry.get("published") or {}).items():
                yield from self.fact(fact, None, file, f"{name}.published.{field}")
            layers = sum(run[0] for run in entry["architecture"]["schedule"])
            if layers < entry["architecture"]["num_layers"]:
                yield Finding(
                    "error", file, f"{name}.schedule", f"covers {layers} layers, fewer than num_layers."
                )

    def prices(self, files: Mapping[str, Any], chips: Mapping[str, Any]) -> Iterator[Finding]:
        known = {entry["id"] for entry in chips.values()}
        for file, content in files.items():
            if content.get("kind") not in (*KINDS, "reference", "tokens"):
                yield Finding("error", file, "kind", f"{content.get('kind')!r} is no kind of price.")
            for row in content.get("prices", ()):
                field = f"{row.get('chip')} {row.get('date')}"
                try:
                    price(row, content["kind"], field)
                    yield from self.quantity({"value": row["usd_per_hour"]}, "price", file, field)
                except BadFact as error:
                    yield Finding("error", file, field, error.message)
                if row.get("chip") not in known:
                    yield Finding("error", file, field, "is no chip of the catalogue.")
                yield from self.source(row, file, field)
            if content.get("kind") == "reference":
                yield from self.rows(content["rows"], file)

    def rows(self, rows: list[Mapping[str, Any]], file: str) -> Iterator[Finding]:
        for number, row in enumerate(rows, 1):
            field = f"row {number}"
            yield from self.source(row, file, field)
            yield from self.date(row, file, field)
            if row.get("basis") not in BASES:
                yield Finding("error", file, field, f"basis {row.get('basis')!r} is unknown.")
            stated = row.get("fraction")
            if stated and abs(row["value"] / row["peak"] - stated) > TOLERANCE * stated + _ROUNDING:
                yield Finding("error", file, field, "fraction is not value / peak.")


def unique(entries: Iterable[tuple[str, str, Sequence[Any]]]) -> Iterator[Finding]:
    """Yield an error for every name that means two entries.

    Args:
        entries: file, id and aliases of each.
    """
    owners: dict[str, str] = {}
    for file, ident, aliases in entries:
        for name in {squeeze(str(name)) for name in (ident, *aliases)}:
            other = owners.setdefault(name, ident)
            if other != ident:
                yield Finding("error", file, "aliases", f"{name!r} means {other} and {ident}.")


def named(files: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield an error for every entry whose id is not its file's name, or whose names are not its own."""
    for file, entry in files.items():
        if Path(file).stem != entry.get("id"):
            yield Finding("error", file, "id", f"{entry.get('id')!r} is not the file's name.")
    yield from unique((file, str(entry["id"]), entry.get("aliases") or ()) for file, entry in files.items())


def totals(entry: Mapping[str, Any], chip: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """Yield a warning where a published total is not chips times any published value of the chip."""
    size = entry["facts"]["domain"]["value"]
    for field, (part, times) in _TOTALS.items():
        total, single = entry["facts"].get(field), chip["facts"].get(part)
        if total is None or single is None or single.get("value") is None:
            continue
        dimension = SYSTEM_DIMENSIONS[field]
        options = [{"value": single["value"], "unit": single.get("unit")}]
        options += [{"unit": single.get("unit")} | dict(rival) for rival in rivals(single, part)]
        if single.get("unit") == "GiB":
            options.append({"value": single["value"], "unit": "GB"})
        wanted = weigh({"value": total["value"], "unit": total.get("unit")}, dimension, field)
        values = [weigh(option, dimension, part) for option in options]
        sums = [size * times * value.value for value in values if value is not None]
        if wanted is not None and not any(abs(wanted.value / s - 1) <= TOLERANCE for s in sums):
            unit = SI_UNIT[dimension]
            text = f"{show(wanted.value, unit)} is not {size} x {part} ({show(sums[0], unit)})."
            yield Finding("warning", file, field, text)
