"""Parts of a page that several commands share: headline, figures, limits, memory, evidence, footnotes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from assay.errors import UnknownName
from assay.estimate import Estimate
from assay.report.figures import badge, count, interval, number, stated, tokens
from assay.report.terms import OBJECTIVES, PRICES, TERMS
from assay.study.answer import FIGURES, Answer, Row
from assay.study.question import Question
from assay.units import show
from assay.workload.slo import Slo, default_slo

FOOTNOTE = (
    "tok/s per user = 1/TPOT; per chip = over all chips; $ and J include the work on input tokens. Ranges\n"
    "hold 80 %. Evidence ● measured ◕ calibrated on this model ◑ on this chip ◔ datasheet ○ assumed"
)
_BLOCKS = "█▓▒░+-="
#: Columns of a page.
WIDTH = 100


def figure(name: str, value: float, digits: int = 3) -> str:
    """Return one figure with its unit where the column title does not carry it."""
    if TERMS[name].unit == "s":
        return show(value, "s", min(digits, 2)) if isfinite(value) else "–"
    return number(value, digits)


def grid(*columns: Literal["left", "right"]) -> Table:
    """Return a borderless table; each column is `left` or `right`."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in columns:
        table.add_column(justify=justify)
    return table


def headline(answer: Answer) -> Iterator[Text]:
    """Yield the question in words: the model, the workload, what is asked for."""
    question, model = answer.question, answer.model
    facts = []
    if "params_total" in model:
        facts.append(f"{count(model['params_total'])} parameters")
    if model.get("params_active") not in (None, model.get("params_total")):
        facts.append(f"{count(model['params_active'])} active")
    if "weight_bytes" in model:
        facts.append(f"{show(model['weight_bytes'], 'B')} of weights as published")
    yield Text.assemble((str(model.get("name", question.model)), "bold"), f"  {', '.join(facts)}")
    name = f"{question.workload}: " if question.workload else ""
    cached = f", {number(question.cached * 100)} % of the input cached" if question.cached else ""
    lengths = f"{name}{tokens(question.isl)} tokens in, {tokens(question.osl)} out{cached}"
    yield Text(" · ".join([lengths, *_demands(question)]))


def _demands(question: Question) -> Iterator[str]:
    if question.ttft is not None or question.tpot is not None:
        yield slo(question)
    if question.rate is not None:
        yield f"{number(question.rate)} requests/s"
    if question.concurrency is not None:
        yield f"concurrency {question.concurrency:,}"
    if question.chips is not None:
        yield f"at most {question.chips:,} chips a replica"
    yield from _caps(question)
    if question.engine:
        yield question.engine


def slo(question: Question) -> str:
    """Return the limits in words: `TTFT ≤ 2 s, TPOT ≤ 30 ms (defaults)`."""
    words = _limits(question)
    try:
        usual = default_slo(question.workload, question.isl, question.cached)
    except UnknownName:
        return words
    return f"{words} (defaults)" if usual == Slo(question.ttft, question.tpot) else words


def _limits(question: Question) -> str:
    limits = (("TTFT", question.ttft), ("TPOT", question.tpot))
    return ", ".join(f"{name} ≤ {show(limit, 's')}" for name, limit in limits if limit is not None)


def shortfall(answer: Answer) -> str:
    """Return why nothing answers the question, what is closest and what is missing."""
    question = answer.question
    if not answer.rows:
        first = f"{answer.refused[0].platform}: {answer.refused[0].reason}" if answer.refused else ""
        if len(answer.refused) == 1:
            return f"{question.model} on {first}"
        return f"None of the {len(answer.refused)} platforms can serve {question.model}. {first}".rstrip()
    closest = answer.rows[0]
    missing = []
    for name, limit in (("ttft_s", question.ttft), ("tpot_s", question.tpot)):
        if limit is not None and name in closest.figures and float(closest.figures[name].value) > limit:
            value = float(closest.figures[name].value)
            missing.append(
                f"{TERMS[name].title} {show(value, 's')}, {number(value / limit, 2)} times the limit"
            )
    what = f": {', '.join(missing)}" if missing else ""
    asked = ", ".join(filter(None, (_limits(question), *_caps(question))))
    return f"Nothing meets {asked or 'what is asked'}. Closest is {place(closest)}{what}."


def _caps(question: Question) -> Iterator[str]:
    if question.power is not None:
        yield f"at most {show(question.power, 'W')}"
    if question.budget is not None:
        yield f"at most {number(question.budget)} USD/h"
    if question.spare:
        yield f"{question.spare} spare node{'s' if question.spare > 1 else ''}"


def aim(answer: Answer) -> str:
    """Return what rows are ranked by: `cheapest output tokens at contract prices of 2026-07`."""
    question = answer.question
    objective, why = question.objective, ""
    if objective == "energy" and not any(OBJECTIVES[objective][0] in row.figures for row in answer.rows):
        objective, why = "cost", "; the power of no platform is published"
    text = OBJECTIVES[objective][1]
    if objective != "cost":
        return text
    date = answer.provenance.get("prices")
    return f"{text} at {PRICES[question.price]}{f' of {date}' if date else ''}{why}"


def place(row: Row) -> str:
    """Return what runs where: `gb300-nvl72 · 64 chips · DEP64 · weights fp4, KV fp8 · concurrency 2,048`."""
    return " · ".join(_place(row))


def places(row: Row, *more: str, width: int = WIDTH) -> str:
    """Return `place` and `more` in lines of at most `width` columns that break between parts only."""
    lines = [""]
    for part in (*_place(row), *more):
        line = f"{lines[-1]} · {part}" if lines[-1] else part
        if lines[-1] and len(line) > width:
            lines.append(f"  {part}")
        else:
            lines[-1] = line
    return "\n".join(lines)


