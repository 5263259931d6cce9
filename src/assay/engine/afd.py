"""Attention and experts on chips of their own, a decode step at a time (AFD).

Attention chips hold the cache and all weights but the FFN's, expert chips hold the FFN. A step's batch is cut
into m micro-batches that take turns: while one is with the attention chips another is with the experts and
the others cross the network. With t_a, t_e and t_c the seconds of one micro-batch in one of L layers, on the
attention chips, on the expert chips, and one way between them,

    TPOT = L max(m max(t_a, t_e, t_c), t_a + t_e + 2 t_c)

the busiest of the three if it never waits (m T_f of MegaScale-Infer, arXiv 2504.02263, which asks for
m >= 2 (1 + t_c / T_f)), else one micro-batch's own way through a layer. Step-3 (arXiv 2507.19427) runs three
micro-batches likewise. With drafts a step is d passes of the draft head, which go the same way, and one that
verifies 1 + d rows of every sequence; TPOT is all of it over the tokens that a step yields. The exchange is
many-to-many: an attention chip sends a row once to every distinct expert chip that holds one of its experts,
and gets as many back; the busier end decides.

An expert node is one chip, or several of one scale-up domain that split the columns of its experts (TP): they
gather the rows of the node and reduce what they computed. A node that holds one expert alone multiplies all
its rows in one plain product, at the rate of a GEMM where that is above what grouped ones reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.breakdown import breakdown
from assay.engine.overheads import Engine
from assay.engine.replica import Model, Replica, drafter_operators, replica
from assay.engine.step import Batch, Step, Workload, compile_step, seconds
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.llm.operators import Operator
from assay.llm.shard import ACTIVATION_BYTES, COMBINE_BYTES, DISPATCH_BYTES, REDUCE_BYTES
from assay.timing.collectives import link
from assay.timing.rates import compute_format

Array = NDArray[np.float64]

#: Seconds of a micro-batch with attention, with experts and on one way between them, (A, E, 1, N) broadcast.
Times: TypeAlias = tuple[Array, Array, Array]

#: Micro-batches that take turns.
TURNS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Parts:
    """Decode steps of A attention layouts with E expert layouts; arrays broadcast to (A, E, M, N).

    Attributes:
        attention, experts: the two halves of the model, sharded.
        turns: micro-batches m, (1, 1, M, 1).
        batch: sequences decoding, all micro-batches together.
        attending, computing, crossing: L t_a, L t_e and L t_c of a step, draft passes included, s.
        tpot: s per output token. `yields`: tokens of a sequence in a step.
        chips: of both sides, (A, E, 1, 1).
        least: s per output token that physics allows at best.
        fits: whether the weights fit on both sides and the caches on the attention chips.
    """

    attention: Replica
    experts: Replica
    turns: Array
    batch: Array
    attending: Array
    computing: Array
    crossing: Array
    tpot: Array
    chips: Array
    least: Array
    fits: NDArray[np.bool_]
    yields: float = 1.0


@lru_cache(maxsize=16)
def halves(model: Model) -> tuple[Model, Model]:
    """Return the attention half of a model, with router, embedding and head, and its FFN half.

    Raises:
        BadInput: a dense model, whose FFN nothing is gained from moving.
    """
    if not any(item.experts for item in model.operators):
        raise BadInput(f"{model.name} has no experts to put on chips of their own.", "Plan it as a whole.")
    moved = [_moved(item.name) and item.group != "router" for item in model.operators]
    kept = tuple(item for item, away in zip(model.operators, moved, strict=True) if not away)
    ffn = tuple(
        item for item, away in zip(model.operators, moved, strict=True) if away and item.kind != "exchange"
    )
    return replace(model, operators=kept), replace(model, operators=ffn, caches=())


def parts(  # noqa: PLR0913 - two pools, formats, load
    model: Model,
    systems: tuple[System, System],
    layouts: tuple[tuple[Layout, ...], tuple[Layout, ...]],
    formats: tuple[str, str],
    engine: Engine,
    workload: Workload,
    skew: float,
    *,
    batch: Array,
    limit: float = np.inf,
) -> Parts:
    """Time a decode step of every attention layout with every expert layout.

    Args:
        model: the model.
        systems: where attention and experts run; two different systems talk over their NICs.
        layouts: of the attention chips (TP x DP) and of the expert chips (DP = EP nodes of TP chips).
        formats: of weights and cache.
        engine: host parameters.
        workload: lengths and drafts.
        skew: excess load of the busiest expert chip beyond chance.
        batch: sequences of one micro-batch, (N,).
        limit: most chips of both sides together.

    Raises:
        BadInput: a model without experts.
        NoEvidence: chips must talk over a link that has no published rate.
    """
    attention, experts = (
        replica(half, system, item, *formats, engine)
        for half, system, item in zip(halves(model), systems, layouts, strict=True)
    )
    rows = np.asarray(batch, dtype=np.float64)[None, :]
    turns = np.array(TURNS, dtype=np.float64)[:, None]
    copies, yields = (attention, experts), float(np.ravel(workload.yields)[0])
    first, last, spent = _spent(model, systems, copies, workload, skew, rows)
    spent = (spent[0] + engine.gap, *spent[1:])
    whole = _in_turns(spent, turns)
    if workload.drafts:
        drafting = _drafting(
            model, systems, layouts, formats, engine, replace(workload, drafts=0.0), skew, rows
        )
        whole = whole + workload.drafts * _in_turns(drafting, turns)
        more = workload.drafts
        spent = (spent[0] + more * drafting[0], spent[1] + more * drafting[1], spent[2] + more * drafting[2])
    attending, computing, crossing = spent
    held = turns * rows
    context = np.asarray(workload.isl) + np.asarray(workload.osl) / 2.0
    room = attention.capacity(np.full((1, 1), float(np.ravel(context)[0])))[:, None, :, None]
    fits = (held <= room) & _holds(experts)[None, :, None, None]
    chips = attention.table.degrees.chips[:, None] + experts.table.degrees.chips[None, :]
    return Parts(
        attention=attention,
        experts=experts,
        turns=turns[None, None],
        batch=held[None, None],
        attending=attending,
        computing=computing,
        crossing=crossing,
        tpot=whole / yields,
        chips=chips[:, :, None, None],
        least=_least(first, last, turns, rows) / yields,
        fits=fits & (chips <= limit)[:, :, None, None],
        yields=yields,
    )


def _in_turns(spent: Times, turns: Array) -> Array:
    """Return the seconds of a pass of all micro-batches, (A, E, M, N): the busiest, or one's own way."""
    attending, computing, crossing = spent
    busiest = np.maximum(np.maximum(attending, computing), crossing)
    return np.maximum(turns * busiest, attending + computing + 2.0 * crossing)


