"""Estimate one operating point: a stated layout, formats and concurrency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.engine.breakdown import explain as explain_step
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.engine.step import Batch
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.plan import dataflow
from assay.plan.answer import check, provenance, summary
from assay.plan.choice import Choice
from assay.plan.moves import moves
from assay.plan.platform import build, price_of
from assay.plan.points import Points, gather
from assay.plan.predict import skew
from assay.plan.space import shape
from assay.plan.sweep import Lengths, refuse, sweep
from assay.study.answer import Answer, Row
from assay.study.question import Question


def estimate(
    question: Question,
    system: str,
    layout: str,
    *,
    explain: bool = False,
    facts: Sequence[Path] = (),
) -> Answer:
    """Return the figures of one deployment at the question's concurrency (1 if it states none).

    Args:
        question: model, workload, formats and concurrency; `platforms` is not used.
        system: platform name.
        layout: label such as `tp8`, `dep16`, `dp4tp2ep8`; `auto` for a dataflow platform.
        explain: also return the step by operator.
        facts: folders of the user's own facts.

    Raises:
        DoesNotFit: the model does not fit that layout, with the arithmetic.
        BadInput: a layout that the model or the system does not allow.
    """
    extra = tuple(facts)
    known = catalogue(extra)
    prepared, entry = model(question.model, extra)
    check(question, prepared)
    place = known.system(system)
    asked = replace(question, platforms=(place.id,), concurrency=question.concurrency or 1)
    table: tuple[Mapping[str, Any], ...] = ()
    if place.chip.kind == "dataflow":
        row = dataflow.ask(asked, prepared, place, known).rows[0]
    else:
        row, points = _row(asked, prepared, place, legal(layout, prepared, place), known)
        table = tuple(_explain(points)) if explain else ()
    return Answer(
        question=asked,
        model=summary(prepared, entry),
        rows=(row,),
        fronts={},
        provenance=provenance(known),
        explain=table,
    )


def legal(text: str, prepared: Model, system: System) -> Layout:
    """Read a layout and check that model and system allow it.

    Raises:
        BadInput: more chips than the system has, TP beyond a scale-up domain, EP without experts, more
            stages than layers, more TP ranks than heads.
    """
    layout = Layout.parse(text)
    bounds = shape(prepared.architecture)
    problems = (
        (
            layout.chips > system.max_chips,
            f"needs {layout.chips} chips; {system.name} is planned up to {system.max_chips}",
        ),
        (
            layout.tp > system.domain,
            f"spreads TP over {layout.tp} chips; a scale-up domain of {system.name} has {system.domain}",
        ),
        (layout.ep > 1 and not bounds.experts, f"has EP{layout.ep}, but {prepared.name} is a dense model"),
        (
            bool(bounds.experts) and layout.ep > bounds.experts,
            f"spreads {bounds.experts} experts over {layout.ep} chips",
        ),
        (layout.pp > bounds.layers, f"has {layout.pp} stages for {bounds.layers} layers"),
        (layout.tp > bounds.heads, f"has {layout.tp} TP ranks for {bounds.heads} heads"),
    )
    for wrong, text_wrong in problems:
        if wrong:
            raise BadInput(f"Layout {layout.label()} {text_wrong}.", "Choose smaller degrees.")
    return layout


def _row(
    question: Question, prepared: Model, system: System, layout: Layout, known: Catalogue
) -> tuple[Row, Points]:
    price, note = price_of(known, system, question.price)
    found = sweep(
        prepared,
        system,
        (layout,),
        question.weights or "native",
        default_kv(system, question.kv),
        engine(question.engine),
        Lengths(question.isl, question.osl, question.cached),
        skew(),
        concurrency=question.concurrency,
        rate=question.rate,
    )
    if not np.any(found.fits):
        raise refuse(found)
    first = np.zeros(1, dtype=np.intp)
    points = gather(found, first, first, price, question.engine)
    notes = tuple(system.warnings) + ((note,) if note else ())
    capacity = float(found.capacity[0, 0])
    if capacity < (question.concurrency or 1):
        notes += (f"memory holds {capacity:.0f} requests at once; the others wait",)
    if float(found.state.utilisation[0, 0]) >= 0.98:
        notes += ("saturated: prompts arrive faster than they are served, TTFT grows with the run",)
    row = build(Choice(points, 0, 1, True, 0.0), question, notes)
    return replace(row, moves=moves(points, 0)), points


def _explain(points: Points) -> list[dict[str, Any]]:
    """Return the decode step and one prompt by operator."""
    outcome = points.outcome
    step, state = outcome.step, outcome.state
    degrees = step.table.degrees
    groups = float(degrees.dp[0])
    each = float(state.batch[0, 0]) / groups / float(degrees.pp[0])
    local = np.ceil(np.array([[each]]) - 1e-9)
    decode = explain_step(step, Batch(local, np.maximum(np.array([[each * groups]]), 1.0)), "decode")
    fresh = np.atleast_2d(step.workload.fresh)
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    prompt = Batch(zero, zero, fresh, fresh * groups, one, one * groups)
    return decode + explain_step(step, prompt, "prefill")
