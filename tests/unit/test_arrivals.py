"""Requests as arrays: building, taking, joining, scaling, blocks of another size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import BadInput
from assay.workload.arrivals import Requests, concat, requests, turns
from assay.workload.reuse import hit_curve


def three() -> Requests:
    """Return three requests given out of order; the first to arrive shares two blocks with the last."""
    return requests(
        [3.0, 1.0, 2.0],
        [1024, 1500, 5],
        [1, 2, 3],
        session=[7, 7, -1],
        blocks=(np.array([0, 2, 5, 5]), np.array([10, 11, 10, 11, 12])),
        block_tokens=512,
    )


def test_they_are_sorted_with_everything_they_own() -> None:
    found = three()
    assert found.arrival.tolist() == [1.0, 2.0, 3.0]
    assert found.isl.tolist() == [1500, 5, 1024]
    assert found.session.tolist() == [7, -1, 7]
    assert found.blocks is not None
    assert found.blocks[0].tolist() == [0, 3, 3, 5]
    assert found.blocks[1].tolist() == [10, 11, 12, 10, 11]
    assert (len(found), found.span) == (3, 2.0)
    names = ("arrival", "isl", "osl", "session", "turn", "priority")
    assert [str(getattr(found, name).dtype) for name in names] == [
        "float64",
        "int64",
        "int64",
        "int64",
        "int32",
        "int8",
    ]


def test_ties_keep_their_order() -> None:
    assert requests([1, 0, 1, 0], [1, 2, 3, 4], 1).isl.tolist() == [2, 4, 1, 3]


def test_no_requests_are_requests() -> None:
    empty = requests([], [], [])
    assert (len(empty), empty.span) == (0, 0.0)
    assert len(empty.scaled(2.0, 3.0, 0.5)) == 0
    assert len(concat([empty, three()])) == 3


def test_taking_some() -> None:
    found = three()
    assert found.take([2, 0]).isl.tolist() == [1500, 1024]
    part = found.take(found.isl > 100)
    assert part.blocks is not None
    assert part.blocks[0].tolist() == [0, 3, 5]
    assert found.between(1.5, 3.0).arrival.tolist() == [0.5]
    assert len(found.between(5.0, 9.0)) == 0


def test_scaling_leaves_the_rest_alone() -> None:
    found = three()
    assert found.scaled(rate=2.0).arrival.tolist() == [1.0, 1.5, 2.0]
    assert found.scaled(osl=0.01).osl.tolist() == [1, 1, 1]
    assert found.scaled(isl=2.0).isl.tolist() == [3000, 10, 2048]
    assert found.scaled() is not found
    assert found.arrival.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.5, 2.0, 3.0])
def test_longer_prompts_reuse_the_same_share(factor: float) -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(20, 60, 200)
    shared = rng.integers(0, 20, 200)
    ids = [
        np.where(np.arange(size) < common, np.arange(size), 1000 * (row + 1) + np.arange(size))
        for row, (size, common) in enumerate(zip(counts, shared, strict=True))
    ]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    found = requests(np.arange(200.0), counts * 64, 1, blocks=(offsets, np.concatenate(ids)), block_tokens=64)
    before, after = hit_curve(found), hit_curve(found.scaled(isl=factor))
    assert before is not None
    assert after is not None
    assert after.infinite == pytest.approx(before.infinite, abs=0.05 if factor < 1 else 0.01)


def test_smaller_blocks_share_the_same_tokens() -> None:
    found = three()
    small = found.with_block_tokens(16)
    assert small.blocks is not None
    assert np.diff(small.blocks[0]).tolist() == [94, 0, 64]
    assert (small.blocks[1][:64] == small.blocks[1][94:]).all()
    assert np.unique(small.blocks[1]).size == 94
    big = small.with_block_tokens(1024)
    assert big.blocks is not None
    assert np.diff(big.blocks[0]).tolist() == [2, 0, 1]
    assert found.with_block_tokens(0).blocks is None


def test_joining_keeps_traces_apart() -> None:
    found = three()
    both = concat([found, found])
    assert both.arrival.tolist() == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert both.session.tolist() == [0, 1, -1, -1, 0, 1]
    assert both.blocks is not None
    assert np.unique(both.blocks[1]).size == 6
    pieces = concat([found.take([0]), found.take([1, 2])], distinct=False)
    assert pieces.blocks is not None
    assert pieces.blocks[1].tolist() == [10, 11, 12, 10, 11]


def test_joining_other_block_sizes() -> None:
    both = concat([three(), three().with_block_tokens(256), three().with_block_tokens(0)])
    assert both.block_tokens == 256
    assert both.blocks is not None
    assert np.diff(both.blocks[0]).tolist() == [6, 6, 0, 0, 0, 0, 4, 4, 0]


def test_turns_count_within_a_session() -> None:
    assert turns(np.array([5, -1, 5, 2, -1, 5])).tolist() == [0, 0, 1, 0, 0, 2]


def ragged(**changes: Any) -> Requests:
    """Return three requests with some arguments replaced."""
    arguments: dict[str, Any] = {"arrival": [1.0, 2.0, 3.0], "isl": [1, 2, 3], "osl": [1, 1, 1]}
    return requests(**(arguments | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"isl": [1, 2]},
        {"isl": [0, 1, 1]},
        {"osl": [1, 1, -1]},
        {"arrival": [1.0, np.nan, 2.0]},
        {"arrival": [1.0, np.inf, 2.0]},
        {"blocks": (np.array([0, 1]), np.array([1])), "block_tokens": 16},
        {"block_tokens": 16},
        {"session": [1]},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        ragged(**changes)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_factors_are_refused(factor: float) -> None:
    for name in ("rate", "isl", "osl"):
        with pytest.raises(BadInput, match=name):
            three().scaled(**{name: factor})
    with pytest.raises(BadInput, match="tokens"):
        three().scaled(isl=1e18)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 10**6)), min_size=1, max_size=40),
    st.floats(0.01, 100),
)
def test_scaling_the_rate_scales_every_gap(rows: list[tuple[float, int]], rate: float) -> None:
    found = requests([time for time, _ in rows], [size for _, size in rows], 1)
    fast = found.scaled(rate=rate)
    assert fast.span == pytest.approx(found.span / rate, rel=1e-9, abs=1e-6)
    assert (fast.isl == found.isl).all()
