"""The page of `assay plan` for the terminal: three numbers, the front, the ranking, what refused and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan
from textwrap import wrap
from typing import IO, Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from assay.report import panels
from assay.report.api import api_panel
from assay.report.caches import cache_line
from assay.report.charts import Curve, front
from assay.report.energy import energy_line
from assay.report.figures import badge, interval, number
from assay.report.terms import OBJECTIVES
from assay.study.answer import Answer, Row
from assay.study.question import Question
from assay.units import show

WIDTH = panels.WIDTH
_ROWS = 10
_REFUSED = 9
_FEW = 3
_CURVES = 4
_DEPTH = 300  # points of a front this far below its best are not drawn
_PLOT = (60, 8)
_STYLES = ("green", "cyan", "magenta", "yellow")
#: Objective -> what nobody has published where its figure is missing.
_LACK = {"cost": "price", "energy": "power", "throughput": "rate", "latency": "rate"}
_X, _Y = "output_tokens_per_s_per_user", "output_tokens_per_s_per_chip"
_USD = "usd_per_million_output_tokens"


def terminal(stream: IO[str] | None = None) -> Console:
    """Return the console pages are printed on: at most `WIDTH` columns, colour only on a terminal."""
    stream = stream or sys.stdout
    width = min(Console(file=stream).width, WIDTH) if stream.isatty() else WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def put(parts: Iterable[RenderableType], stream: IO[str] | None = None) -> None:
    """Print the parts of a page; into a file or a pipe without colour and without trailing blanks."""
    stream = stream or sys.stdout
    console = terminal(stream)
    if console.is_terminal:
        for part in parts:
            console.print(part)
        return
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def plan_page(answer: Answer, width: int = WIDTH) -> Iterator[RenderableType]:
    """Yield the parts of the page, top to bottom.

    Args:
        answer: ranked rows, best first.
        width: columns.
    """
    yield from panels.headline(answer)
    best = answer.best() or next(iter(answer.rows), None)
    if best is None:
        yield Text("\nNo platform answers.", style="bold")
        yield from _refused(answer, width)
        yield panels.provenance(answer)
        return
    if best.fits and best.meets:
        yield Text(f"\n{panels.aim(answer)}:", style="dim")
    else:
        yield Text("\nNothing meets these limits. Closest:", style="bold")
    yield Text(panels.places(best, badge(best.basis), width=width))
    yield panels.three_numbers(best, answer.question.objective)
    if answer.question.caches is not None:
        yield from cache_line(best)
    if answer.question.objective == "energy" or answer.question.pue is not None:
        yield from energy_line(best)
    yield Text()
    drawn = _drawn(answer)
    yield from _middle(answer, best, drawn, width)
    yield from _ranking(answer, drawn, width)
    yield from _refused(answer, width)
    yield from api_panel(best)
    yield from panels.notes(best)
    yield panels.evidence(best)
    yield Text(panels.FOOTNOTE, style="dim")
    yield panels.provenance(answer)


def _drawn(answer: Answer) -> list[Row]:
    """Return the rows whose fronts are drawn: in rank order, without fronts that would lie on another."""
    chosen: list[Row] = []
    for row in answer.rows:
        if len(chosen) == _CURVES:
            break
        if not _point(row) or row.deployment.system not in answer.fronts:
            continue
        if all(row.deployment.system != other.deployment.system and _apart(row, other) for other in chosen):
            chosen.append(row)
    return chosen


def _point(row: Row) -> tuple[float, float] | None:
    if _X not in row.figures or _Y not in row.figures:
        return None
    return float(row.figures[_X].value), float(row.figures[_Y].value)


def _apart(row: Row, other: Row) -> bool:
    """Tell whether two operating points differ by more than a fifth in one direction."""
    mine, theirs = _point(row) or (1.0, 1.0), _point(other) or (1.0, 1.0)
    return any(max(a, b) > 1.2 * min(a, b) for a, b in zip(mine, theirs, strict=True))


def _middle(answer: Answer, best: Row, drawn: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """Yield the front, with what limits the best row beside it."""
    columns, rows = _PLOT
    aside = [*panels.limits(best), *panels.memory(best, 32)]
    curves = []
    for row, style in zip(drawn, _STYLES, strict=False):
        path = answer.fronts[row.deployment.system]
        x, y = ([_at(point, axis) for point in path] for axis in (_X, _Y))
        y = [height if height * _DEPTH > max(y) else nan for height in y]
        curves.append(Curve(_ranks(answer)[id(row)], x, y, _point(row), style))
    tpot = answer.question.tpot
    chart = front(curves, columns, rows, 1 / tpot if tpot else None)
    if not chart:
        yield from aside
        return
    limit = f"   dotted: limit {number(1 / tpot, 2)}" if tpot else ""
    caption = Text(f"output tok/s per user →{limit}   numbers: rows below", style="dim")
    chart = [Text("output tok/s per chip ↑", style="dim"), *chart]
    if width < columns + 30:
        yield from [*chart, caption, *aside]
        return
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(Text("\n").join(chart), Text("\n").join([Text(), *aside]))
    yield table
    yield caption


def _at(point: Mapping[str, Any], axis: str) -> float:
    """Return a coordinate of a front's point: a figure `{value, low, high, floor}` or a plain number."""
    figure = point.get(axis)
    value = figure.get("value") if isinstance(figure, Mapping) else figure
    return nan if value is None else float(value)


