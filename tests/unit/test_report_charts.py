"""The braille chart."""

from __future__ import annotations

from itertools import pairwise
from math import nan

import pytest

from assay.report.charts import Curve, front

SPEEDS = [10.0, 20.0, 50.0, 100.0]
RATES = [5000.0, 3000.0, 900.0, 100.0]


def test_size_ticks_and_mark() -> None:
    lines = [line.plain for line in front([Curve("7", SPEEDS, RATES, (50.0, 900.0))], 60, 10)]
    assert len(lines) == 12
    assert all(len(line) <= 61 for line in lines)
    assert sum(line.count("7") for line in lines[:10]) == 1
    ticks = [float(word.replace(",", "")) for word in lines[-1].split()]
    assert ticks == [10, 20, 50, 100]
    assert any(line.startswith("5,000 ┤") for line in lines)


def test_a_falling_front_falls() -> None:
    lines = [line.plain for line in front([Curve("1", SPEEDS, RATES)], 60, 10)][:10]
    first = [
        min(i for i, c in enumerate(line) if c > "\u2800")
        for line in lines
        if any(c > "\u2800" for c in line)
    ]
    assert all(above <= below for above, below in pairwise(first))


def test_limit_is_a_dotted_vertical_line() -> None:
    lines = front([Curve("1", SPEEDS, RATES)], 60, 10, limit=30.0)
    columns = [{i for i, c in enumerate(line.plain) if c > "\u2800"} for line in lines[:10]]
    assert set.intersection(*columns)


def test_marks_never_hide_each_other() -> None:
    curves = [Curve(mark, [30.0], [500.0], (30.0, 500.0)) for mark in "123"]
    text = "".join(line.plain for line in front(curves, 40, 5)[:5])
    assert sorted(c for c in text if c in "123") == ["1", "2", "3"]


@pytest.mark.parametrize(("x", "y"), [([], []), ([nan], [1.0]), ([0.0], [5.0]), ([-1.0], [5.0])])
def test_nothing_to_draw(x: list[float], y: list[float]) -> None:
    assert front([Curve("1", x, y)], 40, 5) == []


def test_points_that_are_not_numbers_are_left_out() -> None:
    with_gap = front([Curve("1", [*SPEEDS, nan], [*RATES, 5.0])], 60, 10)
    assert [line.plain for line in with_gap] == [
        line.plain for line in front([Curve("1", SPEEDS, RATES)], 60, 10)
    ]


def test_one_point_still_has_labelled_axes() -> None:
    lines = [line.plain for line in front([Curve("1", [33.0], [1.15], (33.0, 1.15))], 40, 5)]
    assert any("┤" in line for line in lines)
    assert lines[-1].strip()
