"""The bottleneck ledger: what a factor comes from, giving the baseline one resource of the subject at a time.

Physics alone is compared with itself at one interactivity. The share of a resource is the mean of what it
adds to the baseline as the first one and to the subject as the last one, in logarithms; what resources do
together is the remainder. Price and power enter as they are. All parts sum to the logarithm of the factor.

Where one side is a pipeline of SRAM chips, resources are swapped inside the pipeline: with all of the other
side's resources it is that side's chips run as a pipeline, and the step from there to the other side itself
is the way of running, which no single resource carries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.claims.claim import Claim
from assay.claims.evidence import software
from assay.claims.factor import Bench, Grid, sides
from assay.claims.fronts import Points, Side, options, points
from assay.claims.hybrid import OF_PIPELINE, RESOURCES, hybrid, pipeline
from assay.errors import DoesNotFit, NoEvidence

#: Output tokens/s a chip of a platform with the named resources of the subject; 0 = out of reach.
Rate = Callable[[frozenset[str]], float]
DEPLOYMENT = "deployment"
TOGETHER, RUNNING, CORRECTIONS, SOFTWARE = (
    "together", "way of running", "measured corrections", "software age",
)  # fmt: skip
#: What a denominator is called as a line of the ledger.
UNITS = {"USD": "price", "MW": "power", "rack": "chips of the domain", "system": "chips of the domain"}
NOTES = {
    "precision": "formats that only one of the chips multiplies",
    "kernel efficiency": "what kernels of the generation reach of their peaks",
    "scale-up domain": "chips, links and network",
    DEPLOYMENT: "pools and drafts that only the subject uses",
    TOGETHER: "remainder: what resources do only together",
    RUNNING: "pipeline of resident weights against a batch engine: no single resource carries it",
    CORRECTIONS: "calibration on published measurements",
}
_SMALL = 1e-9


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
    A factor of speed is split between the fastest users of both sides.
    """
    place = _cell(grid)
    if place is None:
        return Ledger("", math.nan, (), "no cell compares both sides")
    variant, row, speed = grid.variants[place[0]], grid.rows[place[1]], float(grid.speeds[place[2]])
    where = f"{variant.label()}, {row.label()} at {speed:g} tok/s/user"
    total = float(grid.value[place])
    systems = (bench.facts.system(claim.subject), bench.facts.system(claim.baseline))
    pair = sides(claim, row, variant.deployment, systems, bench.facts)
    figure: Callable[[Points], float] = lambda found: float(found.at(np.array([speed]))[0, 0])  # noqa: E731
    if claim.metric == "interactivity":
        figure = _fastest
        where = f"{variant.label()}, {row.label()}, fastest user of each"
        total = _fastest(bench.points(pair[0])) / _fastest(bench.points(pair[1]))
    logs, notes = _physics(pair, figure)
    if not logs:
        return Ledger(where, total, (), notes.get(TOGETHER, "a side does not reach this without corrections"))
    price = variant.unit.ratio.value
    if claim.denominator in UNITS:
        logs[UNITS[claim.denominator]] = math.log(price)
        notes[UNITS[claim.denominator]] = variant.unit.shown
    logs[CORRECTIONS] = math.log(total) - sum(logs.values())
    gain, words = software(bench.facts, claim.baseline)
    logs[SOFTWARE] = 0.0
    notes[SOFTWARE] = "the same software on both sides" + (
        f"; newer software alone brought the baseline {gain:.2g}x ({words}): a comparison with an old result "
        "adds that"
        if gain > 1.0
        else ""
    )
    whole = math.log(total)
    entries = tuple(
        Entry(name, math.exp(value), value / whole + 0.0 if abs(whole) > _SMALL else 0.0, notes.get(name, ""))
        for name, value in logs.items()
    )
    return Ledger(where, total, entries)


def _fastest(found: Points) -> float:
    return float(found.fastest[0])


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


def _physics(
    pair: tuple[Side, Side], figure: Callable[[Points], float]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the logarithms of physics alone by resource, and notes; empty where a side is out of reach."""
    subject, baseline = pair
    kinds = [side.system.chip.kind == "dataflow" for side in pair]
    if not any(kinds):
        logs, notes = _shares(RESOURCES, lambda taken: _value(_mixed(pair, taken), figure))
        if TOGETHER not in logs:
            return {}, {TOGETHER: "a side does not reach this speed without corrections by measurements"}
        if subject.plain != baseline.plain:
            pooled, plain = (
                _value(replace(subject, plain=part), figure) for part in (subject.plain, baseline.plain)
            )
            logs[DEPLOYMENT] = math.log(pooled / plain) if pooled > 0.0 and plain > 0.0 else 0.0
        return logs, notes
    host, other = (baseline, subject) if kinds[1] else (subject, baseline)
    everything = frozenset(OF_PIPELINE)

    def rate(taken: frozenset[str]) -> float:
        swapped = taken if kinds[1] else everything - taken
        return _value(replace(host, system=pipeline(host.system, other.system, swapped)), figure)

    logs, notes = _shares(OF_PIPELINE, rate)
    own, alone = _value(host, figure), _value(other, figure)
    if own <= 0.0 or alone <= 0.0:
        return {}, {TOGETHER: "a side does not reach this without corrections by measurements"}
    whole = math.log(alone / own) if kinds[1] else math.log(own / alone)
    logs[RUNNING] = whole - sum(logs.values())
    notes["capacity"] = notes.get("capacity") or "chips that hold the model"
    if all(kinds):
        notes[RUNNING] = "what the two pipelines do otherwise: layout, formats, overheads"
    if TOGETHER not in logs:
        notes[RUNNING] = "cannot be attributed: the other side's resources as a pipeline are out of reach"
    return logs, notes


def _shares(resources: Sequence[str], rate: Rate) -> tuple[dict[str, float], dict[str, str]]:
    """Return what each resource adds, in logarithms, and notes.

    Without a remainder where one end is out of reach; empty where both are.
    """
    everything, notes = frozenset(resources), dict(NOTES)
    bottom, top = rate(frozenset()), rate(everything)
    if bottom <= 0.0 and top <= 0.0:
        return {}, {TOGETHER: "both ends are out of reach without corrections by measurements"}
    logs: dict[str, float] = {}
    for resource in resources:
        first, last = rate(frozenset({resource})), rate(everything - {resource})
        steps = [math.log(first / bottom)] if first > 0.0 and bottom > 0.0 else []
        steps += [math.log(top / last)] if last > 0.0 and top > 0.0 else []
        logs[resource] = sum(steps) / len(steps) if steps else 0.0
        if not steps:
            notes[resource] = "cannot be attributed: swapped alone it leads out of reach"
    if bottom > 0.0 and top > 0.0:
        logs[TOGETHER] = math.log(top / bottom) - sum(logs.values())
    return logs, notes


def _value(side: Side, figure: Callable[[Points], float]) -> float:
    """Return a figure of physics alone; 0 = out of reach."""
    try:
        return figure(points(side, bare=True))
    except (DoesNotFit, NoEvidence):
        return 0.0


def _mixed(pair: tuple[Side, Side], taken: frozenset[str]) -> Side:
    """Return the baseline, deployed as it is, with resources of the subject."""
    subject, baseline = pair
    source = subject if "precision" in taken else baseline
    weights = source.weights or options(source.model, source.system)
    return replace(baseline, system=hybrid(subject.system, baseline.system, taken), weights=weights)
