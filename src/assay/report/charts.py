"""A chart in braille for the terminal: logarithmic axes, one curve a platform, its operating point marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, log10

import numpy as np
from rich.text import Text

from assay.report.figures import number

#: Bits of a braille cell by (column, row) of the dot; Unicode 2800-28FF.
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_TICKS = 10


@dataclass(frozen=True, slots=True)
class Curve:
    """One front and the operating point that was chosen on it.

    Attributes:
        mark: one or two characters drawn at `point` (the rank).
        x, y: coordinates, greater than 0, in the order they are joined.
        point: coordinates of the mark; None = no mark.
        style: rich style.
    """

    mark: str
    x: Sequence[float]
    y: Sequence[float]
    point: tuple[float, float] | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis over `dots` dots, from `low` to `high`."""

    low: float
    high: float
    dots: int

    @classmethod
    def over(cls, values: Sequence[float], dots: int) -> _Axis:
        low, high = min(values), max(values)
        margin = max((high / low) ** 0.04, 1.05 if high / low > 1.5 else 1.5)
        return cls(low / margin, high * margin, dots)

    def dot(self, value: float) -> float:
        return float(log10(value / self.low) / log10(self.high / self.low) * (self.dots - 1))

    def ticks(self) -> list[float]:
        """Return 1-2-5 ticks; whole decades where those are too many, every digit where too few."""
        decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1,), range(1, 10)):
            inside = [m * 10.0**e for e in decades for m in steps if self.low <= m * 10.0**e <= self.high]
            if 2 <= len(inside) <= _TICKS:
                return inside
        return [self.low, self.high]


class _Canvas:
    """Dots and characters on a grid of `width` x `height` cells; (0, 0) is the lower left dot."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.bits = np.zeros((height, width), dtype=np.int64)
        self.style = np.full((height, width), "", dtype=object)
        self.letter = np.full((height, width), "", dtype=object)

    def dot(self, x: float, y: float, style: str) -> None:
        column, row = round(x), self.height * 4 - 1 - round(y)
        if 0 <= column < self.width * 2 and 0 <= row < self.height * 4:
            self.bits[row // 4, column // 2] |= _BITS[column % 2][row % 4]
            self.style[row // 4, column // 2] = style

    def line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        steps = max(round(max(abs(end[0] - start[0]), abs(end[1] - start[1]))), 1)
        for step in range(steps + 1):
            share = step / steps
            self.dot(start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share, style)

    def write(self, x: float, y: float, text: str, style: str) -> None:
        """Put `text` at a dot, at the nearest free cells to the right where it is taken."""
        row = min(max(self.height - 1 - round(y) // 4, 0), self.height - 1)
        column = min(max(round(x) // 2, 0), self.width - len(text))
        while column + len(text) < self.width and any(self.letter[row, column : column + len(text)]):
            column += 1
        for offset, letter in enumerate(text):
            self.letter[row, column + offset] = letter
            self.style[row, column + offset] = f"bold {style}".strip()

    def lines(self) -> list[Text]:
        result = []
        for row in range(self.height):
            text = Text()
            for column in range(self.width):
                bits = int(self.bits[row, column])
                character = self.letter[row, column] or (chr(0x2800 + bits) if bits else " ")
                text.append(character, style=self.style[row, column] or None)
            result.append(text)
        return result


def front(curves: Sequence[Curve], width: int, height: int, limit: float | None = None) -> list[Text]:
    """Return the lines of a log-log chart: `height` rows of plot, then the ticks of x.

    Args:
        curves: at least one point among them; points that are not finite and positive are left out.
        width: columns of the whole chart with its tick labels.
        height: rows of the plot.
        limit: an x that is marked by a dotted vertical line, or None.

    Returns:
        `height + 2` lines, the last two are the axis and its labels; [] if there is no point to draw.
    """
    points = [
        [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if _drawable(x) and _drawable(y)]
        for curve in curves
    ]
    marks = [curve.point for curve in curves if curve.point and all(map(_drawable, curve.point))]
    every = [point for curve in points for point in curve] + marks
    if not every:
        return []
    y_axis = _Axis.over([y for _, y in every], height * 4)
    labels = _row_labels(y_axis, height)
    gutter = max(map(len, labels), default=1)
    plot = max(width - gutter - 2, 10)
    x_axis = _Axis.over([x for x, _ in every] + ([limit] if limit else []), plot * 2)
    canvas = _Canvas(plot, height)
    if limit:
        for y in range(0, height * 4, 3):
            canvas.dot(x_axis.dot(limit), y, "dim")
    for curve, path in zip(curves, points, strict=True):
        placed = [(x_axis.dot(x), y_axis.dot(y)) for x, y in path]
        for start, end in pairwise(placed or [(-1.0, -1.0)]):
            canvas.line(start, end, curve.style)
        if len(placed) == 1:
            canvas.dot(*placed[0], curve.style)
    for curve in reversed(curves):
        if curve.point and all(map(_drawable, curve.point)):
            canvas.write(x_axis.dot(curve.point[0]), y_axis.dot(curve.point[1]), curve.mark, curve.style)
    lines = [
        Text.assemble((f"{label:>{gutter}} {'┤' if label else '│'}", "dim"), line)
        for label, line in zip(labels, canvas.lines(), strict=True)
    ]
    return lines + _x_labels(x_axis, gutter, plot)


def _drawable(value: float) -> bool:
    return isfinite(value) and value > 0


def _row_labels(axis: _Axis, height: int) -> list[str]:
    labels = [""] * height
    for tick in axis.ticks():
        labels[height - 1 - round(axis.dot(tick)) // 4] = _tick(tick)
    return labels


def _x_labels(axis: _Axis, gutter: int, plot: int) -> list[Text]:
    rule, labels = ["─"] * plot, [" "] * (plot + 1)
    end = -1
    for tick in axis.ticks():
        column = round(axis.dot(tick)) // 2
        text = _tick(tick)
        start = min(max(column - len(text) // 2, 0), plot + 1 - len(text))
        rule[column] = "┬"
        if start > end:
            labels[start : start + len(text)] = text
            end = start + len(text)
    margin = " " * gutter
    return [
        Text(f"{margin} └{''.join(rule)}", style="dim"),
        Text(f"{margin}  {''.join(labels).rstrip()}", style="dim"),
    ]


def _tick(value: float) -> str:
    return f"{number(value / 1000, 2)}k" if value >= 10_000 else number(value, 2)
