"""One platform's answer to a question: candidates, rows, front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.errors import DoesNotFit, NoEvidence
from assay.estimate import BASES
from assay.llm.formats import native_formats, native_label
from assay.plan.choice import Choice, choose
from assay.plan.moves import limited_by
from assay.plan.pareto import front
from assay.plan.points import Points, gather
from assay.plan.predict import skew
from assay.plan.space import formats, layouts, shape
from assay.plan.sweep import Lengths, candidates, refuse, sweep
from assay.study.answer import FIGURES, Row
from assay.study.deployment import Deployment
from assay.study.question import Question

#: Candidates kept a pair of formats before the measured corrections are applied.
MOST_CANDIDATES = 48
MOST_FRONT = 24


@dataclass(frozen=True, slots=True)
class Platform:
    """What one platform answers: rows best first, and its Pareto front.

    `choices` are the candidates behind the rows; a dataflow platform has none.
    """

    rows: tuple[Row, ...]
    front: tuple[Mapping[str, Any], ...]
    choices: tuple[Choice, ...] = ()


def price_of(facts: Catalogue, system: System, kind: str) -> tuple[Price | None, str]:
    """Return the price of a chip-hour of the wanted kind and a note.

    A price the user states for a chip stands for every kind. None if nobody has published one.
    """
    try:
        return facts.price(system.chip.id, kind), ""
    except NoEvidence as error:
        stated = [price for price in facts.prices(system.chip.id) if price.source == "user"]
        if stated:
            return stated[
                0
            ], f"the price is the one stated in your facts, whatever its kind ({stated[0].kind})"
        return None, error.message


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one platform with GPUs, TPUs or the like.

    Raises:
        DoesNotFit: no legal layout holds the model.
        NoEvidence: a fact of the chip that is needed is not published.
    """
    settings = engine(question.engine)
    legal = tuple(layouts(shape(model.architecture), system, question.chips))
    price, note = price_of(facts, system, question.price)
    kv = default_kv(system, question.kv)
    lengths = Lengths(question.isl, question.osl, question.cached)
    groups, refused = [], None
    for weights in formats(system.chip, question.weights, native_formats(model.architecture)["experts"]):
        found = sweep(
            model, system, legal, weights, kv, settings, lengths, skew(), concurrency=question.concurrency
        )
        if not np.any(found.fits):
            refused = refused or refuse(found)
            continue
        row, column = candidates(found, question.ttft, question.tpot, MOST_CANDIDATES)
        groups.append(gather(found, row, column, price, question.engine))
    if not groups:
        raise refused or DoesNotFit(f"No legal layout of {model.name} on {system.name}.")
    notes = tuple(system.warnings) + ((note,) if note else ())
    chosen = choose(groups, question)
    if question.rate is not None:
        chosen = [settle(choice, question, price) for choice in chosen]
    rows = tuple(build(choice, question, notes) for choice in chosen)
    return Platform(rows, pareto(groups), tuple(chosen))


def settle(choice: Choice, question: Question, price: Price | None) -> Choice:
    """Return the choice at its share of the asked rate, not at the most it could carry."""
    points, index = choice.points, choice.index
    copy = points.found.copy
    found = sweep(
        copy.model,
        copy.system,
        (points.layouts[index],),
        copy.weights,
        copy.kv,
        copy.engine,
        Lengths(question.isl, question.osl, question.cached),
        skew(),
        rate=(question.rate or 0.0) / choice.replicas,
    )
    first = np.zeros(1, dtype=np.intp)
    return replace(choice, points=gather(found, first, first, price, question.engine), index=0)


def build(choice: Choice, question: Question, notes: tuple[str, ...]) -> Row:
    """Return the row of a choice, without its moves (`assay.plan.moves` costs a few sweeps)."""
    points, index = choice.points, choice.index
    copy = points.found.copy
    figures = {name: points.one(name, index) for name in FIGURES if name in points.figures}
    layout = points.layouts[index]
    batch = float(points.outcome.state.batch[index, 0])
    basis = max((item.basis for item in figures.values()), key=BASES.index)
    power = points.system.power_watts
    extra = () if choice.meets else (f"misses the limits by a factor of {choice.miss:.3g}",)
    return Row(
        deployment=Deployment(
            system=points.system.id,
            system_name=points.system.name,
            layout=layout,
            weights=copy.weights if copy.weights != "native" else native_label(copy.model.architecture),
            kv=copy.kv,
            replicas=choice.replicas,
            engine=question.engine,
        ),
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
    )


def pareto(groups: list[Points]) -> tuple[Mapping[str, Any], ...]:
    """Return the front of all candidates of a platform, fastest user first."""
    per_user = np.concatenate([item.value("output_tokens_per_s_per_user") for item in groups])
    per_chip = np.concatenate([item.value("output_tokens_per_s_per_chip") for item in groups])
    owners = [(item, index) for item in groups for index in range(len(item.layouts))]
    kept = front(per_user, per_chip)
    if len(kept) > MOST_FRONT:
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, MOST_FRONT).round().astype(np.intp))]
    return tuple(point(*owners[int(k)]) for k in kept)


def point(points: Points, index: int) -> Mapping[str, Any]:
    """Return one point of a front as plain data."""
    copy = points.found.copy
    return {
        "concurrency": float(points.concurrency[index]),
        "chips": int(points.chips[index]),
        "deployment": points.layouts[index].label(),
        "weights": copy.weights,
        "kv": copy.kv,
    } | {name: points.one(name, index).json() for name in FIGURES if name in points.figures}
