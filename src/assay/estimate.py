"""A number that knows how sure it is: value, interval, physical floor, and basis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Number: TypeAlias = float | NDArray[np.float64]

#: The ladder of evidence, strongest first.
BASES = ("measured", "calibrated model", "calibrated chip", "datasheet", "assumed")
#: The numbers of an estimate.
PARTS = ("value", "low", "high", "floor")


@dataclass(frozen=True, slots=True)
class Estimate:
    """One predicted quantity, in SI units.

    Attributes:
        value: the best single number (median).
        low: lower end of the 80 % interval.
        high: upper end of the 80 % interval.
        floor: the physical bound that no deployment can beat (a least time, cost or energy; for a
            throughput it is the greatest one). NaN where no bound applies.
        basis: a rung of `BASES`.

    All four numbers share one shape: a float, or an array of operating points.
    """

    value: Number
    low: Number
    high: Number
    floor: Number
    basis: str

    def apply(self, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Estimate:
        """Return the estimate with `change` applied to each of its four numbers, as arrays."""
        value, low, high, floor = (
            change(np.asarray(number, dtype=np.float64))
            for number in (self.value, self.low, self.high, self.floor)
        )
        return Estimate(value, low, high, floor, self.basis)

    def at(self, index: int, n: int) -> Estimate:
        """Return the estimate of one of `n` operating points."""
        value, low, high, floor = (
            float(np.broadcast_to(number, n)[index])
            for number in (self.value, self.low, self.high, self.floor)
        )
        return Estimate(value, low, high, floor, self.basis)

    def json(self) -> dict[str, Any]:
        """Return `{value, low, high, floor}` with NaN as None."""
        return {key: _plain(getattr(self, key)) for key in PARTS}

    def rows(self, index: NDArray[np.intp], n: int) -> list[dict[str, Any]]:
        """Return what `json` gives for each operating point at `index` among `n`."""
        columns = (np.broadcast_to(getattr(self, key), n)[index].tolist() for key in PARTS)
        return [
            {key: None if math.isnan(number) else number for key, number in zip(PARTS, row, strict=True)}
            for row in zip(*columns, strict=True)
        ]


def _plain(number: Number) -> Any:
    if isinstance(number, np.ndarray):
        return [_plain(float(item)) for item in number.ravel()]
    return None if math.isnan(number) else float(number)
