"""What limits a point, and what would move it: finite differences on the chip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from assay.catalogue.schema import System
from assay.engine.overheads import Engine
from assay.engine.points import decode_only
from assay.engine.replica import replica
from assay.engine.speculation import Speculation
from assay.engine.split import prompting
from assay.engine.steady import at_batch
from assay.plan.points import Points
from assay.plan.predict import skew
from assay.plan.sweep import MOST_SEQUENCES, Lengths

#: Change -> how it alters the system.
CHANGES = ("memory bandwidth x2", "compute x2", "links x2", "memory capacity x2")


def changed(system: System, change: str) -> System:
    """Return the system with one figure of its chip doubled; "" changes nothing."""
    chip = system.chip
    if not change:
        return system
    if change == "memory bandwidth x2":
        return replace(system, chip=replace(chip, memory_bandwidth=2 * chip.memory_bandwidth))
    if change == "compute x2":
        return replace(system, chip=replace(chip, peak_flops={k: 2 * v for k, v in chip.peak_flops.items()}))
    if change == "memory capacity x2":
        return replace(system, chip=replace(chip, memory_bytes=2 * chip.memory_bytes))
    return replace(
        system,
        link_bandwidth=2 * system.link_bandwidth,
        peer_bandwidth=2 * system.peer_bandwidth,
        nic_bandwidth=2 * system.nic_bandwidth if system.nic_bandwidth else None,
    )


def moves(points: Points, index: int) -> dict[str, float]:
    """Return change -> factor on throughput at the same time per output token, same layouts.

    The physics alone is compared with itself, so that the correction by measurements cancels.
    """
    base = best(points, index, Variant())
    if base <= 0:
        return {}
    return {change: best(points, index, Variant(change)) / base for change in CHANGES}


@dataclass(frozen=True, slots=True)
class Variant:
    """What is changed before a point is evaluated again.

    Attributes:
        change: one of `CHANGES`, "" for none.
        skew: excess load of the busiest expert rank; None = the usual one.
        engine: host times, memory share; None = those of the point.
        yields: tokens of a speculative step; None = those of the point.
    """

    change: str = ""
    skew: float | None = None
    engine: Engine | None = None
    yields: float | None = None


def best(points: Points, index: int, variant: Variant) -> float:
    """Return requests/s per chip of a point's layouts at its time per output token, after a change.

    Both pools of a disaggregated point are changed, and matched as exactly as fractions of replicas would.
    """
    copy, side = points.found.copy, points.side
    load, work = points.found.load, points.found.step.workload
    lengths = Lengths(float(load.isl[0, 0]), float(load.osl[0, 0]), points.cached(index))
    yields = np.atleast_1d(work.yields if variant.yields is None else variant.yields)
    drafting = Speculation(int(work.drafts), yields, int(work.drafts))
    layout, settings = points.layouts[index], variant.engine or copy.engine
    busiest = skew() if variant.skew is None else variant.skew
    system = changed(copy.system, variant.change)
    one = replica(copy.model, system, (layout,), copy.weights, copy.kv, settings, copy.copies)
    step = one.step(lengths.workload(settings.budget, drafting), busiest)
    capacity = float(one.capacity(lengths.isl + lengths.osl / 2)[0, 0])
    # one grid for all changes, so that only the change moves the result
    grid = np.minimum(np.geomspace(1.0, MOST_SEQUENCES * layout.dp, 240)[None, :], max(capacity, 1.0))
    found = at_batch(step, settings, grid) if side is None else decode_only(step, settings, grid)
    # tpot grows with the batch: the throughput where it reaches the target, between grid points
    target = float(points.outcome.state.tpot[index, 0])
    rate = float(np.interp(target, found.tpot[0], found.throughput[0]))
    if side is None:
        return rate / layout.chips
    first = side.layouts[index]
    system = changed(side.copy.system, variant.change)
    other = replica(copy.model, system, (first,), copy.weights, copy.kv, settings, copy.copies)
    steps = prompting(other.step(lengths.workload(settings.budget), busiest), settings)
    carried = float((steps.servers / steps.each)[0, 0])
    return 1.0 / (layout.chips / rate + first.chips / carried)


def limited_by(points: Points, index: int) -> str:
    """Return the resource most of the mean step goes to."""
    spent = parts(points, index)
    return max(spent, key=lambda label: spent[label])


def parts(points: Points, index: int) -> dict[str, float]:
    """Return resource -> share of the chips' time that it bounds, decode and prefill together; sums to 1.

    In disaggregated serving the pools count by their chips, the prefill pool as far as it is busy.
    """
    outcome, side = points.outcome, points.side
    yields = float(np.ravel(outcome.step.workload.yields)[0])
    step, tpot = float(outcome.state.decode_step[index, 0]), float(outcome.state.tpot[index, 0])
    share = min(max(1.0 - step / yields / tpot, 0.0), 1.0)
    if side is not None:
        busy = float(side.share[index] * min(side.load[index], 1.0))
        share = busy / (busy + 1.0 - float(side.share[index]))
    spent = {}
    for name, label in (
        ("memory", "memory bandwidth"),
        ("compute", "compute"),
        ("link", "links"),
        ("overhead", "launch and host"),
        ("draft", "draft passes"),
    ):
        decode = getattr(outcome.decode, name) / outcome.decode.seconds
        prompt = getattr(outcome.prompt, name) / outcome.prompt.seconds
        spent[label] = float((1 - share) * decode[index, 0] + share * prompt[index, 0])
    host = max(step - float(outcome.decode.seconds[index, 0]), 0.0) / step
    spent = {label: part * (1 - host) for label, part in spent.items()}
    spent["launch and host"] += host
    return spent
