"""Claims as one HTML page that loads nothing: a summary, then map, ledger, arithmetic, evidence of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from assay import __version__
from assay.catalogue.query import Catalogue
from assay.claims.arithmetic import where
from assay.claims.check import Assessment
from assay.claims.factor import Grid
from assay.claims.ledger import Ledger
from assay.claims.verdict import Result, times
from assay.report.claim_card import COLOURS
from assay.report.claims import MARKS, mark, share, told, widths
from assay.units import significant

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#777}
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}
h2{font-size:1.2rem;margin:2.5rem 0 .2rem;border-top:1px solid var(--line);padding-top:1.2rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.4rem 0}.dim{color:var(--dim)}
table{border-collapse:collapse;margin:.4rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .55rem;text-align:left;
border-bottom:1px solid var(--line);vertical-align:top;font-weight:400}
th{color:var(--dim)}.n{text-align:right}
.v{color:#fff;padding:.1rem .5rem;border-radius:.6rem;white-space:nowrap}
.bar{display:inline-block;height:.7rem;background:#4477aa}.bar.less{background:#cc6677}
.m td{text-align:right}.m td:first-child{text-align:left}
"""
_SHADES = {"●": "#1b7837aa", "◐": "#a6dba0aa", "○": "#dfc27d88", "·": "transparent", "∞": "#80cdc188"}


def html(found: Sequence[Assessment], facts: Catalogue) -> str:
    """Return the page.

    Args:
        found: assessed claims, with their ledgers.
        facts: where sources are looked up.
    """
    body = "\n".join([*_summary(found), *(part for item in found for part in _claim(item, facts))])
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>Claims, assayed</title><style>{_STYLE}</style></head><body>\n"
        f"{body}\n<p class='dim'>assay {__version__} · catalogue {facts.hash[:12]}</p></body></html>\n"
    )


def _badge(item: Assessment) -> str:
    word = item.verdict.word
    return f"<span class='v' style='background:{COLOURS[word]}'>{word}</span>"


def _summary(found: Sequence[Assessment]) -> Iterator[str]:
    heads = "".join(f"<th class='n'>{name}" for name in ("claimed", "best", "median"))
    yield f"<h1>Claims, assayed</h1><table><tr><th>claim{heads}<th>verdict</tr>"
    for item in found:
        claim, verdict = item.claim, item.verdict
        figures = "".join(
            f"<td class='n'>{_number(value)}" for value in (claim.factor, verdict.best, verdict.median)
        )
        yield f"<tr><td><a href='#{claim.id}'>{escape(claim.text)}</a>{figures}<td>{_badge(item)}</tr>"
    yield "</table>"


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"


def _claim(item: Assessment, facts: Catalogue) -> Iterator[str]:
    claim = item.claim
    yield f"<h2 id='{claim.id}'>{escape(claim.text)}</h2>"
    yield f"<p class='dim'>{escape(claim.who)}, {claim.when} · {claim.id}</p>"
    yield f"<p>{_badge(item)} {escape(item.verdict.sentence)}</p>"
    if claim.about:
        yield f"<p class='dim'>{escape(claim.about)}</p>"
    open_words = ", ".join(claim.open) or "nothing"
    yield f"<p class='dim'>Left open: {escape(open_words)}.</p>"
    if item.evidence:
        yield "<h3>Measured</h3><table>"
        for row in item.evidence:
            near = "" if row.same else " (near)"
            yield (
                f"<tr><td class='n'>{times(row.factor.value)}<td>per {escape(row.denominator)}{near}"
                f"<td>{row.model}, {row.subject} / {row.baseline}<td>{escape(row.what)}<td>{row.source}</tr>"
            )
        yield "</table>"
    yield from _results("Arithmetic", item.results)
    yield from _results("Beside it", item.beside)
    yield from _peaks(item)
    if item.map is not None:
        yield from _map(item, item.map)
    if item.ledger is not None:
        yield from _ledger(item.ledger)
    sources = dict.fromkeys([*claim.sources, *(fact.source for fact in item.used)])
    told_sources = "<br>".join(f"[{escape(name)}] {escape(where(facts, name))}" for name in sources)
    yield f"<p class='dim'>{told_sources}</p>"


