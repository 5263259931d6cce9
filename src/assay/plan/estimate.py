"""Estimate one operating point: a stated layout, formats and concurrency."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.engine.speculation import Speculation
from assay.errors import BadInput, DoesNotFit, NoEvidence
from assay.llm.layout import Layout
from assay.plan import dataflow
from assay.plan.answer import check, order, provenance, summary, told
from assay.plan.caches import delayed, prefilling, stated
from assay.plan.choice import Choice
from assay.plan.disaggregate import fixed, sides
from assay.plan.engines import engines
from assay.plan.evidence import near
from assay.plan.experts import only_copies
from assay.plan.place import UNBOUNDED, price_of
from assay.plan.platform import build
from assay.plan.points import Points, gather, gather_pairs
from assay.plan.predict import skew
from assay.plan.saturation import Run, carried
from assay.plan.space import forbidden, shape
from assay.plan.speculate import NONE, options
from assay.plan.sweep import Lengths, Sweep, refuse, sweep
from assay.plan.why import steps_of
from assay.study.answer import Answer, Row
from assay.study.question import Question

Floats = NDArray[np.float64]

#: Batches that a stated decode pool is timed at before its load is met between two of them.
FINE = 96


def estimate(
    question: Question,
    system: str,
    layout: str,
    *,
    explain: bool = False,
    facts: Sequence[Path] = (),
    startable: Sequence[str] = (),
) -> Answer:
    """Return the figures of one deployment at the question's concurrency (1 if it states none).

    Where the question names no engine, those that `plan` tries are tried, and the best one's row is returned.

    Args:
        question: model, workload, formats and concurrency; `platforms` is not used.
        system: platform name.
        layout: label such as `tp8`, `dep16`, `dp4tp2ep8`, or `4xtp2+1xdep32` for a prefill and a decode
            pool; `auto` for a dataflow platform.
        explain: also return the step by operator.
        facts: folders of the user's own facts.
        startable: engines that what is written afterwards can start, the usual one first; empty = any.

    Raises:
        DoesNotFit: the model does not fit that layout, with the arithmetic.
        BadInput: a layout that the model or the system does not allow.
    """
    extra = tuple(facts)
    known = catalogue(extra)
    prepared, entry = model(question.model, extra)
    check(question, prepared)
    place = known.system(system)
    users = question.concurrency or (None if question.rate is not None else 1)
    asked = replace(question, platforms=(place.id,), concurrency=users)
    table: tuple[Mapping[str, Any], ...] = ()
    _agree(question, place, layout)
    if place.chip.kind == "dataflow":
        row = dataflow.ask(asked, prepared, place, known).rows[0]
    else:

        def run(load: Question) -> tuple[Row, Points]:
            if "+" in layout:
                return _pools(load, prepared, place, layout, known)
            return _row(load, prepared, place, legal(layout, prepared, place), known)

        tried = engines(question.engine, prepared.name, place, known)
        if startable and not question.engine:
            tried = tuple(name for name in tried if name in startable) or tuple(startable[:1])
        row, points = _best(asked, run, tried)
        table = tuple(steps_of(points, 0)) if explain else ()
    return Answer(
        question=asked,
        model=summary(prepared, entry),
        rows=(replace(row, evidence=near(row, prepared.name, asked)),),
        fronts={},
        provenance=provenance(known),
        explain=table,
    )


def _best(asked: Question, run: Run, tried: Sequence[str]) -> tuple[Row, Points]:
    """Return the row of the engine that `plan` ranks first; it says so where several were tried.

    At a rate that is the one that carries most requests, so that the fewest copies are needed.

    Args:
        asked: the question.
        run: estimates the deployment at a load and with an engine.
        tried: names of engines, "" for none in particular; at least one.

    Raises:
        DoesNotFit, NoEvidence: with none of them; the first one's reason.
    """
    found: list[tuple[Row, Points]] = []
    refused: DoesNotFit | NoEvidence | None = None
    for name in tried:
        load = replace(asked, engine=name)
        try:
            made = run(load)
            found.append(made if load.rate is None else carried(load, run, made))
        except (DoesNotFit, NoEvidence) as error:
            refused = refused or error
    if refused is not None and not found:
        raise refused
    row, points = min(found, key=lambda item: _rank(item[0], asked))
    if len(found) > 1:
        names = sorted(item.deployment.engine or "none in particular" for item, _ in found)
        best = row.deployment.engine or "none in particular"
        said = f"no engine is stated: {best} is the best of {', '.join(names)}"
        row = replace(row, notes=(*row.notes, said))
    return row, points


def _rank(row: Row, asked: Question) -> tuple[float, ...]:
    """Return the key by which engines of one deployment are ranked, least first."""
    most = float(row.capacity["requests_per_s"]["value"]) if row.capacity else 0.0
    late, *rest = order(row, asked)
    return (late, -most, *rest)


def _agree(question: Question, place: System, layout: str) -> None:
    """Refuse a layout and a prefill system that would not be used.

    Raises:
        BadInput: no layout where one is needed, one where a compiler places the model, or a prefill system
            without a prefill pool.
    """
    automatic = layout == "auto"
    if place.chip.kind == "dataflow":
        if not automatic:
            raise BadInput(
                f"{place.name} places a model over its chips itself, not as {layout!r}.",
                "Leave --layout out.",
            )
    elif automatic:
        raise BadInput(
            f"No layout says how {place.name} is used.",
            "Give --layout: tp8, tep8, dep16, tp8pp2, or 4xtp4+1xdep32; `assay plan` finds the best.",
        )
    elif question.prefill_platform and "+" not in layout:
        raise BadInput(
            f"Layout {layout!r} has no prefill pool to run on {question.prefill_platform}.",
            "Give --layout 1xtp4+1xtp8: prefill replicas, then decode replicas.",
        )


def legal(text: str, prepared: Model, system: System) -> Layout:
    """Read a layout and check that model and system allow it.

    Raises:
        BadInput: more chips than the system has, TP beyond a scale-up domain, EP without experts, more
            stages than layers, TP ranks that do not divide the heads.
    """
    layout = Layout.parse(text)
    why = forbidden(layout, shape(prepared.architecture), system)
    if why:
        raise BadInput(f"Layout {layout.label()} {why}.", "Choose smaller degrees.")
    return layout


def _row(
    question: Question, prepared: Model, system: System, layout: Layout, known: Catalogue
) -> tuple[Row, Points]:
    price, note = price_of(known, system, question.price)
    drafts = drafting(question, prepared)

    def run(cached: Floats | float, fetch: Floats | float) -> Sweep:
        return _sweep(question, prepared, system, layout, drafts, cached, fetch)

    found, kept = stated(question, run)
    first = np.zeros(1, dtype=np.intp)
    offered = question.rate is not None
    points = gather(found, first, first, price, question.engine, offered=offered, hits=kept)
    notes = tuple(system.warnings) + ((note,) if note else ())
    capacity = float(found.capacity[0, 0])
    if capacity < (question.concurrency or 1):
        notes += (f"memory holds {capacity:.0f} requests at once; the others wait",)
    row = build(Choice(points, 0, 1, True, 0.0), question, notes)
    return told(row, points, 0, question), points


def drafting(question: Question, prepared: Model) -> Speculation | None:
    """Return the speculation of a stated deployment: none, or the usual number of drafts."""
    return None if question.speculation == NONE else options("mtp", prepared, question.acceptance)[-1]


def _sweep(
    question: Question,
    prepared: Model,
    system: System,
    layout: Layout,
    drafts: Speculation | None,
    cached: Floats | float,
    fetch: Floats | float = 0.0,
) -> Sweep:
    found = sweep(
        prepared,
        system,
        (layout,),
        question.weights or "native",
        default_kv(system, question.kv),
        engine(question.engine),
        Lengths(question.isl, question.osl, cached, fetch),
        skew(),
        concurrency=question.concurrency,
        rate=question.rate,
        drafting=drafts,
        copies=only_copies(question, layout),
    )
    if not np.any(found.fits):
        raise refuse(found)
    return found


def counted(text: str) -> tuple[int, str]:
    """Read one pool of a deployment, `4xtp2` or `dep32`, as replicas and layout.

    Raises:
        BadInput: not a pool.
    """
    found = re.fullmatch(r"(?:(\d{1,4})x)?([a-z0-9]+)", text.strip().lower())
    if not found or found[1] == "0":
        raise BadInput(f"Cannot read the pool {text!r}.", "Write 4xtp2+1xdep32: prefill first, then decode.")
    return int(found[1] or 1), found[2]


def _pools(
    question: Question, prepared: Model, system: System, text: str, known: Catalogue
) -> tuple[Row, Points]:
    """Return the row of a stated prefill and decode pool."""
    halves = text.split("+")
    if len(halves) != 2:
        raise BadInput(f"Cannot read {text!r}.", "Write 4xtp2+1xdep32: prefill first, then decode.")
    (many, first_text), (count, last_text) = (counted(half) for half in halves)
    first_system = known.system(question.prefill_platform) if question.prefill_platform else system
    price, note = price_of(known, system, question.price)
    first_price, _ = price_of(known, first_system, question.price)
    plain = replace(question, concurrency=1, rate=None)
    before = legal(first_text, prepared, first_system)

    def run(cached: Floats | float, fetch: Floats | float) -> Sweep:
        return _sweep(plain, prepared, first_system, before, None, cached, fetch)

    first, kept = prefilling(question, run, many)
    drafts = drafting(question, prepared)
    last = _sweep(plain, prepared, system, legal(last_text, prepared, system), drafts, question.cached)
    settings = engine(question.engine)
    both = sides(first, last, settings, UNBOUNDED, batches=FINE, thin=False)
    if both is None:
        raise refuse(last)
    load = (
        {"rate": question.rate}
        if question.rate is not None
        else {"concurrency": float(question.concurrency or 1)}
    )
    found = fixed(both, UNBOUNDED, ((many, count),), **load)
    if not np.any(found.valid):
        raise NoEvidence(
            f"{system.name} has no published rate between its scale-up domains: a cache cannot cross.",
            "Plan both pools within one domain, or give nic_bandwidth in a facts file.",
        )
    if kept is not None:
        found = delayed(found, kept.fetch)
    places = tuple(np.zeros(1, dtype=np.intp) for _ in range(4))
    prices, offered = (first_price, price), question.rate is not None
    points = gather_pairs(both, found, places, prices, question.engine, offered=offered, hits=kept)
    notes = tuple(system.warnings) + ((note,) if note else ())
    row = build(Choice(points, 0, 1, True, 0.0), question, notes)
    return told(row, points, 0, question), points
