"""Proof beside the plain errors: planned deployments, ratios of chips, pairs of conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from assay.calibrate.pairs import DIRECTION, SIZE
from assay.calibrate.planned import BAR, Ratio
from assay.report.scoreboard import cell, percent

_COLUMNS = ("n", "median_ape", "p90_ape", "median_ratio")
_WORDS = ("points", "median error", "90th percentile", "predicted / measured")
_RATIO = ("model", "scenario", "chips", "measured", "predicted", "error")

_PAIRS = (
    "mechanism",
    "metric",
    "pairs",
    "with a direction",
    "direction right",
    "median error of the change",
    f"{percent(DIRECTION, 0)} right, within {percent(SIZE, 0)}",
)

Figures = Mapping[str, Mapping[str, float | int | None]]


def planned_rows(chips: Figures) -> list[list[str]]:
    """Return one row an accelerator: its figures of throughput, and whether it holds the bar."""
    return [
        [name, *(cell(key, figures[key]) for key in _COLUMNS), _holds(figures["median_ape"])]
        for name, figures in chips.items()
    ]


def _holds(error: float | None) -> str:
    return "yes" if error is not None and error <= BAR else "no"


def ratio_rows(ratios: Sequence[Ratio]) -> list[list[str]]:
    """Return one row a ratio."""
    return [
        [item.model, item.scenario, f"{item.first} : {item.second}", f"{item.measured:.2f}",
         f"{item.predicted:.2f}", percent(item.error)]
        for item in ratios
    ]  # fmt: skip


def planned_page(chips: Figures, ratios: Sequence[Ratio]) -> Iterator[RenderableType]:
    """Yield the terminal tables of planned deployments: by accelerator, and ratios between accelerators."""
    if chips:
        yield Text("Throughput of the best deployment", style="bold")
        yield table(["accelerator", *_WORDS, f"within {percent(BAR, 0)}"], planned_rows(chips), 1)
    if ratios:
        yield Text("Throughput of one accelerator over another's", style="bold")
        yield table(_RATIO, ratio_rows(ratios), 3)


def planned_section(chips: Figures, ratios: Sequence[Ratio]) -> str:
    """Return the same tables as Markdown."""
    head = ["accelerator", *_WORDS, f"within {percent(BAR, 0)}"]
    parts = [markdown(head, planned_rows(chips), 1)]
    if ratios:
        parts += ["", markdown(_RATIO, ratio_rows(ratios), 3)]
    return "\n".join(parts)


def pair_rows(summary: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return one row a mechanism and metric of `assay.calibrate.pairs.summary`."""
    rows = []
    for item in summary:
        right, error = item["right"], item["median_error"]
        holds = right is not None and right >= DIRECTION and error <= SIZE
        counts = [f"{item['pairs']:,}", f"{item['directions']:,}"]
        verdict = "yes" if holds else "no"
        rows.append([item["mechanism"], item["metric"], *counts, percent(right), percent(error), verdict])
    return rows


def pairs_page(summary: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Yield the terminal table of pairs that differ in one condition."""
    yield Text("Pairs that differ in one condition", style="bold")
    yield table(_PAIRS, pair_rows(summary), 2)


def pairs_section(summary: Sequence[Mapping[str, Any]]) -> str:
    """Return the same table as Markdown."""
    return markdown(_PAIRS, pair_rows(summary), 2)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Table:
    """Return a plain table for the terminal; the first `words` columns are text, the others figures."""
    out = Table(box=None, padding=(0, 1), pad_edge=False)
    for place, name in enumerate(head):
        out.add_column(name, justify="left" if place < words else "right")
    for row in rows:
        out.add_row(*row)
    return out


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Return a Markdown table; the first `words` columns are text, the others figures."""
    rule = "|" + "---|" * words + "---:|" * (len(head) - words)
    return "\n".join(["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)])
