"""The page of `assay capacity`: the best candidate, and all of them in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number
from assay.report.panels import grid
from assay.units import show

_HEADS = (
    "",
    "candidate",
    "router",
    "n",
    "chips",
    "USD/day",
    "good/s",
    "within",
    "TTFT p99",
    "TPOT p99",
    "chip-h",
    "kWh",
)
_LONGEST = 24
_RIGHT: Literal["right"] = "right"


def capacity_page(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the parts of the page.

    Args:
        data: `assay.plan.capacity.compared`.
    """
    best, runs = data["best"], data["runs"]
    limits = ", ".join(
        f"{name.removesuffix('_s').upper()} {show(value, 's')}"
        for name, value in data["limits"].items()
        if value < float("inf")
    )
    yield Text(f"{data['model']}: {data['share'] * 100:g}% of the requests within {limits}", style="bold")
    if best:
        yield Text(f"{_name(best)}, {best['router']}: {_cost(best)}", style="bold green")
    elif data["rows"]:
        first = data["rows"][0]
        nearest = f"{_name(first)}, {first['router']}: {first['good_share']:.2%}"
        yield Text(f"no candidate keeps them; nearest {nearest}", style="bold red")
    yield Text()
    yield _table(data)
    yield Text("\nper day: USD, chip-h (hours of one chip) and kWh of the chips' boards", style="dim")
    for item in data["refused"]:
        yield Text(f"refused: {_name(item)}: {item['reason']}", style="yellow")
    for note in dict.fromkeys([*data["notes"], *(note for row in data["rows"] for note in row["notes"])]):
        yield Text(f"note: {note}", style="yellow")
    if runs["done"] < runs["all"]:
        yield Text(f"{runs['done']} of {runs['all']} runs are done; the same command goes on", style="bold")


def _table(data: Mapping[str, Any]) -> RenderableType:
    table = grid("right", "left", "left", *(_RIGHT for _ in _HEADS[3:]))
    table.add_row(*(Text(head, style="dim") for head in _HEADS))
    for place, row in enumerate(data["rows"], 1):
        table.add_row(
            str(place),
            _name(row),
            row["router"],
            row["replicas"],
            f"{row['chips']:g}",
            _or_none(row["usd_per_day"]),
            number(row["goodput_per_s"]),
            Text(f"{row['good_share']:.2%}", style="green" if row["meets"] else "red"),
            show(row["ttft_s"]["p99"], "s"),
            show(row["tpot_s"]["p99"], "s"),
            number(row["chip_hours_per_day"]),
            _or_none(row["kwh_per_day"]),
        )
    return table


def _name(row: Mapping[str, Any]) -> str:
    name = str(row["candidate"])
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _cost(row: Mapping[str, Any]) -> str:
    parts = [f"{number(row['usd_per_day'])} USD a day"] if row["usd_per_day"] is not None else []
    parts += [f"{number(row['chip_hours_per_day'])} chip-hours", f"{row['good_share']:.2%} within the limits"]
    return ", ".join(parts)


def _or_none(value: float | None) -> str:
    return "-" if value is None else number(value)
