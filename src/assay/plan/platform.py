"""One platform's answer to a question: candidates, rows, front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.quality import quality_note
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.models import is_file
from assay.engine.replica import Model
from assay.engine.speculation import Speculation
from assay.errors import DoesNotFit
from assay.estimate import BASES
from assay.llm.formats import native_label
from assay.plan.caches import stated
from assay.plan.candidates import Candidates, offered
from assay.plan.choice import Choice, choose
from assay.plan.crossover import remarks
from assay.plan.engines import engines
from assay.plan.experts import redundancy_note, redundant_of
from assay.plan.finer import seconds
from assay.plan.inputs import cache_of
from assay.plan.moves import limited_by
from assay.plan.pareto import front
from assay.plan.place import place_of
from assay.plan.points import ENERGY, Points, gather
from assay.plan.predict import skew
from assay.plan.speculate import label
from assay.plan.sweep import Lengths, Sweep, sweep
from assay.study.answer import FIGURES, Row
from assay.study.conditions import Pool
from assay.study.deployment import Deployment
from assay.study.question import Question

Floats = NDArray[np.float64]

#: Points of a front that are shown.
MOST_FRONT = 24


@dataclass(frozen=True, slots=True)
class Platform:
    """What one platform answers: rows best first, and its Pareto front.

    `choices` are the candidates behind the rows; a dataflow platform has none.
    """

    rows: tuple[Row, ...]
    front: tuple[Mapping[str, Any], ...]
    choices: tuple[Choice, ...] = ()


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one platform with GPUs, TPUs or the like, with the best of its engines.

    Raises:
        DoesNotFit: no legal layout holds the model.
        NoEvidence: a fact of the chip that is needed is not published.
    """
    place, notes = place_of(question, model, system, facts)
    tried: list[Candidates] = []
    refused: DoesNotFit | None = None
    for name in engines(question.engine, model.name, system, facts):
        try:
            tried.append(offered(replace(place, question=replace(question, engine=name))))
        except DoesNotFit as error:
            refused = refused or error
    groups = [points for found in tried for points in found.together]
    groups += [look.first for found in tried for look in found.apart]
    groups += seconds([look for found in tried for look in (*found.near, *found.apart)], question)
    if not groups:
        raise refused or DoesNotFit(_nothing(question, model, system))
    chosen = choose(groups, question)
    if question.rate is not None:
        chosen = [settle(choice, question, place.price) for choice in chosen]
    rows = [build(choice, question, notes) for choice in chosen]
    if rows:
        best = chosen[0].points.found.copy.engine.named
        swept = [sweep for found in tried if found.engine == best for sweep in found.swept]
        own = [points for points in groups if points.found.copy.engine.named == best]
        together = [points for points in own if points.side is None]
        apart = [points for points in own if points.side is not None]
        said = remarks(question, chosen[0], together, apart, swept)
        rows[0] = replace(rows[0], notes=said + rows[0].notes)
    return Platform(tuple(rows), pareto(groups), tuple(chosen))


def _nothing(question: Question, model: Model, system: System) -> str:
    if question.serving == "disaggregated":
        return f"No disaggregated deployment of {model.name} on {system.name}: two pools need more chips."
    return f"No legal layout of {model.name} on {system.name}."


def settle(choice: Choice, question: Question, price: Price | None) -> Choice:
    """Return the choice at its share of the asked rate, not at the most it could carry.

    With a prefix cache copies are added where fewer hits than at another batch leave them too few.
    """
    points, index = choice.points, choice.index
    if points.side is not None:  # its pools are sized for the rate
        return choice
    copy = points.found.copy
    work = points.found.step.workload
    drafting = Speculation(int(work.drafts), np.atleast_1d(work.yields), int(work.drafts))

    def run(cached: Floats | float, fetch: Floats | float) -> Sweep:
        return sweep(
            copy.model,
            copy.system,
            (points.layouts[index],),
            copy.weights,
            copy.kv,
            copy.engine,
            Lengths(question.isl, question.osl, cached, fetch),
            skew(),
            rate=(question.rate or 0.0) / replicas,
            drafting=drafting,
            copies=copy.copies,
        )

    replicas = choice.replicas
    found, known = stated(question, run, replicas)
    while known is not None and not np.isfinite(found.state.ttft[0, 0]) and replicas < 2 * choice.replicas:
        replicas += 1
        found, known = stated(question, run, replicas)
    first = np.zeros(1, dtype=np.intp)
    points = gather(found, first, first, price, copy.engine.named, offered=True, hits=known)
    return replace(choice, points=points, index=0, replicas=replicas)


