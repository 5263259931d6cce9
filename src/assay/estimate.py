"""A number that knows how sure it is: value, interval, physical floor, and basis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Number: TypeAlias = float | NDArray[np.float64]

#: The ladder of evidence, strongest first.
BASES = ("measured", "calibrated model", "calibrated chip", "datasheet", "assumed")


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

    def json(self) -> dict[str, Any]:
        """Return `{value, low, high, floor}` with NaN as None."""
        return {key: _plain(getattr(self, key)) for key in ("value", "low", "high", "floor")}


def _plain(number: Number) -> Any:
    if isinstance(number, np.ndarray):
        return [_plain(float(item)) for item in number.ravel()]
    return None if number != number else float(number)
