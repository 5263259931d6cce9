"""`assay list`: one row an entry of the catalogue, as data and as a compact table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.errors import AssayError, NoEvidence
from assay.report.figures import count, number, tokens
from assay.units import show


def rows(what: str, facts: Sequence[Path] = (), match: str = "") -> list[dict[str, Any]]:
    """Return the entries of one list, SI units.

    Args:
        what: models, chips, systems, prices or workloads.
        facts: folders of the user's facts.
        match: keep only entries with a text that holds this one.
    """
    found = _LISTS[what](catalogue(facts))
    wanted = match.lower()
    return [row for row in found if any(wanted in text.lower() for text in _texts(row))]


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    for key, value in row.items():
        if isinstance(value, str) and key != "note":
            yield value
        elif isinstance(value, list):
            yield from value


def page(found: Sequence[Mapping[str, Any]], columns: Sequence[Column], width: int) -> Iterator[Text]:
    """Yield a table of entries and how many there are.

    Args:
        found: entries of `rows`.
        columns: of `COLUMNS`.
        width: columns of the terminal.
    """
    texts = [form in (str, _first) for _, _, form in columns]
    cells = [[title for title, _, _ in columns]]
    cells += [[_cell(row.get(key), form) for _, key, form in columns] for row in found]
    widths = _fit(cells, texts, width)
    for number_of_line, line in enumerate(cells):
        parts = [
            _cut(cell, size).ljust(size) if text else cell.rjust(size)
            for cell, size, text in zip(line, widths, texts, strict=True)
        ]
        yield Text(_GAP.join(parts).rstrip(), style="" if number_of_line else "dim")
    yield Text(f"{len(found)} entries", style="dim")


def _fit(cells: Sequence[Sequence[str]], texts: Sequence[bool], width: int) -> list[int]:
    """Return the widths of columns; the widest column of text gives way until all fit in `width`."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max((size, place) for place, size in enumerate(widths) if texts[place])
        if widest[0] <= 4:
            break
        widths[widest[1]] -= 1
    return widths


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


#: Between two columns.
_GAP = "  "
#: Title, key of the row, how its value is written.
Column = tuple[str, str, Callable[[Any], str]]


def _cell(value: Any, form: Callable[[Any], str]) -> str:
    return "–" if value is None or value in ("", []) else form(value)


def _in(unit: str) -> Callable[[Any], str]:
    return lambda value: show(value, unit)


def _first(names: Sequence[str]) -> str:
    return names[0]


def _models(known: Catalogue) -> list[dict[str, Any]]:
    from assay.llm.architecture import Architecture
    from assay.llm.formats import native_formats, native_label
    from assay.llm.memory import kv_bytes_per_token, weight_bytes
    from assay.llm.parameters import counts

    found = []
    for name in known.models():
        entry = known.model(name)
        row: dict[str, Any] = {"model": name, "hf_id": entry.hf_id, "released": entry.released}
        try:
            arch = Architecture.from_dict(entry.architecture)
            parameters = counts(arch)
        except AssayError as error:
            found.append(row | {"note": str(error)})
            continue
        found.append(
            row
            | {
                "params_total": parameters.total,
                "params_active": parameters.active,
                "native_format": native_label(arch),
                "weight_bytes": weight_bytes(arch, native_formats(arch)),
                "kv_bytes_per_token": kv_bytes_per_token(arch),
                "max_context": arch.max_context or None,
                "licence": entry.licence,
            }
        )
    return found


def _chips(known: Catalogue) -> list[dict[str, Any]]:
    found = []
    for ident in known.chips():
        try:
            chip = known.chip(ident)
        except NoEvidence as error:
            entry = known.entry("chip", ident)
            found.append(
                {"chip": ident, "vendor": entry.get("vendor"), "status": "unusable", "note": str(error)}
            )
            continue
        row = {"chip": ident, "vendor": chip.vendor, "kind": chip.kind, "status": chip.status}
        figures = ("memory_bytes", "memory_kind", "memory_bandwidth", "link_bandwidth", "tdp_watts")
        rates = {f"{name}_flops": chip.peak_flops.get(name) for name in ("bf16", "fp8", "fp4")}
        found.append(row | {name: getattr(chip, name) for name in figures} | rates)
    return found


