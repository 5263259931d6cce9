"""Rates of one operator on one chip: which number format computes, how fast, and the physical peak.

Rates are never derived from another format by a rule of two: a format the chip does not have is computed
in the widest one it has that keeps the accuracy (weights are unpacked on the fly).
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.catalogue.schema import Chip, System
from assay.errors import NoEvidence
from assay.timing.efficiency import curve

#: Weight format -> formats it may compute in, preferred first. The first that the chip has wins.
COMPUTES: dict[str, tuple[str, ...]] = {
    "bf16": ("bf16", "fp16"),
    "fp16": ("fp16", "bf16"),
    "fp8": ("fp8", "bf16", "fp16"),
    "fp8_block32": ("fp8", "bf16", "fp16"),
    "mxfp8": ("fp8", "bf16", "fp16"),
    "fp32": ("fp32", "bf16", "fp16"),
    "fp6": ("fp6", "fp8", "bf16", "fp16"),
    "fp4": ("fp4", "bf16", "fp16"),
    "nvfp4": ("fp4", "bf16", "fp16"),
    "mxfp4": ("fp4", "bf16", "fp16"),
    "int8": ("int8", "bf16", "fp16"),
    "int4": ("bf16", "fp16"),
}

#: Weight formats that share the efficiency curve of another.
CURVES = {"fp8_block32": "fp8", "fp32": "bf16"}


@dataclass(frozen=True, slots=True)
class Rates:
    """What one kind of kernel reaches on one chip; SI units.

    Attributes:
        compute_format: number format the arithmetic runs in.
        peak: dense datasheet rate of that format, FLOP/s.
        bandwidth: datasheet memory bandwidth, B/s.
        compute_rate, memory_rate: reached rates at large size, FLOP/s and B/s.
        rows_half: rows at which half of `compute_rate` is reached.
        overhead: s per kernel.
        sigma: log-normal standard deviation of the residual.
        basis: rung of `assay.estimate.BASES`.
    """

    compute_format: str
    peak: float
    bandwidth: float
    compute_rate: float
    memory_rate: float
    rows_half: float
    overhead: float
    sigma: float
    basis: str


def compute_format(chip: Chip, weight_format: str) -> str:
    """Return the format in which `chip` multiplies weights stored as `weight_format`.

    Raises:
        NoEvidence: the chip has no rate for any of them.
    """
    for name in COMPUTES[weight_format]:
        if chip.peak_flops.get(name):
            return name
    raise NoEvidence(
        f"{chip.name} has no published dense rate for {weight_format} or anything that can stand in for it.",
        f"Add one to its facts ({', '.join(COMPUTES[weight_format])}).",
    )


def native(chip: Chip, weight_format: str) -> bool:
    """Return whether the chip multiplies `weight_format` at its own rate, without unpacking."""
    return bool(chip.peak_flops.get(COMPUTES[weight_format][0]))


def rates(system: System, kind: str, weight_format: str, compute: str = "") -> Rates:
    """Return the rates of operators of `kind` with weights in `weight_format` on a system's chip.

    Args:
        system: the system.
        kind: one of `assay.llm.operators.KINDS`, not `exchange`.
        weight_format: storage format of the weights.
        compute: number format the operator always runs in, "" to follow the weights.
    """
    chip = system.chip
    name = compute_format(chip, compute or weight_format)
    # a weight-only format runs the wide arithmetic behind an unpacking prologue: its own curve if measured
    shape = curve(chip, kind, name if compute else CURVES.get(weight_format, weight_format))
    peak = chip.peak_flops[name]
    return Rates(
        compute_format=name,
        peak=peak,
        bandwidth=chip.memory_bandwidth,
        compute_rate=peak * shape.compute,
        memory_rate=chip.memory_bandwidth * shape.memory,
        rows_half=shape.rows_half,
        overhead=shape.overhead,
        sigma=shape.sigma,
        basis=shape.basis,
    )
