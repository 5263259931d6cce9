"""Which of several published values wins, how far the others lie, and why.

A fact: the recommended value wins; the other published ones give its spread, except those marked
`excluded` (another product, another definition, a known error), which are kept for display only.
A price: the newest of its kind wins; all of that kind within twelve months give its range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assay.catalogue.schema import Price
from assay.errors import BadFact, BadInput, NoEvidence
from assay.units import SI_UNIT, parse_quantity, show

#: How a value is known. `assumed` is a choice of this catalogue, `user` comes from a file of the user.
BASES = ("datasheet", "measured", "estimate", "derived", "from_memory", "assumed", "user")
#: Kinds of price; they are never mixed.
KINDS = ("own", "contract", "list", "spot")
#: Months of prices that give the range.
WINDOW = 12
_YEAR = 12
#: A spread wider than this is worth a warning.
_WIDE = 1.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """One quantity in SI, and what is known about it.

    Attributes:
        value: the recommended value.
        low, high: least and greatest published value.
        basis: one of `BASES`.
        why: one sentence.
    """

    value: float
    low: float
    high: float
    basis: str
    why: str

    @property
    def wide(self) -> bool:
        """Whether the published values differ by more than a tenth."""
        return self.high > self.low * _WIDE


def weigh(fact: Mapping[str, Any], dimension: str, where: str) -> Evidence | None:
    """Return the quantity of one fact, or None where nobody has published it.

    Args:
        fact: `{value, unit, source, date, basis, conflicts}` as in the data files.
        dimension: key of `assay.units.UNITS`.
        where: file and field, for errors.

    Raises:
        BadFact: not a finite positive quantity, or an unknown unit.
    """
    if fact.get("value") is None:
        return None
    unit = str(fact.get("unit") or "")
    value = _quantity(fact["value"], unit, dimension, where)
    low = high = value
    others, excluded = 0, 0
    for conflict in rivals(fact, where):
        if conflict.get("excluded"):
            excluded += 1
            continue
        other = _quantity(
            conflict.get("value"), str(conflict.get("unit") or unit), dimension, f"{where}.conflicts"
        )
        low, high, others = min(low, other), max(high, other), others + 1
    si = SI_UNIT[dimension]
    origin = (fact.get("source", "user"), fact.get("basis", "user"), fact.get("date", ""))
    why = "{} as {} has it ({}, {})".format(show(value, si), *origin)
    if others:
        why += f"; {others} other published, {show(low, si)} to {show(high, si)}"
    if excluded:
        why += f"; {excluded} set aside"
    return Evidence(value, low, high, str(fact.get("basis", "user")), why + ".")


def rivals(fact: Mapping[str, Any], where: str) -> Sequence[Mapping[str, Any]]:
    """Return the other published values of a fact.

    Raises:
        BadFact: not a list of mappings.
    """
    found = fact.get("conflicts") or ()
    if not isinstance(found, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in found):
        raise BadFact(f"{where}: conflicts is no list of values.", "Write [{value: ..., source: ...}].")
    return found


def _quantity(value: Any, unit: str, dimension: str, where: str) -> float:
    try:
        return parse_quantity(value, dimension, what=where, default_unit=unit)
    except BadInput as error:
        raise BadFact(error.message, error.hint) from None


def months(date: str, where: str = "date") -> int:
    """Return a date as a count of months; a year alone counts as its January.

    Raises:
        BadFact: not an ISO date, year and month, or year.
    """
    parts = date.split("-")
    digits = all(part.isdigit() for part in parts) and len(parts[0]) == len("2026")
    month = int(parts[1]) if digits and len(parts) > 1 else 1
    if not digits or not 1 <= month <= _YEAR:
        raise BadFact(f"{where} = {date!r} is no date.", "Write 2026-09-15, 2026-09 or 2026.")
    return int(parts[0]) * _YEAR + month - 1


def choose(prices: Sequence[Price], chip: str, kind: str) -> Price:
    """Return the price to use: the newest of its kind, with the range of twelve months.

    A price of the user's own wins over any other. Of several from the newest month the upper median is
    taken (for the cost of owning: what a neocloud pays, not a hyperscaler).

    Args:
        prices: prices of one chip, any kind.
        chip: chip id, for the error.
        kind: one of `KINDS`.

    Raises:
        NoEvidence: nobody has published one.
    """
    same = [price for price in prices if price.kind == kind]
    own = [price for price in same if price.source == "user"]
    same = own or same
    if not same:
        known = [name for name in KINDS if any(price.kind == name for price in prices)]
        hint = f"Known: {', '.join(known)}." if known else "Give one in a facts file (prices: or price:)."
        raise NoEvidence(f"Nobody has published a {kind} price of {chip}.", hint)
    age = {price.date: months(price.date) if price.date else 0 for price in same}
    newest = max(age.values())
    recent = [price for price in same if newest - age[price.date] < WINDOW]
    day = max(price.date for price in same if age[price.date] == newest)
    latest = sorted((price for price in same if price.date == day), key=lambda price: price.usd_per_hour)
    chosen = latest[len(latest) // 2]
    low = min(price.low for price in recent)
    high = max(price.high for price in recent)
    why = f"newest of {len(same)} {kind} prices; range over {len(recent)} within {WINDOW} months"
    return replace(chosen, low=low, high=high, note=f"{chosen.note}; {why}" if chosen.note else why)
