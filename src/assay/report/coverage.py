"""The pages of `assay coverage`: a line a model, and one model on every platform with its alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal

from rich.console import RenderableType
from rich.text import Text

from assay.claims.coverage import STATES, WITHIN, Cell, Lock
from assay.claims.engines import CANNOT, ENGINES, MEASURED, PREDICTED, RUNS, UNKNOWN, Served
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
    words = "".join(f" {state:>9}" for state in STATES)
    head = f"{'model':<{size}} {'points':>7}{words}  most measured on"
    yield Text(head, style="bold")
    for model in models:
        mine = [cell for cell in found if cell.model == model]
        counts = "".join(f" {sum(cell.state == state for cell in mine):>9}" for state in STATES)
        first = sorted((cell for cell in mine if cell.points), key=lambda cell: -cell.points)[:_MOST]
        line = f"{model:<{size}} {sum(cell.points for cell in mine):>7}{counts} "
        for cell in first:
            name = f" {cell.system} {cell.points}"
            if len(line) + len(name) > width:
                break
            line += name
        yield Text(line, no_wrap=True)
    total = {state: sum(cell.state == state for cell in found) for state in STATES}
    points = sum(cell.points for cell in found)
    yield Text(
        f"\n{total[MEASURED]} pairs of model and platform measured ({points:,} points), {total[RUNS]} "
        f"run as published, {total[PREDICTED]} predicted only, {total[CANNOT]} cannot. `assay coverage "
        "MODEL` shows one by engine; dates, sources and reasons with --json."
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
    body = columns("left", "left", "right", "left", "right", "left")
    body.add_row("platform", "", "points", "newest", "$/M out", f"within {WITHIN:g}x of it")
    for cell in sorted(able, key=lambda cell: locked[cell.system].usd if cell.system in locked else 1e9):
        lock = locked.get(cell.system)
        if lock is None and cell.state == PREDICTED:
            continue
        age = cell.age(today)
        newest = f"{cell.newest} ({age} d)" if age is not None else cell.newest
        money = f"{lock.usd:.2f}" if lock else "–"
        body.add_row(cell.system, cell.state, str(cell.points or ""), newest, money, _others(lock))
    yield body
    yield from by_engine(found, today)
    unpriced = [cell.system for cell in able if cell.system not in locked and cell.state == PREDICTED]
    if unpriced:
        yield Text("\nPredicted, without a price or beyond the limits:", style="bold")
        yield from flow(unpriced, width)
    refused = [cell for cell in found if cell.state == CANNOT]
    if refused:
        yield Text(f"\n{len(refused)} cannot, for example", style="bold")
        for cell in refused[:_MOST]:
            yield Text(f"  {cell.system}: {cell.reason}")
        yield Text("  Reasons of all with --json.", style="dim")


def by_engine(found: Sequence[Cell], today: date) -> Iterator[RenderableType]:
    """Yield one model by platform and engine: measured points with their age, published runs, the rest.

    Args:
        found: the model on each platform.
        today: for the age of measurements.
    """
    known = [cell for cell in found if any(item.state in (MEASURED, RUNS) for item in cell.served)]
    if not known:
        return
    others = sorted({name for cell in known for name in cell.engines} - set(ENGINES))
    names = (*ENGINES, *others)
    told = "points (age in days), runs since version, predicted only, cannot, ? unknown"
    yield Text(f"\nBy engine: {told}", style="bold")
    sides: list[Literal["left", "right"]] = ["left"] * (len(names) + 2)
    body = columns(*sides)
    body.add_row("platform", *names, "release to first run")
    for cell in sorted(known, key=lambda cell: (-cell.points, cell.system)):
        mine = {item.engine: item for item in cell.served}
        firsts = [item.days for item in cell.served if item.days is not None]
        first = f"{'' if cell.days is not None else '≤ '}{min(firsts)} d" if firsts else "–"
        body.add_row(cell.system, *(_engine(mine.get(name), today) for name in names), first)
    yield body
    for cell in known:
        for item in cell.served:
            if item.state == RUNS:
                since = f" since {item.since}" if item.since else ""
                yield Text(
                    f"{cell.system}: {item.engine}{since} in {', '.join(item.formats)} [{item.source}, "
                    f"{item.published}]",
                    style="dim",
                )


def _engine(item: Served | None, today: date) -> str:
    if item is None:
        return ""
    if item.state == MEASURED:
        age = item.age(today)
        return f"{item.points}" + (f" ({age} d)" if age is not None else "")
    if item.state == RUNS:
        return f"{RUNS} {item.since}".rstrip()
    return "?" if item.state == UNKNOWN else item.state


def _others(lock: Lock | None) -> str:
    if lock is None:
        return "no price, or beyond the limits"
    if not lock.others:
        return "no other: locked in"
    vendors = f"{len(lock.vendors)} other vendor{'s' if len(lock.vendors) != 1 else ''}"
    return f"{len(lock.others)} ({vendors})"
