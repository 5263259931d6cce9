"""The greatest load that still meets an objective, by bisection over whole runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Relative width at which the search stops.
PRECISION = 0.02
_DOUBLINGS = 24


@dataclass(frozen=True, slots=True)
class Saturation:
    """Where a deployment tips.

    Attributes:
        load: the greatest load found that meets the objective; 0 = none does.
        beyond: the least load found that does not; infinite = none was found.
        runs: (load, share of requests within the limits) of every run, in order.
    """

    load: float
    beyond: float
    runs: tuple[tuple[float, float], ...]


def saturation(
    good_share: Callable[[float], float], start: float, share: float = 0.99, precision: float = PRECISION
) -> Saturation:
    """Return the greatest load at which at least `share` of the requests meet their limits.

    Doubles or halves from `start` until it has a load on either side, then bisects in ratio. The answer is
    that of these runs: short runs hide a queue that grows slowly.

    Args:
        good_share: runs a load (requests/s, or a factor on a trace) and returns the share within the limits.
        start: a first guess.
        share: share of the requests that must be within the limits.
        precision: relative width at which to stop.
    """
    runs: list[tuple[float, float]] = []

    def holds(load: float) -> bool:
        runs.append((load, good_share(load)))
        return runs[-1][1] >= share

    low, high = 0.0, float("inf")
    load = start
    for _ in range(_DOUBLINGS):
        if holds(load):
            low = load
        else:
            high = load
        if low > 0 and high < float("inf"):
            break
        load = load * 2 if low > 0 else load / 2
    while low > 0 and high < float("inf") and high / low > 1 + precision:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Saturation(low, high, tuple(runs))
