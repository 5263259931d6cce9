"""`assay validate`: predicted against measured, on any file of points; nothing is dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.engine.features import identity
from assay.errors import BadInput
from assay.estimate import Estimate
from assay.measure.records import APART, Record, Records
from assay.study.conditions import Conditions, Predictions

Floats = NDArray[np.float64]
Predictor = Callable[[Conditions], Predictions]

#: Scored metric -> values of a record it is scored against, first one there wins, with the prediction for it.
METRICS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "tpot": (("tpot", "tpot"), ("tpot_median", "tpot")),
    "ttft": (("ttft", "ttft"), ("ttft_median", "ttft_median")),
    "throughput": (("throughput", "throughput"),),
    "e2e": (("e2e", "e2e"), ("e2e_median", "e2e")),
    "energy": (("joules", "joules"),),
}

#: What `--by` can group by.
KEYS = ("accelerator", "model", "engine", "source", "regime")

#: Keys of a metric's figures, in order.
FIGURES = ("n", "median_ape", "mape", "p90_ape", "median_ratio", "coverage80", "width80", "below_floor")

WORST = 20

_PARTS = ("measured", "value", "low", "high", "floor")


@dataclass(frozen=True, slots=True)
class Score:
    """One metric at every point; arrays (n,), NaN where it was not measured or not predicted.

    Attributes:
        measured, value, low, high, floor: SI.
    """

    measured: Floats
    value: Floats
    low: Floats
    high: Floats
    floor: Floats
    upper: bool

    @property
    def ape(self) -> Floats:
        """Return |predicted / measured - 1| of each point."""
        out: Floats = np.abs(self.value / self.measured - 1.0)
        return out

    def take(self, places: NDArray[np.intp]) -> Score:
        """Return the score of the points at `places`."""
        columns = {name: getattr(self, name)[places] for name in _PARTS}
        return Score(**columns, upper=self.upper)

    def pairs(self) -> list[tuple[float, float]]:
        """Return (measured, predicted) of the points that have both."""
        have = np.isfinite(self.ape)
        return list(zip(self.measured[have].tolist(), self.value[have].tolist(), strict=True))

    def beats_floor(self, values: Floats) -> NDArray[np.bool_]:
        """Return which values are better than physics allows (by more than rounding)."""
        better = values > self.floor * (1 + 1e-9) if self.upper else values < self.floor * (1 - 1e-9)
        return np.asarray(better & np.isfinite(self.floor))

    def figures(self, rows: NDArray[np.bool_]) -> dict[str, float | int | None]:
        """Return the figures of `FIGURES` over the points at `rows` that were measured and predicted."""
        have = rows & np.isfinite(self.ape)
        n = int(have.sum())
        if not n:
            return dict.fromkeys(FIGURES) | {"n": 0}
        ape, measured, value = self.ape[have], self.measured[have], self.value[have]
        bounded = have & np.isfinite(self.low) & np.isfinite(self.high)
        inside = (self.low <= self.measured) & (self.measured <= self.high)
        with np.errstate(invalid="ignore"):
            width = (self.high - self.low) / self.value
        return {
            "n": n,
            "median_ape": float(np.median(ape)),
            "mape": float(ape.mean()),
            "p90_ape": float(np.quantile(ape, 0.9)),
            "median_ratio": float(np.median(value / measured)),
            "coverage80": float(inside[bounded].mean()) if bounded.any() else None,
            "width80": float(np.median(width[bounded])) if bounded.any() else None,
            "below_floor": float(self.beats_floor(self.value)[have].mean()),
        }


@dataclass(frozen=True, slots=True)
class Validation:
    """What a file of points says about the predictions.

    Attributes:
        records: the points.
        reasons: why each point has no prediction, "" if it has one.
        scores: metric -> its score.
        apart: points that are scored apart (flagged by their source or by us), (n,).
        flags: names of the flags that set each point apart.
        basis: rung of evidence of each prediction, "" without one.
    """

    records: Records
    reasons: tuple[str, ...]
    scores: Mapping[str, Score]
    apart: NDArray[np.bool_]
    flags: tuple[tuple[str, ...], ...]
    basis: tuple[str, ...] = field(default=())

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Return which points have a prediction."""
        return np.array([not reason for reason in self.reasons], dtype=np.bool_)

    def where(self, rows: NDArray[np.bool_]) -> Validation:
        """Return the validation of some points; `rows` is (n,)."""
        places = np.flatnonzero(rows)
        return Validation(
            self.records.take(places),
            tuple(self.reasons[place] for place in places),
            {name: score.take(places) for name, score in self.scores.items()},
            self.apart[places],
            tuple(self.flags[place] for place in places),
            tuple(self.basis[place] for place in places) if self.basis else (),
        )

    def figures(self, rows: NDArray[np.bool_] | None = None) -> dict[str, dict[str, float | int | None]]:
        """Return the figures of every metric over the points that are not apart, or over `rows`."""
        chosen = ~self.apart if rows is None else rows
        return {name: score.figures(chosen) for name, score in self.scores.items()}

    def by(self, key: str) -> dict[str, dict[str, Any]]:
        """Return figures of each group of a key, largest group first.

        Raises:
            BadInput: an unknown key.
        """
        names = groups(self.records, key)
        out = {}
        for name, count in Counter(names.tolist()).most_common():
            rows = (names == name) & ~self.apart
            figures = {metric: item for metric, item in self.figures(rows).items() if item["n"]}
            out[name] = {
                "points": count,
                "answered": int((self.answered & (names == name)).sum()),
                "metrics": figures,
            }
        return out

    def worst(self, count: int = WORST) -> list[dict[str, Any]]:
        """Return the points with the largest errors, not set apart, with what is known about the reason."""
        found: list[tuple[float, str, int]] = []
        for metric, score in self.scores.items():
            size = np.abs(np.log(score.value / score.measured))
            size[self.apart | ~np.isfinite(size)] = -1.0
            found += [
                (float(size[row]), metric, int(row)) for row in np.argsort(-size)[:count] if size[row] >= 0
            ]
        out = []
        for _, metric, row in sorted(found, key=lambda item: (-item[0], item[1], item[2]))[:count]:
            record, score = self.records.rows[row], self.scores[metric]
            out.append(
                {
                    "id": record.id,
                    "metric": metric,
                    "measured": float(score.measured[row]),
                    "predicted": float(score.value[row]),
                    "ratio": float(score.value[row] / score.measured[row]),
                    "what": describe(record),
                    "reason": reason(record, score, row, self.basis[row] if self.basis else ""),
                    "source": record.source,
                }
            )
        return out

    def json(self, keys: Sequence[str] = ()) -> dict[str, Any]:
        """Return the validation as plain data; figures are of the points that are not set apart."""
        unanswered = Counter(reason for reason in self.reasons if reason)
        apart = Counter(flag for flags in self.flags for flag in flags)
        return {
            "points": len(self.records),
            "answered": int(self.answered.sum()),
            "unanswered": dict(unanswered.most_common()),
            "metrics": self.figures(),
            "by": {key: self.by(key) for key in keys},
            "apart": {
                "points": int(self.apart.sum()),
                "flags": dict(apart.most_common()),
                "metrics": self.figures(self.apart),
            },
            "worst": self.worst(),
            "rejected": list(self.records.rejected),
            "files": list(self.records.files),
        }


