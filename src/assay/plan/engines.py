"""Which engines a platform is planned with: the engine is part of a deployment, as its layout is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Chip, System
from assay.catalogue.support import Subject, refusals, runs
from assay.engine.features import family
from assay.errors import AssayError
from assay.plan.predict import KNOWN

Row = Mapping[str, Any]


def engines(named: str, model: str, system: System, facts: Catalogue) -> tuple[str, ...]:
    """Return the engines to plan with; "" stands for none in particular.

    The one that is named, else those that others have measured on the chip: with a model of the family, or
    with any where a run of this one is published; with any where that leaves none. An engine of which it is
    published that it does not run there is left out, unless it was measured with this very model. Where the
    chip maker's own engine was measured with any model, whose scheduler assay does not know, or where none is
    left, correction and scheduler of no engine in particular are planned with as well.

    Args:
        named: engine of the question, "" for none.
        model: catalogue name.
        system: the platform.
        facts: the catalogue.
    """
    if named:
        return (named,)
    chip = system.chip
    rows = _measured(facts).get(chip.id, ())
    subject = Subject(model, chip.id, chip.generation, chip.vendor)
    related = [row for row in rows if family(str(row["model"])) == family(model)]
    table = facts.table("engines/support")
    exact = {row["engine"] for row in related if row["model"] == model}
    own = {str(row["engine"]) for row in rows} & _makers(facts).get(chip.vendor, frozenset())
    for near in (related, rows):
        seen = {str(row["engine"]) for row in near}
        seen |= {str(row["engine"]) for row in rows if any(runs(row["engine"], subject, table))}
        found = [
            name
            for name in KNOWN
            if name in seen and (name in exact or not any(refusals(name, subject, table)))
        ]
        if own:
            found.append("")
        if found:
            break
    return tuple(found) or ("",)


@lru_cache(maxsize=4)
def _measured(facts: Catalogue) -> Mapping[str, Sequence[Row]]:
    """Return chip -> rows of the table of coverage that were measured on it."""
    found: dict[str, list[Row]] = {}
    for row in facts.table("measurements/coverage")["rows"]:
        chip = _chip(str(row["system"]), facts)
        if chip is not None:
            found.setdefault(chip.id, []).append(row)
    return found


@lru_cache(maxsize=4)
def _makers(facts: Catalogue) -> Mapping[str, frozenset[str]]:
    """Return maker -> engines that assay does not know and that were measured on its chips alone."""
    makers: dict[str, set[str]] = {}
    for row in facts.table("measurements/coverage")["rows"]:
        chip = _chip(str(row["system"]), facts)
        if chip is not None and row["engine"] not in KNOWN:
            makers.setdefault(str(row["engine"]), set()).add(chip.vendor)
    found: dict[str, set[str]] = {}
    for name, vendors in makers.items():
        if len(vendors) == 1:
            found.setdefault(next(iter(vendors)), set()).add(name)
    return {vendor: frozenset(names) for vendor, names in found.items()}


def _chip(system: str, facts: Catalogue) -> Chip | None:
    """Return the chip of a system, None where the user's facts leave it out or it lacks a fact."""
    try:
        return facts.system(system).chip
    except AssayError:
        return None
