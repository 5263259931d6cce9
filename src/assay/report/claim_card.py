"""A claim card: one claim and its verdict as a picture to share, an SVG of our own without any other file."""

from __future__ import annotations

import math
from html import escape
from textwrap import wrap

from assay import __version__
from assay.claims.check import Assessment
from assay.claims.verdict import FAILS, HOLDS, ONLY_IF, UNTESTED, times

#: Verdict -> colour; told apart without red and green alone, the word stands in the picture.
COLOURS = {HOLDS: "#1b7837", ONLY_IF: "#b8860b", FAILS: "#b2182b", UNTESTED: "#5f6b76"}
_WIDTH, _HEIGHT = 1200, 630
_LEFT, _SCALE = 60, 1080
_FONT = "font-family='Helvetica,Arial,sans-serif'"


def card(item: Assessment) -> str:
    """Return the card of one assessed claim as SVG text."""
    claim, verdict = item.claim, item.verdict
    colour = COLOURS[verdict.word]
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' "
        f"height='{_HEIGHT}' role='img' aria-label='{escape(claim.text, quote=True)}: {verdict.word}'>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='#fff'/>",
        f"<rect width='16' height='{_HEIGHT}' fill='{colour}'/>",
    ]
    y = 80
    for line in wrap(claim.text, 58)[:3]:
        lines.append(_text(line, y, 36, "#111", bold=True))
        y += 46
    lines.append(_text(f"{claim.who}, {claim.when}", y, 22, "#5f6b76"))
    y += 62
    lines.append(_text(verdict.word, y, 48, colour, bold=True))
    y += 42
    for line in wrap(verdict.sentence, 96)[:6]:
        lines.append(_text(line, y, 22, "#222"))
        y += 30
    lines += _scale(item, colour)
    lines.append(_text(f"assay {__version__} · assay claims {claim.id}", _HEIGHT - 28, 18, "#5f6b76"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _text(text: str, y: float, size: int, colour: str, *, bold: bool = False, x: float = _LEFT) -> str:
    weight = " font-weight='700'" if bold else ""
    return (
        f"<text x='{x:g}' y='{y:g}' {_FONT} font-size='{size}'{weight} fill='{colour}'>{escape(text)}</text>"
    )


def _scale(item: Assessment, colour: str) -> list[str]:
    """Return a logarithmic scale with the claimed, the median and the best factor."""
    marks = [("claimed", item.claim.factor), ("median", item.verdict.median), ("best", item.verdict.best)]
    known = [(name, value) for name, value in marks if math.isfinite(value) and value > 0]
    if len(known) < 2 or item.claim.kind not in ("performance", "peak"):
        return []
    low = math.log10(min(1.0, *(value for _, value in known)) / 1.5)
    high = math.log10(max(value for _, value in known) * 1.5)
    y = _HEIGHT - 90
    lines = [f"<line x1='{_LEFT}' x2='{_LEFT + _SCALE}' y1='{y}' y2='{y}' stroke='#999' stroke-width='2'/>"]
    for place, (name, value) in enumerate(known):
        x = _LEFT + (math.log10(value) - low) / (high - low) * _SCALE
        fill = colour if name != "claimed" else "#111"
        lines.append(f"<circle cx='{x:.1f}' cy='{y}' r='9' fill='{fill}'/>")
        lines.append(
            _text(
                f"{name} {times(value)}", y - 18 if place != 1 else y + 34, 20, fill, x=min(x, _WIDTH - 200)
            )
        )
    return lines
