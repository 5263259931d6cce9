"""The bottleneck ledger: what a factor comes from, giving the baseline one resource of the subject at a time.

Physics alone is compared with itself at one interactivity. The share of a resource is the mean of what it
adds to the baseline as the first one and to the subject as the last one, in logarithms; what resources do
together is the remainder. Price and power enter as they are. All parts sum to the logarithm of the factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.catalogue.schema import Chip, System
from assay.claims.claim import Claim
from assay.claims.evidence import software
from assay.claims.factor import Bench, Grid, sides
from assay.claims.fronts import Side, options, points
from assay.errors import DoesNotFit, NoEvidence

#: Resources that are swapped, in the order they are shown.
RESOURCES = ("memory bandwidth", "FLOPS", "precision", "scale-up domain", "capacity", "kernel efficiency")
#: Formats whose rates tie those that only one chip has to those that both have, preferred first.
TIES = ("fp8", "bf16", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger.

    Attributes:
        resource: what was swapped, or what the rest is.
        factor: its part of the whole factor; the product of all parts is the whole.
        share: its part of the logarithm of the whole factor.
        note: what it stands for, where the name does not say.
    """

    resource: str
    factor: float
    share: float
    note: str = ""

    def json(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return {"resource": self.resource, "factor": self.factor, "log_share": self.share, "note": self.note}


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the factor of one cell comes from.

    Attributes:
        where: the cell in words.
        total: the central factor there.
        entries: parts; empty where they cannot be told apart.
        note: why it is empty, or what stands beside it.
    """

    where: str
    total: float
    entries: tuple[Entry, ...]
    note: str = ""

    def json(self) -> dict[str, Any]:
        """Return the ledger as plain data."""
        total = self.total if math.isfinite(self.total) else None
        return {
            "where": self.where,
            "total": total,
            "entries": [item.json() for item in self.entries],
            "note": self.note,
        }


def peak(ratio: float, resource: str) -> Ledger:
    """Return the ledger of a ratio of peaks: one resource is all of it."""
    name = resource.replace("_", " ")
    return Ledger("ratio of peaks", ratio, (Entry(name, ratio, 1.0, "by definition"),))


def ledger(claim: Claim, grid: Grid, bench: Bench) -> Ledger:
    """Return where the factor comes from, at the cell that stands for the map.

    That is the greatest factor with a finite interval, both sides at their best where there is such a cell.
    """
    place = _cell(grid)
    if place is None:
        return Ledger("", math.nan, (), "no cell compares both sides")
    variant, row, speed = grid.variants[place[0]], grid.rows[place[1]], float(grid.speeds[place[2]])
    where = f"{variant.label()}, {row.label()} at {speed:g} tok/s/user"
    total = float(grid.value[place])
    systems = (bench.facts.system(claim.subject), bench.facts.system(claim.baseline))
    if claim.metric != "throughput" or "dataflow" in {system.chip.kind for system in systems}:
        note = "a pipeline of SRAM chips shares no resource with a batch engine that could be swapped alone"
        return Ledger(where, total, (), note if claim.metric == "throughput" else "a speed is not split")
    pair = sides(claim, row, variant.deployment, systems, bench.facts)
    entries = _entries(pair, speed, total, variant.unit.ratio.value, claim.denominator)
    return Ledger(where, total, entries, _software(claim, bench))


def _software(claim: Claim, bench: Bench) -> str:
    gain, words = software(bench.facts, claim.baseline)
    if gain <= 1.0:
        return "Software age: both sides are predicted with the same software."
    return (
        "Software age: both sides are predicted with the same software; on the baseline alone newer software "
        f"brought {gain:.2g}x ({words}), which a comparison with an old result adds."
    )


def _cell(grid: Grid) -> tuple[int, int, int] | None:
    """Return the cell that stands for the map: the greatest factor whose interval is finite.

    Both sides at their best come first; without a finite interval any cell will do.
    """
    usable = grid.comparable & (grid.value > 0)
    best = np.array([variant.deployment == "best" for variant in grid.variants])[:, None, None]
    bounded = usable & np.isfinite(grid.high)
    chosen = next((mask for mask in (bounded & best, usable & best, bounded, usable) if mask.any()), None)
    if chosen is None:
        return None
    place = np.unravel_index(int(np.argmax(np.where(chosen, grid.value, 0.0))), chosen.shape)
    return int(place[0]), int(place[1]), int(place[2])


def _entries(
    pair: tuple[Side, Side], speed: float, total: float, price: float, denominator: str
) -> tuple[Entry, ...]:
    everything = frozenset(RESOURCES)
    bottom, top = _rate(pair, frozenset(), speed), _rate(pair, everything, speed)
    if bottom <= 0 or top <= 0 or total <= 0:
        return ()
    logs: dict[str, float] = {}
    for resource in RESOURCES:
        first = _rate(pair, frozenset({resource}), speed)
        last = _rate(pair, everything - {resource}, speed)
        steps = [math.log(first / bottom)] if first > 0 else []
        steps += [math.log(top / last)] if last > 0 else []
        logs[resource] = sum(steps) / len(steps) if steps else 0.0
    physics = math.log(top / bottom)
    logs["together"] = physics - sum(logs.values())
    logs["price" if denominator == "USD" else "power"] = math.log(price)
    logs["measured corrections"] = math.log(total) - physics - math.log(price)
    notes = {
        "precision": "formats that only one of the chips multiplies",
        "kernel efficiency": "what kernels of the generation reach of their peaks",
        "together": "remainder: what resources do only together",
        "measured corrections": "calibration on published measurements, and fewer points of the front",
        "scale-up domain": "chips, links and network",
    }
    whole = math.log(total)
    return tuple(
        Entry(name, math.exp(value), value / whole if abs(whole) > 1e-9 else 0.0, notes.get(name, ""))
        for name, value in logs.items()
        if abs(value) > 1e-6 or name in RESOURCES
    )


def _rate(pair: tuple[Side, Side], taken: frozenset[str], speed: float) -> float:
    """Return output tokens/s a chip of the baseline with resources of the subject; 0 = out of reach."""
    subject, baseline = pair
    source = subject if "precision" in taken else baseline
    weights = source.weights or options(source.model, source.system)
    system = hybrid(subject.system, baseline.system, taken)
    plain = baseline.plain if taken != frozenset(RESOURCES) else subject.plain
    side = replace(baseline, system=system, weights=weights, plain=plain)
    try:
        return float(points(side, bare=True).at(np.array([speed]))[0, 0])
    except (DoesNotFit, NoEvidence):
        return 0.0


def hybrid(subject: System, baseline: System, taken: Iterable[str]) -> System:
    """Return the baseline with the named resources of the subject; all of them make it the subject."""
    chosen = frozenset(taken)
    mine, theirs = subject.chip, baseline.chip
    chip = replace(theirs, peak_flops=_peaks(mine, theirs, chosen))
    if "memory bandwidth" in chosen:
        chip = replace(chip, memory_bandwidth=mine.memory_bandwidth)
    if "capacity" in chosen:
        chip = replace(chip, memory_bytes=mine.memory_bytes)
    if "kernel efficiency" in chosen:
        chip = replace(chip, id=mine.id, generation=mine.generation, vendor=mine.vendor)
    system = replace(baseline, chip=chip)
    if "scale-up domain" in chosen:
        system = replace(
            subject, chip=replace(chip, link_bandwidth=mine.link_bandwidth, nic_bandwidth=mine.nic_bandwidth)
        )
    return system


def _peaks(mine: Chip, theirs: Chip, chosen: frozenset[str]) -> dict[str, float]:
    """Return peak rates: common formats by FLOPS, formats of one chip alone by precision.

    A format that only one chip has keeps its own ratio to a format that both have.
    """
    shared = [name for name in theirs.peak_flops if name in mine.peak_flops]
    rates = mine.peak_flops if "FLOPS" in chosen else theirs.peak_flops
    found = {name: rates[name] for name in shared}
    tie = next((name for name in TIES if name in found), None)
    owner = mine if "precision" in chosen else theirs
    for name, rate in owner.peak_flops.items():
        if name not in found:
            found[name] = rate * (found[tie] / owner.peak_flops[tie]) if tie else rate
    return found
