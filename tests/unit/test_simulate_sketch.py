"""Streaming quantiles: exact while few, within the stated error when many."""

from __future__ import annotations

import numpy as np
import pytest

from assay.simulate import sketch
from assay.simulate.log import gap
from assay.simulate.sketch import ERROR, Sketch


def test_few_values_are_exact() -> None:
    numbers = np.random.default_rng(0).exponential(1.0, 1000)
    kept = Sketch()
    for part in np.array_split(numbers, 7):
        kept.add(part)
    found = kept.summary()
    assert found["p99"] == np.quantile(numbers, 0.99)
    assert found["mean"] == pytest.approx(numbers.mean())
    assert found["max"] == numbers.max()


def test_many_values_are_within_the_stated_error() -> None:
    numbers = np.random.default_rng(1).lognormal(-3.0, 1.5, 400_000)
    kept = Sketch()
    for part in np.array_split(numbers, 40):
        kept.add(part)
    assert kept.bins is not None
    found = kept.summary()
    for name, share in sketch.QUANTILES.items():
        assert found[name] == pytest.approx(np.quantile(numbers, share), rel=ERROR * 1.02)


def test_nothing_is_not_a_number() -> None:
    assert np.isnan(Sketch().summary()["p50"])
    assert np.isnan(sketch.of_bins(np.zeros(2048, dtype=np.int64))["mean"])


def test_the_kernel_bins_as_the_host_does() -> None:
    numbers = np.random.default_rng(2).lognormal(-4.0, 2.0, 3000)
    bins = [0] * 2048
    for value in numbers.tolist():
        gap(bins, 0, value, 1)
    assert bins == sketch.histogram(numbers).tolist()


def test_values_beyond_the_bins_land_in_the_outermost() -> None:
    bins = sketch.histogram(np.array([1e-9, 1e9]))
    assert bins[0] == 1
    assert bins[-1] == 1
