"""Fits the correction that `assay.engine.residual` applies: ridge, group effects, boosted trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.trees import Boosting, boost
from assay.engine.features import LEVELS, keys, numbers
from assay.engine.residual import Correction, Trees
from assay.study.conditions import Conditions, Predictions

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a correction is fitted.

    Attributes:
        ridge: weight of zero on each standardised coefficient, in groups.
        shrink: weight of zero on a group effect, in groups one level finer.
        clip: residuals beyond it count as this much, log.
        rounds: passes over ridge, effects and trees.
        boosting: growth of the trees.
    """

    ridge: float = 30.0
    shrink: float = 1.5
    clip: float = 0.5
    rounds: int = 2
    boosting: Boosting = field(default_factory=Boosting)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Measured points with what a correction may depend on.

    Attributes:
        x: features (n, columns). `groups`: keys of each setting at each level. `places`: setting of each
            point (n,).
        targets: metric -> log(measured / predicted), NaN where either is missing.
        weight: of each point (n,).
    """

    x: Floats
    groups: tuple[tuple[str, ...], ...]
    places: Places
    targets: Mapping[str, Floats]
    weight: Floats

    def codes(self, level: int) -> Places:
        """Return the group of each point at a level as a number, (n,)."""
        index: dict[str, int] = {}
        codes = [index.setdefault(group[level], len(index)) for group in self.groups]
        return np.array(codes, dtype=np.intp)[self.places]

    def take(self, rows: NDArray[np.bool_] | Places) -> Evidence:
        """Return the points at `rows`."""
        targets = {name: values[rows] for name, values in self.targets.items()}
        return Evidence(self.x[rows], self.groups, self.places[rows], targets, self.weight[rows])

    def __len__(self) -> int:
        return len(self.places)


def evidence(conditions: Conditions, raw: Predictions, measured: Mapping[str, Floats]) -> Evidence:
    """Return the evidence that measured values give about predictions.

    A point weighs less the more points share its deployment, and its chip, model and engine: a hundred
    points of one sweep are not a hundred measurements.

    Args:
        conditions: n points.
        raw: their uncorrected predictions.
        measured: metric -> measured value, SI, NaN where not measured. `ttft_median` trains `ttft`.
    """
    targets: dict[str, Floats] = {}
    for name, values in measured.items():
        predicted = np.asarray(getattr(raw, name).value, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(values / predicted)
        ratio[~np.isfinite(ratio)] = np.nan
        targets[name] = ratio
    if "ttft_median" in targets:
        median = targets.pop("ttft_median")
        mean = targets.get("ttft", np.full(len(conditions), np.nan))
        targets["ttft"] = np.where(np.isnan(mean), median, mean)
    groups = tuple(keys(setting) for setting in conditions.settings)
    out = Evidence(numbers(conditions, raw), groups, conditions.setting, targets, np.ones(len(conditions)))
    return Evidence(out.x, groups, out.places, targets, _weights(out))


def _weights(points: Evidence) -> Floats:
    curve = points.codes(LEVELS.index(("chip", "model", "engine", "recipe", "layout")))
    group = points.codes(LEVELS.index(("chip", "model", "engine")))
    size, curves = np.bincount(curve)[curve], np.bincount(group)[group]
    weight = size**-0.5 * (curves / np.maximum(size, 1)) ** -0.25
    out: Floats = weight / weight.mean() if len(weight) else weight.astype(np.float64)
    return out


def fit(points: Evidence, metric: str, shape: Shape | None = None) -> Correction:
    """Return the correction of one metric.

    Ridge first, on what exists for unseen chips and models; then the effects of groups, coarse to fine, each
    on what the coarser ones leave; then trees on what is left within groups. A second round refits each part
    on the others' remainder.

    Args:
        points: the evidence; points without the metric are left out.
        metric: key of `points.targets`.
        shape: how to fit; None = the default.
    """
    how = shape or Shape()
    kept = points.take(np.isfinite(points.targets[metric]))
    y = kept.targets[metric]
    center, scale = _standard(kept.x)
    z = np.clip(np.nan_to_num((kept.x - center) / scale), -3.0, 3.0)
    none = Trees(np.zeros((0, 1), dtype=np.intp), np.zeros((0, 1)), np.zeros((0, 2)))
    coefficients, intercept = np.zeros(z.shape[1]), 0.0
    effects: dict[str, float] = {}
    trees, shifts, grown = none, np.zeros(len(y)), np.zeros(len(y))
    curve = kept.codes(len(LEVELS) - 1)
    for turn in range(how.rounds if len(y) else 0):
        coefficients, intercept = _ridge(z, y - shifts - grown, kept.weight, how)
        linear = z @ coefficients + intercept
        effects, shifts = _effects(kept, y - linear - grown, how)
        if turn == how.rounds - 1:
            trees = boost(kept.x, y - linear - shifts, kept.weight, how.boosting, curve)
            grown = trees(kept.x)
    return Correction(center, scale, coefficients, float(intercept), effects, trees)


def _standard(x: Floats) -> tuple[Floats, Floats]:
    """Return center and scale of each column; a column without spread gets a scale that silences it."""
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, x, 0.0)
    center = filled.sum(axis=0) / count
    scale = np.sqrt((np.where(known, x - center, 0.0) ** 2).sum(axis=0) / count)
    return center, np.where(scale > 1e-9, scale, np.inf)


def _ridge(z: Floats, y: Floats, weight: Floats, how: Shape) -> tuple[Floats, float]:
    """Return coefficients and intercept of a ridge regression that outliers do not steer."""
    design = np.column_stack([z, np.ones(len(z))])
    penalty = np.full(design.shape[1], how.ridge)
    penalty[-1] = 1e-6
    solution = np.zeros(design.shape[1])
    for _ in range(4):
        left = y - design @ solution
        robust = weight * np.minimum(1.0, how.clip / np.maximum(np.abs(left), 1e-9))
        normal = design.T @ (design * robust[:, None]) + np.diag(penalty)
        solution = np.linalg.solve(normal, design.T @ (robust * y))
    return solution[:-1], float(solution[-1])


def _effects(points: Evidence, y: Floats, how: Shape) -> tuple[dict[str, float], Floats]:
    """Return the effect of each group at each level, and their sum at each point.

    A group's effect is the mean of its members one level finer, pulled to zero by `how.shrink` members: a
    chip seen in one model counts less than one seen in ten.
    """
    effects: dict[str, float] = {}
    total = np.zeros(len(y))
    finest = points.codes(len(LEVELS) - 1)
    for level in range(len(LEVELS)):
        left = np.clip(y - total, -how.clip, how.clip)
        member = finest if level < len(LEVELS) - 1 else np.arange(len(y))
        group = points.codes(level)
        mass = np.bincount(member, points.weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(member, points.weight * left) / mass
        owner = np.zeros(len(mass), dtype=np.intp)
        owner[member] = group
        present = mass > 0
        size = np.bincount(owner[present], minlength=int(group.max(initial=0)) + 1)
        value = np.bincount(owner[present], mean[present], minlength=len(size)) / (
            size + how.shrink * _needed(level)
        )
        total += value[group]
        names = {
            int(code): points.groups[place][level] for code, place in zip(group, points.places, strict=True)
        }
        effects |= {
            f"{level}:{name}": float(value[code]) for code, name in names.items() if abs(value[code]) > 1e-4
        }
    return effects, total


def _needed(level: int) -> float:
    """Return how many more members a coarse group needs before its effect is believed."""
    return 8.0 if level < 4 else 4.0 if level < 9 else 1.0
