"""`assay calibrate`: from measured points to the correction and intervals of `calibrations/serving`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.interval import left_out, quantiles, spread
from assay.calibrate.residual import Evidence, Fit, Shape, basis, evidence, fit
from assay.engine.features import LEVELS
from assay.engine.kernel import closest
from assay.engine.residual import ASKED, METRICS, SCALES, Calibration, Correction, mark
from assay.errors import BadInput
from assay.measure.records import Records
from assay.study.conditions import Conditions, Predictions

Predictor = Callable[[Conditions], Predictions]

#: Prediction -> values of a record that train it, the first that is there.
MEASURED = {
    "tpot": ("tpot", "tpot_median"),
    "ttft": ("ttft",),
    "ttft_median": ("ttft_median",),
    "throughput": ("throughput",),
    "joules": ("joules",),
}

#: Fewest points a metric needs before it gets a correction.
FEWEST = 60

#: A deployment that leaves less than this, log, is not listed.
SMALLEST = 0.005

#: Share of the evidence whose similarity to the nearest centre counts as near.
NEAR = 0.05


def gather(
    records: Records, predictor: Predictor
) -> tuple[Evidence, NDArray[np.intp], Conditions, Predictions]:
    """Return the evidence of records, the row of each of its points, their conditions and raw predictions.

    Points set apart, and points without a prediction, carry no target.

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
    apart = records.apart()[places] | _impossible(records, places, raw)
    measured = {}
    for name, sources in MEASURED.items():
        column = np.full(len(places), np.nan)
        for source in sources:
            column = np.where(np.isnan(column), records.column(source)[places], column)
        measured[name] = np.where(apart, np.nan, column)
    return evidence(conditions, raw, measured), places, conditions, raw


def _impossible(records: Records, places: NDArray[np.intp], raw: Predictions) -> NDArray[np.bool_]:
    """Return which points were measured faster than the floor of what is stated about them."""
    out = np.zeros(len(places), dtype=np.bool_)
    for name, sources in MEASURED.items():
        estimate = getattr(raw, name)
        floor = np.asarray(estimate.floor, dtype=np.float64)
        for source in sources:
            value = records.column(source)[places]
            with np.errstate(invalid="ignore"):
                out |= value > floor if name == "throughput" else value < floor
    return out


def learn(
    points: Evidence, shape: Shape | None = None, about: Mapping[str, object] | None = None
) -> Calibration:
    """Return the calibration that evidence supports.

    Args:
        points: the evidence.
        shape: how to fit; None = the usual one.
        about: provenance to write into the calibration.

    Raises:
        BadInput: too few measured points.
    """
    how = shape or Shape.usual()
    counts = {
        name: int(np.isfinite(points.targets[name]).sum()) for name in METRICS if name in points.targets
    }
    metrics = [name for name, count in counts.items() if count >= FEWEST]
    if not metrics:
        most = max(counts.values(), default=0)
        raise BadInput(f"Too few measured points to calibrate on ({most}).", f"Give at least {FEWEST}.")
    used = points.take(np.any([np.isfinite(points.targets[name]) for name in metrics], axis=0))
    return Calibration(
        metrics={
            name: correction(name, points.take(np.isfinite(points.targets[name])), how.of(name))
            for name in metrics
        },
        known=known(used),
        about=dict(about or {}),
    )


def correction(name: str, points: Evidence, how: Shape) -> Correction:
    """Return what evidence says of one metric.

    Args:
        name: the metric, measured at every point.
        points: the evidence.
        how: how to fit.
    """
    ground = basis(points, how)
    length = how.terms[0].length
    alike = closest(ground.kernel.standard(points.x), ground.centres, length)
    at = ground.at(points)
    fitted = fit(points, name, how, ground, at)
    left = deployments(points, fitted, how)
    tests = left_out(points, fitted, left)
    mean, weights = spread(points, tests, ground, at, how)
    size = np.exp(np.clip(at @ weights + mean, *SCALES))
    return Correction(
        kernel=ground.kernel,
        centres=ground.centres,
        codes=ground.codes,
        vocabulary=ground.vocabulary,
        weights=fitted.weights,
        mean=fitted.mean,
        deployments=left,
        spread=(mean, weights),
        intervals=dict(quantiles(tests, size, points.weight, how.coverage)),
        near=float(np.quantile(alike, NEAR)),
        length=length,
    )


def deployments(points: Evidence, fitted: Fit, how: Shape) -> dict[str, float]:
    """Return what each deployment leaves after the fit: its mean residual, pulled to zero if it is thin."""
    names, code = np.unique(points.names(LEVELS[-1]), return_inverse=True)
    left = np.clip(fitted.residual, -how.clip, how.clip)
    value = np.bincount(code, left) / (np.bincount(code) + how.deployment)
    return {
        mark(str(name)): float(item) for name, item in zip(names, value, strict=True) if abs(item) >= SMALLEST
    }


def known(points: Evidence) -> frozenset[str]:
    """Return the marks of the evidence's groups at the levels of `ASKED`."""
    present = [points.groups[place] for place in np.unique(points.places)]
    return frozenset(mark(group[LEVELS.index(level)]) for group in present for level in ASKED)
