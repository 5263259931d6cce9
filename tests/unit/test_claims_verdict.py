"""Verdicts: never tighter than intervals, published ranges and measurements allow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from assay.claims.claim import Check, Claim
from assay.claims.denominator import Unit
from assay.claims.evidence import Measured
from assay.claims.factor import Grid, Row, Variant, spread
from assay.claims.quantity import Quantity
from assay.claims.reading import read
from assay.claims.verdict import FAILS, HOLDS, ONLY_IF, UNTESTED, compare, judge, regions, times

SPEEDS = [10.0, 20.0, 40.0]


def claim(**change: Any) -> Claim:
    fields = {
        "id": "mine",
        "text": "x",
        "who": "me",
        "when": "2026",
        "source": "a talk",
        "kind": "performance",
        "subject": "a",
        "baseline": "b",
        "metric": "throughput",
        "factor": 10,
        "denominator": "chip",
        "stated": {"model": "m"},
    }
    return read(fields | change, "x.yaml")[0]


def made(value: list[float], low: list[float], high: list[float]) -> Grid:
    """A map of one variant and one row."""

    def axis(numbers: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array(numbers)[None, None, :]

    variants, rows = (Variant("best", Unit("chip")),), (Row("m", 1024, 1024),)
    return Grid(variants, rows, np.array(SPEEDS), axis(value), axis(low), axis(high), "datasheet", "a", "b")


def seen(factor: float, speed: float, *, same: bool = True) -> Measured:
    return Measured("a", "b", "m", Quantity.exact(factor), "chip", speed, "x", "MLCOMMONS", "2026", same)


def test_it_holds_only_where_the_whole_interval_does() -> None:
    sure = made([20, 20, 20], [11, 11, 11], [30, 30, 30])
    assert judge(claim(), sure, ()).word == HOLDS
    unsure = made([20, 20, 20], [11, 9, 11], [30, 30, 30])
    assert judge(claim(), unsure, ()).word == ONLY_IF


def test_it_fails_only_where_the_whole_interval_does() -> None:
    below = made([2, 3, 4], [1, 1, 1], [5, 6, 9.9])
    assert judge(claim(), below, ()).word == FAILS
    allowed = made([2, 3, 4], [1, 1, 1], [5, 6, 10.1])
    found = judge(claim(), allowed, ())
    assert found.word == UNTESTED
    assert "a measurement of a against b" in found.missing
    assert [item.reached for item in found.regions] == ["interval"]
    assert (found.regions[0].start, found.regions[0].end) == (40.0, 40.0)


def test_the_region_is_named_with_its_interval() -> None:
    found = judge(claim(), made([2, 12, 15], [1, 3, 11], [5, 40, 30]), ())
    assert found.word == ONLY_IF
    assert "m 1k/1k at 20-40 tok/s/user (15x, 80 % 11x to 30x)" in found.sentence
    assert found.regions[0].reached == "sure"
    assert (found.best, found.median) == (15.0, 12.0)


def test_a_measurement_below_forbids_that_it_holds_everywhere() -> None:
    sure = made([20, 20, 20], [11, 11, 11], [30, 30, 30])
    found = judge(claim(), sure, (seen(3.0, 25.0),))
    assert found.word == ONLY_IF
    assert "measured below it: 3x" in found.sentence


def test_a_measurement_above_is_enough_that_it_holds_somewhere() -> None:
    below = made([2, 3, 4], [1, 1, 1], [5, 6, 7])
    assert judge(claim(), below, (seen(55.0, 75.0),)).word == ONLY_IF
    assert judge(claim(), below, (seen(55.0, 75.0, same=False),)).word == FAILS


def test_a_measurement_at_the_stated_speed_decides() -> None:
    stated = claim(stated={"model": "m", "interactivity": 40})
    below = made([2, 3, 4], [1, 1, 1], [5, 6, 7])
    assert judge(stated, below, (seen(10.0, 40.0),)).word == HOLDS
    assert judge(stated, below, (seen(8.0, 40.0),)).word == FAILS
    assert judge(stated, below, (seen(10.0, 80.0),)).word == ONLY_IF


def test_beyond_the_baseline_is_told_apart() -> None:
    found = judge(claim(), made([2, 3, math.inf], [1, 1, 2], [5, 6, math.inf]), ())
    assert found.word == FAILS
    assert "Only the subject serves some lengths at 40 tok/s/user" in found.sentence
    alone = judge(claim(), made([math.inf] * 3, [2] * 3, [math.inf] * 3), ())
    assert alone.word == ONLY_IF


def test_neither_side_gets_there() -> None:
    nothing = made([math.nan] * 3, [math.nan] * 3, [math.nan] * 3)
    assert judge(claim(), nothing, ()).word == UNTESTED


def test_a_speed_says_how_slow_the_baseline_must_be() -> None:
    speed = claim(metric="interactivity", denominator="user", factor=5)
    grid = made([10, 5, 2.5], [9, 4.5, 2.2], [11, 5.5, 2.8])
    found = judge(speed, grid, ())
    assert found.word == ONLY_IF
    assert "run at 20 tok/s/user or slower (80 % 18 to 22)" in found.sentence
    assert judge(claim(metric="interactivity", denominator="user", factor=50), grid, ()).word == FAILS
    assert judge(claim(metric="interactivity", denominator="user", factor=2), grid, ()).word == HOLDS


def test_regions_are_runs_of_speeds() -> None:
    found = regions(made([12, 3, 15], [1, 1, 1], [20, 5, 20]), 10)
    assert [(item.start, item.end) for item in found] == [(40.0, 40.0), (10.0, 10.0)]


@pytest.mark.parametrize(
    ("relation", "value", "state"),
    [
        ("=", Quantity.exact(10.3), "yes"),
        ("=", Quantity(10.0, 9.0, 10.0), "partly"),
        ("=", Quantity(12.0, 11.0, 13.0), "no"),
        (">=", Quantity(20.0, 11.0, 30.0), "yes"),
        (">=", Quantity(20.0, 9.0, 30.0), "partly"),
        (">=", Quantity(8.0, 7.0, 9.0), "no"),
        ("<=", Quantity(8.0, 7.0, 9.0), "yes"),
        ("<=", Quantity(8.0, 7.0, 12.0), "partly"),
        ("<=", Quantity.exact(11.0), "no"),
    ],
)
def test_relations_with_the_range_of_published_values(relation: str, value: Quantity, state: str) -> None:
    assert compare(Check("x", "1", 10, relation), value, Quantity.exact(10.0)) == state


def test_the_ratio_of_two_fronts_joins_both_intervals() -> None:
    mine = np.array([[200.0, 0.0], [100.0, 0.0], [400.0, 50.0]])
    theirs = np.array([[20.0, 10.0], [10.0, 5.0], [40.0, 20.0]])
    value, low, high = spread(mine, theirs, Unit("chip"))
    assert value[0] == 10.0
    assert high[0] / value[0] == pytest.approx(2 ** (2**0.5))
    assert value[0] / low[0] == pytest.approx(2 ** (2**0.5))
    assert (value[1], low[1], high[1]) == (0.0, 0.0, 10.0)


def test_out_of_reach_of_the_baseline_is_infinite_and_of_both_nothing() -> None:
    mine = np.array([[200.0, 0.0], [100.0, 0.0], [400.0, 0.0]])
    theirs = np.array([[0.0, 0.0], [0.0, 0.0], [40.0, 0.0]])
    value, low, high = spread(mine, theirs, Unit("chip", Quantity(0.5, 0.25, 1.0)))
    assert math.isinf(value[0])
    assert low[0] == pytest.approx(100 / 40 * 0.25)
    assert math.isinf(high[0])
    assert all(math.isnan(part[1]) for part in (value, low, high))


def test_factors_in_words() -> None:
    assert [times(value) for value in (9.73, 65.4, math.inf, math.nan)] == ["9.7x", "65.4x", "∞", "n/a"]
