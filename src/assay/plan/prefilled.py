"""Prompts for a dataflow machine that only decodes: GPUs or the like prefill, and hand the caches over.

The machine's decode rate at B sequences fixes the requests/s, x = B / (OSL TPOT); prefill replicas are
counted for it as for two pools of one kind (`assay.plan.disaggregate`), and the same queue says what first
tokens wait (`assay.engine.split.matched`). A cache leaves over the NICs of the chips that computed it and is
received by the NICs of the whole machine, which holds a part of every layer's cache on every chip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.engine.breakdown import breakdown
from assay.engine.overheads import engine
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
from assay.timing.dataflow import DataflowResult

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prefilled:
    """M ways to feed a dataflow machine, arrays (M,).

    Attributes:
        place: which operating point of the machine.
        layouts: of one prefill replica; `replicas` how many.
        chips: of all prefill replicas.
        rate: requests/s.
        ttft: time to first token, s, the first decode step included.
        users: requests in flight, waiting ones included.
        valid: the prefill pool and the network carry the rate.
    """

    place: NDArray[np.intp]
    layouts: tuple[Layout, ...]
    replicas: Floats
    chips: Floats
    rate: Floats
    ttft: Estimate
    users: Floats
    valid: NDArray[np.bool_]

    def pool(self, index: int, copies: int = 1) -> Pool:
        """Return the prefill pool of one way, `copies` times."""
        return Pool(self.layouts[index], int(self.replicas[index]) * copies)


def source(question: Question, system: System, facts: Catalogue) -> System:
    """Return the system that prefills for a dataflow platform.

    Raises:
        BadInput: it is a dataflow system itself.
        NoEvidence: one of the two has no published network rate.
    """
    first = facts.system(question.prefill_platform)
    if first.chip.kind == "dataflow":
        raise BadInput(
            f"{first.name} cannot prefill for another system: its weights stay resident in SRAM.",
            "Name a system with GPUs, TPUs or the like.",
        )
    networked((first, system))
    return first


def feed(
    question: Question, model: Model, ends: tuple[System, System], result: DataflowResult, kv: str
) -> Prefilled:
    """Return every useful prefill layout and count for every operating point of the machine.

    Args:
        question: lengths, engine and formats.
        model: the model.
        ends: the system that prefills, and the dataflow system.
        result: its operating points, prompts left out (B,).
        kv: format of the caches handed over.

    Raises:
        DoesNotFit: the model fits no layout of the prefill system.
    """
    settings = engine(question.engine)
    lengths = Lengths(question.isl, question.osl, question.cached)
    legal = tuple(layouts(shape(model.architecture), ends[0]))
    weights = question.weights or "native"
    found = sweep(model, ends[0], legal, weights, kv, settings, lengths, skew(), concurrency=1)
    steps = prompting(found.step, settings)
    each = found.copy.table.degrees.chips
    kept = useful(steps, each, found.capacity[:, 0] >= 1)
    if not len(kept):
        raise refuse(found)
    steps, each = steps.take((kept, slice(None), None)), each[kept][:, None, None]
    tpot = np.asarray(result.tpot.value)
    rate = np.asarray(result.output_rate.value) / question.osl
    replicas = np.maximum(np.ceil(rate * steps.each / steps.servers / np.array(LOADS)[:, None]), 1.0)
    size = cached(model.architecture, kv, float(question.isl))
    state = matched(
        settings,
        steps,
        replicas,
        tpot,
        rate * question.osl * tpot,
        question.osl,
        _handover(found, ends, kept, result.chips, size, replicas),
    )
    row, _, place = (item.ravel() for item in np.indices(replicas.shape))
    step = found.step.take(kept)
    least = breakdown(step, alone(step)).floor[row, 0]
    return Prefilled(
        place=place,
        layouts=tuple(legal[int(k)] for k in kept[row]),
        replicas=replicas.ravel(),
        chips=(replicas * each).ravel(),
        rate=rate[place],
        ttft=_first_token(state.ttft.ravel(), result.ttft, place, least),
        users=state.users.ravel(),
        valid=(state.load < SATURATED).ravel() & result.fits[place],
    )


def _handover(
    found: Sweep,
    ends: tuple[System, System],
    kept: NDArray[np.intp],
    machine: Floats,
    size: float,
    replicas: Floats,
) -> tuple[float, Floats, Floats]:
    """Return latency, busy seconds of one cache and how many can cross at once; (P, 1, B) and (P, R, B)."""
    table = found.copy.table
    degrees = table.degrees
    (start, slow), (other, fast) = (way((end, end), inside=False) for end in ends)
    share = kv_block_share(block_bytes(table))[kept]
    sent = (size / (degrees.tp * degrees.cp * degrees.pp)[kept] / (slow * share))[:, None, None]
    received = size / machine / fast
    busy = np.maximum(sent, received)
    # every prefill group sends its own cache, the machine takes them one after another
    rate = np.minimum(replicas * (degrees.dp * degrees.pp)[kept][:, None, None] / sent, 1.0 / received)
    return max(start, other), busy, rate * busy


def _first_token(value: Floats, step: Estimate, place: NDArray[np.intp], least: Floats) -> Estimate:
    """Return the time to first token: prompts at the width of an uncalibrated figure, then a decode step."""
    own, low, high, floor = (
        np.asarray(getattr(step, part), dtype=np.float64)[place] for part in ("value", "low", "high", "floor")
    )
    prompt, wide = value - own, np.exp(UNCALIBRATED)
    basis = max(step.basis, "datasheet", key=BASES.index)
    bound = least + floor
    return Estimate(value, np.maximum(prompt / wide + low, bound), prompt * wide + high, bound, basis)
