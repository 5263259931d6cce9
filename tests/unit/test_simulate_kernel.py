"""Parts of the event kernel against straightforward versions of themselves."""

from __future__ import annotations

import heapq
import random

import numpy as np
import pytest

from assay.simulate import blocks, queues, walking
from assay.simulate.building import tournament
from assay.simulate.forms import RECORDS, kinds, plain, rows
from assay.simulate.rows import EntryRow, PoolRow, UnitRow
from assay.simulate.state import CLASSES
from assay.simulate.timetable import grid


def pool(**figures: float) -> PoolRow:
    """Return a pool row, zero but for the figures given."""
    row = plain("pools", rows(PoolRow, 1, **({"ranks": 1, "experts": -1, "yields": 1.0} | figures)))[0]
    assert isinstance(row, PoolRow)
    return row


def test_nodes_and_places_agree() -> None:
    nodes = grid(200_000)
    for x in (0.0, 0.5, 7.99, 8.0, 15.9, 16.0, 17.0, 100.0, 4095.99, 4096.0, 123_456.7):
        j = walking.place(x)
        assert nodes[j] <= x < nodes[j + 1]
    assert [walking.place(x) for x in nodes[:-1]] == list(range(len(nodes) - 1))
    assert np.allclose(nodes[:17], np.arange(17))


def linear_pool() -> tuple[list[float], list[float], PoolRow]:
    """Return a table in which a step of one sequence takes 1 ms + 1 us a token of context."""
    nodes = grid(10_000)
    row = 1e-3 + 1e-6 * nodes
    return nodes.tolist(), [0.0] * len(nodes) + row.tolist(), pool(contexts=len(nodes))


@pytest.mark.parametrize("host", [0.0, 1.2e-3, 5e-3])
@pytest.mark.parametrize("yields", [1.0, 2.5])
def test_a_walk_is_the_sum_of_its_steps(host: float, yields: float) -> None:
    node, table, one = linear_pool()
    one.host, one.yields = host, yields
    each = [max(1e-3 + 1e-6 * (100 + yields * k), host) for k in range(400)]
    steps, seconds = walking.walk(node, table, one, 1, 100.0, 400, float("inf"))
    assert steps == 400
    assert seconds == pytest.approx(sum(each), rel=1e-12)


@pytest.mark.parametrize("limit", [1e-6, 1.0e-3, 1.15e-3, 0.05, 0.3])
def test_a_walk_stops_at_the_first_step_after_its_limit(limit: float) -> None:
    node, table, one = linear_pool()
    steps, seconds = walking.walk(node, table, one, 1, 100.0, 1000, limit)
    ends = np.cumsum([1e-3 + 1e-6 * (100 + k) for k in range(1000)])
    assert steps == np.searchsorted(ends, limit * (1 - 1e-12)) + 1
    assert seconds == pytest.approx(ends[steps - 1])


def test_heap_keeps_order_also_when_entries_leave_from_the_middle() -> None:
    chance = random.Random(3)
    keys, slots = [0] * 500, [0] * 500
    model: list[tuple[int, int]] = []
    size = 0
    for turn in range(3000):
        if size < 400 and (size == 0 or chance.random() < 0.55):
            key = chance.randrange(1000) * 10_000 + turn
            queues.push(keys, slots, 7, size, key, turn)
            heapq.heappush(model, (key, turn))
            size += 1
        else:
            at = 0 if chance.random() < 0.7 else chance.randrange(size)
            gone = queues.pop(keys, slots, 7, size, at)
            size -= 1
            if at == 0:
                assert gone == heapq.heappop(model)[1]
            else:
                model = [entry for entry in model if entry[1] != gone]
                heapq.heapify(model)


def test_tournament_finds_the_least_and_the_lowest_of_equals() -> None:
    chance = np.random.default_rng(5)
    keys = chance.integers(0, 5, 16).astype(float)
    tree = tournament(keys).tolist()
    changing = keys.tolist()
    for _ in range(500):
        index = int(chance.integers(16))
        changing[index] = float(chance.integers(0, 5))
        queues.settle(tree, 0, 16, changing, 0, index)
        assert tree[1] == int(np.argmin(changing))


def test_hash_table_is_a_dictionary() -> None:
    chance = random.Random(1)
    capacity, buckets = 40, 64
    entries = plain("entries", rows(EntryRow, capacity))
    unit = plain("units", rows(UnitRow, 1, frees=capacity, oldest=-1, newest=-1))[0]
    bucket = [0] * buckets
    model: dict[int, int] = {}
    for _ in range(5000):
        key = chance.randrange(120) * 64 + chance.randrange(4)  # many collisions
        entry = blocks.find(bucket, entries, unit, buckets, key)
        assert (entry >= 0) == (key in model)
        if key in model:
            assert model.pop(key) == entry
            blocks.erase(bucket, entries, unit, buckets, entry)
        else:
            made = blocks.insert(bucket, entries, unit, buckets, key)
            assert (made < 0) == (len(model) == capacity)
            if made >= 0:
                model[key] = made
    assert unit.frees == capacity - len(model)


def test_records_are_aligned_and_hold_what_rows_hold() -> None:
    for row in RECORDS.values():
        kind = kinds(row)
        assert kind.isalignedstruct
        names = kind.names or ()
        assert {kind[name].kind for name in names} <= {"i", "f"}
        # no bytes between fields: what is in them would differ from run to run
        assert kind.itemsize == sum(kind[name].itemsize for name in names), row
    assert CLASSES > 1
