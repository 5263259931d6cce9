"""The shapes of facts: what a chip, a system, a price and a model entry are.

Numbers here are SI (bytes, B/s, FLOP/s, W, USD, s). The YAML files in `data/` carry units in words and
the source of every value; `load` turns them into these records, `evidence` picks among conflicting
values, and the others become `spread`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Fact:
    """One value as published.

    Attributes:
        value: number, text, true or false, or None where nobody has published it.
        unit: unit in words, as in the data file ("TB/s").
        source: key of `sources.yaml`.
        date: ISO date, or the year and month, of the source.
        basis: datasheet, measured, estimate, derived, from_memory (unchecked), assumed (by this
            catalogue, with the reason in the note), or user.
        note: what a reader must know to use the value.
        conflicts: other published values, each `{value, source, note}`.
    """

    value: float | str | None
    unit: str = ""
    source: str = ""
    date: str = ""
    basis: str = "datasheet"
    note: str = ""
    conflicts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Chip:
    """One accelerator, in SI units.

    Attributes:
        id: catalogue id, for example `h100-sxm`.
        name: name in words.
        vendor: nvidia, amd, google, aws, huawei, intel, groq, cerebras, ...
        kind: gpu, tpu, npu, cpu, or dataflow (weights resident in SRAM, layers pipelined over chips).
        generation: key that efficiency curves are shared by (hopper, blackwell, cdna3, tpu-v7, lpu, ...).
        status: shipping, announced, roadmap, ...
        peak_flops: dense rate by number format, FLOP/s. Absent format = not native.
        memory_bytes: capacity of the memory that holds the weights, bytes.
        memory_bandwidth: rate of that memory, B/s.
        memory_kind: hbm, gddr, lpddr, ddr or sram.
        tdp_watts: board or package power limit, W; None if unpublished.
        link_bandwidth: scale-up rate, one direction, all links, B/s; None if it has none.
        nic_bandwidth: scale-out rate, one direction, B/s; None if unpublished.
        spread: field -> (low, high) over the published values, where they conflict.
        warnings: what is unchecked or missing, in sentences.
        facts: field -> Fact, everything that was published, for display.
    """

    id: str
    name: str
    vendor: str
    kind: str
    generation: str
    status: str
    peak_flops: Mapping[str, float]
    memory_bytes: float
    memory_bandwidth: float
    memory_kind: str
    tdp_watts: float | None = None
    link_bandwidth: float | None = None
    nic_bandwidth: float | None = None
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class System:
    """Chips joined by a scale-up network, in SI units.

    Attributes:
        id: catalogue id, for example `h200` for an HGX H200 with 8 chips.
        name: name in words.
        chip: the chip in it.
        domain: chips in one scale-up domain.
        node: chips behind one host.
        topology: switch, mesh, torus2d, torus3d, ring, pcie, dragonfly, or none.
        link_bandwidth: scale-up rate of a chip, one direction, all its links together, B/s.
        peer_bandwidth: rate between two chips, one direction, B/s: equals `link_bandwidth` behind a
            switch, one link's rate in a mesh or torus.
        in_network_reduction: whether the switch reduces (NVLS, SHARP, CAE).
        hop_latency: s per hop; None if unpublished.
        nic_bandwidth: scale-out rate of a chip, one direction, B/s; None if unpublished.
        max_chips: the largest number of chips assay plans on it (several domains over the NICs).
        power_watts: provisioned power of a chip with its share of host and network, W; None if unpublished.
        warnings: what is unchecked or missing, in sentences.
        facts: field -> Fact.
    """

    id: str
    name: str
    chip: Chip
    domain: int
    node: int
    topology: str
    link_bandwidth: float
    peer_bandwidth: float
    in_network_reduction: bool = False
    hop_latency: float | None = None
    nic_bandwidth: float | None = None
    max_chips: int = 8
    power_watts: float | None = None
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Price:
    """USD for one chip for one hour, as published.

    Attributes:
        chip: chip id.
        kind: own (cost of ownership), contract (reserved), list (on demand) or spot.
        usd_per_hour: value, USD per chip and hour; `low` and `high` bound it.
        date: ISO date or year and month.
        provider: who asks or estimates it.
        source: key of `sources.yaml`.
        note: what the price includes, its commitment and region.
    """

    chip: str
    kind: str
    usd_per_hour: float
    low: float
    high: float
    date: str
    provider: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One open model.

    Attributes:
        name: catalogue name (`kimi-k2-thinking`).
        hf_id: Hugging Face id.
        released: ISO date.
        licence: licence id.
        architecture: the normalised architecture, input of `assay.llm.architecture.Architecture.from_dict`.
        published: figures the publisher states (total_b, active_b, hf_safetensors, checkpoint_format);
            `facts` holds the same with unit, source, date and basis.
        warnings: what is unchecked or inferred, in sentences.
        sources: where the architecture was read.
    """

    name: str
    hf_id: str
    released: str
    licence: str
    architecture: Mapping[str, Any]
    published: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
