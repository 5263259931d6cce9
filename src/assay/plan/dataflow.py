"""Answer for an SRAM dataflow platform: capacity decides the chips, the pipeline the speed.

The machine does whole requests, or only decodes what another platform prefills (`assay.plan.prefilled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.replica import Model, default_kv
from assay.errors import DoesNotFit, NoEvidence
from assay.estimate import BASES, Estimate
from assay.llm.formats import BYTES, native_label, weight_formats
from assay.llm.layout import Layout
from assay.llm.memory import cache_bytes, state_bytes_per_sequence
from assay.plan.pareto import front
from assay.plan.platform import Platform, price_of
from assay.plan.points import charge, energy, inverse, scale
from assay.plan.prefilled import Prefilled, feed, source
from assay.study.answer import FIGURES, Row
from assay.study.deployment import Deployment
from assay.study.question import Question
from assay.timing.dataflow import DataflowResult, Resident, plan_pipeline
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]

#: Sequences in flight that are tried.
CONCURRENCY = 2.0 ** np.arange(0.0, 11.0, 0.5)


@dataclass(frozen=True, slots=True)
class Ways:
    """M ways to run the machine, arrays (M,).

    Attributes:
        place: which operating point of the machine.
        chips: of the machine and of the chips that prefill for it.
        rate: output tokens/s of all.
        ttft: time to first token, s. `users`: requests in flight.
        fits: whether the machine holds the model, and its prompts are carried.
        fed: the chips that prefill; None = the machine does.
    """

    place: NDArray[np.intp]
    chips: Floats
    rate: Estimate
    ttft: Estimate
    users: Floats
    fits: NDArray[np.bool_]
    fed: Prefilled | None = None

    @classmethod
    def of(cls, result: DataflowResult, fed: Prefilled | None) -> Ways:
        """Return every operating point, with every way to feed it if others prefill."""
        if fed is None:
            place = np.arange(len(result.chips))
            return cls(place, result.chips, result.output_rate, result.ttft, result.concurrency, result.fits)
        place = fed.place
        rate = result.output_rate.apply(lambda number: number[place])
        return cls(place, result.chips[place] + fed.chips, rate, fed.ttft, fed.users, fed.valid, fed)


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one dataflow platform, fed by the question's prefill platform if it names one.

    Raises:
        DoesNotFit: more chips would be needed than the largest machine described in public, or two pools are
            asked for and nothing is named to prefill.
        NoEvidence: a fact of a chip that is needed is not published.
        BadInput: a system that cannot prefill for another.
    """
    first = None
    if question.prefill_platform and question.serving != "aggregated":
        first = source(question, system, facts)
    elif question.serving == "disaggregated":
        raise DoesNotFit(
            f"{system.name} has no second pool: its SRAM holds the model once.",
            "Name a system that prefills for it: --prefill-on vr-nvl72.",
        )
    kv = question.kv or ("bf16" if first is None else default_kv(first, ""))
    result = place(model, system, question, kv, prefilled=first is not None)
    if not np.any(result.fits):
        raise refuse(result, model, system)
    ways = Ways.of(result, None if first is None else feed(question, model, (first, system), result, kv))
    price, note = price_of(facts, system, question.price)
    prices = (price, price if first is None else price_of(facts, first, question.price)[0])
    figures = figures_of(result, ways, system, question, prices)
    choice = pick(ways, figures, question)
    notes = (*system.warnings, *(first.warnings if first else ()), *result.warnings)
    notes += (note,) if note else ()
    if not choice.meets:
        notes += (f"misses the limits by a factor of {choice.miss:.3g}",)
    made = {name: figures[name].at(choice.index, len(ways.chips)) for name in FIGURES if name in figures}
    deployment = deployed(result, ways, choice, (system, first), question, model, kv)
    row = _row(result, ways, choice, deployment, made, (system, first), tuple(dict.fromkeys(notes)))
    return Platform((row,), _front(result, ways, figures, (question.weights or "native", kv)))


