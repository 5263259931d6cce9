"""What is published of an engine on a chip: rows of `engines/support`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model on a chip: catalogue name of the model; id, generation and vendor of the chip."""

    model: str
    chip: str
    generation: str
    vendor: str


def place(engine: str, subject: Subject, table: Entry) -> Entry | None:
    """Return the row that says how an engine runs on a chip, None where nothing is published."""
    for row in table["chips"]:
        others = row.get("makers_other_than")
        here = subject.generation in row["chips"] or (others is not None and subject.vendor not in others)
        if row["engine"] == engine and here:
            found: Entry = row
            return found
    return None


def refusals(engine: str, subject: Subject, table: Entry) -> Iterator[Entry]:
    """Yield rows that say no whatever the format and the layout."""
    found = place(engine, subject, table)
    if found is not None and found["status"] == "no":
        yield found
    for row in table["limits"]:
        free = not {"format", "tp_over", "ep_over", "ep_under"} & set(row)
        here = subject.chip in row.get("on", (subject.chip,))
        if free and here and row["engine"] == engine and row["model"] == subject.model:
            yield row


def runs(engine: str, subject: Subject, table: Entry) -> Iterator[Entry]:
    """Yield published runs of a model on a chip."""
    for row in table["models"]:
        here = subject.chip in row.get("on", ()) or subject.generation in row.get("chips", ())
        if row["model"] == subject.model and row["engine"] == engine and here:
            yield row
