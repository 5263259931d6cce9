"""Figures as people read them: two or three significant digits, intervals, badges of evidence."""

from __future__ import annotations

from math import isfinite, isnan

from assay.estimate import Estimate
from assay.units import significant

#: Rung of evidence -> (mark, short word) of its badge, strongest first.
BADGES = {
    "measured": ("●", "measured"),
    "calibrated model": ("◕", "model"),
    "calibrated chip": ("◑", "chip"),
    "datasheet": ("◔", "sheet"),
    "assumed": ("○", "assumed"),
}
_COUNTS = ((1e12, " T"), (1e9, " B"), (1e6, " M"))
_KIBI = 1024


def number(value: float, digits: int = 3) -> str:
    """Return `value` with so many significant digits and thousands apart: 2,910 0.421 12.3.

    NaN (nobody knows) becomes `–`.
    """
    if isnan(value):
        return "–"
    if not isfinite(value):
        return "∞" if value > 0 else "-∞"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits - 1}e}"
    whole, dot, part = significant(value, digits).partition(".")
    return f"{int(whole):,}{dot}{part}" if whole.lstrip("-0") else whole + dot + part


def count(value: float, digits: int = 3) -> str:
    """Return a count as the field says it: 1.03 T, 32.7 B, 70,272."""
    for size, suffix in _COUNTS:
        if abs(value) >= size * 0.9995:
            return number(value / size, digits) + suffix
    return f"{value:,.0f}"


def tokens(value: float) -> str:
    """Return a token count exactly: 1,155, or 128k and 128Ki where it is a round one."""
    whole = round(value)
    if whole >= 10**6 and whole % 10**5 == 0:
        return f"{whole / 10**6:g}M"
    if whole >= 10_000 and whole % 1000 == 0:
        return f"{whole // 1000}k"
    if whole >= 10_000 and whole % _KIBI == 0:
        return f"{whole // _KIBI}Ki"
    return f"{whole:,}"


def interval(estimate: Estimate, digits: int = 2) -> str:
    """Return the 80 % interval of a scalar estimate, `0.31–0.6`; "" where it is not known.

    A figure that the question itself fixes (throughput at a stated rate) has none: `as asked`.
    """
    low, high = float(estimate.low), float(estimate.high)
    if isnan(low) or isnan(high):
        return ""
    return "as asked" if stated(estimate) else f"{number(low, digits)}–{number(high, digits)}"


def stated(estimate: Estimate) -> bool:
    """Tell whether the question fixes a figure, so that its interval has no width."""
    low, high = float(estimate.low), float(estimate.high)
    return low == high == float(estimate.value) and isfinite(low)


def badge(basis: str) -> str:
    """Return mark and word of a rung of evidence: `◑ chip`."""
    return " ".join(BADGES.get(basis, ("?", basis)))
