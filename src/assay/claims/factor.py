"""The factor between two platforms over the conditions a claim leaves open, with its interval.

A cell is one variant (deployment of both sides, denominator) x one model and length x one interactivity.
The factor is the ratio of output tokens/s a chip at that interactivity, times the ratio of what a chip costs
in the claim's denominator. The 80 % intervals of both sides and of both prices are taken as independent: they
join in the logarithm as the root of the sum of squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.claims.claim import DEPLOYMENTS, Claim
from assay.claims.denominator import Unit, units
from assay.claims.fronts import Points, Side, options, points
from assay.engine.models import model as load_model
from assay.errors import AssayError, DoesNotFit, NoEvidence
from assay.estimate import BASES

Floats = NDArray[np.float64]

#: Interactivities swept where a claim states none, output tokens/s/user.
SPEEDS = (5, 7.5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 400, 500, 750, 1000)
#: Lengths swept where a claim states none, input and output tokens.
LENGTHS = ((1024, 1024), (8192, 1024), (32000, 8000), (1024, 8192))
#: What a deployment of both sides means, in words.
WORDS = {
    "best": "both at their best",
    "alike": "both alike: same formats, one pool, no drafts",
    "uneven": "subject at its best, baseline plain",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One model and pair of lengths of the map.

    Attributes:
        model: name in the catalogue.
        isl, osl: tokens.
    """

    model: str
    isl: int
    osl: int

    def label(self) -> str:
        """Return `kimi-k2 8k/1k`."""
        return f"{self.model} {_short(self.isl)}/{_short(self.osl)}"


