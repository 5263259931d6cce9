"""Verdicts: what the factor over all conditions, the arithmetic and the measurements say; never tighter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.claims.arithmetic import shown
from assay.claims.claim import Check, Claim
from assay.claims.evidence import NEAR_SPEED, Measured
from assay.claims.factor import WORDS, Grid, Row, Variant
from assay.claims.quantity import Quantity
from assay.units import significant

HOLDS, ONLY_IF, FAILS, UNTESTED = "holds", "holds only if", "does not hold", "cannot be tested"
WORDS_OF_VERDICT = (HOLDS, ONLY_IF, FAILS, UNTESTED)
#: A measured factor within this share below the claimed one still confirms it.
ROUNDING = 0.05


@dataclass(frozen=True, slots=True)
class Region:
    """Where a factor is reached: one variant, one row, a range of interactivity.

    Attributes:
        variant, row: in words.
        start, end: output tokens/s/user.
        factor: greatest central factor in it; `low`, `high`: its 80 % interval.
        reached: `sure` where the whole interval reaches the claimed factor somewhere in it, `centre` where
            the central factor does, `interval` where only the upper end does.
    """

    variant: str
    row: str
    start: float
    end: float
    factor: float
    low: float
    high: float
    reached: str

    def words(self) -> str:
        """Return the region as a phrase."""
        span = _span(self.start, self.end)
        return f"{self.row} at {span} tok/s/user ({times(self.factor)}, 80 % {span_of(self.low, self.high)})"

    def json(self) -> dict[str, Any]:
        """Return the region as plain data."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said.

    Attributes:
        word: one of `WORDS_OF_VERDICT`.
        sentence: why and where, in words.
        best, median: greatest and median central factor over the conditions with a finite interval; NaN
            where there is none.
        regions: where it holds at the centre.
        missing: the fact that is missing, "" if none.
    """

    word: str
    sentence: str
    best: float = math.nan
    median: float = math.nan
    regions: tuple[Region, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluated check.

    Attributes:
        check: what was asked.
        value, wanted: both sides of the relation, None where a fact is missing.
        state: yes, partly (within the range of published values), no, or missing.
        reason: the missing fact.
    """

    check: Check
    value: Quantity | None
    wanted: Quantity | None
    state: str
    reason: str = ""


def compare(check: Check, value: Quantity, wanted: Quantity) -> str:
    """Return whether a relation holds for all, some or none of the published values."""
    less, more = 1.0 - check.tolerance, 1.0 + check.tolerance
    if check.relation == ">=":
        sure, possible = value.low >= wanted.high * less, value.high >= wanted.low * less
    elif check.relation == "<=":
        sure, possible = value.high <= wanted.low * more, value.low <= wanted.high * more
    else:
        least, most = wanted.low * less, wanted.high * more
        sure, possible = least <= value.low and value.high <= most, value.high >= least and value.low <= most
    return "yes" if sure else "partly" if possible else "no"


def judge_arithmetic(claim: Claim, results: Sequence[Result]) -> Verdict:
    """Return the verdict of expressions between facts."""
    best, median = _scaled(claim, results[0])
    missing = [item for item in results if item.state == "missing"]
    states = [item.state for item in results]
    if missing:
        told = "; ".join(_told(item) for item in results if item.state != "missing")
        sentence = f"{missing[0].check.name}: {missing[0].reason}" + (f" Beside it: {told}." if told else "")
        return Verdict(UNTESTED, sentence, best, median, missing=missing[0].reason)
    told = "; ".join(_told(item) for item in results)
    if all(state == "yes" for state in states):
        return Verdict(HOLDS, told + ".", best, median)
    if all(state == "no" for state in states):
        return Verdict(FAILS, told + ".", best, median)
    named = {state: ", ".join(item.check.name for item in results if item.state == state) for state in states}
    words = {"yes": "for {}", "partly": "for some of the published values: {}", "no": "not for {}"}
    parts = [words[state].format(named[state]) for state in words if state in named]
    return Verdict(ONLY_IF, f"{'; '.join(parts)}. {told}.", best, median)


