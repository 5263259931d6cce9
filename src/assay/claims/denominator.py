"""What a factor is divided by (chips, racks, megawatts, dollars), and its ratio between two platforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.catalogue.evidence import weigh
from assay.catalogue.fields import CHIP_DIMENSIONS, SYSTEM_DIMENSIONS
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.claims.claim import PRICES, Claim
from assay.claims.quantity import Quantity, joined
from assay.errors import NoEvidence
from assay.units import show

#: Ways to count power, best definition first: (what, field of the system, field of the chip).
POWER = (
    ("MW provisioned", "power_provisioned", "power_provisioned"),
    ("MW of the rack", "rack_power", ""),
    ("MW of the system", "system_power", ""),
)
_LIMIT = ("MW of board limits", "", "tdp")
#: What a rack or system was priced at, tried in order.
BOUGHT = ("rack_price", "system_price")
EXACT = Quantity.exact(1.0)


@dataclass(frozen=True, slots=True)
class Unit:
    """A denominator.

    Attributes:
        name: `chip`, `rack`, `MW provisioned`, `USD (list)`.
        ratio: baseline's units a chip over the subject's: what the ratio per chip is multiplied by.
        shown: the figures behind it, in words.
        notes: what is unsure about it.
    """

    name: str
    ratio: Quantity = EXACT
    shown: str = ""
    notes: tuple[str, ...] = ()


def units(claim: Claim, systems: tuple[System, System], facts: Catalogue) -> tuple[Unit, ...]:
    """Return the denominators that a claim may mean.

    Raises:
        NoEvidence: none can be formed; names the missing fact.
    """
    subject, baseline = systems
    if claim.denominator in ("rack", "system"):
        ratio = Quantity.exact(subject.domain / baseline.domain)
        return (
            Unit(
                claim.denominator, ratio, f"{subject.domain} and {baseline.domain} chips in a scale-up domain"
            ),
        )
    if claim.denominator == "MW":
        return (_power(systems, facts),)
    if claim.denominator == "USD":
        return _money(systems, claim.condition("price") or PRICES, facts)
    return (Unit(claim.denominator),)


def _figure(facts: Catalogue, kind: str, name: str, field: str) -> Quantity | None:
    fact = (facts.entry(kind, name).get("facts") or {}).get(field)
    dimension = (SYSTEM_DIMENSIONS if kind == "system" else CHIP_DIMENSIONS).get(field)
    found = weigh(fact, dimension, f"{name}: {field}") if fact and dimension else None
    return Quantity(found.value, found.low, found.high) if found else None


def _watts(system: System, facts: Catalogue, way: tuple[str, str, str]) -> Quantity | None:
    """Return watts a chip by one definition."""
    _, whole, single = way
    if whole:
        found = _figure(facts, "system", system.id, whole)
        if found is not None:
            return found if whole == "power_provisioned" else found / Quantity.exact(float(system.domain))
    return _figure(facts, "chip", system.chip.id, single) if single else None


def _power(systems: tuple[System, System], facts: Catalogue) -> Unit:
    for way in (*POWER, _LIMIT):
        mine, theirs = (_watts(system, facts, way) for system in systems)
        if mine and theirs:
            return _unit(way[0], mine, theirs, "W")
    found = []
    for system in systems:
        options = (value for way in POWER if (value := _watts(system, facts, way)) is not None)
        value = next(options, None)
        if value is None:
            raise NoEvidence(f"{system.name}: no power is published.", "Give rack_power in a facts file.")
        found.append(value)
    note = "power of the two sides is defined differently"
    return _unit("MW", found[0], found[1], "W", (note,))


def _unit(name: str, mine: Quantity, theirs: Quantity, unit: str, notes: Sequence[str] = ()) -> Unit:
    inverse = Quantity(1.0 / mine.value, 1.0 / mine.high, 1.0 / mine.low)
    shown = f"{show(mine.value, unit)} a chip against {show(theirs.value, unit)}"
    return Unit(name, joined(theirs, inverse), shown, tuple(notes))


def _money(systems: tuple[System, System], kinds: Sequence[str], facts: Catalogue) -> tuple[Unit, ...]:
    found = []
    missing: dict[str, str] = {}
    for kind in kinds:
        pair = []
        for system in systems:
            value = _purchase(system, facts) if kind == "purchase" else _hour(system, facts, kind)
            if value is None:
                missing.setdefault(system.name, kind)
            pair.append(value)
        if pair[0] is not None and pair[1] is not None:
            unit = "USD" if kind == "purchase" else "USD/h"
            found.append(_unit(f"USD ({kind})", pair[0], pair[1], unit))
    if not found:
        name = next(iter(missing))
        raise NoEvidence(
            f"{name}: nobody has published a price of a kind that both sides have ({', '.join(kinds)}).",
            "Give one in a facts file.",
        )
    return tuple(found)


def _hour(system: System, facts: Catalogue, kind: str) -> Quantity | None:
    try:
        found = facts.price(system.chip.id, kind)
    except NoEvidence:
        return None
    return Quantity(found.usd_per_hour, found.low, found.high)


def _purchase(system: System, facts: Catalogue) -> Quantity | None:
    """Return what a chip with its share of the rack was priced at, USD."""
    for field in BOUGHT:
        fact = (facts.entry("system", system.id).get("facts") or {}).get(field) or {}
        if fact.get("value") is None or "USD" not in str(fact.get("unit")):
            continue
        found = _figure(facts, "system", system.id, field)
        if found is not None:
            return found / Quantity.exact(float(system.domain))
    return None
