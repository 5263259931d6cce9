"""A claim card: one claim and its verdict as a picture to share, an SVG of our own without any other file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

import numpy as np

from assay import __version__
from assay.claims.check import Assessment
from assay.claims.factor import Grid
from assay.claims.verdict import FAILS, HOLDS, ONLY_IF, UNTESTED, bounded, times
from assay.report.claims import told

#: Verdict -> colour; told apart without red and green alone, the word stands in the picture.
COLOURS = {HOLDS: "#1b7837", ONLY_IF: "#b8860b", FAILS: "#b2182b", UNTESTED: "#5f6b76"}
_WIDTH, _HEIGHT = 1200, 630
_LEFT, _RIGHT = 56, 1144
#: Where the scale starts, and how many rows it has room for.
_AXIS, _MOST_ROWS, _ROW, _LABEL = 420, 6, 34, 36
_FONT = "font-family='Helvetica,Arial,sans-serif'"
#: Ends of intervals further than this from the claimed factor do not stretch the scale; labels keep apart.
_FAR, _APART = 20.0, 44.0
#: Width of a letter over its size, on the safe side of common fonts.
_LETTER = 0.56
_INK, _DIM, _BAND = "#111", "#5f6b76", "#7f9cc0"
_TICKS = tuple(digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5))
_SHORT = {
    "best": "predicted, both at their best",
    "alike": "predicted, both alike",
    "uneven": "predicted, baseline plain",
}


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of the scale: a span of central factors, or single ones.

    Attributes:
        label: what it is.
        points: factors shown as dots.
        span: least and greatest factor shown as a band, None for dots alone.
        interval: 80 % interval of the greatest factor, shown as a thin line.
    """

    label: str
    points: tuple[float, ...]
    span: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None


