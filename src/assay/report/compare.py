"""The page of `assay compare`: two results of benchmark tools side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.report.panels import grid
from assay.units import show

_TITLES = {
    "ttft": "TTFT, mean", "tpot": "TPOT, mean", "e2e": "request, mean", "throughput": "output tok/s",
}  # fmt: skip


def compare_page(found: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[RenderableType]:
    """Yield the parts of the page.

    Args:
        found: `assay.measure.compare.Comparison.json`.
        titles: quantity -> what it is.
    """
    first, second = found["runs"]
    for letter, run in zip("AB", (first, second), strict=True):
        yield Text(f"{letter}  {run['title']} · {run['file']}", style="bold")
        yield Text(f"   tokens: {run['tokens']} · {run['source']}", style="dim")
        if run["flags"]:
            yield Text(f"   ! {', '.join(run['flags'])}")
    yield Text("\nIn their own words, where both mean the same:", style="bold")
    yield _table(
        [(item["first"], item["second"], item["ratio"], titles[item["quantity"]]) for item in found["pairs"]]
    )
    yield from _unlike(found["unlike"], titles)
    yield Text("\nIn one definition (tokens of the server where it counts them):", style="bold")
    table = grid("left", "right", "right", "right")
    table.add_row("", *(Text(word, style="dim") for word in ("A", "B", "B/A")))
    for name, (one, other, ratio) in found["normalised"].items():
        unit = "" if name == "throughput" else "s"
        table.add_row(_TITLES[name], _value(one, unit), _value(other, unit), _ratio(ratio))
    yield table
    if found["differs"]:
        yield Text("\nNot the same load, so no ratios:", style="bold")
        yield from (Text(f"  {text}") for text in found["differs"])


def _table(rows: Sequence[tuple[Any, Any, float | None, str]]) -> RenderableType:
    table = grid("left", "right", "left", "right", "right", "left")
    table.add_row(
        *(Text(word, style="dim") for word in ("A calls it", "A", "B calls it", "B", "B/A", "what it is"))
    )
    for one, other, ratio, title in rows:
        unit = "" if one["quantity"] == "rate" else "s"
        values = _value(one["value"], unit), _value(other["value"], unit)
        table.add_row(one["name"], values[0], other["name"], values[1], _ratio(ratio), title)
    return table


def _unlike(unlike: Sequence[Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> Iterator[Text]:
    """Yield what has no counterpart, and is set against nothing."""
    if not any(unlike):
        return
    yield Text("\nWithout a counterpart, compared with nothing:", style="bold")
    for letter, figures in zip("AB", unlike, strict=True):
        for item in figures:
            note = f" ({item['note']})" if item["note"] else ""
            unit = "" if item["quantity"] == "rate" else "s"
            yield Text(
                f"  {letter} {item['name']} {_value(item['value'], unit)}: {titles[item['quantity']]}{note}"
            )


def _value(value: float, unit: str) -> str:
    return show(value, unit) if unit else f"{value:,.4g}"


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.3f}"
