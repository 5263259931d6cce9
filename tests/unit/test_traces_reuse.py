"""Hit rates of a prefix cache by capacity, against a cache that is walked request by request."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import BadInput
from assay.workload.arrivals import Requests, requests
from assay.workload.reuse import hit_curve, joint_hit, reuse_delay, split_curves

BLOCK = 16


def walked(traffic: Requests, capacity: int) -> float:
    """Return the share of input tokens found in an LRU cache of `capacity` blocks."""
    assert traffic.blocks is not None
    offsets, ids = traffic.blocks
    cache: OrderedDict[int, None] = OrderedDict()
    hit = 0
    for row in range(len(traffic)):
        prompt = ids[offsets[row] : offsets[row + 1]].tolist()
        for place, block in enumerate(prompt):
            if block not in cache:
                break
            hit += min(BLOCK, int(traffic.isl[row]) - place * BLOCK)
        for block in reversed(prompt):  # the end of a prompt is the first to go
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > capacity:
            cache.popitem(last=False)
    return hit / int(traffic.isl.sum())


def prompts(paths: list[list[int]], partial: int = 0) -> Requests:
    """Return requests whose blocks are named by all tokens before them, as prefix hashes are."""
    known: dict[tuple[int, ...], int] = {}
    ids = [
        [known.setdefault(tuple(path[: end + 1]), len(known)) for end in range(len(path))] for path in paths
    ]
    counts = np.array([len(path) for path in paths])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = np.array([block for path in ids for block in path], np.int64)
    return requests(
        np.arange(len(paths)), counts * BLOCK - partial, 1, blocks=(offsets, flat), block_tokens=BLOCK
    )


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=25), st.integers(0, 9)
)
def test_every_capacity_is_as_walked(paths: list[list[int]], partial: int) -> None:
    traffic = prompts(paths, partial)
    curve = hit_curve(traffic)
    assert curve is not None
    for capacity in range(1, curve.unique + 2):
        assert float(curve.at(capacity)) == pytest.approx(walked(traffic, capacity)), capacity
    assert curve.infinite == pytest.approx(walked(traffic, 10**9))


def test_growing_sessions_of_many_blocks() -> None:
    rng = np.random.default_rng(1)
    paths = [[session] * (20 + 30 * turn) for turn in range(6) for session in rng.permutation(9)]
    traffic = prompts(paths)
    curve = hit_curve(traffic)
    assert curve is not None
    for capacity in (1, 19, 20, 100, 500, 1000, 1500, 1530, 2000):
        assert float(curve.at(capacity)) == pytest.approx(walked(traffic, capacity)), capacity


def test_the_curve_rises_to_the_infinite_rate() -> None:
    curve = hit_curve(prompts([[1, 2, 3], [4, 5], [1, 2, 3]]))
    assert curve is not None
    assert (np.diff(curve.needed) > 0).all()
    assert (np.diff(curve.hit_tokens) > 0).all()
    # the two blocks of the other prompt came in between
    assert curve.at(np.array([2, 3, 4, 5])).tolist() == pytest.approx([0.0, 1 / 8, 2 / 8, 3 / 8])
    assert curve.capacity_for(1.0) == 5
    assert curve.infinite == pytest.approx(3 / 8)
    assert (curve.blocks, curve.unique, curve.requests_hit) == pytest.approx((8, 5, 1 / 3))


def test_without_reuse_and_without_blocks() -> None:
    curve = hit_curve(prompts([[1], [2]]))
    assert curve is not None
    assert (curve.infinite, float(curve.at(100)), curve.capacity_for(0.5)) == (0.0, 0.0, float("inf"))
    assert hit_curve(requests([0.0], [1], [1])) is None
    assert reuse_delay(requests([0.0], [1], [1])).size == 0


def test_the_same_block_twice_in_a_prompt_is_no_fault() -> None:
    traffic = requests(
        [0, 1], 64, 1, blocks=(np.array([0, 4, 8]), np.array([7, 7, 8, 7, 7, 7, 8, 7])), block_tokens=16
    )
    curve = hit_curve(traffic)
    assert curve is not None
    assert 0.5 <= curve.infinite <= 1.0


def test_delays_are_between_uses() -> None:
    assert sorted(reuse_delay(prompts([[1, 2], [3], [1, 2], [1]]))) == [1.0, 2.0, 2.0]


def test_ten_thousand_long_prompts_are_quick() -> None:
    counts = np.full(10_000, 300)
    position = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    owner = np.repeat(np.arange(10_000), counts)
    ids = np.where(position < 100, position, 300 * owner + position)
    traffic = requests(
        np.arange(10_000),
        300 * BLOCK,
        1,
        blocks=(np.concatenate([[0], np.cumsum(counts)]), ids),
        block_tokens=BLOCK,
    )
    curve = hit_curve(traffic)
    assert curve is not None
    assert curve.infinite == pytest.approx((100 * 9999) / (300 * 10_000))
    assert curve.capacity_for(1.0) <= 300


def test_requests_dealt_in_turn_are_as_walked() -> None:
    rng = np.random.default_rng(2)
    paths = [[int(session)] * int(rng.integers(1, 9)) for session in rng.integers(0, 5, 40)]
    traffic = prompts(paths)
    parts = [traffic.take(np.arange(first, 40, 3)) for first in range(3)]
    curves = split_curves(traffic, 3)
    for capacity in (1, 4, 10, 20, 40):
        expected = sum(walked(part, capacity) * part.isl.sum() for part in parts) / traffic.isl.sum()
        assert float(joint_hit(curves, capacity * BLOCK)) == pytest.approx(expected)


def test_a_larger_cache_never_finds_less() -> None:
    rng = np.random.default_rng(3)
    traffic = prompts([[int(name) for name in rng.integers(0, 3, 6)] for _ in range(200)])
    for caches in (1, 2, 7):
        found = joint_hit(split_curves(traffic, caches), np.arange(0.0, 5000.0, 8.0))
        assert (np.diff(found) >= 0).all()
        assert found[0] == 0
        assert found[-1] > 0


def test_dealing_needs_blocks() -> None:
    with pytest.raises(BadInput, match="--hit-rate"):
        split_curves(requests([0.0], [1], [1]), 2)
