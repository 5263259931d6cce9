"""The page of `assay simulate` for several models: a row each, all together, fewest chips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number
from assay.report.panels import grid
from assay.report.simulate import percentiles, service, timeline
from assay.units import show

_COLUMNS = ("model", "chips", "good", "TTFT p50", "p99", "TPOT p50", "busy", "USD/M out")


def fleet_page(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the parts of the page.

    Args:
        data: figures of all models, with `models`, and with `fewest` where it was searched for.
    """
    shared = [row for row in data["models"] if row["shared"]]
    turns = f", {len(shared)} of them in turns on the same chips" if shared else ""
    yield Text(f"{len(data['models'])} models on {_chips(data['chips'])}{turns}", style="bold")
    yield Text(
        f"{data['completed']:,} of {data['requests']:,} requests completed in {show(data['duration_s'], 's')}"
    )
    yield Text()
    yield _models(data["models"])
    if shared:
        yield Text("shared chips count for the model that they hold, or load", style="dim")
    yield Text()
    yield Text("all models", style="bold")
    yield percentiles(data)
    yield Text()
    yield from service(data)
    if shared:
        waits = ", ".join(f"{row['name']} {show(row['switch_s'], 's')}" for row in shared)
        yield Text(
            f"shared chips loaded another model {data['switches']:,} times, {data['switching_share']:.1%} of "
            f"their time ({waits})\n"
        )
    yield from timeline(data["timeline"])
    yield from fewest(data.get("fewest"))
    for note in data["notes"]:
        yield Text(f"note: {note}", style="yellow")


def _models(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return a row for each model."""
    table = grid("left", "right", "right", "right", "right", "right", "right", "right")
    table.add_row(*(Text(name, style="dim") for name in _COLUMNS))
    for row in rows:
        money = row["usd_per_million_output_tokens"]
        table.add_row(
            row["name"],
            f"{row['chips']:,.3g}",
            f"{row['good_share']:.1%}",
            *(show(float(row["ttft_s"][name]), "s") for name in ("p50", "p99")),
            show(float(row["tpot_s"]["p50"]), "s"),
            f"{row['utilisation']:.1%}",
            "-" if money is None else number(money),
        )
    return table


def fewest(found: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """Yield the fewest chips, shared and not."""
    if not found:
        return
    together, apart = found["together_chips"], found["apart_chips"]
    each = ", ".join(f"{name} {copies or 'none'}" for name, copies in found["apart"].items())
    yield Text(f"\nfewest replicas of its own that keep each model's limits: {each}")
    if apart is None:
        yield Text("where it says none, no number of them does", style="bold")
    elif together is None:
        yield Text(f"in turns on up to {_chips(apart)}, not every model keeps its limits", style="bold")
    else:
        yield Text(
            f"in turns on {_chips(together)} instead of {_chips(apart)}: {1.0 - together / apart:.0%} saved",
            style="bold",
        )


def _chips(count: int) -> str:
    return f"{count:,} chip{'' if count == 1 else 's'}"
