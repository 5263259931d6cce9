"""The pages of `assay claims`: a line a claim, and one claim with its map, ledger and evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.text import Text

from assay.catalogue.query import Catalogue
from assay.claims.arithmetic import shown, where
from assay.claims.check import Assessment
from assay.claims.factor import Grid
from assay.claims.ledger import Entry, Ledger
from assay.claims.verdict import FAILS, HOLDS, ONLY_IF, UNTESTED, Result, times
from assay.report.panels import grid as columns
from assay.units import significant

#: Verdict -> colour.
STYLES = {HOLDS: "green", ONLY_IF: "yellow", FAILS: "red", UNTESTED: "dim"}
#: Marks of a map's cell, strongest first, with their meaning.
MARKS = {
    "●": "holds over the whole interval",
    "◐": "holds at the centre",
    "○": "only the interval allows it",
    "·": "does not hold",
    "∞": "only the subject gets there",
}
_STATES = {"yes": "●", "partly": "◐", "no": "·", "missing": "?"}
_MOST_COLUMNS = 11
_THOUSAND, _LARGE = 1e3, 1e6
_NEAR = 6
_BAR = 24
#: Logarithm of a factor from which its parts are also shown as shares.
_SPLIT = math.log(1.5)


def table(found: Sequence[Assessment], width: int) -> Iterator[RenderableType]:
    """Yield all claims, one line each.

    Args:
        found: the assessed claims.
        width: columns.
    """
    size = max([len(item.claim.id) for item in found] + [5])
    head = f"{'claim':<{size}}  {'claimed':>8} {'best':>7} {'median':>7}  verdict (≤: up to)"
    yield Text(head, style="bold")
    for item in found:
        verdict = item.verdict
        claimed = f"{'≤' if item.claim.bound == 'up to' else ''}{_figure(item, item.claim.factor)}"
        line = Text(f"{item.claim.id:<{size}}  {claimed:>8} {_figure(item, verdict.best):>7} ")
        line.append(f"{_figure(item, verdict.median):>7}  ")
        line.append(verdict.word, style=STYLES[verdict.word])
        room = width - len(line.plain) - 2
        line.append(f"  {_cut(verdict.sentence, room)}", style="dim")
        yield line
    counts = {word: sum(item.verdict.word == word for item in found) for word in STYLES}
    yield Text("\n" + " · ".join(f"{count} {word}" for word, count in counts.items() if count))
    yield Text("`assay claims ID` shows one with its conditions, map, ledger and evidence.", style="dim")


def _figure(item: Assessment, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if item.claim.kind in ("arithmetic", "consistency") and value < _LARGE:
        return f"{value:,.0f}" if value >= _THOUSAND else significant(value, 3)
    return times(value) if value < _LARGE else f"{value:.2g}"


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: max(size - 1, 0)].rstrip()}…"


def page(item: Assessment, facts: Catalogue, width: int) -> Iterator[RenderableType]:
    """Yield the page of one claim.

    Args:
        item: the assessed claim, with its ledger.
        facts: where sources are looked up.
        width: columns.
    """
    claim, verdict = item.claim, item.verdict
    yield Text(claim.text, style="bold")
    yield Text(f"{claim.who}, {claim.when} · {claim.id}", style="dim")
    yield Text()
    yield Text.assemble((verdict.word.upper(), f"bold {STYLES[verdict.word]}"), f": {verdict.sentence}")
    yield Text()
    yield from conditions(item)
    if item.evidence:
        yield from _evidence(item)
    if item.results or item.beside:
        yield from _checks(item)
    if item.ratios:
        yield from _ratios(item)
    if item.map is not None:
        yield from _maps(item, item.map, width)
    if item.ledger is not None:
        yield from ledger(item.ledger)
    yield from _footnotes(item, facts)


def conditions(item: Assessment) -> Iterator[RenderableType]:
    """Yield what the claim states and what it leaves open."""
    claim = item.claim
    rows = columns("left", "left")
    against = f" against {claim.baseline}" if claim.baseline else ""
    per = "" if claim.denominator == "none" else f" per {claim.denominator}"
    bound = f"{claim.bound} " if claim.bound else ""
    rows.add_row(
        "claimed", f"{bound}{_figure(item, claim.factor)} {claim.metric}{per}: {claim.subject}{against}"
    )
    stated = "; ".join(f"{name} {_words(value)}" for name, value in claim.stated.items())
    rows.add_row("stated", stated or "nothing")
    rows.add_row("left open", ", ".join(claim.open) or "nothing")
    if claim.tested:
        rows.add_row("tested", "; ".join(f"{name} {_words(value)}" for name, value in claim.tested.items()))
    if claim.about:
        rows.add_row("", claim.about)
    yield rows
    yield Text()


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    if isinstance(value, tuple):
        if value and isinstance(value[0], tuple):
            return ", ".join(f"{a}/{b}" for a, b in value)
        parts = [f"{part:g}" if isinstance(part, float) else str(part) for part in value]
        return ", ".join(parts) if len(parts) <= _NEAR else f"{parts[0]} to {parts[-1]}"
    return str(value)


def _evidence(item: Assessment) -> Iterator[RenderableType]:
    same = [row for row in item.evidence if row.same]
    near = [row for row in item.evidence if not row.same]
    for title, rows in (
        ("Measured on both sides", same),
        ("Measured nearby: another model, baseline or unit", near),
    ):
        if not rows:
            continue
        yield Text(title, style="bold")
        body = columns("right", "left", "left")
        for row in rows[:_NEAR]:
            label = f"{row.model}, {row.subject} / {row.baseline}"
            body.add_row(
                times(row.factor.value), f"per {row.denominator}", f"{label}: {row.what} [{row.source}]"
            )
        yield body
        if len(rows) > _NEAR:
            yield Text(f"  and {len(rows) - _NEAR} more with --json", style="dim")
        yield Text()


def _checks(item: Assessment) -> Iterator[RenderableType]:
    for title, results in (("Arithmetic", item.results), ("Beside it", item.beside)):
        if not results:
            continue
        yield Text(title, style="bold")
        body = columns("left", "left", "left")
        for result in results:
            body.add_row(_STATES[result.state], result.check.name, told(result))
        yield body
        yield Text()


def told(result: Result) -> str:
    """Return the value of a check, what it is compared with, and how it is computed."""
    check = result.check
    if result.value is None or result.wanted is None:
        return result.reason
    relation = {"=": "against", ">=": "at least", "<=": "at most"}[check.relation]
    text = f"{shown(result.value, check.dimension)}, {relation} {shown(result.wanted, check.dimension)}"
    return text + (f" – {check.says}" if check.says else "")


def _right(n: int) -> list[Literal["left", "right"]]:
    return ["right"] * n


def _ratios(item: Assessment) -> Iterator[RenderableType]:
    resource = item.claim.resource.replace("_", " ")
    peak = f"Ratio of peaks: {resource}, and what it leaves out"
    yield Text(peak if resource else "Against the fastest user of each platform", style="bold")
    fields = list(dict.fromkeys(row.field for row in item.ignored))
    body = columns("left", "left", "right", *_right(len(fields)))
    body.add_row(
        "", "baseline", "ratio", *(name.replace("memory_", "").replace("_bandwidth", "") for name in fields)
    )
    for name, ratio, state in item.ratios:
        found = {row.field: row.ratio.value for row in item.ignored if row.baseline == name}
        rest = (f"{significant(found[key])}x" if key in found else "–" for key in fields)
        body.add_row(_STATES[state], name, times(ratio.value) if ratio else "n/a", *rest)
    yield body
    yield Text()


def mark(grid: Grid, wanted: float) -> NDArray[np.str_]:
    """Return the mark of every cell of a map, (V, R, G); "" where neither side gets there."""
    found = np.where(grid.high >= wanted, "○", "·")
    found = np.where(grid.value >= wanted, "◐", found)
    found = np.where(grid.low >= wanted, "●", found)
    found = np.where(np.isinf(grid.value), "∞", found)
    return np.asarray(np.where(np.isnan(grid.value), "", found))


def _maps(item: Assessment, grid: Grid, width: int) -> Iterator[RenderableType]:
    marks = mark(grid, item.claim.factor)
    seen = np.flatnonzero((marks != "").any(axis=(0, 1)))
    if len(seen) > _MOST_COLUMNS:
        seen = seen[np.unique(np.linspace(0, len(seen) - 1, _MOST_COLUMNS).round().astype(np.intp))]
    axis = "baseline's speed" if item.claim.metric == "interactivity" else "interactivity"
    yield Text(
        f"Factor by {axis} (output tok/s/user, across) and length (input/output tokens, down)", style="bold"
    )
    for i, variant in enumerate(grid.variants):
        yield Text(
            f"{variant.label()}" + (f" ({variant.unit.shown})" if variant.unit.shown else ""), style="dim"
        )
        body = columns("left", *_right(len(seen)))
        body.add_row("", *(f"{grid.speeds[k]:g}" for k in seen))
        for j, row in enumerate(grid.rows):
            body.add_row(row.label(), *(_cell(grid, (i, j, int(k)), str(marks[i, j, k])) for k in seen))
        yield body
    del width
    yield Text("  ".join(f"{sign} {text}" for sign, text in MARKS.items()), style="dim")
    yield Text(f"Evidence: {grid.basis}. Intervals hold 80 %; both sides' are joined.", style="dim")
    for note in grid.notes:
        yield Text(f"! {note}", style="dim")
    yield Text()


def _cell(grid: Grid, place: tuple[int, int, int], sign: str) -> str:
    if sign in ("", "∞"):
        return sign
    value = float(grid.value[place])
    return f"{significant(value, 2)}{sign}"


def widths(book: Ledger) -> list[float]:
    """Return the logarithm of each entry's factor over the greatest one, -1 to 1."""
    logs = [math.log(entry.factor) for entry in book.entries]
    most = max([abs(item) for item in logs] + [1e-9])
    return [item / most for item in logs]


