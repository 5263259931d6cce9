"""Figures over several seeds: the mean, and the interval that holds the true mean nine times in ten."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

#: Share of the intervals that hold the true mean.
LEVEL = 0.9
_BISECTIONS = 60
#: Keys of an outcome that are not figures of the run.
_NOT_FIGURES = ("timeline", "units", "notes", "schema", "compiled", "quantile_error")


def student(freedom: int, level: float = LEVEL) -> float:
    """Return t such that Student's t lies within -t to t with this probability.

    The probability within is a finite sum for whole degrees of freedom (Abramowitz and Stegun, Handbook of
    Mathematical Functions, 26.7.3 and 26.7.4); it is inverted by bisection.

    Args:
        freedom: degrees of freedom, at least 1.
        level: probability.
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        high *= 2.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return high


def over(runs: Sequence[Mapping[str, Any]], level: float = LEVEL) -> dict[str, dict[str, float]]:
    """Return figure -> `mean`, `low`, `high` of its mean over runs with different seeds.

    The runs are independent and their figures are themselves means or quantiles of many requests, so
    Student's interval holds. A figure that a run lacks is left out.

    Args:
        runs: `Outcome.json()` of each, at least two.
        level: share of such intervals that hold the true mean.
    """
    factor = student(len(runs) - 1, level) / math.sqrt(len(runs))
    columns = [dict(_figures(run)) for run in runs]
    found = {}
    for name in columns[0]:
        values = [column[name] for column in columns if name in column]
        if len(values) == len(runs):
            mean, half = fmean(values), factor * stdev(values)
            found[name] = {"mean": mean, "low": mean - half, "high": mean + half}
    return found


def means(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one outcome with the means of all runs; what is not a figure is that of the first run."""
    found: dict[str, Any] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        if name in _NOT_FIGURES:
            found[name] = first
        elif isinstance(first, Mapping):
            found[name] = means(values)
        elif any(value is None for value in values):
            found[name] = None
        elif isinstance(first, bool) or not isinstance(first, int | float):
            found[name] = first
        else:
            found[name] = first if len(set(values)) == 1 else fmean(values)
    return found


def _figures(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in data.items():
        if name in _NOT_FIGURES:
            continue
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{name}", float(value)


def _within(t: float, freedom: int) -> float:
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(1 + odd, freedom - 2, 2):
        term *= square * k / (k + 1)
        total += term
    return (angle + sine * total) * 2.0 / math.pi if odd else sine * total
