"""The pages of `assay coverage`: a line a model, and one model on every platform with its alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from rich.console import RenderableType
from rich.text import Text

from assay.claims.coverage import CANNOT, MEASURED, PREDICTED, WITHIN, Cell, Lock
from assay.report.panels import grid as columns
from assay.report.terminal import flow

_MOST = 3


def overview(found: Sequence[Cell], width: int) -> Iterator[RenderableType]:
    """Yield a line a model: where it was measured, and how many platforms are predicted only or cannot.

    Args:
        found: every model on every platform.
        width: columns.
    """
    models = dict.fromkeys(cell.model for cell in found)
    size = max([len(name) for name in models] + [5])
    head = f"{'model':<{size}} {'points':>7} {'measured':>9} {'predicted':>9} {'cannot':>6}  most measured on"
    yield Text(head, style="bold")
    for model in models:
        mine = [cell for cell in found if cell.model == model]
        count = {state: sum(cell.state == state for cell in mine) for state in (MEASURED, PREDICTED, CANNOT)}
        first = sorted((cell for cell in mine if cell.points), key=lambda cell: -cell.points)[:_MOST]
        names = ", ".join(f"{cell.system} {cell.points}" for cell in first)
        line = f"{model:<{size}} {sum(cell.points for cell in mine):>7} {count[MEASURED]:>9} "
        line += f"{count[PREDICTED]:>9} {count[CANNOT]:>6}  {names}"
        yield Text(line[:width], no_wrap=True)
    total = {state: sum(cell.state == state for cell in found) for state in (MEASURED, PREDICTED, CANNOT)}
    points = sum(cell.points for cell in found)
    yield Text(
        f"\n{total[MEASURED]} pairs of model and platform measured ({points:,} points), {total[PREDICTED]} "
        f"predicted only, {total[CANNOT]} cannot. Engines, dates and reasons with --json; `assay coverage "
        "MODEL` plans one."
    )


def page(
    found: Sequence[Cell], alternatives: Sequence[Lock], today: date, width: int
) -> Iterator[RenderableType]:
    """Yield one model on every platform.

    Args:
        found: the model on each platform.
        alternatives: how locked-in the priced platforms are, cheapest first.
        today: for the age of measurements.
        width: columns.
    """
    locked = {lock.system: lock for lock in alternatives}
    able = [cell for cell in found if cell.state != CANNOT]
    yield Text(f"{found[0].model if found else ''} by platform, cheapest first", style="bold")
    body = columns("left", "left", "right", "left", "left", "right", "left")
    body.add_row("platform", "", "points", "newest", "engines", "$/M out", f"within {WITHIN:g}x of it")
    for cell in sorted(able, key=lambda cell: locked[cell.system].usd if cell.system in locked else 1e9):
        lock = locked.get(cell.system)
        if lock is None and cell.state != MEASURED:
            continue
        age = cell.age(today)
        newest = f"{cell.newest} ({age} d)" if age is not None else cell.newest
        money = f"{lock.usd:.2f}" if lock else "–"
        engines = ", ".join(sorted(cell.engines or {}))
        body.add_row(cell.system, cell.state, str(cell.points or ""), newest, engines, money, _others(lock))
    yield body
    unpriced = [cell.system for cell in able if cell.system not in locked and cell.state != MEASURED]
    if unpriced:
        yield Text("\nPredicted, without a price or beyond the limits:", style="bold")
        yield from flow(unpriced, width)
    firsts = sorted((cell for cell in found if cell.days is not None), key=lambda cell: cell.days or 0)
    if firsts:
        told = ", ".join(f"{cell.system} {cell.days} d" for cell in firsts)
        yield Text(f"\nFrom release to the first dated measurement: {told}.")
    refused = [cell for cell in found if cell.state == CANNOT]
    if refused:
        yield Text(f"\n{len(refused)} cannot, for example", style="bold")
        for cell in refused[:_MOST]:
            yield Text(f"  {cell.system}: {cell.reason}")
        yield Text("  Reasons of all with --json.", style="dim")


def _others(lock: Lock | None) -> str:
    if lock is None:
        return "no price, or beyond the limits"
    if not lock.others:
        return "no other: locked in"
    vendors = f"{len(lock.vendors)} other vendor{'s' if len(lock.vendors) != 1 else ''}"
    return f"{len(lock.others)} ({vendors})"