def _scaled(claim: Claim, first: Result) -> tuple[float, float]:
    """Return greatest and central factor of the first check, on the scale of the claimed one."""
    if first.value is None or first.wanted is None or first.wanted.low <= 0:
        return math.nan, math.nan
    best = first.value.high / first.wanted.low
    return best * claim.factor, first.value.value / first.wanted.value * claim.factor


def _told(item: Result) -> str:
    if item.value is None or item.wanted is None:
        return item.check.name
    relation = {"=": "against", ">=": "against at least", "<=": "against at most"}[item.check.relation]
    text = f"{item.check.name}: {shown(item.value, item.check.dimension)}"
    text += f" {relation} {shown(item.wanted, item.check.dimension)}"
    return text + (f" ({item.check.says})" if item.check.says else "")


def judge_peak(claim: Claim, ratios: Sequence[tuple[str, Quantity | None, str]]) -> Verdict:
    """Return the verdict of a ratio of peaks against one or several baselines.

    Args:
        claim: the claim.
        ratios: baseline, ratio (None = unpublished), state as of `compare`.
    """
    known = [(name, ratio, state) for name, ratio, state in ratios if ratio is not None]
    if not known:
        return Verdict(UNTESTED, f"{claim.resource} is not published for both sides.", missing=claim.resource)
    values = [ratio.value for _, ratio, _ in known]
    best, median = max(values), float(np.median(values))
    told = ", ".join(f"{times(ratio.value)} {name}" for name, ratio, _ in known)
    good = [name for name, _, state in known if state == "yes"]
    maybe = [name for name, _, state in known if state == "partly"]
    if len(good) == len(known):
        return Verdict(HOLDS, f"As a ratio of peaks: {told}.", best, median)
    if good or maybe:
        where = " or ".join(good or maybe)
        return Verdict(ONLY_IF, f"the baseline is {where}. As a ratio of peaks: {told}.", best, median)
    return Verdict(FAILS, f"As a ratio of peaks: {told}.", best, median)


def judge(claim: Claim, grid: Grid, evidence: Sequence[Measured]) -> Verdict:
    """Return the verdict of a factor of performance; a measurement of the same conditions comes first."""
    if claim.metric == "interactivity":
        return _speed(claim, grid)
    values = grid.value[bounded(grid)]
    figures = (float(values.max()), float(np.median(values))) if values.size else (math.nan, math.nan)
    stated = claim.stated.get("interactivity")
    at_stated = [item for item in evidence if item.same and stated and _near(item.speed, stated)]
    if at_stated:
        return _measured(claim, grid, at_stated, figures)
    return _predicted(claim, grid, [item for item in evidence if item.same], figures)


def bounded(grid: Grid) -> NDArray[np.bool_]:
    """Return the cells that both sides reach with a finite interval; all comparable ones if there is none.

    Near the baseline's fastest user its throughput falls to nothing and the ratio says little.
    """
    usable = grid.comparable & (grid.value > 0)
    finite = usable & np.isfinite(grid.high)
    return finite if finite.any() else usable


def _predicted(claim: Claim, grid: Grid, same: Sequence[Measured], figures: tuple[float, float]) -> Verdict:
    """Return the verdict of the map, no tighter than its intervals and than measurements allow."""
    wanted, usable = claim.factor, grid.comparable
    confirmed = [item for item in same if item.factor.high >= wanted * (1 - ROUNDING)]
    denied = [item for item in same if item.factor.high < wanted * (1 - ROUNDING)]
    words, only, region = _measurements(confirmed, denied), beyond(grid), regions(grid, wanted)
    sure, centre, allowed = (part[usable] >= wanted for part in (grid.low, grid.value, grid.high))
    if usable.any() and bool(sure.all()) and not denied:
        return Verdict(HOLDS, f"{words}at every condition tested, {_least(grid)}.", *figures, regions=region)
    if bool(centre.any()) or confirmed or (only and not usable.any()):
        text = _where(region) if region else "at no condition predicted here"
        return Verdict(ONLY_IF, f"{words}{text}.{only}", *figures, regions=region)
    if not usable.any():
        return Verdict(UNTESTED, "neither side reaches these speeds.", missing="a speed both sides reach")
    if not bool(allowed.any()):
        return Verdict(FAILS, f"{words}at most {_top(grid)}.{only}", *figures)
    missing = f"a measurement of {grid.subject} against {grid.baseline} at the claim's conditions"
    text = f"{words}the centre reaches {_top(grid)}; only the interval lets {times(wanted)} through"
    text += f": {_where(region)}.{only}" if region else f".{only}"
    return Verdict(UNTESTED, text, *figures, regions=region, missing=missing)