def _place(row: Row) -> list[str]:
    deployment = row.deployment
    parts = [
        deployment.system,
        f"{row.chips:,} chip{'s' if row.chips > 1 else ''}",
        deployment.label(),
        f"weights {short(deployment.weights)}, KV {short(deployment.kv)}",
        f"concurrency {number(row.concurrency)}",
        deployment.engine,
    ]
    return [part for part in parts if part]


def short(text: str) -> str:
    """Return a number format in one word: `int4 experts, bf16 rest` -> `int4`."""
    return text.partition(":")[2].strip().partition(" ")[0] or text.partition(" ")[0]


def three_numbers(row: Row, objective: str) -> Table:
    """Return the three figures that matter first, large, each with its interval and its bound."""
    first = ["usd_per_million_output_tokens", "joules_per_output_token"]
    if objective == "energy":
        first.reverse()
    shown = [name for name in first if name in row.figures][:1]
    names = [*shown, "output_tokens_per_s_per_user", "output_tokens_per_s_per_chip"]
    table = grid("left", "left", "left")
    table.padding = (0, 4, 0, 0)
    cells = [_number(name, row.figures[name]) for name in names if name in row.figures]
    for line in zip(*cells, strict=True):
        table.add_row(*line)
    return table


def _number(name: str, estimate: Estimate) -> tuple[Text, Text]:
    term = TERMS[name]
    floor = float(estimate.floor)
    bound = (
        f", {'at most' if term.rising else 'at least'} {figure(name, floor, 2)}" if isfinite(floor) else ""
    )
    dollar = "$" if term.unit == "USD" else ""
    title = term.title.removeprefix("$")
    return (
        Text.assemble((dollar + figure(name, float(estimate.value)), "bold"), f" {title}"),
        Text(f"{interval(estimate) or 'interval unknown'}{bound}", style="dim"),
    )


def figures_table(row: Row) -> Table:
    """Return every figure of one row: value, interval, physical bound, evidence."""
    table = grid("left", "right", "right", "right", "left")
    table.add_row(*(Text(title, style="dim") for title in ("", "value", "80 % range", "bound", "basis")))
    for name in FIGURES:
        if name not in row.figures:
            table.add_row(TERMS[name].title, Text("not known", style="dim"), "", "", "")
            continue
        estimate = row.figures[name]
        low, high = (figure(name, float(end), 2) for end in (estimate.low, estimate.high))
        sign = "≤" if TERMS[name].rising else "≥"
        floor = float(estimate.floor)
        table.add_row(
            TERMS[name].title,
            Text(figure(name, float(estimate.value)), style="bold"),
            "–" if low == "–" or stated(estimate) else f"{low} – {high}",
            f"{sign} {figure(name, floor, 2)}" if isfinite(floor) else "–",
            badge(estimate.basis),
        )
    return table


def limits(row: Row, most: int = 4) -> Iterator[Text]:
    """Yield what limits a row and what would move it, strongest first."""
    if row.limited_by:
        yield Text.assemble("Most time: ", (row.limited_by, "bold"))
    if not row.moves:
        return
    yield Text("What would move output tok/s/chip:", style="dim")
    ranked = sorted(row.moves.items(), key=lambda item: -item[1])[:most]
    width = max(len(change) for change, _ in ranked)
    for change, factor in ranked:
        effect = f"×{factor:.2f}" if abs(factor - 1) >= 0.005 else "no change"
        yield Text(f"  {change.replace(' x', ' ×'):<{width}}  {effect}")


def memory(row: Row, width: int) -> Iterator[Text]:
    """Yield the memory of one chip as a bar of its terms; dots are free."""
    terms = {name: size for name, size in row.memory.items() if size > 0 and name != "capacity"}
    used = sum(terms.values())
    total = row.memory.get("capacity", used)
    if not used:
        return
    yield Text(f"Memory of a chip, {show(used, 'B')} of {show(total, 'B')}:", style="dim")
    bar, words = "", []
    for block, (name, size) in zip(_BLOCKS, sorted(terms.items(), key=lambda term: -term[1]), strict=False):
        bar += block * round(width * size / total)
        words.append(f"{block} {name} {show(size, 'B', 2)}")
    yield Text(bar[:width].ljust(width, "·"))
    yield from (Text(word) for word in words[:4])


def evidence(row: Row) -> Text:
    """Return the nearest published measurement of a row, in one line."""
    if not row.evidence:
        return Text("No published measurement is near this row; its range says what that costs.", style="dim")
    nearest: Mapping[str, Any] = row.evidence[0]
    value = nearest.get("value", "")
    shown = number(float(value)) if isinstance(value, int | float) else str(value)
    parts = [shown, str(nearest.get("conditions", "")), str(nearest.get("source", ""))]
    return Text(f"Nearest measurement: {' · '.join(filter(None, parts))}")


def notes(row: Row, most: int = 3) -> Iterator[Text]:
    """Yield the sentences a reader needs beside the figures."""
    for note in row.notes[:most]:
        yield Text(f"! {note}", style="yellow")
    if len(row.notes) > most:
        more = len(row.notes) - most
        yield Text(f"! {more} more note{'s' if more > 1 else ''} with --json", style="dim")


def provenance(answer: Answer) -> Text:
    """Return where the answer came from: version, catalogue, calibration, date."""
    known = answer.provenance
    parts = [
        f"assay {known['version']}" if "version" in known else "",
        *(
            f"{name} {str(known[name])[:12]}"
            for name in ("catalogue", "calibration", "date")
            if known.get(name)
        ),
    ]
    return Text(" · ".join(filter(None, parts)), style="dim")
