"""What an SRAM dataflow chip reaches, and what its fabric costs: figures with their ranges, from data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip
from assay.errors import NoEvidence

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a dataflow chip reaches and what its fabric costs, SI units; figures are arrays of shape (V, 1).

    Row 0 is the best estimate, the others move one figure each to an end of its range.

    Attributes:
        mapping: `groups` (a stage is a group of chips) or `regions` (of a wafer).
        peak, ceiling: arithmetic rate used, and the largest one published (for the floor), FLOP/s.
        max_chips: the largest machine described in public.
        sram: usable share of SRAM as (low, value, high).
        figures: name -> (V, 1); see docs/concepts/dataflow.md.
        basis, warnings: rung of `assay.estimate.BASES`, and what is assumed, in sentences.
    """

    mapping: str
    peak: float
    ceiling: float
    max_chips: float
    sram: tuple[float, float, float]
    figures: Mapping[str, Array]
    basis: str
    warnings: tuple[str, ...]


def parameters(chip: Chip) -> Parameters:
    """Return the figures of a dataflow chip, its own or those assumed for any such chip.

    Raises:
        NoEvidence: neither the chip's facts nor the calibration has an arithmetic rate.
    """
    return _parameters(chip.id, chip.name, chip.generation, tuple(sorted(chip.peak_flops.items())))


@lru_cache(maxsize=64)
def _parameters(
    chip: str, name: str, generation: str, published: tuple[tuple[str, float], ...]
) -> Parameters:
    data = catalogue().table("calibrations/dataflow")
    entry = data["chips"].get(chip) or data["generations"].get(generation) or data["default"]
    assumed = entry.get("peak_flops", {})
    rates = {name: item["value"] for name, item in assumed.items()} | dict(published)
    peak = next((rates[item] for item in entry["arithmetic"] if rates.get(item)), None)
    if not peak:
        raise NoEvidence(
            f"{name} has no published rate for {' or '.join(entry['arithmetic'])}.",
            "Add one to its facts (peak_flops).",
        )
    figures = entry["figures"]
    names = [item for item in figures if item != "sram_share"]
    columns = {}
    for row, item in enumerate(names):
        values = np.full((1 + 2 * len(names), 1), float(figures[item]["value"]))
        values[1 + 2 * row : 3 + 2 * row, 0] = figures[item]["slow"], figures[item]["fast"]
        columns[item] = values
    sram = figures["sram_share"]
    return Parameters(
        mapping=entry["mapping"],
        peak=float(peak),
        ceiling=max([*rates.values(), *(item["high"] for item in assumed.values())]),
        max_chips=float(entry["max_chips"]["value"]),
        sram=(sram["fast"], sram["value"], sram["slow"]),
        figures=columns,
        basis=figures["step_seconds"]["basis"],
        warnings=tuple(entry.get("warnings", ())),
    )