def validate(records: Records, predictor: Predictor) -> Validation:
    """Score predictions of measured points.

    Points measured faster than the physical floor of their stated conditions are set apart as `below_floor`:
    their conditions cannot be what is stated.

    Args:
        records: measured points.
        predictor: returns corrected predictions, with intervals and floors.
    """
    conditions, places = records.conditions()
    found = predictor(conditions) if len(places) else None
    return score(records, places, found)


def score(records: Records, places: NDArray[np.intp], found: Predictions | None) -> Validation:
    """Score predictions that were made already.

    Args:
        records: measured points (n).
        places: row of each prediction.
        found: the predictions, None if there is no point to predict.
    """
    n = len(records)
    reasons = [row.problem for row in records.rows]
    basis = [""] * n
    if found is not None:
        for place, why, rung in zip(places, found.reason, found.basis, strict=True):
            reasons[place], basis[place] = why, "" if why else rung
    scores = {metric: _score(records, places, found, metric) for metric in METRICS}
    beaten = np.zeros(n, dtype=np.bool_)
    for name, item in scores.items():
        if name != "energy":  # a meter that reads low says nothing against the times
            beaten |= item.beats_floor(item.measured)
    known = set(APART)
    flags = tuple(
        tuple(flag for flag in row.flags if flag in known) + (("below_floor",) if low else ())
        for row, low in zip(records.rows, beaten, strict=True)
    )
    apart = np.array([bool(item) for item in flags], dtype=np.bool_)
    return Validation(records, tuple(reasons), scores, apart, flags, tuple(basis))


