"""Rows of a plan beside what the simulator says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from assay.plan.confirm import Confirmation
from assay.report.figures import number
from assay.report.panels import grid
from assay.report.simulate import spoken
from assay.units import show

_TITLES = {"ttft_s": "TTFT", "tpot_s": "TPOT"}
_RUN = ("mean", "p50", "p99")


def confirm_page(found: Sequence[Confirmation]) -> Iterator[RenderableType]:
    """Yield a block for each row that was simulated."""
    yield Text("\nSimulated, request by request:", style="bold")
    for item in found:
        yield Text(f"{item.platform} · {item.deployment}", style="bold")
        if item.figures:
            yield Text(f"  {verdict(item)}", style="green" if item.holds else "red")
            yield _table(item)
        if item.pace:
            yield Text(f"  {spoken(item.pace)}", style="dim")
        for note in item.notes:
            yield Text(f"  note: {note}", style="yellow")


def verdict(item: Confirmation) -> str:
    """Return in words whether the limits hold, at which load."""
    load = f"{number(item.rate)} requests/s" if item.rate is not None else f"{item.users:,} in flight"
    holds = "means hold the limits" if item.holds else "means miss the limits"
    return (
        f"{holds} at {load}; {item.good_share:.1%} of {item.requests:,} requests within them, "
        f"{number(item.goodput_per_s)}/s"
    )


def _table(item: Confirmation) -> RenderableType:
    table = grid("left", "right", "left", "right", "right", "right")
    heads = ("", "predicted", "", *_RUN)
    table.add_row(*(Text(head, style="dim") for head in heads))
    for name, title in _TITLES.items():
        if name not in item.figures:
            continue
        figure = item.figures[name]
        low, high = (show(figure[end], "s") for end in ("low", "high"))
        table.add_row(
            f"  {title}",
            show(figure["predicted"], "s"),
            Text(f"{low} to {high}", style="dim"),
            *(show(figure[key], "s") for key in _RUN),
        )
    if "hit_rate" in item.figures:
        shares = [f"{item.figures['hit_rate'][key]:.1%}" for key in ("predicted", "mean")]
        table.add_row("  input tokens hit", shares[0], "", shares[1], "", "")
    return table
