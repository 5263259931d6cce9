"""Times as text or numbers -> whole nanoseconds, vectorised.

Nanoseconds since 1970 (or since the start of the trace) fit 64 bits exactly; seconds as floating point would
lose the last digits of a time of day.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.workload.arrivals import Floats, Ints

#: Unit of a time -> its nanoseconds.
NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}
#: Least epoch time, as a plain number, that can only be in this unit: all after 2001-09-09.
_EPOCHS = (("ns", 1e18), ("us", 1e15), ("ms", 1e12))
_MOST = 9.2e18
_WIDTH = 40
_SHORTEST = 19
_FIRST_YEAR, _LAST_YEAR = 1970, 2261
_DIGITS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)
_SEPARATORS = ((4, b"-"), (7, b"-"), (10, b" Tt"), (13, b":"), (16, b":"))
_ZONE = re.compile(rb"(?:Z|z|UTC| UTC|([+-])(\d\d):?(\d\d)?)?")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[ Tt]")
_NANO_DIGITS = 9


def is_iso(text: str) -> bool:
    """Return whether text begins like an ISO 8601 date and time."""
    return bool(_ISO.match(text.strip()))


def epoch_unit(value: float) -> str:
    """Return the unit of a plain number taken as a time: by its size where it is an epoch, else seconds."""
    return next((unit for unit, least in _EPOCHS if abs(value) >= least), "s")


def from_numbers(values: Floats, unit: str) -> tuple[Ints, NDArray[np.bool_]]:
    """Return nanoseconds and which of them are times: finite, not negative, within 64 bits."""
    scaled = values * NANOSECONDS[unit]
    with np.errstate(invalid="ignore"):
        good = np.isfinite(scaled) & (scaled >= 0) & (scaled < _MOST)
    return np.rint(np.where(good, scaled, 0)).astype(np.int64), good


def from_iso(texts: Sequence[str]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return nanoseconds since 1970 UTC and which texts are times.

    Reads `2023-11-16 18:17:03.9799600`, `...T...Z`, `...+01:00`; without a zone it is taken as UTC.
    """
    raw = np.array([text.strip()[:_WIDTH].encode("ascii", "replace") for text in texts], dtype=f"S{_WIDTH}")
    chars = raw.view(np.uint8).reshape(len(texts), _WIDTH)
    digits = chars - np.uint8(ord("0"))
    is_digit = digits < np.uint8(10)
    good = is_digit[:, _DIGITS].all(axis=1)
    for place, allowed in _SEPARATORS:
        good &= np.isin(chars[:, place], np.frombuffer(allowed, np.uint8))
    days, day_good = _days(_number(digits, 0, 4), _number(digits, 5, 7), _number(digits, 8, 10))
    hour, minute, second = (_number(digits, start, start + 2) for start in (11, 14, 17))
    good &= day_good & (hour < 24) & (minute < 60) & (second < 61)
    fraction, end = _fraction(chars, digits, is_digit)
    zone, zone_good = _zones(chars, end)
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - zone
    good &= zone_good
    return np.where(good, seconds * 10**_NANO_DIGITS + fraction, 0), good


def _number(digits: NDArray[np.uint8], start: int, end: int) -> Ints:
    value = np.zeros(digits.shape[0], np.int64)
    for place in range(start, end):
        value = value * 10 + digits[:, place]
    return value


def _days(year: Ints, month: Ints, day: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return days since 1970 and which dates exist."""
    good = (
        (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    )
    months = np.where(good, (year - _FIRST_YEAR) * 12 + month - 1, 0)
    start = months.astype("M8[M]")
    date = start.astype("M8[D]") + (np.where(good, day, 1) - 1).astype("m8[D]")
    good &= date.astype("M8[M]") == start
    return date.astype(np.int64), good


def _fraction(
    chars: NDArray[np.uint8], digits: NDArray[np.uint8], is_digit: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.int64]]:
    """Return nanoseconds behind the point, and where the zone starts."""
    active = np.isin(chars[:, _SHORTEST], np.frombuffer(b".,", np.uint8))
    end = np.where(active, _SHORTEST + 1, _SHORTEST)
    value = np.zeros(chars.shape[0], np.int64)
    for number, place in enumerate(range(_SHORTEST + 1, _WIDTH)):
        active = active & is_digit[:, place]
        if not active.any():
            break
        if number < _NANO_DIGITS:
            value += np.where(
                active, digits[:, place].astype(np.int64) * 10 ** (_NANO_DIGITS - 1 - number), 0
            )
        end = end + active
    return value, end


def _zones(chars: NDArray[np.uint8], end: NDArray[np.int64]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the offset of each zone, s, and which are zones; few different ones are expected."""
    offset = np.zeros(end.size, np.int64)
    good = np.ones(end.size, np.bool_)
    for place in np.unique(end):
        chosen = np.flatnonzero(end == place)
        width = _WIDTH - int(place)
        tails = np.ascontiguousarray(chars[chosen, place:]).view(f"S{width}").ravel() if width else None
        if tails is None or not tails.astype(np.bool_).any():
            continue
        kinds, which = np.unique(tails, return_inverse=True)
        parsed = [_zone(bytes(kind)) for kind in kinds]
        offset[chosen] = np.array([0 if zone is None else zone for zone in parsed])[which.ravel()]
        good[chosen] = np.array([zone is not None for zone in parsed])[which.ravel()]
    return offset, good


def _zone(tail: bytes) -> int | None:
    match = _ZONE.fullmatch(tail.strip())
    if match is None:
        return None
    if not match[1]:
        return 0
    seconds = int(match[2]) * 3600 + int(match[3] or 0) * 60
    return -seconds if match[1] == b"-" else seconds
