"""Pareto fronts over arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def front(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the positions of the points that no other beats in both figures; greater is better.

    Ordered by falling `first`. NaN points are never on the front.
    """
    valid = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    order = valid[np.lexsort((-second[valid], -first[valid]))]
    best = np.maximum.accumulate(np.concatenate([[-np.inf], second[order]]))[:-1]
    return np.asarray(order[second[order] > best])


#: How far from a limit, as a factor either way, candidates are kept more densely: corrections by measurements
#: move most times by less.
NEAR = 1.6


def thinned(tpot: NDArray[np.float64], limit: float | None, most: int) -> NDArray[np.intp]:
    """Return the positions of at most `most` points, rising in time, that stand for all.

    The best point within a limit is the last before it, and the times are corrected afterwards: a third is
    spread evenly over all points, the others over those near the limit. Without one all are spread evenly.

    Args:
        tpot: time per output token of the points, s.
        limit: the greatest asked for, None for none.
        most: how many are kept.
    """
    order = np.argsort(tpot, kind="stable")
    if len(order) <= most:
        return np.asarray(order)
    if limit is None:
        return np.asarray(order[_even(len(order), most)])
    near = np.flatnonzero(np.abs(np.log(tpot[order] / limit)) <= np.log(NEAR))
    spread = _even(len(order), most - min(len(near), most - most // 3))
    taken = near[_even(len(near), most - len(spread))] if len(near) else near
    return np.asarray(order[np.union1d(spread, taken)])


def _even(count: int, most: int) -> NDArray[np.intp]:
    """Return at most `most` positions among `count`, ends included, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.intp))