def share(book: Ledger, entry: Entry) -> str:
    """Return the share of an entry; "" where the whole factor is too near to one to be shared out."""
    return f"{entry.share:+.0%}" if abs(math.log(book.total)) >= _SPLIT else ""


def ledger(book: Ledger) -> Iterator[RenderableType]:
    """Yield where the factor comes from."""
    yield Text("Where the factor comes from", style="bold")
    if book.where:
        yield Text(f"{book.where}: {times(book.total)}", style="dim")
    body = columns("left", "right", "right", "left", "left")
    for entry, part in zip(book.entries, widths(book), strict=True):
        bar = ("█" if part > 0 else "░") * round(abs(part) * _BAR)
        body.add_row(entry.resource, f"×{entry.factor:.3g}", share(book, entry), bar, entry.note)
    if book.entries:
        yield body
    if book.note:
        yield Text(book.note, style="dim")
    yield Text()


def _footnotes(item: Assessment, facts: Catalogue) -> Iterator[RenderableType]:
    if item.used:
        yield Text("Facts", style="bold")
        body = columns("left", "left", "left")
        for fact in item.used:
            body.add_row(fact.name, fact.shown, f"{fact.basis} [{fact.source}]")
        yield body
        yield Text()
    if item.verdict.missing:
        yield Text(f"Missing: {item.verdict.missing}")
    sources = dict.fromkeys([*item.claim.sources, *(row.source for row in item.evidence if row.same)])
    for source in sources:
        yield Text(f"[{source}] {where(facts, source)}", style="dim")
