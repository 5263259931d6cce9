"""Pages and JSON of chips and systems: every fact with unit, source, date, basis and what contradicts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from assay.catalogue.evidence import KINDS
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Chip, Fact, System
from assay.errors import NoEvidence
from assay.report.figures import number
from assay.report.panels import grid
from assay.units import show

#: Version of the JSON of chips and systems.
SCHEMA = "assay-facts-1"


def chip_json(known: Catalogue, name: str) -> dict[str, Any]:
    """Return a chip as plain data: figures in SI, `facts` as published, prices.

    Raises:
        UnknownName: no such chip.
    """
    chip, reason = _known(known.chip, name)
    ident = known.chip_id(name)
    about = (
        plain(chip)
        if chip
        else {"id": ident, "facts": plain(known.facts("chip", name)), "warnings": [reason]}
    )
    return {"schema": SCHEMA, **about, "prices": [plain(price) for price in known.prices(ident)]}


def system_json(known: Catalogue, name: str) -> dict[str, Any]:
    """Return a system and its chip as plain data: figures in SI, `facts` as published.

    Raises:
        UnknownName: no such system.
    """
    system, reason = _known(known.system, name)
    if system:
        return {"schema": SCHEMA, **plain(system)}
    facts = plain(known.facts("system", name))
    return {"schema": SCHEMA, "id": known.system_id(name), "facts": facts, "warnings": [reason]}


def chip_page(known: Catalogue, name: str) -> Iterator[RenderableType]:
    """Yield the parts of the page of a chip; of one that lacks a needed fact, what is published.

    Raises:
        UnknownName: no such chip.
    """
    chip, reason = _known(known.chip, name)
    entry = known.entry("chip", name)
    about = " · ".join(str(entry[key]) for key in ("id", "vendor", "kind", "status") if entry.get(key))
    yield Text.assemble((str(entry.get("name") or entry["id"]), "bold"), f"  {about}")
    if chip:
        yield _summary(_chip_rows(chip))
    yield from _warnings(chip.warnings if chip else (reason,))
    yield from _prices(known, str(entry["id"]))
    yield from _facts(known.facts("chip", name), known.source)


def system_page(known: Catalogue, name: str) -> Iterator[RenderableType]:
    """Yield the parts of the page of a system; of one that lacks a needed fact, what is published.

    Raises:
        UnknownName: no such system.
    """
    system, reason = _known(known.system, name)
    entry = known.entry("system", name)
    title = f"  {entry['id']} · {system.chip.name if system else entry['chip']}"
    derived = " · derived from its chip" if entry.get("derived") else ""
    yield Text.assemble((str(entry.get("name") or entry["id"]), "bold"), title + derived)
    if system:
        yield _summary(_system_rows(system))
    yield from _warnings(system.warnings if system else (reason,))
    yield from _facts(known.facts("system", name), known.source)


def plain(data: Any) -> Any:
    """Return dataclasses and mappings as plain data."""
    if hasattr(data, "__dataclass_fields__"):
        return {name: plain(getattr(data, name)) for name in data.__dataclass_fields__}
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(item) for item in data]
    return data


_Record = TypeVar("_Record")


def _known(find: Callable[[str], _Record], name: str) -> tuple[_Record | None, str]:
    """Return a record, or None and why it cannot be predicted with."""
    try:
        return find(name), ""
    except NoEvidence as error:
        return None, str(error)


def _summary(rows: Mapping[str, str]) -> RenderableType:
    table = grid("left", "left")
    for title, value in rows.items():
        if value:
            table.add_row(Text(title, style="dim"), value)
    return table


def _chip_rows(chip: Chip) -> dict[str, str]:
    rates = {name: rate for name, rate in chip.peak_flops.items() if rate}
    size, bandwidth = show(chip.memory_bytes, "B"), show(chip.memory_bandwidth, "B/s")
    return {
        "memory": f"{size} {chip.memory_kind} at {bandwidth}",
        "dense peak": ", ".join(f"{name} {show(rate, 'FLOP/s')}" for name, rate in rates.items()),
        "FLOP per byte": ", ".join(
            f"{name} {rate / chip.memory_bandwidth:,.0f}"
            for name, rate in rates.items()
            if name in ("bf16", "fp8", "fp4")
        ),
        "scale-up": _rate(chip.link_bandwidth),
        "scale-out": _rate(chip.nic_bandwidth),
        "power": show(chip.tdp_watts, "W") if chip.tdp_watts else "not published",
    }


def _system_rows(system: System) -> dict[str, str]:
    domain = f"{system.domain} chips, {system.topology}, {show(system.link_bandwidth, 'B/s')} a chip one way"
    if system.peer_bandwidth != system.link_bandwidth:
        domain += f", {show(system.peer_bandwidth, 'B/s')} between two"
    power = f"{show(system.power_watts, 'W')} a chip, provisioned" if system.power_watts else "not published"
    return {
        "scale-up": domain + (", reduces in the network" if system.in_network_reduction else ""),
        "memory": f"{show(system.domain * system.chip.memory_bytes, 'B')} in the scale-up domain",
        "scale-out": _rate(system.nic_bandwidth),
        "host": f"{system.node} chips behind one host",
        "hop latency": show(system.hop_latency, "s") if system.hop_latency else "not published",
        "power": power,
        "planned up to": f"{system.max_chips} chips",
    }


def _prices(known: Catalogue, chip: str) -> Iterator[RenderableType]:
    """Yield one line a kind of price: the newest, its range, how many there are."""
    prices = known.prices(chip)
    if not prices:
        return
    yield Text("\nUSD per chip and hour", style="bold")
    table = grid("left", "right", "left", "left")
    for kind in (kind for kind in KINDS if any(price.kind == kind for price in prices)):
        price = known.price(chip, kind)
        spread = f"{number(price.low)}–{number(price.high)}"
        table.add_row(
            kind, number(price.usd_per_hour), spread, Text(f"{price.date} {price.provider}", style="dim")
        )
    yield table


def _rate(rate: float | None) -> str:
    return f"{show(rate, 'B/s')} a chip, one way" if rate else "none published"


def _warnings(warnings: tuple[str, ...]) -> Iterator[Text]:
    for warning in warnings:
        yield Text(f"! {warning}", style="yellow")


def _facts(facts: Mapping[str, Fact], source: Callable[[str], str]) -> Iterator[RenderableType]:
    """Yield the facts as a table, then the sources they name, once each."""
    if not facts:
        return
    yield Text("\nFacts as published", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("fact", "value", "basis", "date", "source"):
        table.add_column(title, overflow="fold")
    for name, fact in facts.items():
        known = fact.value is not None
        value = f"{_written(fact.value)} {fact.unit}".strip() if known else "not published"
        basis = Text(fact.basis.replace("_", " "), style="yellow" if fact.basis == "from_memory" else "")
        table.add_row(name, value, basis if known else "", fact.date, fact.source)
        for conflict in fact.conflicts:
            other = f"or {_written(conflict.get('value'))} {conflict.get('unit') or fact.unit}".strip()
            aside = f"set aside: {conflict['excluded']}" if conflict.get("excluded") else ""
            table.add_row(
                "", other, aside, str(conflict.get("date", "")), str(conflict.get("source", "")), style="dim"
            )
        if fact.note:
            table.add_row("", Text(fact.note, style="dim"))
    yield table
    yield Text("\nSources", style="bold")
    named = {fact.source: None for fact in facts.values()}
    named |= {str(item.get("source", "")): None for fact in facts.values() for item in fact.conflicts}
    sources = grid("left", "left")
    for key in filter(None, named):
        sources.add_row(key, Text(source(key), style="dim"))
    yield sources


def _written(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
