"""Answer a question: every platform in turn, ranked together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay import __version__
from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import ModelEntry, System
from assay.engine.models import model
from assay.engine.replica import Model
from assay.errors import BadInput, DoesNotFit, NoEvidence
from assay.llm.formats import native_label, weight_formats
from assay.llm.memory import kv_bytes_per_token, state_bytes_per_sequence, weight_bytes
from assay.llm.parameters import counts
from assay.plan import afd, dataflow
from assay.plan.choice import Choice
from assay.plan.drafting import drafting_of
from assay.plan.energy import energy_of
from assay.plan.evidence import near
from assay.plan.inputs import cache_of
from assay.plan.moves import moves
from assay.plan.platform import Platform, ask
from assay.plan.points import Points
from assay.plan.predict import calibration
from assay.study.answer import Answer, Refusal, Row
from assay.study.question import Question

Progress = Callable[[str, float], None]

#: What each objective ranks by, and the sign with which less is better.
MEASURES = {
    "cost": ("usd_per_million_output_tokens", 1.0),
    "throughput": ("output_tokens_per_s_per_chip", -1.0),
    "latency": ("tpot_s", 1.0),
    "energy": ("joules_per_output_token", 1.0),
}
#: Platforms named where the first place is open.
NAMED = 3


def answer(question: Question, *, facts: Sequence[Path] = (), progress: Progress | None = None) -> Answer:
    """Answer a question on every platform it names.

    Args:
        question: what is asked.
        facts: folders of the user's own facts.
        progress: called with a platform's id and the share done.

    Raises:
        AssayError: an unknown model or platform, or lengths the model does not take.
    """
    extra = tuple(facts)
    known = catalogue(extra)
    prepared, entry = model(question.model, extra)
    check(question, prepared)
    names = [known.system(name).id for name in question.platforms] or list(known.systems())
    rows: list[Row] = []
    fronts: dict[str, tuple[Mapping[str, Any], ...]] = {}
    refused: list[Refusal] = []
    behind: dict[int, Choice] = {}
    for done, name in enumerate(dict.fromkeys(names)):
        if progress:
            progress(name, done / len(names))
        try:
            found = on(question, prepared, known.system(name), known)
        except (DoesNotFit, NoEvidence) as error:
            refused.append(Refusal(name, str(error)))
            continue
        made = [unknown(row, question) for row in found.rows]
        rows.extend(made)
        behind |= {id(row): choice for row, choice in zip(made, found.choices, strict=False)}
        fronts[name] = found.front
    return Answer(
        question=question,
        model=summary(prepared, entry),
        rows=detailed(sorted(rows, key=lambda row: order(row, question)), behind, question, prepared.name),
        fronts=fronts,
        refused=tuple(refused),
        provenance=provenance(known),
    )


def detailed(rows: list[Row], behind: Mapping[int, Choice], question: Question, name: str) -> tuple[Row, ...]:
    """Return the rows, the first with its nearest measurements and with what would move it."""
    if not rows:
        return ()
    best = replace(rows[0], evidence=near(rows[0], name, question))
    if open_places := unsettled(rows, question):
        best = replace(best, notes=(open_places, *best.notes))
    if id(rows[0]) in behind:
        choice = behind[id(rows[0])]
        best = told(best, choice.points, choice.index, question)
    return (best, *rows[1:])


def told(row: Row, points: Points, index: int, question: Question) -> Row:
    """Return a row with what would move it, what its prefix cache, drafts and phases do."""
    return replace(
        row,
        moves=moves(points, index),
        cache=cache_of(points, index, question),
        drafting=drafting_of(points, index, question),
        energy=energy_of(points, index, question),
    )


def on(question: Question, prepared: Model, system: System, known: Catalogue) -> Platform:
    """Answer for one platform, by the model of its kind of chip."""
    if question.serving == "afd":
        return afd.ask(question, prepared, system, known)
    if system.chip.kind == "dataflow":
        return dataflow.ask(question, prepared, system, known)
    return ask(question, prepared, system, known)


def check(question: Question, prepared: Model) -> None:
    """Refuse lengths that the model was not made for.

    Raises:
        BadInput: more tokens than the context of the model, or expert chips without `afd`.
    """
    if question.experts_platform and question.serving != "afd":
        raise BadInput(
            f"Expert chips on {question.experts_platform} need attention and experts apart.",
            "Add --serving afd.",
        )
    longest = prepared.architecture.max_context
    if longest and question.isl + question.osl > longest:
        raise BadInput(
            f"{question.isl} input and {question.osl} output tokens exceed the context of "
            f"{prepared.name}, {longest} tokens.",
            "Ask for shorter requests.",
        )


def order(row: Row, question: Question) -> tuple[float, ...]:
    """Return the key that ranks rows of different platforms: limits met, then the objective.

    Rows whose energy nobody can know follow those where it is known, by cost. The last key is throughput.
    """

    def figure(name: str, sign: float = 1.0) -> float:
        return sign * float(row.figures[name].value) if name in row.figures else float("inf")

    keys = {objective: figure(*measure) for objective, measure in MEASURES.items()}
    if question.rate is None and (question.power is not None or question.budget is not None):
        # under a cap what counts is all that it buys
        total = figure("output_tokens_per_s_per_chip", -1.0) * row.chips
        keys |= {"cost": total, "throughput": total}
    second = keys["cost"] if question.objective == "energy" else keys[question.objective]
    return (float(not row.meets), keys[question.objective], second, keys["throughput"])


def unknown(row: Row, question: Question) -> Row:
    """Return a row that says by what it is ranked where its energy is asked for and nobody can know it."""
    if question.objective != "energy" or "joules_per_output_token" in row.figures:
        return row
    name = row.deployment.system_name
    text = f"the power of {name} is not published: ranked by cost, after platforms whose energy is known"
    return replace(row, notes=(text, *row.notes))


def unsettled(rows: Sequence[Row], question: Question) -> str:
    """Return which platforms could be as good as the first by their 80 % ranges, as a sentence; "" for none.

    A platform is named where the good end of its range reaches the value of the first row.
    """
    figure, sign = MEASURES[question.objective]
    best = rows[0]
    if figure not in best.figures or question.rate is not None or question.power or question.budget:
        return ""
    reached = float(best.figures[figure].value) * sign
    others: dict[str, None] = {}
    for row in rows[1:]:
        if (
            row.meets == best.meets
            and figure in row.figures
            and row.deployment.system != best.deployment.system
        ):
            range_of = row.figures[figure]
            if float(range_of.low if sign > 0 else range_of.high) * sign <= reached:
                others[row.deployment.system] = None
    if not others:
        return ""
    named, more = list(others)[:NAMED], len(others) - NAMED
    listed = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    return f"the first place is not settled: the ranges of {listed} reach what is expected of it"


def summary(prepared: Model, entry: ModelEntry | None) -> dict[str, Any]:
    """Return the facts of the model that a reader of an answer needs."""
    architecture = prepared.architecture
    parameters = counts(architecture)
    return {
        "name": prepared.name,
        "hf_id": entry.hf_id if entry else "",
        "params_total": parameters.total,
        "params_active": parameters.active,
        "weight_bytes": weight_bytes(architecture, weight_formats(architecture)),
        "native_format": native_label(architecture),
        "kv_bytes_per_token": kv_bytes_per_token(architecture),
        "state_bytes_per_sequence": state_bytes_per_sequence(architecture),
        "layers": architecture.num_layers,
        "max_context": architecture.max_context,
        "warnings": list(entry.warnings) if entry else [],
    }


def provenance(known: Catalogue) -> dict[str, Any]:
    """Return what an answer was made with."""
    table = calibration()
    return {
        "version": __version__,
        "catalogue": known.hash,
        "calibration": table.get("id", "") if isinstance(table, Mapping) else "",
    }
