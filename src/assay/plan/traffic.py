"""Traffic of a capacity study: a trace, or hours of a day or a week with their rates."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import BadInput
from assay.study.fields import Fields
from assay.workload.arrivals import Floats, Requests, requests
from assay.workload.generate import following, like, profile
from assay.workload.traces import read, within

_DRAWN = ("rate", "begin", "length", "cv")
#: What stands for the traffic -> the fields that go with it.
SOURCES = {"trace": ("speed", "requests"), "profile": _DRAWN, "hourly": ("column", "unit", *_DRAWN)}
_HOUR, _DAY = 3600.0, 86400.0
#: Requests from which they are made hour by hour, in memory that does not grow.
STREAMED = 3_000_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives.

    Attributes:
        trace: file of requests, "" = drawn.
        speed: factor on the rate of the trace.
        most: requests of the trace that are read at most; 0 = all.
        rates: requests/s of each hour of the profile.
        begin, length: where in the profile it begins, and how long it is, s; the profile repeats.
        cv: coefficient of variation of the gaps.
        workload: whose published lengths the requests have; "" = all equal to `isl` and `osl`.
        isl, osl: input and output tokens where there is no workload.
        facts: folders of the user's own facts.
    """

    trace: str = ""
    speed: float = 1.0
    most: int = 0
    rates: tuple[float, ...] = ()
    begin: float = 0.0
    length: float = _DAY
    cv: float = 1.0
    workload: str = ""
    isl: int = 0
    osl: int = 0
    facts: tuple[Path, ...] = ()

    def hours(self) -> tuple[Floats, Floats]:
        """Return requests/s and end, s, of each hour or part of one."""
        first = int(self.begin // _HOUR)
        last = math.ceil((self.begin + self.length) / _HOUR)
        ends: Floats = np.arange(first + 1, last + 1, dtype=np.float64) * _HOUR - self.begin
        ends[-1] = self.length
        levels: Floats = np.array(self.rates, dtype=np.float64)
        return levels[np.arange(first, last) % len(self.rates)], ends

    @property
    def expected(self) -> float:
        """Requests that the hours hold on average; 0 for a trace."""
        if self.trace:
            return 0.0
        levels, ends = self.hours()
        return float(np.sum(levels * np.diff(ends, prepend=0.0)))


@lru_cache(maxsize=1)
def arriving(traffic: Traffic, seed: int, longest: int = 0) -> tuple[Requests, int]:
    """Return the requests, and how many of a trace were left out.

    Args:
        traffic: what arrives.
        seed: of all that is drawn.
        longest: context of the model, tokens, beyond which a server refuses a request; 0 = none.

    Raises:
        BadInput: a trace that cannot be read, or hours without a request.
    """
    if traffic.trace:
        found = read(traffic.trace, most=traffic.most or None, seed=seed)
        found = within(found, longest, "the model")
        return found.requests.scaled(rate=traffic.speed), found.dropped
    levels, ends = traffic.hours()
    times = following(levels, ends, cv=traffic.cv, seed=seed)  # type: ignore[arg-type]
    return _lengthened(traffic, times, seed), 0


def hourly(traffic: Traffic, seed: int) -> Iterator[Requests]:
    """Yield the requests hour by hour; each hour is drawn by itself.

    Args:
        traffic: what arrives, not a trace.
        seed: of all that is drawn.
    """
    levels, ends = traffic.hours()
    starts = ends - np.diff(ends, prepend=0.0)
    for number, (level, start, end) in enumerate(zip(levels, starts, ends, strict=True)):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        times = following([level], end - start, cv=traffic.cv, seed=own)
        if times.size:
            yield _lengthened(traffic, start + times, own)


def of_fields(data: Any, where: str, folder: Path, lengths: dict[str, Any]) -> Traffic:
    """Read the traffic of a study.

    Args:
        data: what stands there.
        where: file and place, for errors.
        folder: what paths are relative to.
        lengths: `workload`, `isl`, `osl` and `facts` of the study.

    Raises:
        BadInput: a field that cannot be used; says which.
    """
    every = dict.fromkeys(name for source, fields in SOURCES.items() for name in (source, *fields))
    given = Fields(data, where, tuple(every))
    sources = [name for name in SOURCES if name in given]
    if len(sources) != 1:
        raise BadInput(
            f"{where} has {' and '.join(sources) or 'no traffic'}.",
            "Give one of trace (a file), profile (a workload with published hours) or hourly (rates).",
        )
    for field in given.data:
        if field not in (sources[0], *SOURCES[sources[0]]):
            fits = ", ".join(SOURCES[sources[0]])
            raise BadInput(f"{given.name(field)} does not go with {sources[0]}.", f"These do: {fits}.")
    if sources[0] == "trace":
        path = folder / given.text("trace")
        if not path.exists():
            raise BadInput(f"{given.name('trace')} = {str(path)!r} does not exist.", "Give a file.")
        speed = given.quantity("speed", "count", 1.0)
        return Traffic(trace=str(path), speed=speed, most=given.count("requests"), **lengths)
    rates = _rates(given, folder, lengths["facts"])
    if "rate" in given:
        rates = rates * (given.quantity("rate", "rate") / rates.mean())
    return Traffic(
        rates=tuple(rates.tolist()),
        begin=given.quantity("begin", "time", zero=True),
        length=given.quantity("length", "time", _HOUR * len(rates)),
        cv=given.quantity("cv", "count", 1.0, zero=True),
        **lengths,
    )


def _rates(given: Fields, folder: Path, facts: Sequence[Path]) -> Floats:
    """Return requests/s by hour."""
    if "profile" in given:
        return profile(given.text("profile"), facts)
    scale = {"requests/s": 1.0, "requests/min": 1 / 60.0, "requests/h": 1 / 3600.0}
    factor = scale[given.text("unit", "requests/s", tuple(scale))]
    stated = given.data["hourly"]
    values = _column(folder / stated, given) if isinstance(stated, str) else given.items("hourly")
    try:
        rates = np.array([float(value) for value in values]) * factor
    except (TypeError, ValueError) as error:
        raise BadInput(f"{given.name('hourly')} is not a list of rates ({error}).") from None
    if not (np.isfinite(rates).all() and (rates >= 0).all() and rates.sum() > 0):
        raise BadInput(f"{given.name('hourly')} has rates that are negative or not finite, or only zeros.")
    return rates


def _column(path: Path, given: Fields) -> list[str]:
    """Return a column of a CSV file of hours."""
    if not path.exists():
        raise BadInput(f"{given.name('hourly')} = {str(path)!r} does not exist.", "Give a CSV file.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or []
        column = given.text("column")
        if column not in names:
            raise BadInput(f"{path} has no column {column!r}.", f"It has {', '.join(names)}: set `column`.")
        return [row[column] for row in rows]


def _lengthened(traffic: Traffic, times: Floats, seed: int) -> Requests:
    if traffic.workload:
        return like(traffic.workload, times, seed, traffic.facts)
    size = np.full(times.size, 1, dtype=np.int64)
    return requests(times, size * traffic.isl, size * traffic.osl)
