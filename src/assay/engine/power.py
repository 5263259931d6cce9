"""Mean board power of the chips of a replica in steady state, from what its steps do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.breakdown import Breakdown
from assay.engine.points import Outcome
from assay.errors import NoEvidence
from assay.estimate import Estimate
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]


def replica_watts(outcome: Outcome, system: System) -> Estimate | None:
    """Return the mean board power of a chip of each layout at each point, W (L, n); None if unpublished.

    Decode steps and prompts share the time; a point without decode steps is all prompts.
    """
    state = outcome.state
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1.0 - state.decode_step / outcome.step.workload.yields / state.tpot
    share = np.where(np.isfinite(share), share, 1.0)
    decode = activity(outcome.decode, state.decode_step, outcome, system)
    prompt = activity(outcome.prompt, np.maximum(outcome.prompt.seconds, 1e-12), outcome, system)
    busy = [
        np.minimum((1.0 - share) * np.where(share < 1.0, one, 0.0) + share * other, 1.0)
        for one, other in zip(decode, prompt, strict=True)
    ]
    return _watts(system, busy)


def pool_watts(spent: Breakdown, each: Floats, outcome: Outcome, system: System) -> Estimate | None:
    """Return the board power of a chip that does the work of `spent` once every `each` seconds, W (L, n)."""
    return _watts(system, [np.minimum(item, 1.0) for item in activity(spent, each, outcome, system)])


def activity(spent: Breakdown, each: Floats, outcome: Outcome, system: System) -> list[Floats]:
    """Return what a chip does over its peaks of arithmetic, memory and links, (L, n) each.

    FLOPs of different formats share one activity figure: time at peak of the fastest format in use.
    """
    peak = max(cost.rates.peak for cost in outcome.step.costs)
    scales = (peak, system.chip.memory_bandwidth, system.link_bandwidth)
    work = (spent.flops, spent.moved, spent.sent)
    return [
        amount / each / scale if scale else np.zeros_like(amount / each)
        for amount, scale in zip(work, scales, strict=True)
    ]


def _watts(system: System, busy: list[Floats]) -> Estimate | None:
    try:
        return board_watts(system.chip, *busy)
    except NoEvidence:
        return None
