"""Prompts for a machine that only decodes: GPUs or the like prefill, and hand the caches over.

Such a machine is a dataflow pipeline (`assay.plan.dataflow`), or attention chips with expert chips
(`assay.plan.afd`). Its decode rate at B sequences fixes the requests/s, x = B / (OSL TPOT); prefill replicas
are counted for it as for two pools of one kind (`assay.plan.disaggregate`), and the same queue says what
first tokens wait (`assay.engine.split.matched`). A cache leaves over the NICs of the chips that computed it
and is received over those of the chips that keep it; within one scale-up domain it takes the links instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.engine.breakdown import breakdown
from assay.engine.overheads import engine
from assay.engine.power import pool_watts
from assay.engine.replica import Model
from assay.engine.residual import UNCALIBRATED
from assay.engine.split import alone, block_bytes, matched, networked, prompting, way
from assay.engine.steady import SATURATED
from assay.errors import BadInput
from assay.estimate import BASES, Estimate
from assay.llm.layout import Layout
from assay.llm.memory import cache_bytes as cached
from assay.plan.disaggregate import LOADS, useful
from assay.plan.predict import skew
from assay.plan.space import layouts, shape
from assay.plan.sweep import Lengths, Sweep, refuse, sweep
from assay.study.conditions import Pool
from assay.study.question import Question
from assay.timing.collectives import kv_block_share

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decoder:
    """Operating points of a machine that only decodes, arrays (B,).

    Attributes:
        system: where its caches are kept.
        tpot: time per output token, s. `rate`: output tokens/s of all chips. `chips`: how many.
        fits: whether the model and the caches fit.
        received: bytes of one cache that each of its receiving chips takes.
        lanes: caches received at once.
    """

    system: System
    tpot: Estimate
    rate: Floats
    chips: Floats
    fits: NDArray[np.bool_]
    received: Floats
    lanes: Floats


@dataclass(frozen=True, slots=True)
class Prefilled:
    """M ways to feed a machine that only decodes, arrays (M,).

    Attributes:
        place: which operating point of the machine.
        layouts: of one prefill replica; `replicas` how many.
        chips: of all prefill replicas.
        rate: requests/s.
        ttft: time to first token, s, the first decode step included.
        users: requests in flight, waiting ones included.
        valid: the prefill pool and the network carry the rate.
        watts: mean board power of a prefill chip, W; None = unpublished.
    """

    place: NDArray[np.intp]
    layouts: tuple[Layout, ...]
    replicas: Floats
    chips: Floats
    rate: Floats
    ttft: Estimate
    users: Floats
    valid: NDArray[np.bool_]
    watts: Estimate | None = None

    def pool(self, index: int, copies: int = 1) -> Pool:
        """Return the prefill pool of one way, `copies` times."""
        return Pool(self.layouts[index], int(self.replicas[index]) * copies)


def source(question: Question, system: System, facts: Catalogue) -> System:
    """Return the system that prefills for a platform: its own, or the one named.

    Raises:
        BadInput: it is a dataflow system itself.
        NoEvidence: one of the two has no published network rate.
    """
    first = facts.system(question.prefill_platform or system.id)
    if first.chip.kind == "dataflow":
        raise BadInput(
            f"{first.name} cannot prefill for another system: its weights stay resident in SRAM.",
            "Name a system with GPUs, TPUs or the like.",
        )
    if first.id != system.id:
        networked((first, system))
    return first


def feed(question: Question, model: Model, first: System, machine: Decoder, kv: str) -> Prefilled:
    """Return every useful prefill layout and count for every operating point of a machine.

    Args:
        question: lengths, engine and formats.
        model: the model.
        first: the system that prefills.
        machine: what decodes.
        kv: format of the caches handed over.

    Raises:
        DoesNotFit: the model fits no layout of the prefill system.
    """
    settings = engine(question.engine)
    lengths = Lengths(question.isl, question.osl, question.cached)
    legal = tuple(layouts(shape(model.architecture), first))
    weights = question.weights or "native"
    found = sweep(model, first, legal, weights, kv, settings, lengths, skew(), concurrency=1)
    steps = prompting(found.step, settings)
    each = found.copy.table.degrees.chips
    kept = useful(steps, each, found.capacity[:, 0] >= steps.servers[:, 0])
    if not len(kept):
        raise refuse(found)
    steps, each = steps.take((kept, slice(None), None)), each[kept][:, None, None]
    tpot, rate = np.asarray(machine.tpot.value), machine.rate / question.osl
    replicas = np.maximum(np.ceil(rate * steps.each / steps.servers / np.array(LOADS)[:, None]), 1.0)
    handover = _handover(found, kept, machine, replicas, cached(model.architecture, kv, float(question.isl)))
    state = matched(settings, steps, replicas, tpot, rate * question.osl * tpot, question.osl, handover)
    row, _, place = (item.ravel() for item in np.indices(replicas.shape))
    step = found.step.take(kept)
    once = breakdown(step, alone(step))
    least = once.floor[row, 0]
    busy = np.maximum(once.seconds[row, 0], 1e-12) / np.minimum(state.load.ravel(), 1.0)
    board = pool_watts(once.take(row), busy[:, None], step, first)
    return Prefilled(
        place=place,
        layouts=tuple(legal[int(k)] for k in kept[row]),
        replicas=replicas.ravel(),
        chips=(replicas * each).ravel(),
        rate=rate[place],
        ttft=_first_token(state.ttft.ravel(), machine.tpot, place, least),
        users=state.users.ravel(),
        valid=(state.load < SATURATED).ravel() & machine.fits[place],
        watts=None if board is None else board.apply(lambda number: np.asarray(number)[:, 0]),
    )


def _handover(
    found: Sweep, kept: NDArray[np.intp], machine: Decoder, replicas: Floats, size: float
) -> tuple[Floats, Floats, Floats]:
    """Return latency, busy seconds of one cache and how many can cross at once, (P, R, B) each."""
    table, first = found.copy.table, found.copy.system
    degrees = table.degrees
    chips = machine.chips + replicas * degrees.chips[kept][:, None, None]
    inside = (first.id == machine.system.id) & (chips <= first.domain)
    near, far = ([way((end, end), inside=kind) for end in (first, machine.system)] for kind in (True, False))
    blocks = kv_block_share(block_bytes(table))[kept][:, None, None]
    share = (size / (degrees.tp * degrees.cp * degrees.pp)[kept])[:, None, None]
    with np.errstate(divide="ignore"):
        sent = share / np.where(inside, near[0][1], far[0][1] * blocks)
        received = machine.received / np.where(inside, near[1][1], far[1][1])
    busy = np.maximum(sent, received)
    rate = np.minimum(
        replicas * (degrees.dp * degrees.pp)[kept][:, None, None] / sent, machine.lanes / received
    )
    start = np.where(inside, max(item[0] for item in near), max(item[0] for item in far))
    return start, busy, np.maximum(rate * busy, 1.0)


def _first_token(value: Floats, step: Estimate, place: NDArray[np.intp], least: Floats) -> Estimate:
    """Return the time to first token: prompts at the width of an uncalibrated figure, then a decode step."""
    own, low, high, floor = (
        np.asarray(getattr(step, part), dtype=np.float64)[place] for part in ("value", "low", "high", "floor")
    )
    prompt, wide = value - own, np.exp(UNCALIBRATED)
    basis = max(step.basis, "datasheet", key=BASES.index)
    bound = least + floor
    return Estimate(value, np.maximum(prompt / wide + low, bound), prompt * wide + high, bound, basis)