def _ranks(answer: Answer) -> dict[int, str]:
    """Return id of a row -> its rank; a cross where it does not fit or breaks the SLO."""
    return {
        id(row): str(rank) if row.meets and row.fits else "✗" for rank, row in enumerate(answer.rows, start=1)
    }


def _ranking(answer: Answer, drawn: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """Yield the table of rows; what one screen cannot hold follows by name."""
    question, ranks = answer.question, _ranks(answer)
    ranked_by, _, short = OBJECTIVES[question.objective]
    known = [row for row in answer.rows if ranked_by in row.figures]
    everything = bool(question.platforms) or question.top > 1 or not known
    shown = list(answer.rows) if everything else known[:_ROWS]
    columns = [column for column in _COLUMNS if width >= column[2]]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for title, justify, _ in columns:
        heading = f"80 %\nrange\nof {short}" if title == "range" else title
        table.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis")
    colours = {id(row): style for row, style in zip(drawn, _STYLES, strict=False)}
    for row in shown:
        cells = _cells(question, row, ranks[id(row)], colours.get(id(row), ""))
        style = "" if row.meets and row.fits else "dim"
        table.add_row(*(cells[title] for title, _, _ in columns), style=style)
    yield table
    if not question.engine:
        yield from _engines(shown, ranks, width)
    if everything:
        return
    rest = known[_ROWS:]
    yield from flow(
        [f"{ranks[id(row)]} {row.deployment.system} {_value(row, ranked_by)}" for row in rest], width, "  "
    )
    if unknown := [row for row in answer.rows if ranked_by not in row.figures]:
        by = (_USD, "$/M output") if question.objective == "energy" else (_Y, "output tok/s/chip")
        yield Text(f"Without a published {_LACK[question.objective]}, by {by[1]}:", style="dim")
        words = [f"{ranks[id(row)]} {row.deployment.system} {_value(row, by[0])}" for row in unknown]
        yield from flow(words, width, "  ")


def _engines(rows: Sequence[Row], ranks: Mapping[int, str], width: int) -> Iterator[Text]:
    """Yield the engine of every row: by ranks, and by platform where a row has none; nothing for none."""
    ran: dict[str, list[Row]] = {}
    for row in rows:
        ran.setdefault(row.deployment.engine, []).append(row)
    if not any(ran):
        return
    words = []
    for name, those in ran.items():
        numbers = [int(ranks[id(row)]) for row in those if ranks[id(row)].isdigit()]
        broken = [row.deployment.system for row in those if not ranks[id(row)].isdigit()]
        words.append(" ".join([name or "none in particular", *spans(numbers), *broken]))
    yield from flow([f"engine of each row: {words[0]}", *words[1:]], width)


def spans(numbers: Sequence[int]) -> list[str]:
    """Return rising numbers in words, three or more that follow each other as one: `1–3`, `5`, `6`."""
    runs: list[list[int]] = []
    for rank in numbers:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return [
        word for run in runs for word in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else [str(k) for k in run])
    ]


