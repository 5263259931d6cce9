"""The page of `assay explain`: why the first row is first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.report import panels
from assay.report.caches import cache_panel
from assay.report.drafting import drafting_panel
from assay.report.energy import energy_line
from assay.report.explain import beyond, steps
from assay.report.figures import number
from assay.study.answer import Answer

_MOST = 8


def why_page(answer: Answer, why: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the parts of the page.

    Args:
        answer: the answer whose first row is explained.
        why: its reasons, as `assay.plan.why.Why.json` writes them under `why`.
    """
    yield from panels.headline(answer)
    row = answer.best() or answer.rows[0]
    yield Text(f"\n{panels.places(row)}", style="bold")
    yield panels.figures_table(row)
    yield from energy_line(row)
    yield from cache_panel(row)
    yield from drafting_panel(row)
    yield from _shares("Where the time goes", why["parts"])
    yield from _moves(why["moves"])
    yield from _sensitivity(why["sensitivity"])
    yield from _rivals(why["rivals"])
    yield from steps(why["steps"])
    yield from beyond(row, why["steps"])
    yield Text()
    yield from panels.notes(row, most=5)
    yield Text(panels.FOOTNOTE, style="dim")
    yield panels.provenance(answer)


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _shares(title: str, shares: Mapping[str, float]) -> Iterator[RenderableType]:
    if not shares:
        return
    yield _title(f"{title}:")
    table = panels.grid("left", "right")
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        if share >= 0.005:
            table.add_row(name, f"{100 * share:.0f} %")
    yield table


def _moves(moves: Mapping[str, float]) -> Iterator[RenderableType]:
    if not moves:
        return
    yield _title("What would move tokens per chip at this speed:")
    table = panels.grid("left", "right")
    for name, factor in sorted(moves.items(), key=lambda item: -item[1]):
        table.add_row(name, f"×{factor:.2f}")
    yield table


def _sensitivity(found: Mapping[str, Sequence[float]]) -> Iterator[RenderableType]:
    if not found:
        return
    yield _title("Which assumption matters, tokens per chip at the ends of its range:")
    table = panels.grid("left", "right", "right")
    for name, (low, high) in found.items():
        table.add_row(name, f"×{low:.2f}", f"×{high:.2f}")
    yield table


def _rivals(rivals: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    if not rivals:
        return
    yield _title("What lost, and by what factor:")
    table = panels.grid("right", "left", "left", "left")
    for item in rivals[:_MOST]:
        table.add_row(
            f"{number(float(item['factor']))}×", item["platform"], item["deployment"], item["reason"]
        )
    yield table