def build(choice: Choice, question: Question, notes: tuple[str, ...]) -> Row:
    """Return the row of a choice, without its moves (`assay.plan.moves` costs a few sweeps)."""
    points, index = choice.points, choice.index
    copy = points.found.copy
    figures = {name: points.one(name, index) for name in FIGURES if name in points.figures}
    layout = points.layouts[index]
    batch = float(points.outcome.state.batch[index, 0])
    ranked = [item for name, item in figures.items() if name != ENERGY or question.objective == "energy"]
    basis = max((item.basis for item in ranked), key=BASES.index)
    power = points.system.power_watts
    extra: tuple[str, ...] = () if choice.meets else (f"misses the limits by a factor of {choice.miss:.3g}",)
    quality = None if is_file(question.model) else quality_note(copy.model.name, copy.weights)
    extra += (quality,) if quality else ()
    extra += redundancy_note(copy, layout)
    return Row(
        deployment=deployment(choice),
        concurrency=float(points.concurrency[index]),
        chips=choice.chips,
        figures=figures,
        fits=True,
        meets=choice.meets,
        limited_by=limited_by(points, index),
        basis=basis,
        memory=copy.memory(copy.table.layouts.index(layout), batch, question.isl + question.osl / 2),
        power_watts=power * choice.chips if power else None,
        notes=notes + extra,
        cache=cache_of(points, index, question) if question.caches is not None else {},
    )


def deployment(choice: Choice) -> Deployment:
    """Return what a choice runs where."""
    points, index, side = choice.points, choice.index, choice.points.side
    copy = points.found.copy
    prefill, other, replicas, copied = None, "", choice.replicas + choice.spares, 0
    if side is not None:
        pool = side.pool(index)
        prefill = Pool(pool.layout, pool.replicas * choice.replicas + choice.spares)
        replicas = int(side.decode[index]) * choice.replicas + choice.spares
        copied = redundant_of(side.copy, pool.layout)
        other = side.copy.system.id if side.copy.system.id != copy.system.id else ""
    return Deployment(
        system=points.system.id,
        system_name=points.system.name,
        layout=points.layouts[index],
        weights=copy.weights if copy.weights != "native" else native_label(copy.model.architecture),
        kv=copy.kv,
        replicas=replicas,
        engine=copy.engine.named,
        prefill=prefill,
        prefill_system=other,
        speculation=label(copy.model, points.found.step.workload.drafts),
        redundant=redundant_of(copy, points.layouts[index]),
        prefill_redundant=copied,
    )


def pareto(groups: list[Points]) -> tuple[Mapping[str, Any], ...]:
    """Return the front of all candidates of a platform, fastest user first."""
    per_user = np.concatenate([item.value("output_tokens_per_s_per_user") for item in groups])
    per_chip = np.concatenate([item.value("output_tokens_per_s_per_chip") for item in groups])
    kept = front(per_user, per_chip)
    if len(kept) > MOST_FRONT:
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, MOST_FRONT).round().astype(np.intp))]
    made: dict[int, Mapping[str, Any]] = {}
    start = 0
    for item in groups:
        inside = kept[(kept >= start) & (kept < start + len(item.layouts))]
        made |= zip(inside.tolist(), plain(item, inside - start), strict=True)
        start += len(item.layouts)
    return tuple(made[place] for place in kept.tolist())


def plain(points: Points, index: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return points of a front as plain data."""
    copy, n = points.found.copy, len(points.layouts)
    names = [name for name in FIGURES if name in points.figures]
    figures = zip(*(points.figures[name].rows(index, n) for name in names), strict=True)
    return [
        {
            "concurrency": float(points.concurrency[place]),
            "chips": int(points.chips[place]),
            "deployment": made.label(),
            "serving": made.serving,
            "engine": made.engine,
            "weights": copy.weights,
            "kv": copy.kv,
        }
        | dict(zip(names, row, strict=True))
        for place, row in zip(index.tolist(), figures, strict=True)
        for made in [deployment(Choice(points, place, 1, True, 0.0))]
    ]
