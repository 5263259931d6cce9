"""What a trace looks like in figures: rate, burstiness at several scales, lengths, sessions.

CV is the standard deviation of the gaps between arrivals over their mean (1 = Poisson). IoD is the index of
dispersion of counts, variance over mean (1 = Poisson), in bins of 1, 10 and 60 s: one CV says nothing about
how load drifts over minutes, IoD that grows with the bin does. A last bin that is not full is left out of
IoD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.workload.arrivals import Floats, Requests
from assay.workload.reuse import HitCurve, hit_curve

#: Bins of IoD and of peak rates, s.
BINS = (1.0, 10.0, 60.0)
_PERCENTILES = (50.0, 90.0, 99.0)
_MOST_BINS = 100_000_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one side of the requests; percentiles are interpolated linearly."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Figures of a trace; NaN where there are too few requests.

    Attributes:
        count: requests.
        span: from the first to the last arrival, s.
        rate: requests/s over the span.
        cv: coefficient of variation of the gaps.
        dispersion: bin, s -> IoD.
        peak: bin, s -> greatest rate in one bin, requests/s.
        isl, osl: lengths.
        sessions: conversations; 0 = not known.
        turns: mean requests of a conversation.
        reuse: hit rate of a prefix cache by capacity; None = no blocks.
    """

    count: int
    span: float
    rate: float
    cv: float
    dispersion: Mapping[float, float]
    peak: Mapping[float, float]
    isl: Lengths
    osl: Lengths
    sessions: int = 0
    turns: float = float("nan")
    reuse: HitCurve | None = field(default=None)


def summary(requests: Requests) -> Summary:
    """Return the figures of a trace."""
    span, count = requests.span, len(requests)
    counts = {size: _counts(requests.arrival, size) for size in BINS}
    known = requests.session[requests.session >= 0]
    sessions = int(np.unique(known).size)
    return Summary(
        count=count,
        span=span,
        rate=count / span if span > 0 else float("nan"),
        cv=variation(requests.arrival),
        dispersion={size: _dispersion(full) for size, (full, _) in counts.items()},
        peak={size: peak / size for size, (_, peak) in counts.items()},
        isl=lengths(requests.isl),
        osl=lengths(requests.osl),
        sessions=sessions,
        turns=known.size / sessions if sessions else float("nan"),
        reuse=hit_curve(requests),
    )


def variation(arrival: Floats) -> float:
    """Return the coefficient of variation of the gaps; NaN for fewer than two gaps or all at once."""
    gaps = np.diff(arrival)
    mean = gaps.mean() if gaps.size > 1 else 0.0
    return float(gaps.std() / mean) if mean > 0 else float("nan")


def lengths(tokens: NDArray[np.int64]) -> Lengths:
    """Return mean and percentiles of token counts."""
    if not tokens.size:
        nan = float("nan")
        return Lengths(nan, nan, nan, nan, 0)
    p50, p90, p99 = (float(value) for value in np.percentile(tokens, _PERCENTILES))
    return Lengths(float(tokens.mean()), p50, p90, p99, int(tokens.max()))


def _counts(arrival: Floats, size: float) -> tuple[NDArray[np.int64], float]:
    """Return the requests of each full bin, and the most in any bin; empty where there are too many bins."""
    if arrival.size < 2 or (arrival[-1] - arrival[0]) / size > _MOST_BINS:
        return np.empty(0, np.int64), float("nan")
    place = ((arrival - arrival[0]) / size).astype(np.int64)
    counts = np.bincount(place)
    return counts[: int((arrival[-1] - arrival[0]) / size)], float(counts.max())


def _dispersion(counts: NDArray[np.int64]) -> float:
    return float(counts.var() / counts.mean()) if counts.size > 1 and counts.any() else float("nan")
