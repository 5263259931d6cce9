"""The floor and the kernel formula."""

from __future__ import annotations

import numpy as np
import pytest

from assay.timing.roofline import ORDER, floor_seconds, kernel_seconds, message_floor


def test_the_floor_is_the_larger_of_the_two_bounds() -> None:
    assert floor_seconds(2e12, 1e9, 1e15, 1e12) == pytest.approx(2e-3)
    assert floor_seconds(2e12, 9e9, 1e15, 1e12) == pytest.approx(9e-3)
    assert message_floor(450e9, 450e9) == pytest.approx(1.0)


def test_a_kernel_bound_by_one_side_takes_that_side() -> None:
    time = kernel_seconds(1e12, 1.0, 4096.0, compute_rate=1e15, memory_rate=1e12)
    assert time == pytest.approx(1e-3, rel=1e-6)
    time = kernel_seconds(1.0, 1e9, 4096.0, compute_rate=1e15, memory_rate=1e12, overhead=5e-6)
    assert time == pytest.approx(1e-3 + 5e-6, rel=1e-6)


def test_at_the_ridge_the_two_sides_add_in_their_order() -> None:
    time = kernel_seconds(1e12, 1e9, 4096.0, compute_rate=1e15, memory_rate=1e12)
    assert time == pytest.approx(1e-3 * 2 ** (1 / ORDER))


def test_few_rows_pay_for_the_rows_that_would_have_fit() -> None:
    full = kernel_seconds(1e12, 0.0, 1e9, compute_rate=1e15, memory_rate=1e12, rows_half=64.0)
    half = kernel_seconds(1e12, 0.0, 64.0, compute_rate=1e15, memory_rate=1e12, rows_half=64.0)
    assert half == pytest.approx(2 * full, rel=1e-6)


def test_arrays_broadcast() -> None:
    flops = np.array([1e9, 1e12])[:, None]
    moved = np.array([1e6, 1e9, 1e10])[None, :]
    time = kernel_seconds(flops, moved, 1.0, compute_rate=1e15, memory_rate=1e12)
    assert time.shape == (2, 3)
    assert np.all(time >= floor_seconds(flops, moved, 1e15, 1e12))


def test_no_work_costs_the_overhead() -> None:
    assert kernel_seconds(0.0, 0.0, 1.0, compute_rate=1e15, memory_rate=1e12, overhead=2e-6) == 2e-6
