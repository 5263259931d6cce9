"""Collectives by topology, size and domain, on systems made by hand and of the catalogue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip, System
from assay.errors import NoEvidence
from assay.timing.collectives import OPERATIONS, away, floor, kv_block_share, link, wire

CHIP = Chip("c", "c", "nvidia", "gpu", "hopper", "shipping", {"bf16": 1e15}, 8e10, 4e12, "hbm")
SWITCH = System(
    "s", "s", CHIP, 8, 8, "switch", 450e9, 450e9, in_network_reduction=True, nic_bandwidth=50e9, max_chips=64
)
MESH = replace(SWITCH, topology="mesh", link_bandwidth=448e9, peer_bandwidth=64e9, in_network_reduction=False)
TORUS = replace(
    SWITCH, topology="torus3d", domain=4096, link_bandwidth=600e9, peer_bandwidth=100e9, max_chips=256
)


@pytest.mark.parametrize("op", OPERATIONS)
def test_one_rank_costs_nothing(op: str) -> None:
    for system in (SWITCH, MESH, TORUS):
        found = link(system, op, np.array([1, 2]))
        assert found.latency.shape == found.rate.shape == (2, 2)
        assert found.seconds(1e9)[0] == 0
        assert found.seconds(1e9)[1] > 0
        assert found.seconds(0.0)[1] == 0


def test_a_pair_of_a_mesh_uses_one_link() -> None:
    pair = link(MESH, "all_reduce", 2).seconds(4 * 2**30)
    busbw = 4 * 2**30 / float(pair)
    assert busbw < 64e9
    eight = link(MESH, "all_reduce", 8).seconds(4 * 2**30)
    assert eight < pair
    assert link(MESH, "send", 2).seconds(1e9) >= 1e9 / 64e9


def test_a_mesh_exchange_is_spread_over_the_peers_and_never_pooled() -> None:
    two, eight = (float(link(MESH, "dispatch", n).seconds(1e9)) for n in (2, 8))
    assert two / eight == pytest.approx(7, rel=0.05)
    assert eight >= 1e9 / (7 * 64e9)


def test_a_torus_needs_whole_axes_to_close_its_rings() -> None:
    open_block, closed = (float(link(TORUS, "all_gather", n).seconds(1e9)) for n in (32, 64))
    assert closed < open_block
    two = float(link(TORUS, "all_gather", 2).seconds(1e9))
    assert two >= 0.5e9 / 100e9


def test_an_exchange_on_a_torus_is_bound_by_the_bisection() -> None:
    times = [float(link(TORUS, "dispatch", n).seconds(1e9)) for n in (64, 256)]
    assert times[1] > times[0]
    assert times[0] > 1e9 / 600e9


def test_in_switch_reduction_beats_the_ring_but_not_the_link() -> None:
    seconds = float(link(SWITCH, "all_reduce", 8).seconds(1e9))
    assert 1e9 / 450e9 <= seconds < 2 * 1.75e9 / 450e9


def test_beyond_the_domain_the_nic_counts() -> None:
    inside, outside = link(SWITCH, "all_reduce", np.array([8, 16])).seconds(1e6)
    assert outside > inside + 1e-5
    slow = replace(SWITCH, nic_bandwidth=5e9)
    assert link(slow, "all_reduce", 16).seconds(1e9) > link(SWITCH, "all_reduce", 16).seconds(1e9)
    assert link(slow, "all_reduce", 8).seconds(1e9) == link(SWITCH, "all_reduce", 8).seconds(1e9)
    assert link(SWITCH, "send", 9).seconds(1e9) >= 1e9 / 50e9


def test_an_expert_exchange_crosses_the_nic_once_per_domain() -> None:
    one = float(link(SWITCH, "dispatch", 16, topk=1.0).seconds(1e9))
    eight = float(link(SWITCH, "dispatch", 16, topk=8.0).seconds(1e9))
    assert eight < one


def test_a_missing_rate_is_refused_where_it_is_needed() -> None:
    alone = replace(SWITCH, nic_bandwidth=None)
    assert link(alone, "all_reduce", 8).seconds(1e6) > 0
    with pytest.raises(NoEvidence, match="scale-out"):
        link(alone, "all_reduce", np.array([8, 16]))
    with pytest.raises(NoEvidence, match="scale-up"):
        link(replace(SWITCH, link_bandwidth=0.0), "all_reduce", 8)
    with pytest.raises(NoEvidence, match="Known"):
        link(SWITCH, "broadcast", 8)


def test_chips_without_links_talk_over_their_nics() -> None:
    alone = replace(SWITCH, domain=1, node=1, topology="none", link_bandwidth=0.0, peer_bandwidth=0.0)
    for op in OPERATIONS:
        seconds = link(alone, op, np.array([1, 2, 8])).seconds(1e9)
        assert seconds[0] == 0
        assert np.all(seconds[1:] >= 1e9 * floor(alone, op, np.array([2, 8])))
        assert np.all(np.isfinite(seconds))


def test_the_copies_of_a_row() -> None:
    assert away(1) == 0
    assert away(2, 1) == pytest.approx(0.5)
    assert away(8, 8) == pytest.approx(7 * (1 - (7 / 8) ** 8))
    assert away(1e6, 8) == pytest.approx(8, rel=1e-3)


def test_the_bytes_on_the_wire() -> None:
    ring = wire("all_reduce", np.array([1.0, 2.0, 8.0]))
    assert ring[1].tolist() == [0.0, 1.0, 1.75]
    assert ring[0].tolist() == [0.0, 2.0, 8.0]
    assert wire("all_gather", np.array([8.0])).tolist() == [[0.875], [0.875]]


def test_small_cache_blocks_bound_the_transfer() -> None:
    share = kv_block_share(np.array([4096, 65536, 131072, 2**20, 2**24]))
    assert np.all(np.diff(share) > -1e-12)
    assert share[1] == pytest.approx(0.243 / 0.917, rel=1e-6)
    assert share[-1] == 1
    assert share[0] < share[1] / 10


def test_every_system_has_every_operation_above_its_floor() -> None:
    library, seen = catalogue(), 0
    for name in library.systems():
        try:
            system = library.system(name)
        except NoEvidence:
            continue
        most = system.max_chips if system.nic_bandwidth else min(system.max_chips, system.domain)
        ranks = np.array([n for n in (1, 2, 3, 4, 8, 16, 32, 64, 72, 256) if n <= most])
        if most < 2 or not system.link_bandwidth:
            continue
        seen += 1
        for op in OPERATIONS:
            for size in (1e3, 1e6, 1e9):
                seconds = link(system, op, ranks).seconds(size)
                least = size * floor(system, op, ranks)
                assert np.all(seconds >= least * (1 - 1e-9)), (name, op, size)
                assert np.all(np.isfinite(seconds))
    assert seen > 25