def _spent(
    model: Model,
    systems: tuple[System, System],
    copies: tuple[Replica, Replica],
    workload: Workload,
    skew: float,
    rows: Array,
) -> tuple[Step, Step, Times]:
    """Return both compiled steps and the seconds of a micro-batch in a pass of the model."""
    attention, experts = copies
    first, last = (compile_step(item.table, item.system, workload, skew) for item in copies)
    groups, places = attention.table.degrees.dp[:, None], experts.table.degrees.dp[:, None]
    attending = seconds(first, Batch(np.ceil(rows / groups - 1e-9), rows))
    computing = _computing(experts, last, Batch(np.ceil(rows / places - 1e-9), rows))
    sent = rows * (1.0 + workload.drafts)
    computing = computing + _joining(model, experts, sent)
    crossing = _crossing(model, systems, attention, experts, sent)
    return first, last, (attending[:, None, None, :], computing[None, :, None, :], crossing[:, :, None, :])


def _drafting(
    model: Model,
    systems: tuple[System, System],
    layouts: tuple[tuple[Layout, ...], tuple[Layout, ...]],
    formats: tuple[str, str],
    engine: Engine,
    workload: Workload,
    skew: float,
    rows: Array,
) -> Times:
    """Return the seconds of a micro-batch in one draft pass; a head without experts stays with attention."""
    head = _head(model)
    if any(item.experts for item in head.operators):
        copies = tuple(
            replica(half, system, item, *formats, engine)
            for half, system, item in zip(halves(head), systems, layouts, strict=True)
        )
        return _spent(head, systems, (copies[0], copies[1]), workload, skew, rows)[2]
    copy = replica(head, systems[0], layouts[0], *formats, engine)
    groups = copy.table.degrees.dp[:, None]
    step = compile_step(copy.table, copy.system, workload, skew)
    attending = seconds(step, Batch(np.ceil(rows / groups - 1e-9), rows))[:, None, None, :]
    return attending, np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1))


@lru_cache(maxsize=16)
def _head(model: Model) -> Model:
    """Return the draft head of a model as a model of its own."""
    return replace(model, operators=drafter_operators(model), caches=())


