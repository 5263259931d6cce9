"""Pages and JSON of chips and systems: every fact with unit, source, date, basis and what contradicts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from assay.catalogue.schema import Chip, Fact, System
from assay.report.panels import grid
from assay.units import show

#: Version of the JSON of chips and systems.
SCHEMA = "assay-facts-1"


def chip_json(chip: Chip) -> dict[str, Any]:
    """Return a chip as plain data; figures are SI, `facts` as published."""
    return {"schema": SCHEMA} | plain(chip)


def system_json(system: System) -> dict[str, Any]:
    """Return a system and its chip as plain data; figures are SI, `facts` as published."""
    return {"schema": SCHEMA} | plain(system)


def plain(data: Any) -> Any:
    """Return dataclasses and mappings as plain data."""
    if hasattr(data, "__dataclass_fields__"):
        return {name: plain(getattr(data, name)) for name in data.__dataclass_fields__}
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(item) for item in data]
    return data


def chip_page(chip: Chip, source: Callable[[str], str], price: str = "") -> Iterator[RenderableType]:
    """Yield the parts of the page of a chip.

    Args:
        chip: the chip.
        source: id of a source -> its citation.
        price: dated prices in words.
    """
    yield Text.assemble((chip.name, "bold"), f"  {chip.id} · {chip.vendor} · {chip.kind} · {chip.status}")
    table = grid("left", "left")
    rates = ", ".join(f"{name} {show(rate, 'FLOP/s')}" for name, rate in chip.peak_flops.items())
    memory = f"{show(chip.memory_bytes, 'B')} {chip.memory_kind} at {show(chip.memory_bandwidth, 'B/s')}"
    for title, value in (
        ("memory", memory),
        ("dense peak", rates),
        ("scale-up", _rate(chip.link_bandwidth)),
        ("scale-out", _rate(chip.nic_bandwidth)),
        ("power", show(chip.tdp_watts, "W") if chip.tdp_watts else "not published"),
        ("prices", price),
        ("ops per byte", _balance(chip)),
    ):
        if value:
            table.add_row(Text(title, style="dim"), value)
    yield table
    yield from _warnings(chip.warnings)
    yield from _facts(chip.facts, source)


def system_page(system: System, source: Callable[[str], str]) -> Iterator[RenderableType]:
    """Yield the parts of the page of a system.

    Args:
        system: the system.
        source: id of a source -> its citation.
    """
    yield Text.assemble((system.name, "bold"), f"  {system.id} · {system.chip.name} ({system.chip.id})")
    domain = f"{system.domain} chips, {system.topology}, {show(system.link_bandwidth, 'B/s')} a chip one way"
    if system.peer_bandwidth != system.link_bandwidth:
        domain += f", {show(system.peer_bandwidth, 'B/s')} between two"
    table = grid("left", "left")
    for title, value in (
        ("scale-up domain", domain + (", reduces in the network" if system.in_network_reduction else "")),
        ("host", f"{system.node} chips behind one host"),
        ("hop latency", show(system.hop_latency, "s") if system.hop_latency else "not published"),
        ("scale-out", _rate(system.nic_bandwidth)),
        ("memory", f"{show(system.domain * system.chip.memory_bytes, 'B')} in the domain"),
        ("power", _power(system)),
        ("planned up to", f"{system.max_chips} chips"),
    ):
        table.add_row(Text(title, style="dim"), value)
    yield table
    yield from _warnings(system.warnings)
    yield from _facts(system.facts, source)


def _rate(rate: float | None) -> str:
    return f"{show(rate, 'B/s')} a chip, one way" if rate else "none published"


def _power(system: System) -> str:
    return f"{show(system.power_watts, 'W')} a chip, provisioned" if system.power_watts else "not published"


def _balance(chip: Chip) -> str:
    rates = {name: rate / chip.memory_bandwidth for name, rate in chip.peak_flops.items() if rate}
    return ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items() if name in ("bf16", "fp8", "fp4"))


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
        value = f"{fact.value} {fact.unit}".strip() if known else "not published"
        basis = Text(fact.basis.replace("_", " "), style="yellow" if fact.basis == "from_memory" else "")
        table.add_row(name, value, basis if known else "", fact.date, fact.source)
        for conflict in fact.conflicts:
            other = f"or {conflict.get('value')} {conflict.get('unit') or fact.unit}".strip()
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
