"""Quantiles of a stream in fixed memory: exact while few, then a log-linear histogram of stated error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.simulate.state import GAP_BINS, GAP_LOW, GAPS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Values kept exactly before the histogram takes over.
EXACT = 1 << 17
#: Largest relative error of a quantile from the histogram: half a bin of 64 an octave.
ERROR = 0.5 / GAP_BINS
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}


@dataclass(slots=True)
class Sketch:
    """Count, mean, extremes and quantiles of non-negative numbers that come in chunks."""

    count: int = 0
    total: float = 0.0
    least: float = np.inf
    greatest: float = 0.0
    kept: list[Floats] = field(default_factory=list)
    bins: Ints | None = None

    def add(self, numbers: Floats) -> None:
        """Add a chunk of values."""
        if not len(numbers):
            return
        self.count += len(numbers)
        self.total += float(numbers.sum())
        self.least = min(self.least, float(numbers.min()))
        self.greatest = max(self.greatest, float(numbers.max()))
        if self.bins is None:
            self.kept.append(numbers.copy())
            if self.count > EXACT:
                self.bins = histogram(np.concatenate(self.kept))
                self.kept = []
        else:
            self.bins += histogram(numbers)

    def join(self, other: Sketch) -> None:
        """Add all that another one was given."""
        if not other.count:
            return
        self.count += other.count
        self.total += other.total
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)
        self.kept += other.kept
        if self.bins is None and other.bins is None and self.count <= EXACT:
            return
        bins = histogram(np.concatenate(self.kept)) if self.kept else np.zeros(GAPS, dtype=np.int64)
        self.kept = []
        for known in (self.bins, other.bins):
            bins += known if known is not None else 0
        self.bins = bins

    def summary(self) -> dict[str, float]:
        """Return mean, quantiles and the greatest; NaN where there is nothing."""
        if not self.count:
            return dict.fromkeys(("mean", *QUANTILES, "max"), float("nan"))
        if self.bins is None:
            values = np.quantile(np.concatenate(self.kept), list(QUANTILES.values()))
        else:
            values = np.clip(quantiles(self.bins, list(QUANTILES.values())), self.least, self.greatest)
        found = dict(zip(QUANTILES, (float(value) for value in values), strict=True))
        return {"mean": self.total / self.count, **found, "max": self.greatest}


def histogram(numbers: Floats) -> Ints:
    """Return how many values fall into each bin, (GAPS,)."""
    mantissa, exponent = np.frexp(numbers)
    at = (exponent - GAP_LOW) * GAP_BINS + ((2.0 * mantissa - 1.0) * GAP_BINS).astype(np.int64)
    return np.bincount(np.clip(at, 0, GAPS - 1), minlength=GAPS)


def quantiles(bins: Ints, wanted: ArrayLike) -> Floats:
    """Return quantiles of binned values: the middle of the bin in which each falls."""
    edges = np.cumsum(bins)
    rank = np.asarray(wanted, dtype=np.float64) * (edges[-1] - 1) + 1
    at = np.searchsorted(edges, rank)
    octave, part = np.divmod(at, GAP_BINS)
    return np.asarray((0.5 + (part + 0.5) / (2 * GAP_BINS)) * 2.0 ** (octave + GAP_LOW).astype(np.float64))


def of_bins(bins: Ints) -> Mapping[str, float]:
    """Return mean and quantiles of a histogram alone."""
    if not bins.sum():
        return dict.fromkeys(("mean", *QUANTILES), float("nan"))
    octave, part = np.divmod(np.arange(GAPS), GAP_BINS)
    middle = (0.5 + (part + 0.5) / (2 * GAP_BINS)) * 2.0 ** (octave + GAP_LOW).astype(np.float64)
    values = quantiles(bins, list(QUANTILES.values()))
    found = dict(zip(QUANTILES, (float(value) for value in values), strict=True))
    return {"mean": float((bins * middle).sum() / bins.sum()), **found}
