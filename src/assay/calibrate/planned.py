"""Points whose layout nobody published, answered by planning: MLPerf Offline and Server, and ratios of chips.

A result that says only "8 chips, this model, Offline" is predicted by the best deployment on those chips; a
ratio between chips checks the order of platforms, which a common error of a model does not move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.validate import Validation
from assay.measure.records import Record, Records

#: Largest median error of a chip that is accepted, and fewest points that a chip is judged by.
BAR = 0.20
FEWEST = 5

#: Loads under which an engine is free to batch as it likes.
_LOADS = ("offline", "goodput")
#: Scenarios of MLPerf that are planned; Interactive may speculate, and is left to its stated settings.
_SCENARIOS = ("Offline", "Server")


def planned(records: Records) -> NDArray[np.bool_]:
    """Return which points are answered by the best deployment: comparable, throughput, no layout stated."""
    return np.array([_planned(row) for row in records.rows], dtype=np.bool_)


def _planned(row: Record) -> bool:
    setting = row.setting
    return (
        setting is not None
        and setting.pool is None
        and setting.load in _LOADS
        and "not_comparable" not in row.flags
        and row.published.get("scenario", _SCENARIOS[0]) in _SCENARIOS
    )


def by_chip(found: Validation) -> dict[str, dict[str, float | int | None]]:
    """Return the figures of throughput of each accelerator with at least `FEWEST` points, most points first.

    Args:
        found: validation of planned points (`found.where(planned(records))`).
    """
    return {
        name: item["metrics"]["throughput"]
        for name, item in found.by("accelerator").items()
        if item["metrics"].get("throughput", {}).get("n", 0) >= FEWEST
    }


@dataclass(frozen=True, slots=True)
class Ratio:
    """Throughput per chip of one accelerator over that of another, same model, scenario and round.

    Attributes:
        model, scenario, first, second: what is compared.
        measured, predicted: medians of the first over those of the second.
    """

    model: str
    scenario: str
    first: str
    second: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Return predicted / measured - 1."""
        return self.predicted / self.measured - 1.0


def ratios(found: Validation, model: str = "") -> list[Ratio]:
    """Return the ratio of each accelerator to the next slower one, in the latest round that has several.

    Args:
        found: validation of the points; those with a stated layout are compared, too.
        model: family as the source names it, such as `deepseek-r1`; "" = each of them.
    """
    if not model:
        names = sorted({row.model for row in found.records.rows if row.published.get("scenario")})
        return [item for name in names for item in ratios(found, name)]
    out = []
    for scenario, medians in _medians(found, model):
        order = sorted(medians, key=lambda name: -medians[name][0])
        for first, second in pairwise(order):
            (fast, quick), (slow, lame) = medians[first], medians[second]
            out.append(Ratio(model, scenario, first, second, fast / slow, quick / lame))
    return out


def _medians(found: Validation, model: str) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Yield each scenario with accelerator -> median (measured, predicted), in its latest shared round."""
    score = found.scores["throughput"]
    have = np.isfinite(score.ape) & ~found.apart
    rows = [
        (
            str(row.published.get("scenario", "")),
            float(row.conditions.get("date", 0.0)),
            row.accelerator,
            place,
        )
        for place, row in enumerate(found.records.rows)
        if have[place]
        and row.model == model
        and row.published.get("scenario") in _SCENARIOS
        and "not_comparable" not in row.flags
    ]
    for scenario, listed in groupby(sorted(rows), key=lambda item: item[0]):
        members = list(listed)
        rounds = [date for date in sorted({row[1] for row in members}) if _several(members, date)]
        if not rounds:
            continue
        names: dict[str, list[int]] = {}
        for _, date, name, place in members:
            if date == rounds[-1]:
                names.setdefault(name, []).append(place)
        yield (
            scenario,
            {
                name: (float(np.median(score.measured[at])), float(np.median(score.value[at])))
                for name, at in names.items()
            },
        )


def _several(rows: list[tuple[str, float, str, int]], date: float) -> bool:
    return len({name for _, when, name, _ in rows if when == date}) > 1
