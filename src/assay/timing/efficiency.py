"""How much of its datasheet a chip reaches, by kind of operator and number format.

A `Curve` is six scalars; the engine applies them to whole arrays with `roofline.kernel_seconds`. Curves
are fitted to measured kernels (`assay.calibrate.kernels`) and live in `data/calibrations/kernels.yaml`. A
chip without its own takes the pooled curve of its generation, then its vendor, then its kind of chip;
each step is less sure, and says so in `sigma` and `basis`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from assay.catalogue.schema import Chip
from assay.errors import NoEvidence
from assay.llm.operators import KINDS

#: Format whose curve stands in where a format has none of its own at a level; tried in order.
STAND_INS: Mapping[str, tuple[str, ...]] = {
    "bf16": (),
    "fp16": ("bf16",),
    "fp8": ("bf16",),
    "mxfp8": ("fp8", "bf16"),
    "fp6": ("fp8", "bf16"),
    "nvfp4": ("fp4", "fp8", "bf16"),
    "mxfp4": ("fp4", "fp8", "bf16"),
    "fp4": ("nvfp4", "fp8", "bf16"),
    "int8": ("fp8", "bf16"),
    "int4": ("bf16",),
}

#: Levels of the hierarchy, nearest evidence first.
LEVELS = ("chip", "generation", "vendor", "kind")


@dataclass(frozen=True, slots=True)
class Curve:
    """What a kernel of one kind and format reaches on a chip.

    Attributes:
        compute: reached share of peak FLOP/s at large size.
        memory: reached share of memory bandwidth at large size.
        rows_half: rows (tokens per GEMM, per expert for `experts`) at which half of `compute` is reached:
            FLOPs are multiplied by `1 + rows_half / rows`.
        overhead: s per kernel inside a CUDA graph (fixed cost).
        sigma: standard deviation of ln(measured / predicted): the evidence behind the curve.
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
        chip: the accelerator.
        kind: one of `assay.llm.operators.KINDS`, not `exchange` (see `assay.timing.collectives`).
        fmt: number format the arithmetic runs in: bf16 fp16 fp8 mxfp8 fp6 nvfp4 mxfp4 fp4 int8 int4.

    Raises:
        NoEvidence: no measured kernel of that kind stands near the chip.
    """
    return _curve((chip.id, chip.generation, chip.vendor, chip.kind), kind, fmt)


@lru_cache(maxsize=8192)
def _curve(names: tuple[str, str, str, str], kind: str, fmt: str) -> Curve:
    if kind not in KINDS or kind == "exchange" or fmt not in STAND_INS:
        raise NoEvidence(f"No efficiency curve for operators of kind {kind!r} in format {fmt!r}.")
    curves = _table()["curves"]
    for level, name in zip(LEVELS, names, strict=True):
        found = curves[level].get(name, {}).get(kind)
        if not found:
            continue
        for candidate in (fmt, *STAND_INS[fmt]):
            if candidate in found:
                entry = found[candidate]
                basis = "calibrated chip" if level == "chip" else "datasheet"
                return Curve(**entry, basis=basis)
    raise NoEvidence(f"No efficiency curve for {kind} operators on {names[0]} ({names[3]}).")


@lru_cache(maxsize=1)
def _table() -> Any:
    path = Path(__file__).resolve().parents[1] / "catalogue" / "data" / "calibrations" / "kernels.yaml"
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
