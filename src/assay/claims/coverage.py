"""Coverage: which model runs where, measured, predicted only, or not; and how locked-in a platform is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from assay.catalogue.query import Catalogue
from assay.claims.engines import CANNOT, MEASURED, PREDICTED, RUNS, Served, age, days, served
from assay.claims.fronts import options
from assay.engine.models import model as load_model
from assay.engine.overheads import engine
from assay.engine.replica import Model
from assay.errors import AssayError, NoEvidence
from assay.llm.formats import weight_formats
from assay.llm.memory import weight_bytes
from assay.study.answer import Answer, Row
from assay.units import show

#: States of a model on a platform, whatever the engine.
STATES = (MEASURED, RUNS, PREDICTED, CANNOT)
#: A platform is an alternative while it costs at most this many times as much.
WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one platform.

    Attributes:
        model, system: ids.
        state: one of `STATES`.
        points: measured operating points in the collection.
        served: what is known of each engine.
        newest: date of the newest of them, "" if none has one.
        first: date of the oldest dated one, "" if unknown.
        days: from the model's release to `first`; None where either date is not exact to the day.
        reason: why it cannot run or be predicted, "" otherwise.
    """

    model: str
    system: str
    state: str
    points: int = 0
    served: tuple[Served, ...] = ()
    newest: str = ""
    first: str = ""
    days: int | None = None
    reason: str = ""

    @property
    def engines(self) -> dict[str, int]:
        """Engine -> measured points."""
        return {item.engine: item.points for item in self.served if item.points}

    def age(self, today: date) -> int | None:
        """Return the days since the newest point, None where its date is not exact to the day."""
        return age(self.newest, today)

    def json(self) -> dict[str, Any]:
        """Return the cell as plain data."""
        return {
            "model": self.model,
            "platform": self.system,
            "state": self.state,
            "points": self.points,
            "engines": self.engines,
            "by_engine": [item.json() for item in self.served],
            "newest": self.newest or None,
            "first": self.first or None,
            "days_from_release": self.days,
            "reason": self.reason,
        }


def cells(models: Sequence[str], systems: Sequence[str], facts: Catalogue) -> tuple[Cell, ...]:
    """Return every model on every platform, by measurements and by memory.

    What was not measured counts as predicted where the narrowest weights that chip and model allow fit the
    memory of all chips that are planned together; `assay coverage MODEL` plans each platform instead.

    Args:
        models, systems: ids.
        facts: the catalogue.
    """
    counted = _counted(facts)
    found = []
    for name in models:
        prepared, entry = load_model(name, facts.extra)
        released = entry.released if entry else ""
        for system in systems:
            seen = counted.get((prepared.name, system), ())
            reason = "" if seen else why_not(prepared, system, facts)
            found.append(_cell(prepared.name, system, seen, (reason, released), facts))
    return tuple(found)


def planned(answer: Answer, facts: Catalogue) -> tuple[Cell, ...]:
    """Return the model of an answer on every platform that the answer knows."""
    counted = _counted(facts)
    name = str(answer.model["name"])
    try:
        released = facts.model(name).released
    except AssayError:
        released = ""
    reasons = {item.platform: item.reason for item in answer.refused}
    names = dict.fromkeys([*(row.deployment.system for row in answer.rows), *reasons])
    return tuple(
        _cell(name, system, counted.get((name, system), ()), (reasons.get(system, ""), released), facts)
        for system in names
    )


def _counted(facts: Catalogue) -> dict[tuple[str, str], tuple[Mapping[str, Any], ...]]:
    found: dict[tuple[str, str], tuple[Mapping[str, Any], ...]] = {}
    for row in facts.table("measurements/coverage")["rows"]:
        key = (str(row["model"]), str(row["system"]))
        found[key] = (*found.get(key, ()), row)
    return found


def _cell(
    model: str, system: str, seen: Sequence[Mapping[str, Any]], rest: tuple[str, str], facts: Catalogue
) -> Cell:
    """Return one cell; `rest`: why it cannot run or be predicted, and the model's release."""
    reason, released = rest
    chip = facts.entry("chip", str(facts.entry("system", system)["chip"]))
    known = served(model, chip, seen, facts, released=released, reason=reason)
    first = min((str(row["oldest"]) for row in seen if row.get("oldest")), default="")
    state = MEASURED if seen else CANNOT if reason else PREDICTED
    if not seen and any(item.state == RUNS for item in known):
        state = RUNS
    return Cell(
        model,
        system,
        state,
        points=sum(int(row["points"]) for row in seen),
        served=known,
        newest=max((str(row["newest"]) for row in seen if row.get("newest")), default=""),
        first=first,
        days=days(released, first),
        reason=reason,
    )


def why_not(prepared: Model, system: str, facts: Catalogue) -> str:
    """Return why a model cannot run on a platform or be predicted there, "" if nothing speaks against it."""
    try:
        place = facts.system(system)
    except NoEvidence as error:
        return error.message
    least = min(
        weight_bytes(prepared.architecture, weight_formats(prepared.architecture, choice))
        for choice in options(prepared, place)
    )
    room = place.chip.memory_bytes * engine("").memory * place.max_chips
    if least <= room:
        return ""
    free = f"{place.max_chips} chips of {place.name} leave {show(room, 'B')} free"
    return f"weights take {show(least, 'B')}, {free}"


@dataclass(frozen=True, slots=True)
class Lock:
    """How locked-in a platform is.

    Attributes:
        system: id.
        usd: USD per million output tokens.
        others: platforms within `WITHIN` times its cost under the same limits, cheapest first.
        vendors: vendors among them other than its own.
    """

    system: str
    usd: float
    others: tuple[str, ...]
    vendors: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "platform": self.system,
            "usd_per_million_output_tokens": self.usd,
            "within_2x": list(self.others),
            "other_vendors": list(self.vendors),
        }


def locks(answer: Answer, facts: Catalogue) -> tuple[Lock, ...]:
    """Return how locked-in the platforms are that have a price and meet the limits, cheapest first."""
    costs = {row.deployment.system: _usd(row) for row in reversed(answer.rows) if row.meets and row.fits}
    priced = {
        name: usd for name, usd in sorted(costs.items(), key=lambda item: item[1] or 0.0) if usd is not None
    }
    vendor = {name: facts.system(name).chip.vendor for name in priced}
    found = []
    for name, usd in priced.items():
        others = tuple(other for other, cost in priced.items() if other != name and cost <= WITHIN * usd)
        vendors = tuple(dict.fromkeys(vendor[other] for other in others if vendor[other] != vendor[name]))
        found.append(Lock(name, usd, others, vendors))
    return tuple(found)


def _usd(row: Row) -> float | None:
    figure = row.figures.get("usd_per_million_output_tokens")
    return float(figure.value) if figure is not None else None
