"""What may never happen: beating the roofline, gaining from more work, losing from a better chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip, System
from assay.timing.collectives import OPERATIONS, floor, link
from assay.timing.efficiency import STAND_INS, curve
from assay.timing.roofline import floor_seconds, kernel_seconds

#: Topologies whose groups gain nothing but hops from more ranks; a mesh or a torus also gains links.
SHARED_LINK = ("switch", "pcie")
GENERATIONS = ("ampere", "hopper", "blackwell", "blackwell-ultra", "rubin", "ada", "blackwell-geforce")

work = st.floats(1.0, 1e16)
rate = st.floats(1e9, 1e17)
size = st.floats(1.0, 1e11)
names = st.sampled_from(
    ["h100-sxm", "b200-sxm", "gb300-nvl72-gpu", "mi300x", "tpu-v7-ironwood", "ascend-910c"]
)


@st.composite
def systems(draw: st.DrawFn, topologies: tuple[str, ...] = SHARED_LINK) -> System:
    """Any system with the given topologies."""
    domain = draw(st.sampled_from([2, 4, 8, 16, 72, 384]))
    topology = draw(st.sampled_from(topologies))
    generation = draw(st.sampled_from(GENERATIONS))
    peer = draw(st.floats(1e9, 2e12))
    links = {"mesh": max(domain - 1, 1), "torus2d": 4, "torus3d": 6, "ring": 2}.get(topology, 1)
    chip = Chip("c", "c", "nvidia", "gpu", generation, "shipping", {"bf16": 1e15}, 8e10, 4e12, "hbm")
    return System(
        "s",
        "s",
        chip,
        domain,
        8,
        topology,
        peer * links,
        peer,
        in_network_reduction=topology == "switch",
        nic_bandwidth=draw(st.floats(1e9, 4e11)),
        max_chips=4096,
    )


@given(names, st.sampled_from(sorted(STAND_INS)), work, size, st.floats(1.0, 1e6))
def test_no_kernel_beats_the_roofline(name: str, fmt: str, flops: float, moved: float, rows: float) -> None:
    chip = catalogue().chip(name)
    peak = chip.peak_flops.get(fmt, chip.peak_flops["bf16"])
    for kind in ("gemm", "experts", "attention_decode", "attention_prefill", "stream"):
        found = curve(chip, kind, fmt)
        seconds = kernel_seconds(
            flops,
            moved,
            rows,
            compute_rate=peak * found.compute,
            memory_rate=chip.memory_bandwidth * found.memory,
            rows_half=found.rows_half,
            overhead=found.overhead,
        )
        assert seconds >= floor_seconds(flops, moved, peak, chip.memory_bandwidth) * (1 - 1e-12)


@given(work, size, st.floats(1.0, 1e6), rate, rate, st.floats(0.0, 1e3), st.floats(1.0, 10.0))
def test_more_work_is_never_faster_and_a_better_chip_never_slower(
    flops: float, moved: float, rows: float, compute: float, memory: float, half: float, factor: float
) -> None:
    base = kernel_seconds(flops, moved, rows, compute_rate=compute, memory_rate=memory, rows_half=half)
    more = [
        kernel_seconds(flops * factor, moved, rows, compute_rate=compute, memory_rate=memory, rows_half=half),
        kernel_seconds(flops, moved * factor, rows, compute_rate=compute, memory_rate=memory, rows_half=half),
        kernel_seconds(flops, moved, rows / factor, compute_rate=compute, memory_rate=memory, rows_half=half),
    ]
    better = [
        kernel_seconds(flops, moved, rows, compute_rate=compute * factor, memory_rate=memory, rows_half=half),
        kernel_seconds(flops, moved, rows, compute_rate=compute, memory_rate=memory * factor, rows_half=half),
    ]
    assert all(time >= base * (1 - 1e-12) for time in more)
    assert all(time <= base * (1 + 1e-12) for time in better)


@given(
    systems(("switch", "pcie", "mesh", "torus2d", "torus3d", "ring")),
    st.sampled_from(OPERATIONS),
    st.integers(1, 1024),
    size,
    st.floats(1.0, 100.0),
)
def test_messages(system: System, op: str, ranks: int, payload: float, factor: float) -> None:
    found = link(system, op, ranks)
    seconds = float(found.seconds(payload))
    assert seconds >= payload * float(floor(system, op, ranks)) * (1 - 1e-9)
    assert found.seconds(payload * factor) >= seconds * (1 - 1e-12)
    faster = replace(
        system,
        link_bandwidth=system.link_bandwidth * factor,
        peer_bandwidth=system.peer_bandwidth * factor,
    )
    assert link(faster, op, ranks).seconds(payload) <= seconds * (1 + 1e-12)
    wider = replace(system, nic_bandwidth=(system.nic_bandwidth or 0.0) * factor)
    assert link(wider, op, ranks).seconds(payload) <= seconds * (1 + 1e-12)


@given(systems(), st.sampled_from(OPERATIONS), size)
def test_more_ranks_are_never_faster_behind_one_switch(system: System, op: str, payload: float) -> None:
    ranks = np.unique(
        np.minimum(np.array([1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 72, 200]), system.domain)
    )
    seconds = link(system, op, ranks).seconds(payload)
    assert np.all(np.diff(seconds) >= -1e-12 * seconds[1:])
