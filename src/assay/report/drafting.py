"""Speculative decoding on a page: what drafts cost and yield, and how the gain falls with the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number
from assay.report.panels import grid
from assay.study.answer import Row
from assay.units import show

_PUBLISHED = 4


def drafting_panel(row: Row) -> Iterator[RenderableType]:
    """Yield what speculation does at a row; nothing without drafts."""
    made = row.drafting
    if not made:
        return
    chances = ", ".join(number(100 * chance, 2) for chance in made["acceptance"])
    bounds = made["yields_range"]
    width = f" ({number(bounds[0])} to {number(bounds[1])})" if bounds else ""
    yield Text(f"\nSpeculation {made['method']}: ×{made['gain']:.2f} in TPOT at this batch", style="bold")
    yield Text(f"Drafts accepted, % by position: {chances} · {number(made['yields'])} tokens a step{width}")
    states = made["state_copy_bytes"]
    yield Text(
        f"A step takes {show(made['step_s'], 's')}: {show(made['plain_step_s'], 's')} without drafts, "
        f"{show(made['draft_s'], 's')} of draft passes, {show(made['verify_s'], 's')} to verify"
        + (f"; copies of states take {show(states, 'B')} a chip, not in the memory above" if states else "")
    )
    right: list[Literal["right"]] = ["right"] * len(made["by_batch"])
    table = grid("left", *right)
    batches = (Text(f"{point['batch']:,.0f}", style="dim") for point in made["by_batch"])
    table.add_row(Text("batch", style="dim"), *batches)
    table.add_row("gain", *(f"×{point['gain']:.2f}" for point in made["by_batch"]))
    yield table
    if (end := made["no_gain_from"]) is not None:
        beyond = ", more than memory holds" if end > made["capacity"] else ""
        yield Text(f"Nothing is gained from a batch of about {number(end, 2)} on{beyond}", style="dim")
    for run in made["published"][:_PUBLISHED]:
        shares = ", ".join(number(100 * share) for share in run["by_position"])
        yield Text(f"Published: {run['method']} {shares} % of all drafts · {run['note']}", style="dim")