def place(
    model: Model, system: System, question: Question, kv: str, *, prefilled: bool = False
) -> DataflowResult:
    """Place the model on the system at the question's concurrency, or at several.

    Args:
        model: the model.
        system: where it decodes.
        question: lengths, weight format, concurrency, chips of the machine.
        kv: format of the cache.
        prefilled: whether other chips prefill.
    """
    groups = weight_formats(model.architecture, question.weights or "native")
    users = np.array([float(question.concurrency)]) if question.concurrency else CONCURRENCY
    tokens = question.isl + question.osl
    state = state_bytes_per_sequence(model.architecture, kv)
    cached = cache_bytes(model.architecture, kv, float(tokens)) - state
    resident = Resident(
        operators=model.operators,
        weight_bytes_of={group: BYTES[name] for group, name in groups.items()},
        kv_bytes_per_token=max(cached, 0.0) / tokens,
        state_bytes=state,
        kv_format=kv,
    )
    return plan_pipeline(
        resident,
        system,
        question.isl,
        question.osl,
        users,
        chips=None if prefilled else question.chips,
        prefilled=prefilled,
    )


def refuse(result: DataflowResult, model: Model, system: System) -> DoesNotFit:
    """Return the refusal with the arithmetic of capacity."""
    need = result.memory["weights"][0] + result.memory["cache"][0]
    return DoesNotFit(
        f"{model.name} does not fit: weights and one sequence take {need / 1e9:,.4g} GB of SRAM, that is "
        f"{int(result.chips[0]):,} {system.chip.name} chips, more than the largest machine described.",
        "A narrower weight format needs fewer.",
    )


def figures_of(
    result: DataflowResult,
    ways: Ways,
    system: System,
    question: Question,
    prices: tuple[Price | None, Price | None],
) -> dict[str, Estimate]:
    """Return the figures a row shows, arrays over the ways; `prices` of the machine's and of other chips."""
    rate = ways.rate.apply(lambda number: number / ways.chips)
    tpot = result.tpot.apply(lambda number: number[ways.place])
    made = {
        "ttft_s": ways.ttft,
        "tpot_s": tpot,
        "output_tokens_per_s_per_user": inverse(tpot),
        "output_tokens_per_s_per_chip": rate,
        "total_tokens_per_s_per_chip": scale(rate, (question.isl + question.osl) / question.osl),
    }
    own, other = prices
    if own is not None and other is not None:
        share = result.chips[ways.place] / ways.chips
        usd = [
            share * getattr(own, name) + (1.0 - share) * getattr(other, name)
            for name in ("usd_per_hour", "low", "high")
        ]
        made["usd_per_million_output_tokens"] = charge(rate, *usd)
    if ways.fed is not None:  # what the prefilling boards draw is not counted
        return made
    try:
        power = board_watts(
            system.chip, result.compute_utilisation, result.memory_utilisation, result.link_utilisation
        )
        made["joules_per_output_token"] = energy(rate, power)
    except NoEvidence:
        pass
    return made


@dataclass(frozen=True, slots=True)
class Pick:
    """The way chosen: which one, copies of it, whether limits hold, the factor by which they are missed."""

    index: int
    replicas: int
    meets: bool
    miss: float


