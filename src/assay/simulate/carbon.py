"""Carbon of the electricity that chips take, by grid."""

from __future__ import annotations

from dataclasses import dataclass

from assay.catalogue.load import catalogue
from assay.errors import BadInput
from assay.units import parse_quantity

_JOULES_PER_KWH = 3.6e6
_GRAMS_PER_KG = 1e3


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid's electricity.

    Attributes:
        name: of the country or region.
        kg_per_joule: greenhouse gases in CO2 equivalent, kg/J, mean of a year.
        source: key of `sources.yaml`, or "user".
    """

    name: str
    kg_per_joule: float
    source: str


def grid(name: str) -> Grid:
    """Return a grid by the name of its country (us, france, world), or of its g CO2 a kWh ("30").

    Raises:
        BadInput: no such grid is known.
    """
    wanted = name.strip().lower()
    known = catalogue().table("grids")["grids"]
    for ident, row in known.items():
        if wanted in {ident, str(row["name"]).lower()}:
            return Grid(row["name"], row["value"] / _GRAMS_PER_KG / _JOULES_PER_KWH, row["source"])
    try:
        grams = parse_quantity(wanted.removesuffix("g/kwh").strip(), "count", what="grid", zero=True)
    except BadInput:
        raise BadInput(
            f"No grid {name!r}.", f"Known: {', '.join(sorted(known))}; or give g CO2 a kWh, such as 30."
        ) from None
    return Grid(f"{grams:g} g/kWh", grams / _GRAMS_PER_KG / _JOULES_PER_KWH, "user")
