"""`assay calibrate`: from measured points to the correction and intervals of `calibrations/serving`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.holdout import QUESTIONS, folds
from assay.calibrate.interval import quantiles, spread
from assay.calibrate.residual import Evidence, Shape, evidence, fit
from assay.engine.features import LEVELS
from assay.engine.residual import METRICS, Calibration
from assay.errors import BadInput
from assay.measure.records import Records
from assay.study.conditions import Conditions, Predictions

Floats = NDArray[np.float64]
Predictor = Callable[[Conditions], Predictions]

#: Value of a record -> prediction it trains.
MEASURED = {
    "tpot": ("tpot", "tpot_median"),
    "ttft": ("ttft",),
    "ttft_median": ("ttft_median",),
    "throughput": ("throughput",),
    "e2e": ("e2e", "e2e_median"),
    "joules": ("joules",),
}

#: Fewest points a metric needs before it gets a correction.
FEWEST = 60

#: Clusters that stand for the evidence when the distance to it is asked.
ANCHORS = 256


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a calibration does.

    Attributes:
        shape: of the final fit. `inner`: of the fits that intervals come from.
        folds: folds of each question that intervals come from.
        seed: of every draw.
    """

    shape: Shape = field(default_factory=Shape)
    inner: Shape = field(default_factory=Shape)
    folds: int = 4
    seed: int = 0


def gather(
    records: Records, predictor: Predictor
) -> tuple[Evidence, NDArray[np.intp], Conditions, Predictions]:
    """Return the evidence of records, the row of each of its points, and their raw predictions.

    Points set apart, points that cannot be predicted and predictions that are missing carry no target.

    Args:
        records: measured points.
        predictor: returns uncorrected predictions.

    Raises:
        BadInput: no point can be predicted.
    """
    conditions, places = records.conditions()
    if not len(places):
        raise BadInput("None of these points can be predicted.", "`assay validate` counts the reasons.")
    raw = predictor(conditions)
    apart = records.apart()[places]
    measured = {}
    for name, sources in MEASURED.items():
        column = np.full(len(places), np.nan)
        for source in sources:
            values = records.column(source)[places]
            column = np.where(np.isnan(column), values, column)
        measured[name] = np.where(apart, np.nan, column)
    return evidence(conditions, raw, measured), places, conditions, raw


def learn(
    points: Evidence, effort: Effort | None = None, about: Mapping[str, object] | None = None
) -> Calibration:
    """Return the calibration that evidence supports.

    Args:
        points: the evidence.
        effort: how much work to do.
        about: provenance to write into the calibration.
    """
    how = effort or Effort()
    metrics = [
        name for name in METRICS if int(np.isfinite(points.targets.get(name, np.array([]))).sum()) >= FEWEST
    ]
    used = (
        points.take(np.any([np.isfinite(points.targets[name]) for name in metrics], axis=0))
        if metrics
        else points
    )
    corrections = {name: fit(used, name, _seeded(how.shape, how.seed)) for name in metrics}
    calibration = Calibration(
        corrections, {}, {}, known(used), np.zeros((0, 0)), 1.0, about=dict(about or {})
    )
    calibration = replace(calibration, anchors=_anchors(used, calibration, how.seed))
    calibration = replace(calibration, reach=_reach(used, calibration))
    spreads, intervals = {}, {}
    for name in metrics:
        left, kinds, rows = left_out(used, name, how)
        chosen = used.take(rows)
        spreads[name] = spread(chosen, left, how.seed)
        size = np.exp(spreads[name](chosen.x, chosen.groups, chosen.places))
        intervals[name] = dict(quantiles(left, size, kinds, chosen.weight))
    return replace(calibration, spreads=spreads, intervals=intervals)


def _seeded(shape: Shape, seed: int) -> Shape:
    return replace(shape, boosting=replace(shape.boosting, seed=seed))


def known(points: Evidence) -> frozenset[str]:
    """Return the groups of the evidence, at every level, as `level:key`."""
    present = [points.groups[place] for place in np.unique(points.places)]
    return frozenset(f"{level}:{group[level]}" for group in present for level in range(len(LEVELS)))


def left_out(points: Evidence, metric: str, how: Effort) -> tuple[Floats, NDArray[np.str_], NDArray[np.intp]]:
    """Return residuals of points whose group was left out, under each question.

    Returns:
        (residuals, kind of knowledge, row of the evidence), one entry a point and question.
    """
    have = np.flatnonzero(np.isfinite(points.targets[metric]))
    kept = points.take(have)
    residuals, kinds, rows = [], [], []
    for labels in _questions(kept, how.seed):
        try:
            splits = list(folds(labels, how.folds, how.seed))
        except BadInput:
            continue
        for train, test in splits:
            part, rest = kept.take(train), kept.take(test)
            correction = fit(part, metric, _seeded(how.inner, how.seed))
            bare = Calibration({metric: correction}, {}, {}, known(part), np.zeros((0, 0)), 1.0)
            residuals.append(rest.targets[metric] - correction(rest.x, rest.groups, rest.places))
            kind = [bare.knowledge(group) for group in rest.groups]
            kinds.append(np.array(kind, dtype=np.str_)[rest.places])
            rows.append(have[test])
    if not rows:
        return np.zeros(0), np.zeros(0, dtype=np.str_), np.zeros(0, dtype=np.intp)
    return np.concatenate(residuals), np.concatenate(kinds), np.concatenate(rows)


def _questions(points: Evidence, seed: int) -> Iterable[NDArray[np.str_]]:
    """Yield labels of each question, and of single points."""
    yield np.random.default_rng(seed).permutation(len(points)).astype(np.str_)
    for parts in QUESTIONS.values():
        level = LEVELS.index(parts)
        yield np.array([group[level] for group in points.groups], dtype=np.str_)[points.places]


def _anchors(points: Evidence, calibration: Calibration, seed: int) -> Floats:
    """Return centres of clusters of the evidence in standardised features (k-means, a few rounds)."""
    z = _standardised(points, calibration)
    dice = np.random.default_rng(seed)
    centres = z[dice.choice(len(z), min(ANCHORS, len(z)), replace=False)] if len(z) else z
    for _ in range(6 if len(z) else 0):
        owner = _nearest(z, centres)[0]
        mass = np.bincount(owner, minlength=len(centres))
        sums = np.column_stack([np.bincount(owner, column, minlength=len(centres)) for column in z.T])
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1)[:, None], centres)
    return centres


def _reach(points: Evidence, calibration: Calibration) -> float:
    """Return the distance at which a correction fades to one half: three times what evidence itself has."""
    if not len(calibration.anchors):
        return 1.0
    gap = _nearest(_standardised(points, calibration), calibration.anchors)[1]
    return float(3.0 * max(np.quantile(gap, 0.95), 1e-6))


def _standardised(points: Evidence, calibration: Calibration) -> Floats:
    if not calibration.corrections:
        return np.zeros((0, points.x.shape[1]))
    first = next(iter(calibration.corrections.values()))
    out: Floats = np.clip(np.nan_to_num((points.x - first.center) / first.scale), -6.0, 6.0)
    return out


def _nearest(z: Floats, centres: Floats) -> tuple[NDArray[np.intp], Floats]:
    owner = np.empty(len(z), dtype=np.intp)
    gap = np.empty(len(z))
    squares = (centres**2).sum(axis=1)
    for start in range(0, len(z), 2048):
        part = z[start : start + 2048]
        distance = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ centres.T
        owner[start : start + 2048] = distance.argmin(axis=1)
        gap[start : start + 2048] = np.sqrt(np.maximum(distance.min(axis=1), 0.0))
    return owner, gap