def pick(ways: Ways, figures: Mapping[str, Estimate], question: Question) -> Pick:
    """Return the best way by the question's limits and objective, and the copies that its rate needs."""
    miss = np.zeros(len(ways.chips))
    for limit, name in ((question.ttft, "ttft_s"), (question.tpot, "tpot_s")):
        if limit is not None:
            miss = np.maximum(miss, np.asarray(figures[name].value) / limit)
    copies = np.ones(len(ways.chips))
    if question.rate is not None:
        copies = np.ceil(question.rate * question.osl / np.asarray(ways.rate.value))
    if question.chips is not None:
        miss = np.maximum(miss, copies * ways.chips / question.chips)
    score = -np.asarray(figures["output_tokens_per_s_per_chip"].value)
    if question.objective == "latency":
        score = np.asarray(figures["tpot_s"].value)
    elif question.rate is not None:
        score = copies * ways.chips
    elif question.objective == "cost" and "usd_per_million_output_tokens" in figures:
        score = np.asarray(figures["usd_per_million_output_tokens"].value)
    late = np.where(miss > 1.0, miss, 0.0) + np.where(ways.fits, 0.0, np.inf)
    index = int(np.lexsort((score, late))[0])
    if not ways.fits[index]:
        raise DoesNotFit("No count of prefill replicas carries what the machine decodes.")
    return Pick(index, int(copies[index]), bool(miss[index] <= 1.0), float(miss[index]))


def deployed(
    result: DataflowResult,
    ways: Ways,
    choice: Pick,
    systems: tuple[System, System | None],
    question: Question,
    model: Model,
    kv: str,
) -> Deployment:
    """Return what runs where: the machine's stages, and the pool that prefills for it."""
    at = int(ways.place[choice.index])
    per_stage = max(round(float(result.chips_per_stage[at])), 1)
    system, first = systems
    weights = question.weights or "native"
    return Deployment(
        system=system.id,
        system_name=system.name,
        layout=Layout(tp=per_stage, pp=max(int(result.chips[at]) // per_stage, 1)),
        weights=weights if weights != "native" else native_label(model.architecture),
        kv=kv,
        replicas=choice.replicas,
        engine=question.engine,
        prefill=ways.fed.pool(choice.index, choice.replicas) if ways.fed else None,
        prefill_system=first.id if first else "",
    )


def _row(
    result: DataflowResult,
    ways: Ways,
    choice: Pick,
    deployment: Deployment,
    figures: dict[str, Estimate],
    systems: tuple[System, System | None],
    notes: tuple[str, ...],
) -> Row:
    at, index = int(ways.place[choice.index]), choice.index
    machine = float(result.chips[at])
    system, first = systems
    watts = (system.power_watts, first.power_watts if first else 0.0)
    power = None
    if watts[0] and watts[1] is not None:
        power = machine * watts[0] + (float(ways.chips[index]) - machine) * watts[1]
    return Row(
        deployment=deployment,
        concurrency=float(ways.users[index]),
        chips=int(ways.chips[index]) * choice.replicas,
        figures=figures,
        fits=bool(ways.fits[index]),
        meets=choice.meets,
        limited_by=str(result.limited_by[at]),
        basis=max((item.basis for item in figures.values()), key=BASES.index),
        memory={
            name: float(np.ravel(item)[min(at, np.size(item) - 1)]) / machine
            for name, item in result.memory.items()
        },
        power_watts=power * choice.replicas if power else None,
        notes=notes,
    )


def _front(
    result: DataflowResult, ways: Ways, figures: Mapping[str, Estimate], labels: tuple[str, str]
) -> tuple[Mapping[str, Any], ...]:
    per_user = np.where(ways.fits, figures["output_tokens_per_s_per_user"].value, np.nan)
    per_chip = np.where(ways.fits, figures["output_tokens_per_s_per_chip"].value, np.nan)
    n = len(ways.chips)

    def label(k: int) -> str:
        own = f"{int(result.stages[ways.place[k]])} stages"
        return own if ways.fed is None else f"{ways.fed.pool(k).label()} prefill + {own} decode"

    return tuple(
        {
            "concurrency": float(ways.users[k]),
            "chips": int(ways.chips[k]),
            "deployment": label(int(k)),
            "weights": labels[0],
            "kv": labels[1],
        }
        | {name: figures[name].at(int(k), n).json() for name in FIGURES if name in figures}
        for k in front(per_user, per_chip)
    )