def _short(tokens: int) -> str:
    for size in (1024, 1000):
        if tokens >= size and tokens % size == 0:
            return f"{tokens // size}k"
    return str(tokens)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way the open conditions are filled in.

    Attributes:
        deployment: one of `assay.claims.claim.DEPLOYMENTS`.
        unit: what a chip counts in the denominator, of subject over baseline.
    """

    deployment: str
    unit: Unit

    def label(self) -> str:
        """Return the variant in words."""
        return f"{WORDS[self.deployment]}, per {self.unit.name}"


@dataclass(frozen=True, slots=True)
class Grid:
    """The factor over all open conditions; arrays (V, R, G): variants, rows, interactivities.

    Attributes:
        variants, rows, speeds: the axes.
        value: central factor; inf where only the subject gets there, NaN where neither does.
        low, high: ends of the 80 % interval.
        basis: weakest rung of evidence behind the fronts.
        subject, baseline: their ids.
        labels: (deployment, row) -> names of what both sides run at the slowest speed that both reach.
        notes: what could not be computed, and why.
    """

    variants: tuple[Variant, ...]
    rows: tuple[Row, ...]
    speeds: Floats
    value: Floats
    low: Floats
    high: Floats
    basis: str
    subject: str
    baseline: str
    notes: tuple[str, ...] = ()

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """Where both sides can be compared: the baseline gets there."""
        return np.isfinite(self.value)


@dataclass(slots=True)
class Bench:
    """Fronts computed once for all claims of one catalogue.

    Attributes:
        facts: the catalogue, the user's own facts included.
        fronts: what was asked -> points, or why there are none.
    """

    facts: Catalogue
    fronts: dict[tuple[object, ...], Points | AssayError] = field(default_factory=dict)

    def points(self, side: Side) -> Points:
        """Return the points of one side as the catalogue describes it.

        Raises:
            AssayError: as `assay.claims.fronts.points`.
        """
        key = (side.model.name, side.system.id, side.isl, side.osl, side.weights, side.plain, side.chips)
        if key not in self.fronts:
            try:
                self.fronts[key] = points(side)
            except (DoesNotFit, NoEvidence) as error:
                self.fronts[key] = error
        found = self.fronts[key]
        if isinstance(found, AssayError):
            raise found
        return found


def sides(
    claim: Claim, row: Row, deployment: str, systems: tuple[System, System], facts: Catalogue
) -> tuple[Side, Side]:
    """Return subject and baseline of one row under one deployment."""
    prepared, _ = load_model(row.model, facts.extra)
    stated = claim.condition("weights") or {}
    found = []
    for name, system in zip(("subject", "baseline"), systems, strict=True):
        weights = tuple(stated.get(name, ()))
        found.append(Side(prepared, system, row.isl, row.osl, weights, chips=claim.condition("chips")))
    subject, baseline = found
    if deployment == "best":
        return subject, baseline
    baseline = replace(baseline, plain=True)
    if deployment == "uneven":
        return subject, replace(baseline, weights=baseline.weights or ("native",))
    if not stated:
        mine, theirs = (options(prepared, system) for system in systems)
        shared = tuple(item for item in mine if item in theirs)[:1] or ("native",)
        subject, baseline = (replace(item, weights=shared) for item in (subject, baseline))
    return replace(subject, plain=True), baseline


def grid(claim: Claim, bench: Bench) -> Grid:
    """Sweep the open conditions of a performance claim.

    Raises:
        NoEvidence: a fact without which no cell can be computed.
        DoesNotFit: one side holds the model under no condition.
    """
    systems = (bench.facts.system(claim.subject), bench.facts.system(claim.baseline))
    rows = tuple(
        Row(load_model(name, bench.facts.extra)[0].name, isl, osl)
        for name in claim.condition("model")
        for isl, osl in claim.condition("lengths") or LENGTHS
    )
    speeds = np.array(claim.condition("interactivity") or SPEEDS, dtype=np.float64)
    kinds: Sequence[str] = claim.condition("deployment") or DEPLOYMENTS
    scales = units(claim, systems, bench.facts)
    shape = (len(kinds), len(scales), len(rows), len(speeds))
    parts = np.full((3, *shape), np.nan)
    bases, notes = ["datasheet"], []
    failures: list[AssayError] = []
    for i, kind in enumerate(kinds):
        for j, row in enumerate(rows):
            try:
                pair = [bench.points(side) for side in sides(claim, row, kind, systems, bench.facts)]
            except (DoesNotFit, NoEvidence) as error:
                failures.append(error)
                notes.append(error.message)
                continue
            bases += [item.basis for item in pair]
            for k, unit in enumerate(scales):
                parts[:, i, k, j] = _ratio(claim, pair[0], pair[1], speeds, unit)
    if len(failures) == len(kinds) * len(rows):
        raise failures[0]
    flat = parts.reshape(3, -1, len(rows), len(speeds))
    return Grid(
        variants=tuple(Variant(kind, unit) for kind in kinds for unit in scales),
        rows=rows,
        speeds=speeds,
        value=flat[0],
        low=flat[1],
        high=flat[2],
        basis=max(bases, key=BASES.index),
        subject=systems[0].id,
        baseline=systems[1].id,
        notes=tuple(dict.fromkeys((*notes, *(note for unit in scales for note in unit.notes)))),
    )


def _ratio(claim: Claim, subject: Points, baseline: Points, speeds: Floats, unit: Unit) -> Floats:
    """Return central, low and high factor at each speed, (3, G)."""
    theirs = baseline.at(speeds)
    if claim.metric == "interactivity":
        reached = theirs[0] > 0
        mine = subject.fastest[:, None] / speeds[None, :]
        return np.where(reached[None, :], mine, np.nan)
    return spread(subject.at(speeds), theirs, unit)


def spread(mine: Floats, theirs: Floats, unit: Unit) -> Floats:
    """Return central, low and high ratio of two fronts times a unit, (3, G); rows are central, low, high."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = mine[0] / theirs[0] * unit.ratio.value
        down = np.hypot(np.log(mine[0] / mine[1]), np.log(theirs[2] / theirs[0]))
        up = np.hypot(np.log(mine[2] / mine[0]), np.log(theirs[0] / theirs[1]))
        money = np.log([unit.ratio.value / unit.ratio.low, unit.ratio.high / unit.ratio.value])
        low = value * np.exp(-np.hypot(down, money[0]))
        high = value * np.exp(np.hypot(up, money[1]))
        # where one side is out of reach at its centre, its ends alone bound the factor
        low = np.where(theirs[0] > 0, low, mine[1] / theirs[2] * unit.ratio.low)
        high = np.where(mine[0] > 0, high, mine[2] / theirs[1] * unit.ratio.high)
    neither = (mine[0] <= 0) & (theirs[0] <= 0)
    low = np.where(np.isnan(low), 0.0, low)
    high = np.where(np.isnan(high), np.inf, high)
    found = np.stack([value, np.where(mine[0] > 0, low, 0.0), high])
    return np.where(neither[None, :], np.nan, found)
