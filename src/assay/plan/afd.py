"""Attention and experts of the decode pool on chips of their own: every ratio, fed by a prefill pool.

The physics is `assay.engine.afd`. Attention layouts, expert counts, micro-batches and batch sizes are arrays;
the fronts of them are fed by prefill replicas (`assay.plan.prefilled`). Nothing measured is near such a
deployment, so its figures have the width of an uncorrected one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.engine.afd import Parts, parts
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.engine.residual import UNCALIBRATED
from assay.engine.speculation import Speculation
from assay.engine.split import networked
from assay.engine.step import Workload
from assay.errors import BadInput, DoesNotFit
from assay.estimate import BASES, Estimate
from assay.llm.formats import native_label
from assay.llm.layout import Layout
from assay.llm.shard import cache_bytes
from assay.plan.pareto import front
from assay.plan.place import price_of
from assay.plan.platform import Platform
from assay.plan.predict import skew
from assay.plan.prefilled import Decoder, feed, source
from assay.plan.space import divides, shape, sizes
from assay.plan.speculate import label, options
from assay.plan.sweep import BATCHES
from assay.plan.ways import Pick, Ways, frontier, mean_price, pick, shown
from assay.study.answer import FIGURES, Row
from assay.study.conditions import Pool
from assay.study.deployment import Deployment
from assay.study.question import Question

Floats = NDArray[np.float64]
Places = tuple[NDArray[np.intp], ...]

#: No drafts.
NOTHING = Speculation(0, np.ones(1), 0)
#: Sequences of a micro-batch that are tried go up to this.
MOST = 16384.0
#: Machines within these parts of the largest have fronts of their own.
PARTS = (1.0, 0.75, 0.5, 0.25, 0.125)


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one platform that decodes with attention and experts apart.

    Raises:
        BadInput: a dense model, or a prefix cache.
        DoesNotFit: no pair of layouts holds the model.
        NoEvidence: a fact that is needed is not published.
    """
    if question.caches is not None:
        raise BadInput(
            "Prefix caches with attention and experts apart are not modelled.", "State --cached instead."
        )
    other = facts.system(question.experts_platform or system.id)
    if other.id != system.id:
        networked((system, other))
    for item in (system, other):
        if item.chip.kind == "dataflow":
            raise DoesNotFit(
                f"{item.name}: attention and experts apart are modelled for GPUs, TPUs and the like.",
                "A dataflow machine decodes whole models: --prefill-on names what prefills for it.",
            )
    first = source(question, system, facts)
    tried = options(question.speculation, model, question.acceptance)
    answers = [
        _answer(question, model, (system, other, first), facts, drafting if drafting else NOTHING)
        for drafting in tried
    ]
    return min(answers, key=lambda item: _rank(item.rows[0], question.objective))


def _rank(row: Row, objective: str) -> tuple[float, ...]:
    """Return what orders ways to draft: limits met, then what the objective minimises."""
    rate = float(row.figures["output_tokens_per_s_per_chip"].value)
    return float(not row.meets), float(row.figures["tpot_s"].value) if objective == "latency" else -rate


def _answer(
    question: Question,
    model: Model,
    systems: tuple[System, System, System],
    facts: Catalogue,
    drafting: Speculation,
) -> Platform:
    """Answer with one way to draft.

    Args:
        question: what is asked.
        model: the model.
        systems: of attention, of experts, and what prefills.
        facts: for prices.
        drafting: the drafts.
    """
    system, other, first = systems
    kv = default_kv(system, question.kv)
    found = search(question, model, (system, other), kv, drafting)
    places = kept(found)
    if not len(places[0]):
        raise DoesNotFit(
            f"{model.name} fits no pair of attention and expert chips on {system.name}.",
            "More chips or a narrower weight format would hold it.",
        )
    tpot, rate = operating(found, places)
    machine = _decoder(found, places, system, tpot, np.asarray(rate.value), question.isl)
    ways = Ways.of(machine, rate, feed(question, model, first, machine, kv))
    if question.rate is None:
        most = sum({item.id: item.max_chips for item in (system, other, first)}.values())
        ways = replace(ways, fits=ways.fits & (ways.chips <= most))
    prices = [price_of(facts, item, question.price)[0] for item in (system, other, first)]
    chips = [
        np.asarray(copy.table.degrees.chips[places[side]][ways.place])
        for side, copy in enumerate((found.attention, found.experts))
    ]
    usd = mean_price(list(zip((*chips, ways.chips - chips[0] - chips[1]), prices, strict=True)))
    figures = shown(ways, tpot, question, usd)
    choice = pick(ways, figures, question)
    made = {name: figures[name].at(choice.index, len(ways.chips)) for name in FIGURES if name in figures}
    drafts = label(model, drafting.drafts)
    row = _row(found, places, ways, choice, systems, question, made, drafts)

    def named(index: int) -> str:
        picked = Pick(index, 1, True, 0.0)
        return _deployment(found, places, ways, picked, systems, question, drafts).label()

    return Platform((row,), frontier(ways, figures, named, (found.attention.weights, kv)))


