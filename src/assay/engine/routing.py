"""Routed experts: how many are visited, and how much more the busiest rank has to do."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.load import catalogue

Array = NDArray[np.float64]


def coverage(rows: ArrayLike, experts: int, topk: float) -> Array:
    """Return the expected share of distinct experts that `rows` tokens visit under uniform routing.

    `1 - (1 - k/E)^n`: an upper bound, real routing is skewed.
    """
    return np.asarray(-np.expm1(np.asarray(rows) * np.log1p(-min(topk / experts, 1 - 1e-12))))


def imbalance(rows: ArrayLike, topk: float, ranks: ArrayLike, skew: ArrayLike) -> Array:
    """Return the load of the busiest expert rank over the mean.

    Chance: the greatest of `ranks` near-Poisson counts of mean m exceeds it by about
    sqrt(2 ln(ranks) / m); `skew` adds what routing preferences leave after balancing.
    """
    ranks = np.asarray(ranks, dtype=np.float64)
    mean = np.maximum(np.asarray(rows) * topk / ranks, 1.0)
    worst = 1.0 + np.sqrt(2.0 * np.log(ranks) / mean) + np.asarray(skew) * (ranks > 1)
    return np.asarray(np.minimum(worst, ranks))


def overlap_share() -> float:
    """Return the share of the smaller of exchange and kernels that two-batch overlap hides."""
    return float(catalogue().table("engines/experts")["overlap"]["value"])
