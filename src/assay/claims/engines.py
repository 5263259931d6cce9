"""Which engine runs a model on a platform: measured, published, predicted only, known not to, or unknown.

Facts: `engines/support` (what makers and recipes publish of chips, classes and runs, every row with its
source) and `measurements/coverage` (measured points by model, platform and engine).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from assay.catalogue.query import Catalogue
from assay.catalogue.support import Subject, place, refusals, runs

MEASURED, RUNS, PREDICTED, CANNOT, UNKNOWN = "measured", "runs", "predicted", "cannot", "unknown"
#: States of a model on a platform with one engine, best known first.
STATES = (MEASURED, RUNS, PREDICTED, CANNOT, UNKNOWN)
#: Engines of the support table; others appear where something was measured with them.
ENGINES = ("vllm", "sglang", "trtllm")
_FULL_DATE = 10
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """One model on one platform with one engine.

    Attributes:
        engine: the engine.
        state: one of `STATES`. `predicted`: the engine supports the chip and the weights fit, no run is
            published.
        since: version of the engine that a published run asks for, "" if unknown.
        formats: weight formats of published runs.
        source: who published the run, or says that it cannot run; "" where nobody did.
        published: date of that source.
        points: measured operating points. `newest`, `oldest`: their dates, "" if unknown.
        days: from the model's release to the first dated measurement, or at most until the published run;
            None where dates are not exact to the day.
        note: why it cannot run or is unknown.
    """

    engine: str
    state: str
    since: str = ""
    formats: tuple[str, ...] = ()
    source: str = ""
    published: str = ""
    points: int = 0
    newest: str = ""
    oldest: str = ""
    days: int | None = None
    note: str = ""

    def age(self, today: date) -> int | None:
        """Return the days since the newest measurement, None where its date is not exact to the day."""
        return age(self.newest, today)

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "engine": self.engine,
            "state": self.state,
            "since": self.since or None,
            "formats": list(self.formats),
            "source": self.source or None,
            "published": self.published or None,
            "points": self.points,
            "newest": self.newest or None,
            "oldest": self.oldest or None,
            "days_from_release": self.days,
            "note": self.note,
        }


def served(
    model: str, chip: Entry, measured: Sequence[Entry], facts: Catalogue, *, released: str, reason: str
) -> tuple[Served, ...]:
    """Return what is known of every engine for a model on a chip.

    Args:
        model: catalogue name.
        chip: entry of the platform's chip; it may lack figures that a prediction needs.
        measured: rows of `measurements/coverage` for the model on the platform.
        facts: the catalogue.
        released: date of the model, "" if unknown.
        reason: why assay predicts nothing there, "" if nothing speaks against it.
    """
    table: Entry = facts.table("engines/support")
    seen = {str(row["engine"]): row for row in measured}
    names = dict.fromkeys((*ENGINES, *seen))
    return tuple(_one(name, model, chip, table, seen.get(name), (released, reason)) for name in names)


def _one(
    engine: str, model: str, chip: Entry, table: Entry, row: Entry | None, rest: tuple[str, str]
) -> Served:
    released, reason = rest
    subject = Subject(model, chip["id"], chip["generation"], chip["vendor"])
    known = list(runs(engine, subject, table))
    state, source, published, note = _state(engine, subject, str(chip["name"]), table, reason)
    since = str(known[0].get("since") or "") if known else ""
    if known:
        state, note = RUNS, ""
        source, published = str(known[0]["source"]), str(known[0]["date"])
    oldest = str(row.get("oldest") or "") if row else ""
    return Served(
        engine=engine,
        state=MEASURED if row else state,
        since=since,
        formats=tuple(dict.fromkeys(str(run["format"]) for run in known)),
        source=source,
        published=published,
        points=int(row["points"]) if row else 0,
        newest=str(row.get("newest") or "") if row else "",
        oldest=oldest,
        days=days(released, oldest or (published if known else "")),
        note="" if row else note,
    )


def _state(engine: str, subject: Subject, chip: str, table: Entry, reason: str) -> tuple[str, str, str, str]:
    """Return state, source, its date and a note for an engine without a measured or published run."""
    found = place(engine, subject, table)
    refusal = next(refusals(engine, subject, table), None)
    if refusal is not None:
        note = str(refusal.get("note") or refusal.get("reason") or "")
        return CANNOT, str(refusal["source"]), str(refusal["date"]), note
    if reason:
        return CANNOT, "", "", reason
    if found is None:
        return UNKNOWN, "", "", f"nothing is published about {engine} on {chip}"
    note = str(found.get("note") or "") if found["status"] == "plugin" else ""
    return PREDICTED, str(found["source"]), str(found["date"]), note


def age(newest: str, today: date) -> int | None:
    """Return the days since a date, None where it is not exact to the day."""
    return (today - date.fromisoformat(newest)).days if len(newest) == _FULL_DATE else None


def days(released: str, first: str) -> int | None:
    """Return the days from a release to a date, None where one is not exact to the day or comes first."""
    if len(released) != _FULL_DATE or len(first) != _FULL_DATE:
        return None
    found = (date.fromisoformat(first) - date.fromisoformat(released)).days
    return found if found >= 0 else None
