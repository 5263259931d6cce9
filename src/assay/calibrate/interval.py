"""Conformal intervals: 80 % of measured values must lie within them, by how much of a group is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.residual import Evidence, Shape, fit
from assay.engine.residual import KNOWLEDGE
Correction=object

Floats = NDArray[np.float64]

#: Share of measured values that an interval is meant to contain.
COVERAGE = 0.8

#: A residual smaller than this, log, counts as this much: nobody measures better.
FINEST = 0.01


def spread(points: Evidence, residual: Floats, seed: int = 0) -> Correction:
    """Return a model of the log of the residual's size.

    Args:
        points: the points.
        residual: log(measured / corrected prediction) of points left out of the fit, NaN where unknown.
        seed: of the trees.
    """
    size = np.log(np.maximum(np.abs(residual), FINEST))
    sized = replace(points, targets={"size": size})
    growth = Boosting(trees=60, depth=3, rate=0.1, clip=2.0, shrink=60.0, seed=seed)
    return fit(sized, "size", Shape(ridge=200.0, shrink=6.0, clip=2.0, rounds=1, boosting=growth))


def quantiles(
    residual: Floats, size: Floats, kind: NDArray[np.str_], weight: Floats
) -> Mapping[str, tuple[float, float]]:
    """Return, for each kind of knowledge, the (low, high) quantiles of residual over size.

    A kind with few points borrows from the nearest better-known kind that has enough, never narrower than
    its own points.

    Args:
        residual: of points left out, (m,), NaN where unknown.
        size: predicted size of each residual (m,).
        kind: key of `KNOWLEDGE` of each (m,).
        weight: of each (m,).
    """
    ratio = residual / size
    out: dict[str, tuple[float, float]] = {}
    before = (-1.0, 1.0)
    tail = (1 - COVERAGE) / 2
    for name in KNOWLEDGE:
        rows = (kind == name) & np.isfinite(ratio)
        count = int(rows.sum())
        if count >= 30:
            low, high = weighted_quantile(ratio[rows], weight[rows], (tail, 1 - tail), count)
            before = min(low, -1e-3), max(high, 1e-3)
        out[name] = before
    return out


def weighted_quantile(
    values: Floats, weight: Floats, levels: tuple[float, float], count: int
) -> tuple[float, float]:
    """Return two quantiles of weighted values, widened for a finite sample as conformal prediction asks."""
    order = np.argsort(values)
    ranks = np.cumsum(weight[order]) - weight[order] / 2
    ranks /= weight.sum()
    wider = 0.5 / (count + 1)
    low, high = np.interp([levels[0] - wider, levels[1] + wider], ranks, values[order])
    return float(low), float(high)
