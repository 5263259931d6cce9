"""Answer for an SRAM dataflow platform: capacity decides the chips, the pipeline the speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.replica import Model
from assay.errors import DoesNotFit, NoEvidence
from assay.estimate import BASES, Estimate
from assay.llm.formats import BYTES, native_label, weight_formats
from assay.llm.layout import Layout
from assay.llm.memory import cache_bytes, state_bytes_per_sequence
from assay.plan.pareto import front
from assay.plan.place import price_of
from assay.plan.platform import Platform
from assay.plan.points import cost, energy, inverse, scale
from assay.study.answer import FIGURES, Row
from assay.study.deployment import Deployment
from assay.study.question import Question
from assay.timing.dataflow import DataflowResult, Resident, plan_pipeline
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]

#: Sequences in flight that are tried.
CONCURRENCY = 2.0 ** np.arange(0.0, 11.0, 0.5)


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one dataflow platform.

    Raises:
        DoesNotFit: more chips would be needed than the largest machine described in public.
        NoEvidence: a fact of the chip that is needed is not published, or a prefix cache is asked for.
    """
    if question.caches is not None:
        raise NoEvidence(
            f"How {system.name} keeps and finds cached prefixes is not published.",
            "Leave out the prefix cache for it.",
        )
    price, note = price_of(facts, system, question.price)
    weights = question.weights or "native"
    kv = question.kv or "bf16"
    users = np.array([float(question.concurrency)]) if question.concurrency else CONCURRENCY
    result = place(model, system, question, weights, kv, users)
    if not np.any(result.fits):
        raise refuse(result, model, system)
    figures = figures_of(result, system, question, price)
    index, replicas, meets, miss = pick(result, figures, question)
    notes = tuple(dict.fromkeys((*system.warnings, *result.warnings))) + ((note,) if note else ())
    if not meets:
        notes += (f"misses the limits by a factor of {miss:.3g}",)
    label = weights if weights != "native" else native_label(model.architecture)
    row = _row(result, figures, (index, replicas, meets), system, question, (label, kv), notes)
    return Platform((row,), _front(result, figures, (weights, kv)))


def place(
    model: Model, system: System, question: Question, weights: str, kv: str, users: Floats
) -> DataflowResult:
    """Place the model on the system at several concurrencies."""
    groups = weight_formats(model.architecture, weights)
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
    return plan_pipeline(resident, system, question.isl, question.osl, users, chips=question.chips)


def refuse(result: DataflowResult, model: Model, system: System) -> DoesNotFit:
    """Return the refusal with the arithmetic of capacity."""
    need = result.memory["weights"][0] + result.memory["cache"][0]
    return DoesNotFit(
        f"{model.name} does not fit: weights and one sequence take {need / 1e9:,.4g} GB of SRAM, that is "
        f"{int(result.chips[0]):,} {system.chip.name} chips, more than the largest machine described.",
        "A narrower weight format needs fewer.",
    )


def figures_of(
    result: DataflowResult, system: System, question: Question, price: Price | None
) -> dict[str, Estimate]:
    """Return the figures a row shows, arrays over the concurrencies."""
    chips = np.asarray(result.chips, dtype=np.float64)
    rate = result.output_rate.apply(lambda number: number / chips)
    made = {
        "ttft_s": result.ttft,
        "tpot_s": result.tpot,
        "output_tokens_per_s_per_user": inverse(result.tpot),
        "output_tokens_per_s_per_chip": rate,
        "total_tokens_per_s_per_chip": scale(rate, (question.isl + question.osl) / question.osl),
    }
    if price is not None:
        made["usd_per_million_output_tokens"] = cost(rate, price)
    try:
        power = board_watts(
            system.chip, result.compute_utilisation, result.memory_utilisation, result.link_utilisation
        )
        made["joules_per_output_token"] = energy(rate, power)
    except NoEvidence:
        pass
    return made


def pick(
    result: DataflowResult, figures: Mapping[str, Estimate], question: Question
) -> tuple[int, int, bool, float]:
    """Return the index of the best concurrency, the replicas a rate needs, whether limits hold, the miss."""
    miss = np.zeros(len(result.chips))
    for limit, name in ((question.ttft, "ttft_s"), (question.tpot, "tpot_s")):
        if limit is not None:
            miss = np.maximum(miss, np.asarray(figures[name].value) / limit)
    copies = np.ones(len(result.chips))
    if question.rate is not None:
        copies = np.ceil(question.rate * question.osl / np.asarray(result.output_rate.value))
    if question.chips is not None:
        miss = np.maximum(miss, copies * result.chips / question.chips)
    score = -np.asarray(figures["output_tokens_per_s_per_chip"].value)
    if question.objective == "latency":
        score = np.asarray(figures["tpot_s"].value)
    elif question.rate is not None:
        score = copies * result.chips
    late = np.where(miss > 1.0, miss, 0.0) + np.where(result.fits, 0.0, np.inf)
    index = int(np.lexsort((score, late))[0])
    return index, int(copies[index]), bool(miss[index] <= 1.0), float(miss[index])


def _row(
    result: DataflowResult,
    figures: Mapping[str, Estimate],
    choice: tuple[int, int, bool],
    system: System,
    question: Question,
    labels: tuple[str, str],
    notes: tuple[str, ...],
) -> Row:
    index, replicas, meets = choice
    made = {name: figures[name].at(index, len(result.chips)) for name in FIGURES if name in figures}
    chips = int(result.chips[index])
    per_stage = max(round(float(result.chips_per_stage[index])), 1)
    power = system.power_watts
    return Row(
        deployment=Deployment(
            system=system.id,
            system_name=system.name,
            layout=Layout(tp=per_stage, pp=max(chips // per_stage, 1)),
            weights=labels[0],
            kv=labels[1],
            replicas=replicas,
            engine=question.engine,
        ),
        concurrency=float(result.concurrency[index]),
        chips=chips * replicas,
        figures=made,
        fits=bool(result.fits[index]),
        meets=meets,
        limited_by=str(result.limited_by[index]),
        basis=max((item.basis for item in made.values()), key=BASES.index),
        memory={
            name: float(np.ravel(item)[min(index, np.size(item) - 1)]) / chips
            for name, item in result.memory.items()
        },
        power_watts=power * chips * replicas if power else None,
        notes=notes,
    )


def _front(
    result: DataflowResult, figures: Mapping[str, Estimate], labels: tuple[str, str]
) -> tuple[Mapping[str, Any], ...]:
    per_user = np.where(result.fits, figures["output_tokens_per_s_per_user"].value, np.nan)
    per_chip = np.where(result.fits, figures["output_tokens_per_s_per_chip"].value, np.nan)
    n = len(result.chips)
    return tuple(
        {
            "concurrency": float(result.concurrency[k]),
            "chips": int(result.chips[k]),
            "deployment": f"{int(result.stages[k])} stages",
            "weights": labels[0],
            "kv": labels[1],
        }
        | {name: figures[name].at(int(k), n).json() for name in FIGURES if name in figures}
        for k in front(per_user, per_chip)
    )
