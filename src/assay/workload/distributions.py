"""Lengths of requests, drawn with a seed: fixed, uniform, log-normal, from percentiles, or as in a trace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from assay.errors import BadFact, BadInput
from assay.workload.arrivals import Floats, Ints, Requests

_GRID = 4000
_LAST = 1e-5
_BISECTIONS = 60
_STEEPEST = 8.0


def rng_of(seed: int | np.random.Generator) -> np.random.Generator:
    """Return a generator, from a seed or as given.

    Raises:
        BadInput: a negative seed.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed < 0:
        raise BadInput(f"seed = {seed} is negative.", "Write a whole number from 0 up.")
    return np.random.default_rng(seed)


def positive(name: str, value: float, *, zero: bool = False) -> None:
    """Refuse a parameter that is not finite and positive (or zero, where that makes sense).

    Raises:
        BadInput: as said.
    """
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise BadInput(f"{name} = {value} is not a finite number {'from 0 up' if zero else 'above 0'}.")


def fixed(tokens: float, count: int) -> Ints:
    """Return one length for every request.

    Raises:
        BadInput: no tokens.
    """
    positive("tokens", tokens)
    return np.full(count, max(round(tokens), 1), np.int64)


def uniform(mean: float, spread: float, count: int, seed: int | np.random.Generator = 0) -> Ints:
    """Return lengths drawn evenly from mean x (1 - spread) to mean x (1 + spread), both included.

    `random_range_ratio` of vLLM's benchmark is `spread`; of SGLang's and InferenceX's, which draw from
    ratio x L to L, use mean = L (1 + ratio) / 2 and spread = (1 - ratio) / (1 + ratio).

    Raises:
        BadInput: a mean that is not positive, or a spread outside 0 to 1.
    """
    positive("mean", mean)
    if not 0 <= spread <= 1:
        raise BadInput(f"spread = {spread:g} is not between 0 and 1.", "Write for example 0.2.")
    low, high = max(round(mean * (1 - spread)), 1), max(round(mean * (1 + spread)), 1)
    return rng_of(seed).integers(low, high, count, endpoint=True)


def lognormal(mean: float, cv: float, count: int, seed: int | np.random.Generator = 0) -> Ints:
    """Return lengths of a log-normal distribution with this mean and coefficient of variation, at least 1.

    Raises:
        BadInput: a mean that is not positive, or a negative cv.
    """
    positive("mean", mean)
    positive("cv", cv, zero=True)
    sigma = math.sqrt(math.log1p(cv**2))
    return _tokens(rng_of(seed).lognormal(math.log(mean) - sigma**2 / 2, sigma, count))


def quantiles(
    points: Mapping[float, float],
    count: int,
    seed: int | np.random.Generator = 0,
    mean: float | None = None,
) -> Ints:
    """Return lengths that have these percentiles, log-normal between any two neighbours.

    Args:
        points: percentile (0 to 100; 100 = the greatest seen) -> tokens, at least two.
        count: how many.
        seed: or a generator.
        mean: published mean. What lies below the lowest percentile is not published: it is a log-normal tail
            as steep as makes the mean right, as far as a tail can.

    Raises:
        BadInput: fewer than two percentiles, or percentiles that do not rise.
    """
    shares = np.array(sorted(points), np.float64) / 100
    tokens = np.array([points[key] for key in sorted(points)], np.float64)
    sane = (
        shares.size > 1
        and (tokens > 0).all()
        and (np.diff(tokens) >= 0).all()
        and (np.diff(shares) > 0).all()
    )
    if not sane or shares[0] < 0 or shares[-1] > 1:
        raise BadInput("Percentiles of lengths must be two or more, between 0 and 100, and rise.")
    score = np.array([NormalDist().inv_cdf(min(max(share, _LAST), 1 - _LAST)) for share in shares])
    slope = math.log(tokens[1] / tokens[0]) / (score[1] - score[0])
    if mean is not None:
        slope = _slope_for(mean, score, np.log(tokens), slope)
    return _tokens(_at(rng_of(seed).standard_normal(count), score, np.log(tokens), slope))


def _at(score: Floats, known: Floats, logs: Floats, slope: float) -> Floats:
    """Return lengths at normal scores, from logarithms at known ones; `slope` holds below the lowest."""
    line = np.interp(score, known, logs)
    below, above = np.minimum(score - known[0], 0.0), np.maximum(score - known[-1], 0.0)
    last = (
        (logs[-1] - logs[-2]) / (known[-1] - known[-2])
        if known[-1] < NormalDist().inv_cdf(1 - _LAST)
        else 0.0
    )
    return np.asarray(np.exp(line + below * slope + above * last))


def _slope_for(mean: float, known: Floats, logs: Floats, usual: float) -> float:
    """Return the slope below the lowest percentile that gives this mean, or the nearest there is."""
    positive("mean", mean)
    grid = _scores()
    low, high = 0.0, _STEEPEST * max(usual, 1e-3)  # a steeper tail has a smaller mean
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at(grid, known, logs, middle).mean() > mean else (low, middle)
    return (low + high) / 2


@cache
def _scores() -> Floats:
    normal = NormalDist()
    return np.array([normal.inv_cdf((place + 0.5) / _GRID) for place in range(_GRID)])


def resampled(requests: Requests, count: int, seed: int | np.random.Generator = 0) -> tuple[Ints, Ints]:
    """Return input and output tokens drawn from the requests of a trace, pairs kept together.

    Raises:
        BadInput: an empty trace.
    """
    if not len(requests):
        raise BadInput("An empty trace has no lengths.", "Give one with requests.")
    index = rng_of(seed).integers(0, len(requests), count)
    return requests.isl[index], requests.osl[index]


def of_facts(fact: Mapping[str, Any], count: int, seed: int | np.random.Generator = 0) -> Ints:
    """Return lengths of a workload's `isl` or `osl`: from its percentiles, or its mean for all without.

    Raises:
        BadFact: percentiles that are none.
    """
    points = fact.get("percentiles")
    if not points:
        return fixed(float(fact["value"]), count)
    try:
        levels = {float(key): float(value) for key, value in points.items()}
        return quantiles(levels, count, seed, mean=float(fact["value"]))
    except (BadInput, TypeError, ValueError, AttributeError) as error:
        raise BadFact(f"The percentiles {points!r} cannot be used: {error}") from None


def _tokens(lengths: Floats) -> Ints:
    return np.maximum(np.rint(lengths), 1).astype(np.int64)