def flow(words: Sequence[str], width: int, between: str = ", ", indent: str = "  ") -> Iterator[Text]:
    """Yield `words` in lines of at most `width` columns, no word broken; nothing for no words."""
    line = indent
    if not words:
        return
    for position, word in enumerate(words):
        piece = word if position == len(words) - 1 else f"{word}{between}"
        if len(line) > len(indent) and len(line) + len(piece.rstrip()) > width:
            yield Text(line.rstrip(), style="dim")
            line = indent
        line += piece
    yield Text(line.rstrip(), style="dim")


_Justify = Literal["left", "right"]
#: Title, justification, least width of the page that shows it.
_COLUMNS: tuple[tuple[str, _Justify, int], ...] = (
    ("#", "right", 0),
    ("platform", "left", 0),
    ("chips", "right", 0),
    ("layout", "left", 0),
    ("w/kv", "left", 100),
    ("out\ntok/s\n/user", "right", 0),
    ("out\ntok/s\n/chip", "right", 0),
    ("$ per\nM out\ntoken", "right", 0),
    ("range", "right", 80),
    ("J per\nout\ntoken", "right", 96),
    ("mean\nTTFT", "right", 90),
    ("", "left", 0),
)


def _cells(question: Question, row: Row, rank: str, colour: str) -> dict[str, str | Text]:
    deployment = row.deployment
    ranked_by = OBJECTIVES[question.objective][0]
    return {
        "#": rank,
        "platform": Text(deployment.system, style=colour),
        "chips": f"{row.chips:,}",
        "layout": deployment.short(),
        "w/kv": f"{panels.short(deployment.weights)}/{panels.short(deployment.kv)}",
        "out\ntok/s\n/user": _value(row, _X, question),
        "out\ntok/s\n/chip": _value(row, _Y),
        "$ per\nM out\ntoken": _value(row, _USD),
        "range": interval(row.figures[ranked_by]) if ranked_by in row.figures else "",
        "J per\nout\ntoken": _value(row, "joules_per_output_token"),
        "mean\nTTFT": _value(row, "ttft_s", question),
        "": badge(row.basis)[0],
    }


def _value(row: Row, name: str, question: Question | None = None) -> str:
    """Return a figure with two digits; an exclamation mark where it breaks a limit of the question."""
    if name not in row.figures:
        return "–"
    value = float(row.figures[name].value)
    text = show(value, "s", 2) if name == "ttft_s" else number(value, 2 if value < 1000 else 3)
    broken = question is not None and (
        (name == "ttft_s" and question.ttft is not None and value > question.ttft)
        or (name == _X and question.tpot is not None and value * question.tpot < 1)
    )
    return f"{text}!" if broken else text


def _refused(answer: Answer, width: int) -> Iterator[Text]:
    """Yield the platforms that cannot answer, each with its arithmetic where few are asked for."""
    few = bool(answer.question.platforms) or len(answer.refused) <= _FEW
    most = len(answer.refused) if few else 1
    shown, rest = answer.refused[:most], answer.refused[most:]
    if not shown:
        return
    yield Text(f"{len(answer.refused)} refused:" if rest else "Refused:", style="dim")
    indent = max(len(item.platform) for item in shown)
    for item in shown:
        lead = f"  {item.platform:<{indent}}  "
        lines = wrap(lead + _core(item.reason), width, subsequent_indent=" " * len(lead))
        yield from (Text(line, style="dim") for line in lines)
    if rest:
        names = [item.platform for item in rest[:_REFUSED]]
        more = f"{len(rest) - len(names)} more" if len(rest) > len(names) else ""
        yield from flow([*names, *filter(None, [more]), "each with its reason in --json"], width)


def _core(reason: str) -> str:
    """Return the arithmetic of a reason: its first sentence, without the words before the colon."""
    sentence = f"{reason.partition('. ')[0].rstrip('.')}."
    return sentence.partition("does not fit: ")[2] or sentence