def _results(title: str, results: Sequence[Result]) -> Iterator[str]:
    if not results:
        return
    yield f"<h3>{title}</h3><table>"
    for result in results:
        code = escape(result.check.expression)
        cells = (result.state, escape(result.check.name), escape(told(result)), f"<code>{code}</code>")
        yield f"<tr>{''.join(f'<td>{cell}' for cell in cells)}</tr>"
    yield "</table>"


def _peaks(item: Assessment) -> Iterator[str]:
    if not item.ratios:
        return
    fields = list(dict.fromkeys(row.field for row in item.ignored))
    peak = "Ratio of peaks, and what it leaves out"
    yield f"<h3>{peak if item.claim.resource else 'Against the fastest user of each platform'}</h3>"
    yield "<table><tr><th>baseline<th class='n'>ratio"
    yield "".join(f"<th class='n'>{name.replace('_', ' ')}" for name in fields) + "</tr>"
    for name, ratio, _ in item.ratios:
        found = {row.field: row.ratio.value for row in item.ignored if row.baseline == name}
        cells = "".join(f"<td class='n'>{significant(found[key]) if key in found else '–'}" for key in fields)
        yield f"<tr><td>{name}<td class='n'>{times(ratio.value) if ratio else 'n/a'}{cells}</tr>"
    yield "</table>"


def _map(item: Assessment, grid: Grid) -> Iterator[str]:
    marks = mark(grid, item.claim.factor)
    seen = np.flatnonzero((marks != "").any(axis=(0, 1)))
    legend = " ".join(
        f"<span style='background:{_SHADES[sign]};padding:0 .4rem'>{sign} {text}</span>"
        for sign, text in MARKS.items()
    )
    yield "<h3>Factor by interactivity (output tok/s/user) and length (input/output tokens)</h3>"
    yield f"<p>{legend}</p>"
    for i, variant in enumerate(grid.variants):
        shown = f" ({escape(variant.unit.shown)})" if variant.unit.shown else ""
        yield f"<p class='dim'>{escape(variant.label())}{shown}</p><table class='m'><tr><th>"
        yield "".join(f"<th class='n'>{grid.speeds[k]:g}" for k in seen) + "</tr>"
        for j, row in enumerate(grid.rows):
            yield (
                f"<tr><td>{escape(row.label())}"
                + "".join(_cell(grid, (i, j, int(k)), marks) for k in seen)
                + "</tr>"
            )
        yield "</table>"


def _cell(grid: Grid, place: tuple[int, int, int], marks: NDArray[np.str_]) -> str:
    sign = str(marks[place])
    if not sign:
        return "<td>"
    value, low, high = (float(part[place]) for part in (grid.value, grid.low, grid.high))
    title = f"{times(value)}, 80 % {times(low)} to {times(high)}"
    text = sign if sign == "∞" else significant(value, 2)
    return f"<td style='background:{_SHADES[sign]}' title='{title}'>{text}"


def _ledger(book: Ledger) -> Iterator[str]:
    yield f"<h3>Where the factor comes from</h3><p class='dim'>{escape(book.where)}</p>"
    if book.entries:
        yield "<table>"
        for entry, part in zip(book.entries, widths(book), strict=True):
            less = " less" if part < 0 else ""
            bar = f"<span class='bar{less}' style='width:{abs(part) * 14:.1f}rem'></span>"
            told_share = share(book, entry)
            yield (
                f"<tr><td>{entry.resource}<td class='n'>×{entry.factor:.3g}<td class='n'>{told_share}"
                f"<td>{bar}<td class='dim'>{escape(entry.note)}</tr>"
            )
        yield "</table>"
    if book.note:
        yield f"<p class='dim'>{escape(book.note)}</p>"
