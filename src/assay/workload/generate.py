"""Synthetic traffic, drawn with a seed and without loops over requests.

Arrivals are renewal processes (Poisson, Gamma, Weibull, even) at a constant rate, or the same processes with
their clock bent so that the rate follows a profile: hours of a day, bursts. A unit-rate process read at
the cumulated rate has that rate at every time and keeps its burstiness (Çinlar, Introduction to Stochastic
Processes, 1975, ch. 4.7).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import BadInput, NoEvidence
from assay.workload.arrivals import Floats, Requests, requests
from assay.workload.distributions import fixed, of_facts, positive, rng_of, uniform
from assay.workload.lengths import workload

Family = Literal["gamma", "weibull", "even"]
_HOUR = 3600.0
_MOST = 1_000_000_000
_BISECTIONS = 80


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Users who each wait for an answer, think, and ask again: the rate is a result, not an input.

    Attributes:
        concurrency: users, each with at most one request in flight.
        count: requests in all.
        think: mean time from an answer to the next question, s; exponential; 0 = none.
        ramp: time over which the users join, s.
    """

    concurrency: int
    count: int
    think: float = 0.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no load.

        Raises:
            BadInput: no users, no requests, a negative time.
        """
        if self.concurrency < 1 or self.count < 1:
            raise BadInput(
                f"{self.concurrency} users with {self.count} requests are no load.", "Give at least 1."
            )
        positive("think", self.think, zero=True)
        positive("ramp", self.ramp, zero=True)

    def pauses(self, seed: int = 0) -> Floats:
        """Return the pause before each request, s, shape (count,).

        It counts from the start for the first request of a user (joining), from the last answer otherwise
        (thinking). A user who is free takes the next request.
        """
        rng = np.random.default_rng(seed)
        pauses = rng.exponential(self.think, self.count) if self.think else np.zeros(self.count)
        first = min(self.concurrency, self.count)
        pauses[:first] = np.linspace(0.0, self.ramp, first, endpoint=False)
        return pauses


def gaps(
    count: int, cv: float = 1.0, family: Family = "gamma", seed: int | np.random.Generator = 0
) -> Floats:
    """Return gaps with mean 1, shape (count,).

    Args:
        count: how many.
        cv: their coefficient of variation; 1 = Poisson, 0 = even. `burstiness` of vLLM and SGLang is 1 / cv².
        family: what they are drawn from.
        seed: or a generator.

    Raises:
        BadInput: a negative cv, or more gaps than memory holds.
    """
    positive("cv", cv, zero=True)
    if not 0 <= count <= _MOST:
        raise BadInput(f"{count:,} requests are too many or too few.", f"Write a number up to {_MOST:,}.")
    rng = rng_of(seed)
    if cv == 0 or family == "even":
        return np.ones(count)
    if cv == 1:
        return rng.exponential(1.0, count)
    if family == "gamma":
        return rng.gamma(1 / cv**2, cv**2, count)
    shape = weibull_shape(cv)
    return rng.weibull(shape, count) / math.gamma(1 + 1 / shape)


def weibull_shape(cv: float) -> float:
    """Return the shape of a Weibull distribution with this coefficient of variation.

    Raises:
        BadInput: a cv outside what a double holds (about 0.01 to 1000).
    """
    low, high = 0.05, 200.0
    if not _weibull_cv(high) < cv < _weibull_cv(low):
        raise BadInput(f"cv = {cv:g} is out of reach of a Weibull distribution here.", "Use family gamma.")
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _weibull_cv(middle) > cv else (low, middle)
    return math.sqrt(low * high)


def _weibull_cv(shape: float) -> float:
    return math.sqrt(max(math.expm1(math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)), 0.0))


def arrivals(
    rate: float, count: int, cv: float = 1.0, family: Family = "gamma", seed: int | np.random.Generator = 0
) -> Floats:
    """Return arrivals at a constant mean rate, s, ascending, the first after one gap.

    Args:
        rate: requests/s.
        count: how many.
        cv, family, seed: as for `gaps`.

    Raises:
        BadInput: as for `gaps`, or a rate that is not positive.
    """
    positive("rate", rate)
    return np.asarray(np.cumsum(gaps(count, cv, family, seed)) / rate)


def following(
    rates: ArrayLike,
    step: float,
    cv: float = 1.0,
    family: Family = "gamma",
    seed: int | np.random.Generator = 0,
) -> Floats:
    """Return arrivals whose rate follows steps, s; their number is random.

    Args:
        rates: requests/s of each step, shape (m,).
        step: length of a step, s, or ends of the steps, shape (m,), ascending.
        cv, family, seed: as for `gaps`.

    Raises:
        BadInput: a negative rate, or more requests than memory holds.
    """
    levels = np.atleast_1d(np.asarray(rates, np.float64))
    ends = np.asarray(step, np.float64)
    times = np.concatenate([[0.0], ends if ends.ndim else np.arange(1, levels.size + 1) * float(ends)])
    widths = np.diff(times)
    if not (np.isfinite(levels).all() and (levels >= 0).all() and (widths > 0).all()):
        raise BadInput("Rates of steps must be finite numbers from 0 up, and steps longer than 0.")
    cumulated = np.concatenate([[0.0], np.cumsum(levels * widths)])
    total = float(cumulated[-1])
    if total > _MOST:
        raise BadInput(
            f"The profile holds about {total:.3g} requests.", "Lower the rate or shorten the time."
        )
    rng, parts, reached = rng_of(seed), [], 0.0
    while reached < total:
        expected = total - reached
        count = int(expected + 4 * (1 + cv) * math.sqrt(expected) + 16)
        parts.append(reached + np.cumsum(gaps(count, cv, family, rng)))
        reached = float(parts[-1][-1])
    unit = np.concatenate(parts) if parts else np.empty(0)
    unit = unit[unit < total]
    rising = np.concatenate([[True], np.diff(cumulated) > 0])
    index = np.searchsorted(cumulated[rising], unit, side="right")
    segment = np.flatnonzero(rising)[index] - 1
    return np.asarray(times[segment] + (unit - cumulated[segment]) / levels[segment])


def bursts(
    rate_on: float,
    rate_off: float,
    on: float,
    off: float,
    duration: float,
    seed: int | np.random.Generator = 0,
) -> Floats:
    """Return Poisson arrivals that switch between two rates after exponential times (a two-state MMPP), s.

    Args:
        rate_on, rate_off: requests/s in and between bursts.
        on, off: mean time in and between bursts, s.
        duration: of the whole, s.
        seed: or a generator.

    Raises:
        BadInput: a negative rate, or a time that is not positive.
    """
    for name, value in (("on", on), ("off", off), ("duration", duration)):
        positive(name, value)
    if duration / (on + off) > _MOST:
        raise BadInput(f"{duration:g} s hold too many bursts of {on:g} s.", "Shorten the time.")
    rng, ends, reached = rng_of(seed), [np.empty(0)], 0.0
    while reached < duration:
        pairs = int((duration - reached) / (on + off)) + 16
        spells = np.column_stack([rng.exponential(on, pairs), rng.exponential(off, pairs)]).ravel()
        ends.append(reached + np.cumsum(spells))
        reached = float(ends[-1][-1])
    switches = np.concatenate(ends)
    switches = np.concatenate([switches[switches < duration], [duration]])
    levels = np.where(np.arange(switches.size) % 2 == 0, rate_on, rate_off)
    wide = np.diff(switches, prepend=0.0) > 0
    return following(levels[wide], switches[wide], seed=rng)  # type: ignore[arg-type]


def diurnal(
    name: str,
    duration: float,
    *,
    rate: float | None = None,
    begin: float = 0.0,
    cv: float = 1.0,
    seed: int | np.random.Generator = 0,
    extra: Sequence[Path] = (),
) -> Floats:
    """Return arrivals whose rate follows the published hours of a workload, repeated for as long as asked, s.

    Args:
        name: workload with an hourly profile.
        duration: s.
        rate: mean requests/s over the profile; None = as published.
        begin: where in the profile to begin, s.
        cv: coefficient of variation of the gaps, seen on the bent clock.
        seed: or a generator.
        extra: folders of the user's facts.

    Raises:
        NoEvidence: nobody published a profile of that workload.
        UnknownName: no such workload.
        BadInput: a time or a rate that is not positive.
    """
    hourly = profile(name, extra)
    positive("duration", duration)
    positive("begin", begin, zero=True)
    if rate is not None:
        positive("rate", rate)
        hourly = hourly * (rate / hourly.mean())
    first = int(begin // _HOUR)
    ends = np.arange(first + 1, math.ceil((begin + duration) / _HOUR) + 1) * _HOUR - begin
    ends[-1] = duration
    levels = hourly[np.arange(first, first + ends.size) % hourly.size]
    return following(levels, ends, cv=cv, seed=seed)  # type: ignore[arg-type]


def profile(name: str, extra: Sequence[Path] = ()) -> Floats:
    """Return the published request rate of a workload by hour, requests/s.

    Raises:
        NoEvidence: nobody published one.
        UnknownName: no such workload.
    """
    arrival: Mapping[str, Any] = workload(name, extra).facts.get("arrivals") or {}
    hourly = arrival.get("hourly")
    if not hourly:
        raise NoEvidence(f"Workload {name!r} has no published hourly rate.", "chat and code have one.")
    if hourly.get("unit") != "requests/min":
        raise NoEvidence(
            f"Workload {name!r} has an hourly rate in {hourly.get('unit')!r}.", "Use requests/min."
        )
    return np.asarray(hourly["value"], np.float64) / 60.0


def open_loop(
    rate: float,
    count: int,
    isl: float,
    osl: float,
    *,
    spread: float = 0.0,
    cv: float = 1.0,
    family: Family = "gamma",
    seed: int = 0,
) -> Requests:
    """Return requests at a constant mean rate with lengths around two means.

    Args:
        rate: requests/s.
        count: how many.
        isl, osl: mean input and output tokens.
        spread: relative half width of their uniform distribution; 0 = all equal.
        cv, family: of the gaps, as for `gaps`.
        seed: arrivals, input and output are drawn from streams of their own.

    Raises:
        BadInput: a figure that makes no sense.
    """
    clock, inputs, outputs = rng_of(seed).spawn(3)
    drawn = [
        uniform(mean, spread, count, rng) if spread else fixed(mean, count)
        for mean, rng in ((isl, inputs), (osl, outputs))
    ]
    return requests(arrivals(rate, count, cv, family, clock), drawn[0], drawn[1])


def like(name: str, arrival: Floats, seed: int = 0, extra: Sequence[Path] = ()) -> Requests:
    """Return requests at given times with the lengths of a named workload.

    They follow its published percentiles; where none are published, every request has the mean lengths.

    Args:
        name: workload.
        arrival: s.
        seed: of the lengths; input and output are drawn apart.
        extra: folders of the user's facts.

    Raises:
        UnknownName: no such workload.
    """
    facts = workload(name, extra).facts
    inputs, outputs = rng_of(seed).spawn(2)
    size = int(np.size(arrival))
    return requests(arrival, of_facts(facts["isl"], size, inputs), of_facts(facts["osl"], size, outputs))