def _score(records: Records, places: NDArray[np.intp], found: Predictions | None, metric: str) -> Score:
    n = len(records)
    columns = {name: np.full(n, np.nan) for name in _PARTS}
    for value, prediction in METRICS[metric]:
        measured = records.column(value)
        rows = np.isnan(columns["measured"]) & np.isfinite(measured) & (measured > 0)
        columns["measured"][rows] = measured[rows]
        if found is None:
            continue
        estimate: Estimate = getattr(found, prediction)
        picked = rows[places]
        for part in ("value", "low", "high", "floor"):
            numbers = np.broadcast_to(np.asarray(getattr(estimate, part), dtype=np.float64), picked.shape)
            columns[part][places[picked]] = numbers[picked]
    return Score(**columns, upper=metric == "throughput")


def groups(records: Records, key: str) -> NDArray[np.str_]:
    """Return the group of each point under a key of `KEYS`.

    Raises:
        BadInput: an unknown key.
    """
    if key in ("accelerator", "model", "engine"):
        return np.array([getattr(row, key) or "unknown" for row in records.rows], dtype=np.str_)
    if key == "source":
        return np.array([publisher(row.source) for row in records.rows], dtype=np.str_)
    if key == "regime":
        return np.array([regime(row) for row in records.rows], dtype=np.str_)
    raise BadInput(f"Cannot group by {key!r}.", f"Choose {', '.join(KEYS)}.")


def publisher(source: str) -> str:
    """Return who published a source: the repository or the site, without path and commit."""
    plain = source.removeprefix("derived: ").removeprefix("https://").removeprefix("http://")
    if source.startswith("http"):
        return plain.split("/")[0]
    return plain.split("@")[0].split(":")[0].strip()[:60]


def regime(record: Record) -> str:
    """Return how a point was loaded and what it covers, in words."""
    setting = record.setting
    if setting is None:
        return "not predictable"
    if setting.phase != "e2e":
        return setting.phase
    if setting.speculation:
        return "speculation"
    return "disaggregated" if setting.prefill else setting.load


def describe(record: Record) -> str:
    """Return a point's conditions in one line."""
    setting = record.setting
    if setting is None:
        return f"{record.model} on {record.accelerator}"
    load = {
        name: record.conditions[name]
        for name in ("isl", "osl", "concurrency", "rate")
        if name in record.conditions
    }
    numbers = " ".join(f"{name} {value:g}" for name, value in load.items())
    return (
        f"{setting.model} {setting.weights} on {setting.system} {setting.label()} {setting.engine} {numbers}"
    )


def reason(record: Record, score: Score, row: int, basis: str) -> str:
    """Return what is known about why a prediction is far off."""
    setting = record.setting
    parts = []
    if score.low[row] <= score.measured[row] <= score.high[row]:
        parts.append("inside its interval")
    if setting is not None and setting.pool is None:
        parts.append("layout not published")
    if setting is not None and not setting.weights:
        parts.append("weight format not published")
    if setting is not None and setting.speculation:
        parts.append("acceptance not published" if "acceptance" not in record.conditions else "speculation")
    if setting is not None and setting.load in ("offline", "open", "goodput"):
        parts.append("queueing near saturation")
    if "date" not in record.conditions:
        parts.append("software not dated")
    if basis in ("datasheet", "assumed"):
        parts.append("no measured neighbour")
    return ", ".join(parts) or "unexplained"


def identities(records: Records, places: NDArray[np.intp]) -> list[dict[str, str]]:
    """Return the parts of the setting of each answerable point."""
    settings = [records.rows[place].setting for place in places]
    return [dict(identity(setting)) for setting in settings if setting is not None]
