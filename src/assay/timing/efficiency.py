"""How much of its datasheet a chip reaches, by kind of operator and number format.

A `Curve` is a handful of scalars; the engine applies them to whole arrays with `roofline.kernel_seconds`.
Curves are fitted to measured kernels (`assay.calibrate.kernels`) and live in the data file
`calibrations/kernels`. A chip without its own takes the pooled curve of its generation, then of its vendor,
then of all chips, scaled by published bandwidth and GEMM tests where there are any. Every step is less
sure, and says so in `sigma` and `basis`. Method and scores: docs/concepts/timing.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import hypot
from typing import Any

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip
from assay.errors import NoEvidence
from assay.llm.operators import KINDS

#: Format whose curve stands in where a level has none for the format; tried in order.
STAND_INS: Mapping[str, tuple[str, ...]] = {
    "bf16": (),
    "fp16": ("bf16",),
    "fp8": ("bf16",),
    "mxfp8": ("fp8", "bf16"),
    "fp6": ("fp8", "bf16"),
    "nvfp4": ("mxfp4", "fp8", "bf16"),
    "mxfp4": ("nvfp4", "fp8", "bf16"),
    "fp4": ("nvfp4", "mxfp4", "fp8", "bf16"),
    "int8": ("fp8", "bf16"),
    "int4": ("bf16",),
}

#: The same for 4-bit weights on a chip that must widen them before it multiplies.
WIDE = ("mxfp4-wide", "int4", "bf16")

#: Formats that run at the same rate: a stand-in among them is as good as the format's own curve.
SAME_RATE = ({"bf16", "fp16"}, {"fp8", "mxfp8"}, {"nvfp4", "mxfp4", "fp4"})

#: Levels of the hierarchy, nearest evidence first, with the name of the chip's field.
LEVELS = ("chip", "generation", "vendor", "any")


@dataclass(frozen=True, slots=True)
class Curve:
    """What a kernel of one kind and format reaches on a chip.

    Attributes:
        compute: reached share of peak FLOP/s at large size, of the peak of the format that multiplies
            (bf16 where the chip must widen the weights).
        memory: reached share of memory bandwidth at large size.
        rows_half: rows at which half of `compute` is reached; FLOPs are multiplied by `1 + rows_half / rows`.
            A row is what shares one operand: a token of a GEMM, a token of one expert, a query head of one
            key-value head (decode attention), a token of one sequence's chunk (prefill attention).
        overhead: s per kernel inside a CUDA graph (fixed cost: launch, ramp and drain).
        sigma: standard deviation of ln(measured / predicted), frameworks included.
        basis: rung of `assay.estimate.BASES`.
        n: measured rows behind it.
    """

    compute: float
    memory: float
    rows_half: float
    overhead: float
    sigma: float
    basis: str
    n: int


def curve(chip: Chip, kind: str, fmt: str) -> Curve:
    """Return the curve of operators of `kind` in number format `fmt` on `chip`.

    Args:
        chip: the accelerator; any chip has a curve, measured or inherited.
        kind: one of `assay.llm.operators.KINDS`, not `exchange` (see `assay.timing.collectives`).
        fmt: format of the weights, or of the arithmetic for kinds without weights: bf16 fp16 fp8 mxfp8 fp6
            nvfp4 mxfp4 fp4 int8 int4.

    Raises:
        NoEvidence: no such kind or format.
    """
    wide = fmt in ("nvfp4", "mxfp4", "fp4") and not chip.peak_flops.get("fp4")
    return _curve((chip.id, chip.generation, chip.vendor, "any"), kind, fmt, wide)


@lru_cache(maxsize=16384)
def _curve(names: tuple[str, str, str, str], kind: str, fmt: str, wide: bool) -> Curve:
    if kind not in KINDS or kind == "exchange" or fmt not in STAND_INS:
        raise NoEvidence(
            f"No efficiency curve for operators of kind {kind!r} in format {fmt!r}.",
            f"Kinds: {', '.join(KINDS[:-1])}; formats: {', '.join(STAND_INS)}.",
        )
    table = _table()
    candidates = WIDE if wide else (fmt, *STAND_INS[fmt])
    level, entry, used = next(_matches(table["curves"], names, kind, candidates))
    found = Curve(**entry, basis="calibrated chip" if level == "chip" else "datasheet")
    if not (wide and used == WIDE[0]) and not _same_rate(fmt, used):
        found = replace(found, sigma=round(hypot(found.sigma, table["between_formats"]), 3))
    if found.n == 0:
        found = replace(found, basis="assumed")
    return _scaled(found, table, names, kind, fmt) if level == "any" else found


def _matches(
    curves: Mapping[str, Any], names: tuple[str, ...], kind: str, candidates: tuple[str, ...]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield (level, entry, format) from the nearest evidence to the farthest."""
    for level, name in zip(LEVELS, names, strict=True):
        formats = curves[level].get(name, {}).get(kind, {})
        for candidate in candidates:
            if candidate in formats:
                yield level, formats[candidate], candidate
    # kinds without arithmetic, and states, are filed under one format
    for entry in curves["any"]["any"][kind].values():
        yield "any", entry, candidates[0]


def _same_rate(fmt: str, used: str) -> bool:
    return fmt == used or any({fmt, used} <= group for group in SAME_RATE)


def _scaled(found: Curve, table: Mapping[str, Any], names: tuple[str, ...], kind: str, fmt: str) -> Curve:
    """Scale the curve of all chips by what this chip, its generation or its vendor reached in other tests."""
    sigma = round(hypot(found.sigma, table["between_vendors"]), 3)
    for level, name in zip(LEVELS[:3], names[:3], strict=True):
        factors = table["factors"][level].get(name)
        if factors is None:
            continue
        compute = next(
            (factors["compute"][x] for x in (fmt, *STAND_INS[fmt]) if x in factors["compute"]), 1.0
        )
        memory = factors["memory"] or 1.0
        return replace(
            found,
            compute=found.compute
            if kind in ("stream", "gather")
            else round(min(found.compute * compute, 1.0), 3),
            memory=round(min(found.memory * memory, 1.0), 3),
            sigma=found.sigma if level == "chip" and kind == "gemm" else sigma,
        )
    return replace(found, sigma=sigma, basis="assumed")


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = catalogue().table("calibrations/kernels")
    return table
