"""Mean board power of the chips of a replica in steady state, from what its steps do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.breakdown import Breakdown
from assay.engine.points import Outcome
from assay.engine.step import Step
from assay.errors import NoEvidence
from assay.estimate import BASES, PARTS, Estimate
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]


def replica_watts(outcome: Outcome, system: System) -> Estimate | None:
    """Return the mean board power of a chip of each layout at each point, W (L, n); None if unpublished.

    Decode steps and prompts share the time; a point without decode steps is all prompts.
    """
    share, decode, prompt = _phases(outcome, system)
    busy = [
        np.minimum((1.0 - share) * np.where(share < 1.0, one, 0.0) + share * other, 1.0)
        for one, other in zip(decode, prompt, strict=True)
    ]
    return _watts(system, busy)


def phase_watts(outcome: Outcome, system: System) -> tuple[Floats, Floats, Floats] | None:
    """Return board power of a chip in prompts and in decodes, W, and the prompts' share of time, (L, n) each.

    None if the power is unpublished.
    """
    share, decode, prompt = _phases(outcome, system)
    found = [_watts(system, [np.minimum(item, 1.0) for item in busy]) for busy in (prompt, decode)]
    if found[0] is None or found[1] is None:
        return None
    return np.asarray(found[0].value), np.asarray(found[1].value), share


def _phases(outcome: Outcome, system: System) -> tuple[Floats, list[Floats], list[Floats]]:
    """Return the share of time that prompts take, and what chips do in decodes and in prompts."""
    state = outcome.state
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1.0 - state.decode_step / outcome.step.workload.yields / state.tpot
    share = np.where(np.isfinite(share), share, 1.0)
    decode = activity(outcome.decode, state.decode_step, outcome.step, system)
    prompt = activity(outcome.prompt, np.maximum(outcome.prompt.seconds, 1e-12), outcome.step, system)
    return share, decode, prompt


def pool_watts(spent: Breakdown, period: Floats, step: Step, system: System) -> Estimate | None:
    """Return the board power of a chip that does `spent` once every `period` seconds, W (L, n)."""
    return _watts(system, [np.minimum(item, 1.0) for item in activity(spent, period, step, system)])


def both_watts(first: Estimate | None, last: Estimate | None, share: Floats | float) -> Estimate | None:
    """Return the mean board power over the chips of two pools, W; None where one is unpublished.

    Args:
        first, last: mean of a chip of either pool.
        share: part of the chips that are in the first.
    """
    if first is None or last is None:
        return None
    value, low, high, floor = (
        share * np.asarray(getattr(first, name)) + (1.0 - share) * np.asarray(getattr(last, name))
        for name in PARTS
    )
    return Estimate(value, low, high, floor, max(first.basis, last.basis, key=BASES.index))


def activity(spent: Breakdown, period: Floats, step: Step, system: System) -> list[Floats]:
    """Return what a chip does over its peaks of arithmetic, memory and links, (L, n) each.

    FLOPs of different formats share one activity figure: time at peak of the fastest format that the
    kernels of `step` compute in, of those that the chip has.
    """
    rates = system.chip.peak_flops
    known = [rates[name] for name in {cost.rates.compute_format for cost in step.costs} if rates.get(name)]
    peak = max(known or rates.values())
    scales = (peak, system.chip.memory_bandwidth, system.link_bandwidth)
    work = (spent.flops, spent.moved, spent.sent)
    return [
        amount / period / scale if scale else np.zeros_like(amount / period)
        for amount, scale in zip(work, scales, strict=True)
    ]


def _watts(system: System, busy: list[Floats]) -> Estimate | None:
    try:
        return board_watts(system.chip, *busy)
    except NoEvidence:
        return None
