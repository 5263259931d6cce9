"""The page of `assay estimate`: one operating point, and with `--explain` its steps by operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.report import panels
from assay.report.caches import cache_panel
from assay.report.drafting import drafting_panel
from assay.report.energy import energy_line
from assay.report.figures import number
from assay.study.answer import Answer, Row
from assay.units import show

_MOST = 14
#: TPOT this much off the decode step is explained.
_SAME = 0.02
_PHASES = {"decode": "One decode step", "prefill": "Prefill of one prompt"}


def estimate_page(answer: Answer) -> Iterator[RenderableType]:
    """Yield the parts of the page of an answer with one row."""
    yield from panels.headline(answer)
    row = answer.rows[0]
    yield Text(f"\n{panels.places(row)}", style="bold")
    yield panels.figures_table(row)
    yield from energy_line(row)
    yield Text()
    yield from panels.limits(row)
    yield from panels.memory(row, 60)
    yield from cache_panel(row)
    yield from drafting_panel(row)
    yield from steps(answer.explain)
    yield from beyond(row, answer.explain)
    yield Text()
    yield from panels.notes(row, most=5)
    yield panels.evidence(row)
    yield Text(panels.FOOTNOTE, style="dim")
    yield panels.provenance(answer)


def steps(operators: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Yield the steps of an answer, a phase at a time."""
    for phase in dict.fromkeys(str(item.get("phase", "decode")) for item in operators):
        yield from _step(phase, [item for item in operators if item.get("phase", "decode") == phase])


def beyond(row: Row, operators: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """Yield why TPOT is not the time of the decode step above, where a step yields one token."""
    step = sum(float(item["seconds"]) for item in operators if item.get("phase") == "decode")
    tpot = float(row.figures["tpot_s"].value) if "tpot_s" in row.figures else nan
    if not step or row.deployment.speculation or not abs(tpot / step - 1) > _SAME:
        return
    prompts = "steps that carry prompts take longer, and " if row.deployment.prefill is None else ""
    yield Text(
        f"\nTPOT, {show(tpot, 's')}, is {number(tpot / step, 2)} times this decode step: {prompts}"
        "measurements correct the sum of the operators.",
    )


def _step(phase: str, operators: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Yield one step by operator, slowest first, with the sum of all."""
    ranked = sorted(operators, key=lambda item: -float(item.get("seconds") or 0))
    total = {
        key: sum(float(item.get(key) or 0) for item in operators) for key in ("flops", "bytes", "seconds")
    }
    yield Text(f"\n{_PHASES.get(phase, phase)} on one chip, by operator:", style="bold")
    table = panels.grid("left", "left", "right", "right", "right", "right", "right", "left")
    titles = ("operator", "kind", "count", "FLOPs", "bytes", "time", "share", "bound by")
    table.add_row(*(Text(title, style="dim") for title in titles))
    for item in ranked[:_MOST]:
        table.add_row(str(item["operator"]), str(item.get("kind", "")), *_quantities(item, total["seconds"]))
    if rest := ranked[_MOST:]:
        merged = _sums(rest)
        table.add_row(f"{len(rest)} more", "", *_quantities(merged, total["seconds"]), style="dim")
    table.add_row("sum", "", *_quantities(total, total["seconds"]), style="bold")
    yield table


def _sums(operators: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    keys = ("flops", "bytes", "seconds")
    return {key: sum(float(item.get(key) or 0) for item in operators) for key in keys}


def _quantities(item: Mapping[str, Any], total: float) -> Iterator[str]:
    seconds = float(item.get("seconds") or 0)
    yield number(float(item["count"])) if item.get("count") else ""
    yield show(float(item.get("flops") or 0), "FLOP")
    yield show(float(item.get("bytes") or 0), "B")
    yield show(seconds, "s")
    yield f"{number(100 * seconds / total, 2)} %" if total else ""
    yield str(item.get("bound", ""))
