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
