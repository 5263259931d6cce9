"""What limits a point, and what would move it: finite differences on the chip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from assay.catalogue.schema import System
from assay.engine.overheads import Engine
from assay.engine.points import decode_only
from assay.engine.pulls import Pulls, decode_pulls, mean_pulls, prompt_pulls
from assay.engine.replica import replica
from assay.engine.speculation import Speculation
from assay.engine.split import prompting
from assay.engine.steady import at_batch
from assay.engine.step import Step
from assay.plan.points import Points
from assay.plan.predict import skew
from assay.plan.sweep import MOST_SEQUENCES, Lengths

#: Parts of a step (`assay.engine.pulls`) in the words of an answer.
LABELS = {
    "memory": "memory bandwidth",
    "compute": "compute",
    "link": "links",
    "latency": "link latency",
    "overhead": "launch and host",
    "draft": "draft passes",
}

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

    A share is the elasticity of that time at the same batch: with twice the rate, a resource of share s
    leaves about 1 - s / 2 of it. In disaggregated serving the pools count by their chips, the prefill pool
    as far as it is busy, at full steps.
    """
    outcome, side, settings = points.outcome, points.side, points.found.copy.engine
    rows = np.array([index], dtype=np.intp)
    step, batch = outcome.step.take(rows), outcome.state.batch[rows]
    if side is None:
        return _shares(mean_pulls(step, settings, batch))
    busy = float(side.share[index] * min(side.load[index], 1.0))
    share = busy / (busy + 1.0 - float(side.share[index]))
    first, last = (
        _shares(prompt_pulls(prefill(points, index), settings)),
        _shares(decode_pulls(step, settings, batch)),
    )
    return {label: share * first[label] + (1.0 - share) * last[label] for label in first}


def _shares(spent: Pulls) -> dict[str, float]:
    whole = sum(float(spent[name][0, 0]) for name in LABELS)
    return {label: float(spent[name][0, 0]) / whole for name, label in LABELS.items()}


def prefill(points: Points, index: int) -> Step:
    """Return the compiled step of the prefill replica of a disaggregated point."""
    side = points.side
    if side is None:
        raise AssertionError("an aggregated point has no prefill pool")
    work = replace(points.found.step.workload, drafts=0.0, yields=1.0, cached=points.cached(index))
    place = side.copy.table.layouts.index(side.layouts[index])
    rows = np.array([place], dtype=np.intp)
    return replace(side.copy, table=side.copy.table.take(rows), working=side.copy.working[rows]).step(
        work, skew()
    )
