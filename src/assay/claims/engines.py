"""Which engine runs a model on a platform: measured, published, predicted only, known not to, or unknown.

Facts: `engines/support` (what makers and recipes publish of chips, classes and runs, every row with its
source) and `measurements/coverage` (measured points by model, platform and engine).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from assay.catalogue.query import Catalogue

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
    runs = list(_runs(engine, model, chip, table))
    state, source, published, note = _state(engine, model, chip, table, reason)
    since = str(runs[0].get("since") or "") if runs else ""
    if runs:
        state, note = RUNS, ""
        source, published = str(runs[0]["source"]), str(runs[0]["date"])
    oldest = str(row.get("oldest") or "") if row else ""
    return Served(
        engine=engine,
        state=MEASURED if row else state,
        since=since,
        formats=tuple(dict.fromkeys(str(run["format"]) for run in runs)),
        source=source,
        published=published,
        points=int(row["points"]) if row else 0,
        newest=str(row.get("newest") or "") if row else "",
        oldest=oldest,
        days=days(released, oldest or (published if runs else "")),
        note="" if row else note,
    )


def _state(engine: str, model: str, chip: Entry, table: Entry, reason: str) -> tuple[str, str, str, str]:
    """Return state, source, its date and a note for an engine without a measured or published run."""
    place = _chip(engine, chip, table)
    refusal = next(_refusals(engine, model, chip, table, place), None)
    if refusal is not None:
        note = str(refusal.get("note") or refusal.get("reason") or "")
        return CANNOT, str(refusal["source"]), str(refusal["date"]), note
    if reason:
        return CANNOT, "", "", reason
    if place is None:
        return UNKNOWN, "", "", f"nothing is published about {engine} on {chip['name']}"
    note = str(place.get("note") or "") if place["status"] == "plugin" else ""
    return PREDICTED, str(place["source"]), str(place["date"]), note


def _runs(engine: str, model: str, chip: Entry, table: Entry) -> Iterator[Entry]:
    for row in table["models"]:
        here = chip["id"] in row.get("on", ()) or chip["generation"] in row.get("chips", ())
        if row["model"] == model and row["engine"] == engine and here:
            yield row


def _chip(engine: str, chip: Entry, table: Entry) -> Entry | None:
    for row in table["chips"]:
        others = row.get("makers_other_than")
        here = chip["generation"] in row["chips"] or (others is not None and chip["vendor"] not in others)
        if row["engine"] == engine and here:
            found: Entry = row
            return found
    return None


def _refusals(engine: str, model: str, chip: Entry, table: Entry, place: Entry | None) -> Iterator[Entry]:
    """Yield rows that say no whatever the format and the layout."""
    if place is not None and place["status"] == "no":
        yield place
    for row in table["limits"]:
        free = not {"format", "tp_over", "ep_over", "ep_under"} & set(row)
        here = chip["id"] in row.get("on", (chip["id"],))
        if free and here and row["engine"] == engine and row["model"] == model:
            yield row


def age(newest: str, today: date) -> int | None:
    """Return the days since a date, None where it is not exact to the day."""
    return (today - date.fromisoformat(newest)).days if len(newest) == _FULL_DATE else None


def days(released: str, first: str) -> int | None:
    """Return the days from a release to a date, None where one is not exact to the day or comes first."""
    if len(released) != _FULL_DATE or len(first) != _FULL_DATE:
        return None
    found = (date.fromisoformat(first) - date.fromisoformat(released)).days
    return found if found >= 0 else None
