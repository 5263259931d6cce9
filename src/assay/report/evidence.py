"""The measured points that stand nearest to the rows of an answer, with source and distance."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from assay.report import panels
from assay.study.answer import Answer

_SCALE = (
    "Distance 0 is the same conditions; 1 is another model of the family, another chip of the generation, "
    "or four times the length or the load."
)


def evidence_page(answer: Answer) -> Iterator[RenderableType]:
    """Yield the nearest measured points of each row, nearest first."""
    yield Text("\nNearest measured points", style="bold")
    for row in answer.rows:
        yield Text(panels.places(row))
        if not row.evidence:
            yield Text("  none within reach", style="dim")
        for point in row.evidence:
            yield Text(f"  {point['distance']:.2f}  {point['value']}")
            yield Text(f"      {point['conditions']}")
            yield Text(f"      {point['source']}", style="dim")
    yield Text(_SCALE, style="dim")