def search(
    question: Question,
    model: Model,
    systems: tuple[System, System],
    kv: str,
    drafting: Speculation,
) -> Parts:
    """Time every attention layout with every number of expert chips at many batches."""
    yields = float(drafting.yields[0])
    bounds = shape(model.architecture)
    limits = [min(question.chips or item.max_chips, item.max_chips) for item in systems]
    groups = [
        sorted({*sizes(limit, item.domain), *_between(limit)})
        for limit, item in zip(limits, systems, strict=True)
    ]
    attention = tuple(
        Layout(tp=tp, dp=chips // tp)
        for chips in groups[0]
        for tp in (1, 2, 4, 8)
        if chips % tp == 0 and tp <= systems[0].domain and divides(tp, bounds)
    )
    experts = tuple(
        Layout(tp=tp, dp=chips // tp, ep=chips // tp)
        for chips in groups[1]
        for tp in (1, 2, 4, 8)
        if chips % tp == 0 and tp <= systems[1].domain and chips // tp <= max(bounds.experts, 1)
    )
    return parts(
        model,
        systems,
        (attention, experts),
        (question.weights or "native", kv),
        engine(question.engine),
        Workload(float(question.isl), float(question.osl), drafts=float(drafting.drafts), yields=yields),
        skew(),
        batch=np.exp(np.linspace(0.0, np.log(MOST), 2 * BATCHES)),
        limit=float(limits[0] if systems[0].id == systems[1].id else sum(limits)),
    )


def _between(limit: int) -> list[int]:
    """Return three times the powers of two up to `limit`: ratios of 2 to 3 and 3 to 4."""
    return [3 << k for k in range(limit.bit_length()) if 3 << k <= limit]


def kept(found: Parts) -> Places:
    """Return the places (A, E, M, N) on the fronts of tok/s/user against tok/s per chip.

    The front of all, and those of machines within parts of the largest: a prefill pool needs chips too.
    """
    per_user = np.where(found.fits, 1.0 / found.tpot, np.nan)
    per_chip = np.broadcast_to(found.batch / found.tpot / found.chips, per_user.shape).ravel()
    most = float(found.chips.max())
    flat = [front(np.where(found.chips <= most * part, per_user, np.nan).ravel(), per_chip) for part in PARTS]
    places = np.unravel_index(np.unique(np.concatenate(flat)), per_user.shape)
    return tuple(np.asarray(item, dtype=np.intp) for item in places)


def operating(found: Parts, places: Places) -> tuple[Estimate, Estimate]:
    """Return time per output token and output tokens/s of all chips at the places, (B,)."""
    wide = np.exp(UNCALIBRATED)
    least = found.least[places]
    value = found.tpot[places]
    batch = np.broadcast_to(found.batch, found.tpot.shape)[places]
    tpot = Estimate(value, np.maximum(value / wide, least), value * wide, least, "datasheet")
    rate = Estimate(batch / value, batch / tpot.high, batch / tpot.low, batch / least, "datasheet")
    return tpot, rate


def _decoder(found: Parts, places: Places, system: System, tpot: Estimate, rate: Floats, isl: int) -> Decoder:
    table = found.attention.table
    chips = np.broadcast_to(found.chips, found.tpot.shape)[places]
    each = cache_bytes(table, np.array([[float(isl)]]))[:, 0][places[0]]
    return Decoder(system, tpot, rate, chips, found.fits[places], each, table.degrees.dp[places[0]])


def _deployment(
    found: Parts,
    places: Places,
    ways: Ways,
    choice: Pick,
    systems: tuple[System, System, System],
    question: Question,
    drafts: str,
) -> Deployment:
    at = int(ways.place[choice.index])
    system, other, first = systems
    weights = found.attention.weights
    attention = found.attention
    return Deployment(
        system=system.id,
        system_name=system.name,
        layout=attention.table.layouts[int(places[0][at])],
        weights=weights if weights != "native" else native_label(attention.model.architecture),
        kv=attention.kv,
        replicas=choice.replicas,
        engine=question.engine,
        prefill=ways.fed.pool(choice.index, choice.replicas) if ways.fed else None,
        prefill_system=first.id if first.id != system.id else "",
        experts=Pool(found.experts.table.layouts[int(places[1][at])], choice.replicas),
        experts_system=other.id if other.id != system.id else "",
        speculation=drafts,
    )


def _row(
    found: Parts,
    places: Places,
    ways: Ways,
    choice: Pick,
    systems: tuple[System, System, System],
    question: Question,
    figures: dict[str, Estimate],
    drafts: str,
) -> Row:
    at = int(ways.place[choice.index])
    place = tuple(int(item[at]) for item in places)
    sequences = float(np.broadcast_to(found.batch, found.tpot.shape)[place])
    turns = int(np.broadcast_to(found.turns, found.tpot.shape)[place])
    parted = {
        "attention chips": float(turns * found.attending[place[0], 0, 0, place[3]]),
        "expert chips": float(turns * found.computing[0, place[1], 0, place[3]]),
        "exchange": float(turns * found.crossing[place[0], place[1], 0, place[3]]),
        "a micro-batch's own way": float(found.tpot[place]) * found.yields,
    }
    busiest = max(parted, key=lambda name: parted[name])
    notes = tuple(dict.fromkeys(warning for item in systems for warning in item.warnings))
    notes += (f"{turns} micro-batches take turns between attention and expert chips",)
    if not choice.meets:
        notes += (f"misses the limits by a factor of {choice.miss:.3g}",)
    same = all(item.id == systems[0].id for item in systems)
    watts = systems[0].power_watts if same else None
    chips = int(ways.chips[choice.index]) * choice.replicas
    return Row(
        deployment=_deployment(found, places, ways, choice, systems, question, drafts),
        concurrency=float(ways.users[choice.index]),
        chips=chips,
        figures=figures,
        fits=True,
        meets=choice.meets,
        limited_by=busiest,
        basis=max((item.basis for item in figures.values()), key=BASES.index),
        memory=found.attention.memory(place[0], sequences, question.isl + question.osl / 2),
        power_watts=watts * chips if watts else None,
        notes=notes,
    )