def _least(first: Step, last: Step, turns: Array, rows: Array) -> Array:
    """Return what physics allows at best for all micro-batches, s, (A, E, M, N): the busier side's floor."""
    sides = [
        breakdown(item, Batch(rows / item.table.degrees.stage[:, None], rows)).floor for item in (first, last)
    ]
    attending, computing = sides[0][:, None, None, :], sides[1][None, :, None, :]
    return np.asarray(np.maximum(turns * np.maximum(attending, computing), attending + computing))


def _holds(experts: Replica) -> NDArray[np.bool_]:
    """Return which expert layouts hold their weights, (E,)."""
    return np.asarray(experts.table.weight_bytes + experts.working <= experts.usable)


def _computing(experts: Replica, last: Step, batch: Batch) -> Array:
    """Return the seconds of the experts of all layers, (E, N).

    Where a node holds one routed expert of a layer, all its rows meet one matrix: the kernels are the plain
    products of dense layers, where those are faster than grouped ones.
    """
    grouped = seconds(last, batch)
    alone = experts.table.degrees.ep >= max(item.experts for item in experts.model.operators)
    if not np.any(alone):
        return grouped
    kernels = tuple(
        replace(item, operator=replace(item.operator, kind="gemm"))
        if item.operator.kind == "experts"
        else item
        for item in experts.table.kernels
    )
    plain = compile_step(replace(experts.table, kernels=kernels), last.system, last.workload, last.skew)
    return np.where(alone[:, None], np.minimum(seconds(plain, batch), grouped), grouped)


def _joining(model: Model, experts: Replica, rows: Array) -> Array:
    """Return the seconds in which the TP chips of a node gather its rows and reduce results, (E, N).

    Together one all-reduce of the node's rows a layer; none where a node is one chip.
    """
    degrees = experts.table.degrees
    spent = np.zeros((len(degrees.tp), rows.shape[1]))
    fabric = link(experts.system, "all_reduce", degrees.tp.astype(np.int64))
    rate = np.where(fabric.rate > 0, fabric.rate, np.inf)
    for point in _exchanges(model):
        held = rows * (_copies(model, point, degrees.ep) / degrees.dp)[:, None]
        each = held * point.row_out * REDUCE_BYTES / rate[..., None] + fabric.latency[..., None]
        spent = spent + point.count * np.min(each, axis=0)
    return np.where(degrees.tp[:, None] > 1, spent, 0.0)


def _crossing(
    model: Model, systems: tuple[System, System], attention: Replica, experts: Replica, rows: Array
) -> Array:
    """Return the seconds of all layers' exchanges one way, the mean of there and back, (A, E, N)."""
    senders, receivers = attention.table.degrees, experts.table.degrees
    count = senders.chips[:, None] + receivers.chips[None, :]
    spent = np.zeros((*count.shape, rows.shape[1]))
    same = systems[0].id == systems[1].id
    ends = [
        link(item, "dispatch", (count if same else np.maximum(count, item.domain + 1.0)).astype(np.int64))
        for item in systems
    ]
    for point in _exchanges(model):
        copies = _copies(model, point, receivers.ep)
        sent = rows * point.row_out / senders.chips[:, None, None] * copies[None, :, None]
        received = rows * point.row_out / receivers.chips[None, :, None] * copies[None, :, None]
        for size in (_sent_bytes(experts), COMBINE_BYTES):
            each = [
                np.min(end.latency[..., None] + payload * size / end.rate[..., None], axis=0)
                for end, payload in zip(ends, (sent, received), strict=True)
            ]
            spent = spent + point.count * np.maximum(*each)
    return np.asarray(spent / 2.0)


def _exchanges(model: Model) -> list[Operator]:
    """Return the points of a pass where rows cross to the expert chips and back."""
    return [item for item in model.operators if item.kind == "exchange" and _moved(item.name)]


def _copies(model: Model, point: Operator, nodes: Array) -> Array:
    """Return how many expert nodes a row is sent to, (E,).

    The distinct ones that hold its experts, and the one that computes its shared experts.
    """
    if not point.experts:
        return np.ones_like(nodes)
    return np.asarray(nodes * (1.0 - (1.0 - 1.0 / nodes) ** point.topk) + _shared(model))


def _sent_bytes(experts: Replica) -> float:
    """Return bytes of an element on its way to the experts: 8 bits where they compute in no more."""
    kernel = next(item for item in experts.table.kernels if item.operator.kind == "experts")
    wide = compute_format(experts.system.chip, kernel.weight_format) in ("bf16", "fp16")
    return ACTIVATION_BYTES if wide else DISPATCH_BYTES


def _moved(name: str) -> bool:
    return name.startswith(("moe.", "dense."))


def _shared(model: Model) -> float:
    return float(any(item.group == "shared" for item in model.operators))
