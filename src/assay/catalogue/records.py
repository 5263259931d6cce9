"""Facts as written -> `Chip`, `System`, `Price`, `ModelEntry` in SI units.

A field nobody has published stays absent; one that is unchecked is used with a warning; a chip that lacks
what a prediction needs is refused by name of the missing fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from assay.catalogue.evidence import Evidence, months, rivals, weigh
from assay.catalogue.fields import (
    CHIP_DIMENSIONS,
    FORMATS,
    KINDS_OF_CHIP,
    MEMORY_KINDS,
    PLANNED,
    SYSTEM_DIMENSIONS,
    TOPOLOGIES,
    WHOLE_MODEL,
)
from assay.catalogue.schema import Chip, Fact, ModelEntry, Price, System
from assay.errors import BadFact, BadInput, NoEvidence
from assay.units import SI_UNIT, parse_quantity, show

_WORD = {
    "memory_capacity": "memory capacity",
    "memory_bandwidth": "memory bandwidth",
    "tdp": "power limit",
    "link_bandwidth": "link rate",
    "nic_bandwidth": "network rate",
}
_UNSURE = {"from_memory": "unchecked (from memory)", "estimate": "an estimate"}


def facts_of(raw: Mapping[str, Any], where: str) -> dict[str, Fact]:
    """Return the facts of a chip or system for display.

    Raises:
        BadFact: a fact that is no mapping with a value.
    """
    found = {}
    for name, entry in _facts(raw, where).items():
        if "value" not in entry:
            raise BadFact(f"{where}: {name} has no value.", "Write {value: ..., unit: ..., source: ...}.")
        found[name] = Fact(
            value=entry["value"],
            unit=str(entry.get("unit") or ""),
            source=str(entry.get("source") or ""),
            date=str(entry.get("date") or ""),
            basis=str(entry.get("basis") or "datasheet"),
            note=str(entry.get("note") or ""),
            conflicts=tuple(rivals(entry, f"{where}: {name}")),
        )
    return found


def _facts(raw: Mapping[str, Any], where: str) -> Mapping[str, Mapping[str, Any]]:
    facts = raw.get("facts") or {}
    if not isinstance(facts, Mapping):
        raise BadFact(f"{where}: `facts` is no mapping.", "Write one field a line.")
    for name, entry in facts.items():
        if not isinstance(entry, Mapping):
            raise BadFact(f"{where}: {name} has no value.", "Write {value: ..., unit: ..., source: ...}.")
    return facts


class _Weigher:
    """Weighs fields of one entry, collecting spreads and warnings."""

    def __init__(self, raw: Mapping[str, Any], where: str, name: str, dimensions: Mapping[str, str]) -> None:
        self.facts = _facts(raw, where)
        self.where = where
        self.name = name
        self.dimensions = dimensions
        self.spread: dict[str, tuple[float, float]] = {}
        self.warnings: list[str] = []

    def __call__(self, field: str, word: str = "", *, quiet: bool = False) -> float | None:
        entry = self.facts.get(field)
        if entry is None:
            return None
        if not isinstance(entry, Mapping):
            raise BadFact(
                f"{self.where}: {field} has no value.", "Write {value: ..., unit: ..., source: ...}."
            )
        found = weigh(entry, self.dimensions[field], f"{self.where}: {field}")
        if found is None:
            return None
        self.note(found, field, word or _WORD.get(field, f"{field} rate"), quiet=quiet)
        return found.value

    def note(self, found: Evidence, field: str, word: str, *, quiet: bool) -> None:
        unit = SI_UNIT[self.dimensions[field]]
        if found.low < found.high:
            self.spread[field] = (found.low, found.high)
        if quiet:
            return
        if found.basis in _UNSURE:
            self.warnings.append(f"{self.name}: {word} {show(found.value, unit)} is {_UNSURE[found.basis]}.")
        if found.wide:
            self.warnings.append(
                f"{self.name}: published values of the {word} run from {show(found.low, unit)} "
                f"to {show(found.high, unit)}; {show(found.value, unit)} is used."
            )


def chip(raw: Mapping[str, Any], where: str) -> Chip:
    """Return one chip.

    Args:
        raw: the entry as written, id and facts.
        where: file, for errors.

    Raises:
        NoEvidence: memory or every usable rate is unpublished; names the missing fact.
        BadFact: a malformed or impossible value.
    """
    ident, name = str(raw.get("id")), str(raw.get("name") or raw.get("id"))
    weigher = _Weigher(raw, where, name, CHIP_DIMENSIONS)
    peaks = _peaks(weigher)
    capacity, bandwidth = weigher("memory_capacity"), weigher("memory_bandwidth")
    missing = [
        word for word, value in (("memory capacity", capacity), ("memory bandwidth", bandwidth)) if not value
    ]
    if not any(number_format in peaks for number_format in WHOLE_MODEL):
        missing.append(f"dense rate in any of {', '.join(WHOLE_MODEL)}")
    if missing or capacity is None or bandwidth is None:
        raise NoEvidence(
            f"{name}: nobody has published its {' and its '.join(missing)}.", "Give it in a facts file."
        )
    tdp = weigher("tdp")
    if tdp is None:
        weigher.warnings.append(f"{name}: no power limit is published.")
    status = str(raw.get("status") or "")
    if status in PLANNED:
        weigher.warnings.insert(0, f"{name} {PLANNED[status]}.")
    return Chip(
        id=ident,
        name=name,
        vendor=str(raw.get("vendor") or "unknown"),
        kind=_one_of(raw, "kind", KINDS_OF_CHIP, "gpu", where),
        generation=str(raw.get("generation") or ident),
        status=status,
        peak_flops=peaks,
        memory_bytes=capacity,
        memory_bandwidth=bandwidth,
        memory_kind=_one_of(raw, "memory_kind", MEMORY_KINDS, "hbm", where),
        tdp_watts=tdp,
        link_bandwidth=weigher("link_bandwidth"),
        nic_bandwidth=weigher("nic_bandwidth"),
        spread=weigher.spread,
        warnings=tuple(weigher.warnings),
        facts=facts_of(raw, where),
    )


def _peaks(weigher: _Weigher) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for number_format in FORMATS:
        rate = weigher(number_format)
        if rate is None and f"{number_format}_derived" in CHIP_DIMENSIONS:
            rate = weigher(f"{number_format}_derived", f"{number_format} rate")
        if rate is not None:
            peaks[number_format] = rate
    return peaks


def _one_of(raw: Mapping[str, Any], key: str, words: Iterable[str], default: str, where: str) -> str:
    word = str(raw.get(key) or default).lower()
    if word not in words:
        raise BadFact(f"{where}: {key} = {word!r}.", f"Write one of {', '.join(words)}.")
    return word


def _count(weigher: _Weigher, field: str, default: int) -> int:
    value = weigher(field, field, quiet=True)
    if value is None:
        return default
    if value != int(value):
        raise BadFact(f"{weigher.where}: {field} = {value:g} is not a whole number.")
    return int(value)


def system(raw: Mapping[str, Any], of: Chip, where: str) -> System:
    """Return one system.

    Args:
        raw: the entry as written.
        of: its chip.
        where: file, for errors.

    Raises:
        BadFact: a malformed or impossible value.
    """
    name = str(raw.get("name") or raw.get("id"))
    weigher = _Weigher(raw, where, name, SYSTEM_DIMENSIONS)
    domain = _count(weigher, "domain", 1)
    topology = _one_of(raw, "topology", TOPOLOGIES, "switch" if domain > 1 else "none", where)
    link = weigher("link_bandwidth", quiet=of.link_bandwidth is not None) or of.link_bandwidth
    limit = _count(weigher, "max_chips", domain)
    if domain > 1 and not link:
        weigher.warnings.append(f"{name}: the link rate is not published, so only single chips are planned.")
        limit = 1
    if raw.get("derived"):
        weigher.warnings.append(
            f"{name}: no such system is published; it is put together from the chip's facts."
        )
    if raw.get("hint") and not link:
        weigher.warnings.append(f"{name}: {raw['hint']}")
    link = link or 0.0
    reduction = weigher.facts.get("in_network_reduction") or {}
    return System(
        id=str(raw.get("id")),
        name=name,
        chip=of,
        domain=domain,
        node=_count(weigher, "node", domain),
        topology=topology,
        link_bandwidth=link,
        peer_bandwidth=_peer(weigher, topology, link, domain, of),
        in_network_reduction=bool(reduction.get("value")),
        hop_latency=weigher("hop_latency", "latency of a hop"),
        nic_bandwidth=weigher("nic_bandwidth") or of.nic_bandwidth,
        max_chips=limit,
        power_watts=_power(weigher, of, domain),
        warnings=tuple(dict.fromkeys((*of.warnings, *weigher.warnings))),
        facts=facts_of(raw, where),
    )


def _peer(weigher: _Weigher, topology: str, link: float, domain: int, of: Chip) -> float:
    own = weigher("peer_bandwidth", "rate between two chips")
    if own is not None:
        return own
    fact = of.facts.get("per_link_bandwidth" if topology.startswith("torus") else "peer_bandwidth")
    if topology in ("mesh", "torus2d", "torus3d", "ring", "dragonfly"):
        if fact is not None and fact.value is not None:
            return parse_quantity(fact.value, "bandwidth", default_unit=fact.unit)
        neighbours = {"mesh": domain - 1, "torus2d": 4, "torus3d": 6, "ring": 2}.get(topology, 1)
        return link / max(1, min(neighbours, max(1, domain - 1)))
    return link


def _power(weigher: _Weigher, of: Chip, domain: int) -> float | None:
    direct = weigher("power_provisioned", "provisioned power", quiet=True)
    if direct is not None:
        return direct
    fact = of.facts.get("power_provisioned")
    if fact is not None and fact.value is not None:
        return parse_quantity(fact.value, "power", default_unit=fact.unit)
    for field, word in (("rack_power", "rack power"), ("system_power", "system power")):
        total = weigher(field, word)
        if total is not None:
            if domain > 1:
                weigher.warnings.append(
                    f"{weigher.name}: power is the {word} over {domain} chips, without cooling."
                )
            return total / domain
    return None


def price(row: Mapping[str, Any], kind: str, where: str) -> Price:
    """Return one price row.

    Raises:
        BadFact: no chip, date (the user's own may lack it) or positive value.
    """
    try:
        value = parse_quantity(row.get("usd_per_hour", ""), "price", what="usd_per_hour")
        low = parse_quantity(row.get("low", value), "price", what="low")
        high = parse_quantity(row.get("high", value), "price", what="high")
    except BadInput as error:
        raise BadFact(f"{where}: {error.message}", error.hint) from None
    date = str(row.get("date") or "")
    if date or row.get("source") != "user":
        months(date, f"{where}: date")
    if not low <= value <= high or not row.get("chip"):
        raise BadFact(f"{where}: low <= usd_per_hour <= high does not hold, or the chip is missing.")
    notes = (str(row[key]) for key in ("commitment", "region", "note") if row.get(key))
    return Price(
        chip=str(row["chip"]),
        kind=kind,
        usd_per_hour=value,
        low=low,
        high=high,
        date=date,
        provider=str(row.get("provider") or ""),
        source=str(row.get("source") or "user"),
        note="; ".join(notes),
    )


def model(name: str, raw: Mapping[str, Any], where: str) -> ModelEntry:
    """Return one model.

    Raises:
        BadFact: no architecture.
    """
    architecture = raw.get("architecture")
    if not isinstance(architecture, Mapping):
        raise BadFact(f"{where}: {name} has no `architecture`.", "Use a Hugging Face config.json instead.")
    warnings = [str(raw["note"])] if raw.get("note") else []
    for key, word in (("from_memory", "from memory, unchecked"), ("inferred", "inferred")):
        if raw.get(key):
            warnings.append(f"Fields {word}: {', '.join(map(str, raw[key]))}.")
    published: dict[str, Any] = {}
    for field, entry in (raw.get("published") or {}).items():
        published[field] = entry.get("value") if isinstance(entry, Mapping) else entry
        if isinstance(entry, Mapping) and entry.get("basis") == "from_memory":
            warnings.append(f"The published figure {field} is from memory, unchecked.")
    published["facts"] = raw.get("published") or {}
    sources = (raw.get("sources") or ()) if isinstance(raw.get("sources") or (), (list, tuple)) else ()
    return ModelEntry(
        name=name,
        hf_id=str(raw.get("hf_id") or ""),
        released=str(raw.get("released") or ""),
        licence=str(raw.get("licence") or ""),
        architecture=architecture,
        published=published,
        warnings=tuple(warnings),
        sources=tuple(_source(entry) for entry in sources),
    )


def _source(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return f"{entry.get('id', '')}: {entry.get('where', '')}".strip(": ")
    return str(entry)