def _systems(known: Catalogue) -> list[dict[str, Any]]:
    found = []
    figures = ("domain", "node", "topology", "link_bandwidth", "nic_bandwidth", "power_watts", "max_chips")
    for ident in known.systems():
        aliases = list(known.entry("system", ident).get("aliases") or ())
        try:
            system = known.system(ident)
        except NoEvidence as error:
            found.append({"system": ident, "aliases": aliases, "note": str(error)})
            continue
        row = {"system": ident, "aliases": aliases, "chip": system.chip.id, "status": system.chip.status}
        memory = system.domain * system.chip.memory_bytes
        found.append(
            row | {name: getattr(system, name) for name in figures} | {"domain_memory_bytes": memory}
        )
    return found


def _prices(known: Catalogue) -> list[dict[str, Any]]:
    names = ("chip", "kind", "usd_per_hour", "low", "high", "date", "provider", "source", "note")
    return [
        {name: getattr(price, name) for name in names}
        for chip in known.chips()
        for price in known.prices(chip)
    ]


def _workloads(known: Catalogue) -> list[dict[str, Any]]:
    from assay.workload.lengths import workload, workloads

    found = []
    for name in workloads(known.extra):
        item = workload(name, known.extra)
        found.append(
            {
                "workload": name,
                "aliases": list(item.facts.get("aliases") or ()),
                "title": item.title,
                "isl": item.isl,
                "osl": item.osl,
                "cached": item.cached,
                "ttft_s": item.ttft,
                "tpot_s": item.tpot,
                "source": item.facts["isl"].get("source", ""),
            }
        )
    return found


_LISTS: Mapping[str, Callable[[Catalogue], list[dict[str, Any]]]] = {
    "models": _models,
    "chips": _chips,
    "systems": _systems,
    "prices": _prices,
    "workloads": _workloads,
}

#: List -> its columns on the terminal.
COLUMNS: Mapping[str, Sequence[Column]] = {
    "models": (
        ("model", "model", str),
        ("parameters", "params_total", count),
        ("active", "params_active", count),
        ("weights", "weight_bytes", _in("B")),
        ("as published", "native_format", str),
        ("KV/token", "kv_bytes_per_token", _in("B")),
        ("context", "max_context", tokens),
        ("released", "released", str),
    ),
    "chips": (
        ("chip", "chip", str),
        ("status", "status", str),
        ("memory", "memory_bytes", _in("B")),
        ("", "memory_kind", str),
        ("bandwidth", "memory_bandwidth", _in("B/s")),
        ("bf16 FLOP/s", "bf16_flops", _in("")),
        ("fp8 FLOP/s", "fp8_flops", _in("")),
        ("fp4 FLOP/s", "fp4_flops", _in("")),
        ("power", "tdp_watts", _in("W")),
    ),
    "systems": (
        ("system", "system", str),
        ("short", "aliases", _first),
        ("chip", "chip", str),
        ("chips", "domain", number),
        ("topology", "topology", str),
        ("link", "link_bandwidth", _in("B/s")),
        ("memory", "domain_memory_bytes", _in("B")),
        ("power", "power_watts", _in("W")),
    ),
    "prices": (
        ("chip", "chip", str),
        ("kind", "kind", str),
        ("$/h", "usd_per_hour", number),
        ("low", "low", number),
        ("high", "high", number),
        ("date", "date", str),
        ("provider", "provider", str),
        ("source", "source", str),
    ),
    "workloads": (
        ("workload", "workload", str),
        ("in", "isl", tokens),
        ("out", "osl", tokens),
        ("cached", "cached", lambda share: f"{share:.0%}"),
        ("TTFT", "ttft_s", _in("s")),
        ("TPOT", "tpot_s", _in("s")),
        ("what it is", "title", str),
    ),
}
