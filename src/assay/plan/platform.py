"""One platform's answer to a question: candidates, rows, front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.catalogue.quality import quality_note
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.models import is_file
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.engine.speculation import Speculation
from assay.engine.split import networked
from assay.errors import BadInput, DoesNotFit, NoEvidence
from assay.estimate import BASES
from assay.llm.formats import native_formats, native_label
from assay.llm.layout import Layout
from assay.plan.choice import Choice, choose
from assay.plan.crossover import remarks
from assay.plan.disaggregate import pairs, shortlist, sides
from assay.plan.moves import limited_by
from assay.plan.pareto import front
from assay.plan.points import Points, gather, gather_pairs
from assay.plan.predict import skew
from assay.plan.space import formats, layouts, shape
from assay.plan.speculate import label, options
from assay.plan.sweep import Lengths, Sweep, candidates, refuse, surpassed, sweep
from assay.study.answer import FIGURES, Row
from assay.study.conditions import Pool
from assay.study.deployment import Deployment
from assay.study.question import Question

#: Candidates kept a pair of formats before the measured corrections are applied.
MOST_CANDIDATES = 64
MOST_PAIRS = 64
MOST_FRONT = 24
#: A deployment sized for a rate may have any number of replicas.
UNBOUNDED = 1e6


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question is answered: a platform, its prices, its legal layouts, formats apart.

    Attributes:
        question, model, system: what is asked of what.
        first: system of the prefill pool of disaggregated deployments.
        price, first_price: USD per chip-hour of the platform and of the prefill pool.
        legal: layouts of a replica, and those of the prefill pool.
        kv: KV format.
    """

    question: Question
    model: Model
    system: System
    first: System
    price: Price | None
    first_price: Price | None
    legal: tuple[tuple[Layout, ...], tuple[Layout, ...]]
    kv: str

    @property
    def lengths(self) -> Lengths:
        """The workload."""
        return Lengths(self.question.isl, self.question.osl, self.question.cached)

    @property
    def limit(self) -> float:
        """Greatest number of chips of a disaggregated deployment."""
        asked, most = self.question.chips, self.system.max_chips
        if self.first.id != self.system.id:
            most += self.first.max_chips
        if self.question.rate is not None:
            return float(asked or UNBOUNDED)
        return float(min(asked or most, most))


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one platform with GPUs, TPUs or the like.

    Raises:
        DoesNotFit: no legal layout holds the model.
        NoEvidence: a fact of the chip that is needed is not published.
    """
    place, notes = _place(question, model, system, facts)
    together, apart = [], []
    swept: list[Sweep] = []
    refused: DoesNotFit | None = None
    tried = formats(system.chip, question.weights, native_formats(model.architecture)["experts"])
    drafts = options(question.speculation, model)
    sweeps = {weights: [_sweep(place, system, weights, item) for item in drafts] for weights in tried}
    for weights, found_all in sweeps.items():
        rivals = [item for other, items in sweeps.items() if other != weights for item in items]
        for found in found_all:
            if not np.any(found.fits):
                refused = refused or refuse(found)
            elif question.top == 1 and surpassed(found, rivals):
                continue
            elif question.serving != "disaggregated":
                row, column = candidates(found, question.ttft, question.tpot, MOST_CANDIDATES)
                together.append(gather(found, row, column, place.price, question.engine))
                swept.append(found)
            if question.serving != "aggregated" and question.osl > 1:
                apart.extend(_disaggregated(place, weights, found_all[0], found))
    groups = together + apart
    if not groups:
        raise refused or DoesNotFit(_nothing(question, model, system))
    chosen = choose(groups, question)
    if question.rate is not None:
        chosen = [settle(choice, question, place.price) for choice in chosen]
    rows = [build(choice, question, notes) for choice in chosen]
    if rows:
        rows[0] = replace(rows[0], notes=rows[0].notes + remarks(question, chosen[0], together, apart, swept))
    return Platform(tuple(rows), pareto(groups), tuple(chosen))


def _place(
    question: Question, model: Model, system: System, facts: Catalogue
) -> tuple[Place, tuple[str, ...]]:
    """Return where a question is answered, and what a reader must know about the system.

    Raises:
        NoEvidence: a cap on power or money that nobody can check.
        BadInput: a prefill system that cannot be one.
    """
    price, note = price_of(facts, system, question.price)
    if question.power is not None and not system.power_watts:
        raise NoEvidence(
            f"The provisioned power of {system.name} is not published: a power cap cannot be checked."
        )
    if question.budget is not None and price is None:
        raise NoEvidence(f"{note} A budget cannot be checked.")
    first, first_price = system, price
    if question.prefill_platform:
        first = facts.system(question.prefill_platform)
        if first.chip.kind == "dataflow":
            raise BadInput(
                f"{first.name} cannot prefill for another system: its weights stay resident in SRAM.",
                "Name a system with GPUs, TPUs or the like.",
            )
        if first.id != system.id and question.serving != "aggregated":
            networked((first, system))
        first_price, _ = price_of(facts, first, question.price)
    bounds = shape(model.architecture)
    legal = tuple(layouts(bounds, system, question.chips))
    other = legal if first.id == system.id else tuple(layouts(bounds, first, question.chips))
    kv = default_kv(system, question.kv)
    notes = tuple(system.warnings) + ((note,) if note else ())
    return Place(question, model, system, first, price, first_price, (legal, other), kv), notes


def _nothing(question: Question, model: Model, system: System) -> str:
    if question.serving == "disaggregated":
        return f"No disaggregated deployment of {model.name} on {system.name}: two pools need more chips."
    return f"No legal layout of {model.name} on {system.name}."


def _sweep(place: Place, system: System, weights: str, drafting: Speculation | None) -> Sweep:
    return sweep(
        place.model,
        system,
        place.legal[system.id == place.first.id and system.id != place.system.id],
        weights,
        place.kv,
        engine(place.question.engine),
        place.lengths,
        skew(),
        concurrency=place.question.concurrency,
        drafting=drafting,
    )


def _disaggregated(place: Place, weights: str, plain: Sweep, found: Sweep) -> list[Points]:
    """Return the disaggregated candidates in one pair of formats: none, or one group.

    Args:
        place: where the question is answered.
        weights: weight format.
        plain: sweep without drafts, whose compiled step times prompts; `found`: the one that decodes.
    """
    question, settings = place.question, engine(place.question.engine)
    first = plain
    if place.first.id != place.system.id:
        first = _sweep(place, place.first, weights, None)
    if plain.step.workload.drafts:
        first = _sweep(place, place.first, weights, None)
    both = sides(first, found, settings, place.limit)
    if both is None:
        return []
    matches = pairs(both, place.limit, rate=question.rate, concurrency=question.concurrency)
    places = shortlist(matches, question.osl, question.ttft, question.tpot, MOST_PAIRS)
    if not len(places[0]):
        return []
    prices, offered = (place.first_price, place.price), question.rate is not None
    return [gather_pairs(both, matches, places, prices, question.engine, offered=offered)]


def settle(choice: Choice, question: Question, price: Price | None) -> Choice:
    """Return the choice at its share of the asked rate, not at the most it could carry."""
    points, index = choice.points, choice.index
    if points.side is not None:  # its pools are sized for the rate
        return choice
    copy = points.found.copy
    work = points.found.step.workload
    drafting = Speculation(int(work.drafts), np.atleast_1d(work.yields), int(work.drafts))
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
        drafting=drafting,
    )
    first = np.zeros(1, dtype=np.intp)
    points = gather(found, first, first, price, question.engine, offered=True)
    return replace(choice, points=points, index=0)


def build(choice: Choice, question: Question, notes: tuple[str, ...]) -> Row:
    """Return the row of a choice, without its moves (`assay.plan.moves` costs a few sweeps)."""
    points, index = choice.points, choice.index
    copy = points.found.copy
    figures = {name: points.one(name, index) for name in FIGURES if name in points.figures}
    layout = points.layouts[index]
    batch = float(points.outcome.state.batch[index, 0])
    basis = max((item.basis for item in figures.values()), key=BASES.index)
    power = points.system.power_watts
    extra: tuple[str, ...] = () if choice.meets else (f"misses the limits by a factor of {choice.miss:.3g}",)
    quality = None if is_file(question.model) else quality_note(copy.model.name, copy.weights)
    extra += (quality,) if quality else ()
    return Row(
        deployment=deployment(choice, question),
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


def deployment(choice: Choice, question: Question) -> Deployment:
    """Return what a choice runs where."""
    points, index, side = choice.points, choice.index, choice.points.side
    copy = points.found.copy
    prefill, other, replicas = None, "", choice.replicas + choice.spares
    if side is not None:
        pool = side.pool(index)
        prefill = Pool(pool.layout, pool.replicas * choice.replicas + choice.spares)
        replicas = int(side.decode[index]) * choice.replicas + choice.spares
        other = side.copy.system.id if side.copy.system.id != copy.system.id else ""
    return Deployment(
        system=points.system.id,
        system_name=points.system.name,
        layout=points.layouts[index],
        weights=copy.weights if copy.weights != "native" else native_label(copy.model.architecture),
        kv=copy.kv,
        replicas=replicas,
        engine=question.engine,
        prefill=prefill,
        prefill_system=other,
        speculation=label(copy.model, points.found.step.workload.drafts),
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
    made = deployment(Choice(points, index, 1, True, 0.0), Question(copy.model.name))
    return {
        "concurrency": float(points.concurrency[index]),
        "chips": int(points.chips[index]),
        "deployment": made.label(),
        "serving": made.serving,
        "weights": copy.weights,
        "kv": copy.kv,
    } | {name: points.one(name, index).json() for name in FIGURES if name in points.figures}
