"""What limits a point, and what would move it: finite differences on the chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from assay.catalogue.schema import System
from assay.engine.replica import replica
from assay.engine.steady import at_batch
from assay.plan.points import Points
from assay.plan.predict import skew
from assay.plan.sweep import MOST_SEQUENCES, Lengths

#: Change -> how it alters the system.
CHANGES = ("memory bandwidth x2", "compute x2", "links x2", "memory capacity x2")


def changed(system: System, change: str) -> System:
    """Return the system with one figure of its chip doubled."""
    chip = system.chip
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
    """Return change -> factor on throughput at the same time per output token, same layout.

    The physics alone is compared with itself, so that the correction by measurements cancels.
    """
    copy = points.found.copy
    load = points.found.load
    lengths = Lengths(float(load.isl[0, 0]), float(load.osl[0, 0]), float(load.cached[0, 0]))
    target = float(points.outcome.state.tpot[index, 0])
    layout = (points.layouts[index],)

    def best(system: System) -> float:
        one = replica(copy.model, system, layout, copy.weights, copy.kv, copy.engine)
        step = one.step(lengths.workload(copy.engine.budget), skew())
        capacity = float(one.capacity(lengths.isl + lengths.osl / 2)[0, 0])
        # one grid for all changes, so that only the change moves the result
        grid = np.geomspace(1.0, MOST_SEQUENCES * layout[0].dp, 240)[None, :]
        grid = np.minimum(grid, max(capacity, 1.0))
        found = at_batch(step, copy.engine, grid)
        # tpot grows with the batch: the throughput where it reaches the target, between grid points
        return float(np.interp(target, found.tpot[0], found.throughput[0]))

    base = best(copy.system)
    if base <= 0:
        return {}
    return {change: best(changed(copy.system, change)) / base for change in CHANGES}


def limited_by(points: Points, index: int) -> str:
    """Return the resource most of the mean step goes to."""
    outcome = points.outcome
    step, tpot = float(outcome.state.decode_step[index, 0]), float(outcome.state.tpot[index, 0])
    share = min(max(1.0 - step / tpot, 0.0), 1.0)
    spent = {}
    for name, label in (
        ("memory", "memory bandwidth"),
        ("compute", "compute"),
        ("link", "links"),
        ("overhead", "launch and host"),
    ):
        decode = getattr(outcome.decode, name) / outcome.decode.seconds
        prompt = getattr(outcome.prompt, name) / outcome.prompt.seconds
        spent[label] = float((1 - share) * decode[index, 0] + share * prompt[index, 0])
    host = max(step - float(outcome.decode.seconds[index, 0]), 0.0) / step
    spent = {label: part * (1 - host) for label, part in spent.items()}
    spent["launch and host"] += host
    return max(spent, key=lambda label: spent[label])
