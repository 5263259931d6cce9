"""Quantities with the range of what was published, and the arithmetic on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from assay.errors import BadInput


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and the least and greatest that published facts allow; SI units.

    Attributes:
        value: from the recommended facts.
        low, high: from the facts that contradict them.
    """

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Quantity:
        """Return a number without a range."""
        return cls(value, value, value)

    @property
    def known(self) -> bool:
        """Whether all facts behind it agree."""
        return self.low == self.high

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.value + other.value, self.low + other.low, self.high + other.high)

    def __sub__(self, other: Quantity) -> Quantity:
        return self + -other

    def __neg__(self) -> Quantity:
        return Quantity(-self.value, -self.high, -self.low)

    def __mul__(self, other: Quantity) -> Quantity:
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Quantity(self.value * other.value, min(ends), max(ends))

    def __truediv__(self, other: Quantity) -> Quantity:
        if other.low <= 0.0 <= other.high:
            raise BadInput("An expression divides by a quantity that may be zero.")
        return self * Quantity(1.0 / other.value, 1.0 / other.high, 1.0 / other.low)

    def __pow__(self, other: Quantity) -> Quantity:
        if not other.known or self.low <= 0.0:
            raise BadInput("An expression raises to a power that is no plain number, or a number below zero.")
        ends = sorted((self.low**other.value, self.high**other.value))
        return Quantity(self.value**other.value, ends[0], ends[1])

    def through(self, change: Callable[[float], float]) -> Quantity:
        """Return the quantity with a rising function applied."""
        return Quantity(change(self.value), change(self.low), change(self.high))


def joined(first: Quantity, second: Quantity) -> Quantity:
    """Return the product of two positive quantities whose errors are independent.

    Their 80 % ranges join in the logarithm as the root of the sum of squares.
    """

    def width(a: float, b: float) -> float:
        return math.hypot(a, b) if math.isfinite(a) and math.isfinite(b) else math.inf

    value = first.value * second.value
    down = width(_distance(first.value, first.low), _distance(second.value, second.low))
    up = width(_distance(first.high, first.value), _distance(second.high, second.value))
    return Quantity(value, value * math.exp(-down), value * math.exp(up))


def _distance(upper: float, lower: float) -> float:
    return math.log(upper / lower) if lower > 0.0 and math.isfinite(upper) else math.inf
