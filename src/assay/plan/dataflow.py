"""Answer for an SRAM dataflow platform: capacity decides the chips, the pipeline the speed.

The machine does whole requests, or only decodes what another platform prefills (`assay.plan.prefilled`).
"""

from __future__ import annotations

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
from assay.plan.place import price_of
from assay.plan.platform import Platform
from assay.plan.points import energy
from assay.plan.prefilled import Decoder, feed, source
from assay.plan.ways import Pick, Ways, frontier, mean_price, pick, shown
from assay.study.answer import FIGURES, Row
from assay.study.deployment import Deployment
from assay.study.question import Question
from assay.timing.dataflow import DataflowResult, Resident, plan_pipeline
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]

#: Sequences in flight that are tried.
CONCURRENCY = 2.0 ** np.arange(0.0, 11.0, 0.5)


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one dataflow platform, fed by the question's prefill platform if it names one.

    Raises:
        DoesNotFit: more chips would be needed than the largest machine described in public, or two pools are
            asked for and nothing is named to prefill.
        NoEvidence: a fact of a chip that is needed is not published, or a prefix cache is asked for.
        BadInput: a system that cannot prefill for another.
    """
    if question.caches is not None:
        raise NoEvidence(
            f"How {system.name} keeps and finds cached prefixes is not published.",
            "Leave out the prefix cache for it.",
        )
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
    ways = whole(result) if first is None else _fed(question, model, (first, system), result, kv)
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
    formats = (question.weights or "native", kv)
    return Platform((row,), frontier(ways, figures, lambda index: _label(result, ways, index), formats))


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
    usable = result.memory["capacity"][0] / result.chips[0]
    node = max(system.node, 1)
    chips = int(np.ceil(need / usable / node) * node)
    few = result.chips[0] < chips
    limit = f"{int(result.chips[0]):,} are asked for" if few else "more than the largest machine described"
    return DoesNotFit(
        f"{model.name} does not fit: weights and one sequence take {need / 1e9:,.4g} GB of SRAM, that is "
        f"{chips:,} {system.chip.name} chips with {usable / 1e6:,.4g} MB usable each; {limit}.",
        "A narrower weight format needs fewer.",
    )


def whole(result: DataflowResult) -> Ways:
    """Return the operating points of a machine that prefills and decodes."""
    place = np.arange(len(result.chips))
    return Ways(place, result.chips, result.output_rate, result.ttft, result.concurrency, result.fits)


def _fed(
    question: Question, model: Model, ends: tuple[System, System], result: DataflowResult, kv: str
) -> Ways:
    """Return the operating points with every way to feed them: all chips take a part of every cache."""
    size = cache_bytes(model.architecture, kv, float(question.isl))
    machine = Decoder(
        ends[1],
        result.tpot,
        np.asarray(result.output_rate.value),
        result.chips,
        result.fits,
        size / result.chips,
        np.ones_like(result.chips),
    )
    return Ways.of(machine, result.output_rate, feed(question, model, ends[0], machine, kv))


def figures_of(
    result: DataflowResult,
    ways: Ways,
    system: System,
    question: Question,
    prices: tuple[Price | None, Price | None],
) -> dict[str, Estimate]:
    """Return the figures a row shows, arrays over the ways; `prices` of the machine's and of other chips."""
    own = result.chips[ways.place]
    usd = mean_price(((own, prices[0]), (ways.chips - own, prices[1])))
    made = shown(ways, result.tpot, question, usd)
    if ways.fed is not None:  # what the prefilling boards draw is not counted
        return made
    try:
        power = board_watts(
            system.chip, result.compute_utilisation, result.memory_utilisation, result.link_utilisation
        )
        made["joules_per_output_token"] = energy(made["output_tokens_per_s_per_chip"], power)
    except NoEvidence:
        pass
    return made


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


def _label(result: DataflowResult, ways: Ways, index: int) -> str:
    own = f"{int(result.stages[ways.place[index]])} stages"
    return own if ways.fed is None else f"{ways.fed.pool(index).label()} prefill + {own} decode"