def _speed(claim: Claim, grid: Grid) -> Verdict:
    """Return the verdict of a speed of one user: how slow a baseline must be run for the factor."""
    wanted, region = claim.factor, regions(grid, claim.factor)
    usable = grid.comparable
    if not usable.any():
        return Verdict(
            UNTESTED, "the baseline reaches none of these speeds.", missing="a speed of the baseline"
        )
    fast = np.where(usable, grid.value * grid.speeds, np.nan)
    place = np.unravel_index(int(np.nanargmax(fast)), fast.shape)
    mine, low, high = (float((part * grid.speeds)[place]) for part in (grid.value, grid.low, grid.high))
    top = float(grid.speeds[usable.any(axis=(0, 1))].max())
    sentence = (
        f"the baseline is run at {mine / wanted:.3g} tok/s/user or slower (80 % {low / wanted:.3g} to "
        f"{high / wanted:.3g}): {grid.subject} serves one user at {mine:.3g} tok/s ({low:.3g} "
        f"to {high:.3g}); "
        f"{grid.baseline} reaches about {top:g} tok/s/user, where the factor is {times(mine / top)}."
    )
    values = grid.value[usable]
    figures = float(values.max()), float(np.median(values))
    if bool((grid.low[usable] >= wanted).all()):
        return Verdict(HOLDS, f"at every speed of {grid.baseline}.", *figures, regions=region)
    if bool((grid.high[usable] < wanted).all()):
        return Verdict(FAILS, f"it would hold if {sentence}", *figures)
    return Verdict(ONLY_IF, sentence, *figures, regions=region)


def _near(speed: float, stated: Iterable[float]) -> bool:
    return any(abs(speed / item - 1.0) <= NEAR_SPEED for item in stated)


def _measured(claim: Claim, grid: Grid, items: Sequence[Measured], figures: tuple[float, float]) -> Verdict:
    """Return the verdict of measurements at the stated conditions, beside what is predicted there."""
    own = dict.fromkeys(claim.sources, ", the claim itself")
    told = ", ".join(
        f"{times(item.factor.value)} ({item.source}{own.get(item.source, '')})" for item in items
    )
    reached = [item.factor.value >= claim.factor * (1 - ROUNDING) for item in items]
    word = HOLDS if all(reached) else ONLY_IF if any(reached) else FAILS
    region = regions(grid, claim.factor)
    return Verdict(word, f"measured: {told}. {_beside(grid, items)}", *figures, regions=region)


def _beside(grid: Grid, items: Sequence[Measured]) -> str:
    """Return what each variant predicts in the cell nearest to a measurement, and whether they agree."""
    k = int(np.argmin(np.abs(np.log(grid.speeds / items[0].speed))))
    parts, inside = [], []
    for i, variant in enumerate(grid.variants):
        value, low, high = (float(part[i, 0, k]) for part in (grid.value, grid.low, grid.high))
        if math.isnan(value):
            continue
        span = f" (80 % {span_of(low, high)})" if math.isfinite(value) else " (only the subject gets there)"
        parts.append(f"{WORDS[variant.deployment]} {times(value)}{span}")
        inside += [variant.deployment for item in items if low <= item.factor.value <= high]
    if not parts:
        return f"No deployment predicted here reaches {grid.speeds[k]:g} tok/s/user."
    agrees = "some interval holds the measurement" if inside else "no interval holds the measurement"
    return f"Predicted at {grid.speeds[k]:g} tok/s/user: {', '.join(parts)}; {agrees}."


def _measurements(confirmed: Sequence[Measured], denied: Sequence[Measured]) -> str:
    parts = []
    for label, items in (("measured there", confirmed), ("measured below it", denied)):
        for unit in dict.fromkeys(item.denominator for item in items):
            rows = [item for item in items if item.denominator == unit]
            told = ", ".join(
                times(item.factor.value) + ("" if math.isnan(item.speed) else f" at {item.speed:.3g}")
                for item in rows
            )
            users = "" if all(math.isnan(item.speed) for item in rows) else " tok/s/user"
            parts.append(f"{label}: {told}{users}, per {unit}; ")
    return "".join(parts)


