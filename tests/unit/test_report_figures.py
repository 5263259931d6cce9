"""Figures as people read them."""

from __future__ import annotations

from math import inf, nan

import pytest

from assay.estimate import BASES, Estimate
from assay.report.figures import BADGES, badge, count, interval, number, tokens


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (2914.7, 3, "2,910"),
        (0.42149, 3, "0.421"),
        (12.34, 2, "12"),
        (-0.05, 2, "-0.05"),
        (-1234.0, 2, "-1,200"),
        (0.0, 3, "0"),
        (1e-7, 2, "1.0e-07"),
        (2.5e16, 3, "2.50e+16"),
        (999.96, 3, "1,000"),
        (nan, 3, "–"),
        (inf, 3, "∞"),
    ],
)
def test_number_keeps_significant_digits(value: float, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_026_408_209_408, "1.03 T"), (32_861_477_888, "32.9 B"), (70_272, "70,272"), (999_600_000, "1 B")],
)
def test_count_uses_the_words_of_the_field(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1155, "1,155"), (128_000, "128k"), (131_072, "128Ki"), (1_000_000, "1M"), (8192, "8,192")],
)
def test_tokens_are_exact(value: float, text: str) -> None:
    assert tokens(value) == text


def test_interval_and_its_absence() -> None:
    assert interval(Estimate(0.42, 0.311, 0.6, nan, "assumed")) == "0.31–0.6"
    assert interval(Estimate(0.42, nan, nan, nan, "assumed")) == ""


def test_every_rung_of_evidence_has_a_badge() -> None:
    assert tuple(BADGES) == BASES
    assert badge("calibrated chip") == "◑ chip"