def card(item: Assessment) -> str:
    """Return the card of one assessed claim as SVG text."""
    claim, verdict = item.claim, item.verdict
    colour = COLOURS[verdict.word]
    rows = _lines(item)
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' "
        f"height='{_HEIGHT}' role='img' aria-label='{escape(claim.text, quote=True)}: {verdict.word}'>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='#fff'/>",
        f"<rect width='{_WIDTH}' height='14' fill='{colour}'/>",
    ]
    y = 72.0
    for line in _wrapped(claim.text, 34, 3, bold=True):
        lines.append(_text(line, y, 34, _INK, bold=True))
        y += 42
    lines.append(_text(f"{claim.who}, {claim.when}", y - 6, 20, _DIM))
    y += 22
    wide = len(verdict.word) * 30 * 0.6 + 36
    lines.append(f"<rect x='{_LEFT}' y='{y:g}' width='{wide:g}' height='50' rx='25' fill='{colour}'/>")
    lines.append(_text(verdict.word, y + 35, 30, "#fff", bold=True, x=_LEFT + 18))
    y += 84
    bottom = _HEIGHT - 62 - (len(rows) * _ROW + 40 if rows else 0)
    room = max(int((bottom - y) // 27) + 1, 1)
    for line in _wrapped(_sentence(item), 20, room):
        lines.append(_text(line, y, 20, "#222"))
        y += 27
    if rows:
        bound = f"{claim.bound} " if claim.bound else ""
        words = "as claimed" if item.results else f"claimed {bound}{times(claim.factor)}"
        lines += _scale(rows, 1.0 if item.results else claim.factor, words, colour)
    if any(row.span for row in rows):
        legend = "band: all conditions tested · dot: median · line: 80 % interval of the greatest"
        lines.append(_text(legend, _HEIGHT - 22, 15, _DIM, x=_RIGHT, end="end"))
    lines.append(_text(f"assay {__version__} · assay claims {claim.id}", _HEIGHT - 22, 17, _DIM))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _sentence(item: Assessment) -> str:
    """Return the sentence of the verdict; of arithmetic, each check; of a map, what its rows do not show."""
    if item.results:
        return "; ".join(f"{result.check.name}: {told(result)}" for result in item.results) + "."
    sentence = item.verdict.sentence
    return sentence[:1].upper() + sentence[1:]


def _wrapped(text: str, size: int, most: int, *, bold: bool = False) -> list[str]:
    """Return the lines of a text within the card, the last one cut with an ellipsis if there are more."""
    letters = int((_RIGHT - _LEFT) / (size * (_LETTER + (0.06 if bold else 0.0))))
    lines = wrap(text, letters)
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    short = last if len(last) < letters else last.rsplit(" ", 1)[0]
    return [*lines[: most - 1], short.rstrip(" ,;:.(") + " …"]


def _text(
    text: str, y: float, size: int, colour: str, *, bold: bool = False, x: float = _LEFT, end: str = ""
) -> str:
    weight = " font-weight='700'" if bold else ""
    anchor = f" text-anchor='{end}'" if end else ""
    style = f"{_FONT} font-size='{size}'{weight}{anchor} fill='{colour}'"
    return f"<text x='{x:.1f}' y='{y:g}' {style}>{escape(text)}</text>"


def _lines(item: Assessment) -> list[_Line]:
    """Return what is compared with the claimed factor: measurements first, then predictions or peaks."""
    if item.claim.kind == "peak":
        rows = [_Line(name, (ratio.value,)) for name, ratio, _ in item.ratios if ratio is not None]
        return rows[:_MOST_ROWS]
    if item.results:
        return _compared(item)
    measured = tuple(row.factor.value for row in item.evidence if row.same)
    found = [_Line("measured", measured)] if measured else []
    if item.ratios:
        known = [(name, ratio.value) for name, ratio, _ in item.ratios if ratio is not None]
        return [*found, *(_Line(f"fastest user of {name}", (value,)) for name, value in known)][:_MOST_ROWS]
    if item.map is not None:
        found += _predicted(item.map)
    return found[:_MOST_ROWS]


def _compared(item: Assessment) -> list[_Line]:
    """Return each check's value over what it is compared with, with the range of published values."""
    found = []
    for result in item.results:
        value, wanted = result.value, result.wanted
        if value is None or wanted is None or value.low <= 0.0 or wanted.low <= 0.0:
            continue
        span = (value.low / wanted.high, value.high / wanted.low)
        name = result.check.name
        short = name if len(name) <= _LABEL else f"{name[: _LABEL - 1].rstrip()}…"
        found.append(_Line(short, (value.value / wanted.value,), None, span if span[0] < span[1] else None))
    return found[:_MOST_ROWS]


def _predicted(grid: Grid) -> Iterator[_Line]:
    """Yield one row a deployment: all central factors with a finite interval, whatever the denominator."""
    usable = bounded(grid)
    for kind in dict.fromkeys(variant.deployment for variant in grid.variants):
        mine = np.array([variant.deployment == kind for variant in grid.variants])[:, None, None]
        seen = usable & mine
        if seen.any():
            values = grid.value[seen]
            best = int(np.argmax(values))
            yield _Line(
                _SHORT[kind],
                (float(np.median(values)),),
                (float(values.min()), float(values.max())),
                (float(grid.low[seen][best]), float(grid.high[seen][best])),
            )


def _scale(rows: Sequence[_Line], claimed: float, words: str, colour: str) -> list[str]:
    """Return the rows on one logarithmic scale, with the claimed factor as a line across."""
    every = [value for row in rows for value in (*row.points, *(row.span or ()))] + [claimed]
    ends = [end for row in rows for end in row.interval or ()]
    inside = [end for end in ends if claimed / _FAR <= end <= claimed * _FAR]
    low, high = math.log10(min(every + inside)) - 0.12, math.log10(max(every + inside)) + 0.2

    def place(value: float) -> float:
        part = (math.log10(max(value, 10.0**low)) - low) / (high - low) if math.isfinite(value) else 1.0
        return _AXIS + min(part, 1.0) * (_RIGHT - _AXIS)

    top = _HEIGHT - 76 - len(rows) * _ROW
    base = top + len(rows) * _ROW
    lines: list[str] = []
    shown = 0.0
    for tick in (tick for tick in _TICKS if low <= math.log10(tick) <= high):
        x = place(tick)
        lines.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top}' y2='{base}' stroke='#ddd'/>")
        if x - shown >= _APART:
            lines.append(_text(times(tick), base + 20, 15, _DIM, x=x, end="middle"))
            shown = x
    x = place(claimed)
    dashes = "stroke-width='2' stroke-dasharray='6 4'"
    lines.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top - 6}' y2='{base}' stroke='{_INK}' {dashes}/>")
    lines.append(_text(words, top - 14, 18, _INK, bold=True, x=x, end="middle"))
    for number, row in enumerate(rows):
        y = top + number * _ROW + _ROW / 2
        lines.append(_text(row.label, y + 6, 18, "#222", x=_AXIS - 16, end="end"))
        if row.interval:
            start, end = place(row.interval[0]), place(row.interval[1])
            thin = f"stroke='{_BAND}' stroke-width='2'"
            lines.append(f"<line x1='{start:.1f}' x2='{end:.1f}' y1='{y:g}' y2='{y:g}' {thin}/>")
        if row.span:
            start, end = place(row.span[0]), place(row.span[1])
            size = max(end - start, 2.0)
            lines.append(
                f"<rect x='{start:.1f}' y='{y - 7:g}' width='{size:.1f}' height='14' rx='7' fill='{_BAND}'/>"
            )
        for value in row.points:
            fill = _INK if row.span else colour
            lines.append(f"<circle cx='{place(value):.1f}' cy='{y:g}' r='7' fill='{fill}'/>")
        rightmost = max((*row.points, *(row.span or ())))
        if place(rightmost) < _RIGHT - 60:
            lines.append(_text(times(rightmost), y - 5, 15, _DIM, x=place(rightmost) + 10))
    return lines