def _top(grid: Grid) -> str:
    usable = np.where(bounded(grid), grid.value, -1.0)
    place = np.unravel_index(int(np.argmax(usable)), usable.shape)
    span = span_of(float(grid.low[place]), float(grid.high[place]))
    return (
        f"{times(float(grid.value[place]))} (80 % {span}; "
        f"{grid.variants[int(place[0])].label()}, {grid.rows[int(place[1])].label()}, "
        f"{grid.speeds[int(place[2])]:g} tok/s/user)"
    )


def _least(grid: Grid) -> str:
    values = grid.value[grid.comparable]
    return f"from {times(float(values.min()))} to {times(float(values.max()))}"


def regions(grid: Grid, wanted: float) -> tuple[Region, ...]:
    """Return where the central factor reaches the claimed one; if nowhere, where its interval does.

    Strongest first: both sides at their best, then alike, then uneven.
    """
    found = _reached(grid, grid.value >= wanted, wanted)
    return found or _reached(grid, grid.high >= wanted, wanted)


def _reached(grid: Grid, mask: NDArray[np.bool_], wanted: float) -> tuple[Region, ...]:
    found = []
    for i, variant in enumerate(grid.variants):
        for j, row in enumerate(grid.rows):
            runs = _runs(grid.comparable[i, j] & (grid.value[i, j] > 0) & mask[i, j])
            found += [_region(grid, (i, j), (variant, row), run, wanted) for run in runs]
    order = {WORDS[name]: place for place, name in enumerate(WORDS)}
    return tuple(sorted(found, key=lambda item: (order.get(item.variant.split(", per")[0], 9), -item.factor)))


def _runs(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    places = np.flatnonzero(mask)
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []


def _region(
    grid: Grid, place: tuple[int, int], names: tuple[Variant, Row], run: NDArray[np.intp], wanted: float
) -> Region:
    i, j = place
    best = run[int(np.argmax(grid.value[i, j, run]))]
    sure, centre = bool((grid.low[i, j, run] >= wanted).any()), bool((grid.value[i, j, run] >= wanted).any())
    return Region(
        variant=names[0].label(),
        row=names[1].label(),
        start=float(grid.speeds[run[0]]),
        end=float(grid.speeds[run[-1]]),
        factor=float(grid.value[i, j, best]),
        low=float(grid.low[i, j, best]),
        high=float(grid.high[i, j, best]),
        reached="sure" if sure else "centre" if centre else "interval",
    )


def _where(found: Sequence[Region]) -> str:
    """Return the regions in words, grouped by variant, the widest few."""
    parts = []
    for variant in dict.fromkeys(item.variant for item in found):
        items = [item for item in found if item.variant == variant]
        more = f" and {len(items) - 2} more" if len(items) > 2 else ""
        parts.append(f"{variant}: {'; '.join(item.words() for item in items[:2])}{more}")
    more = f"{len(parts) - 2} more variant{'s' if len(parts) > 3 else ''} on the map"
    rest = f". {more}" if len(parts) > 2 else ""
    return ". ".join(parts[:2]) + rest


def beyond(grid: Grid) -> str:
    """Return where only the subject gets to, in words; "" where nowhere."""
    alone = np.isinf(grid.value)
    if not alone.any():
        return ""
    speeds = grid.speeds[alone.any(axis=(0, 1))]
    return f" Only the subject serves some lengths at {_span(speeds.min(), speeds.max())} tok/s/user."


def _span(start: float, end: float) -> str:
    return f"{start:g}" if start == end else f"{start:g}-{end:g}"


def times(value: float) -> str:
    """Return a factor as people write it: `9.7x`, `1,250x`."""
    return (
        "∞"
        if math.isinf(value)
        else "n/a"
        if math.isnan(value)
        else f"{significant(value, 2 if value < 10 else 3)}x"
    )


def span_of(low: float, high: float) -> str:
    """Return an interval of factors."""
    return f"{times(low)} to {times(high)}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
