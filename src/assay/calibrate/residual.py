"""Fits the correction that `assay.engine.residual` applies: a Gaussian process on centres of the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.engine.features import LEVELS, NAMES, keys, numbers
from assay.engine.kernel import Codes, Floats, Kernel, Single, Term, encode, terms_of
from assay.study.conditions import Conditions, Predictions

Places = NDArray[np.intp]

#: Parts of a setting that one centre stands for.
CLUSTER = ("chip", "model", "engine", "recipe")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a correction is fitted.

    Attributes:
        terms, linear: of the kernel. `emphasis`: feature -> what its distance counts, 1 where absent.
        noise: variance of a measurement, log^2. `clip`: residuals beyond it pull no harder, log.
        own: metric -> its own shape, where it is not this one.
        centres: at most this many. `coverage`: share of residuals that the quantiles of an interval hold.
        rounds: passes that find which points are outliers.
        deployment: pull to zero of what a deployment leaves, in points.
        seed: of every draw.
    """

    terms: tuple[Term, ...]
    linear: float
    emphasis: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.1
    clip: float = 0.2
    own: Mapping[str, Shape] = field(default_factory=dict)
    centres: int = 1000
    rounds: int = 3
    deployment: float = 2.0
    coverage: float = 0.8
    seed: int = 0

    def of(self, metric: str) -> Shape:
        """Return the shape of a metric; it has no more centres than this one."""
        found = self.own.get(metric, self)
        return replace(found, centres=min(found.centres, self.centres))

    @classmethod
    def usual(cls, seed: int = 0) -> Shape:
        """Return the shape of `calibrations/serving_shape`."""
        table: Mapping[str, Any] = catalogue().table("calibrations/serving_shape")
        own = {str(name): cls._read(item, seed) for name, item in table["own"].items()}
        return replace(cls._read(table, seed), own=own)

    @classmethod
    def _read(cls, table: Mapping[str, Any], seed: int) -> Shape:
        terms, linear = terms_of(table)
        return cls(
            terms=terms,
            linear=linear,
            emphasis={str(name): float(value) for name, value in table["emphasis"].items()},
            noise=float(table["noise"]),
            clip=float(table["clip"]),
            centres=int(table["centres"]),
            rounds=int(table["rounds"]),
            deployment=float(table["deployment"]),
            coverage=float(table["coverage"]),
            seed=seed,
        )


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

    def names(self, level: tuple[str, ...]) -> NDArray[np.str_]:
        """Return the group of each point at a level, (n,)."""
        place = LEVELS.index(level)
        return np.array([group[place] for group in self.groups], dtype=np.str_)[self.places]

    def codes(self, level: tuple[str, ...]) -> Places:
        """Return the group of each point at a level as a number, (n,)."""
        return np.unique(self.names(level), return_inverse=True)[1].astype(np.intp)

    def take(self, rows: NDArray[np.bool_] | Places) -> Evidence:
        """Return the points at `rows`."""
        targets = {name: values[rows] for name, values in self.targets.items()}
        return replace(
            self, x=self.x[rows], places=self.places[rows], targets=targets, weight=self.weight[rows]
        )

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
    bare = Evidence(numbers(conditions, raw), groups, conditions.setting, targets, np.ones(len(conditions)))
    return replace(bare, weight=_weights(bare))


def _weights(points: Evidence) -> Floats:
    if not len(points):
        return np.zeros(0)
    curve, group = points.codes(LEVELS[-1]), points.codes(("chip", "model", "engine"))
    size, points_of = np.bincount(curve)[curve], np.bincount(group)[group]
    weight = size**-0.3 * points_of**-0.2
    out: Floats = weight / weight.mean()
    return out


@dataclass(frozen=True, slots=True)
class Basis:
    """Centres of the evidence and the kernel that ties points to them.

    Attributes:
        kernel, centres, codes, vocabulary: as in `assay.engine.residual.Correction`.
        own: kernel among the centres (m, m), with a little on its diagonal.
    """

    kernel: Kernel
    centres: Single
    codes: Codes
    vocabulary: tuple[Mapping[str, int], ...]
    own: Floats

    def at(self, points: Evidence) -> Floats:
        """Return the kernel between points and centres, (n, m)."""
        levels = [LEVELS.index(level) for level in self.kernel.levels]
        names = [[group[level] for level in levels] for group in points.groups]
        first = (self.kernel.standard(points.x), encode(names, self.vocabulary), points.places)
        return self.kernel.between(first, (self.centres, self.codes)).astype(np.float64)


def basis(points: Evidence, shape: Shape) -> Basis:
    """Return centres for evidence: each group of `CLUSTER` is stood for by a few means of its points."""
    center, scale = _standard(points.x, shape.emphasis)
    kernel = Kernel(center, scale, shape.terms, shape.linear)
    z = kernel.standard(points.x)
    owner = _clusters(z, points, shape)
    mass = np.bincount(owner)
    centres = np.column_stack([np.bincount(owner, column) for column in z.T]) / mass[:, None]
    first = np.zeros(len(mass), dtype=np.intp)
    first[owner[::-1]] = np.arange(len(owner))[::-1]
    levels = [LEVELS.index(level) for level in kernel.levels]
    rows = [[points.groups[points.places[row]][level] for level in levels] for row in first]
    vocabulary = tuple(
        {name: code for code, name in enumerate(sorted({row[place] for row in rows}))}
        for place in range(len(levels))
    )
    codes = encode(rows, vocabulary)
    small = centres.astype(np.float16).astype(np.float32)  # as they are written
    own = kernel.between((small, codes, np.arange(len(small))), (small, codes)).astype(np.float64)
    own[np.diag_indices(len(own))] += 1e-4 * own.diagonal().mean()
    return Basis(kernel, small, codes, vocabulary, own)


def _standard(x: Floats, emphasis: Mapping[str, float]) -> tuple[Floats, Floats]:
    """Return center and scale of each feature, from its quantiles; one without spread is silenced."""
    filled = np.where(np.isfinite(x), x, np.nan)
    empty = ~np.isfinite(filled).any(axis=0)
    filled[:, empty] = 0.0
    center = np.nanmean(filled, axis=0)
    spread = np.nanstd(filled, axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf)
    factor = np.array([emphasis.get(name, 1.0) for name in NAMES])
    with np.errstate(divide="ignore"):
        return center, scale / factor


def _clusters(z: Single, points: Evidence, shape: Shape) -> Places:
    """Return the cluster of each point: k-means within each group, more clusters for larger groups."""
    group = points.codes(CLUSTER)
    sizes = np.bincount(group)
    spare = max(shape.centres - len(sizes), 0)
    share = sizes**0.7 / (sizes**0.7).sum()
    counts = np.minimum(1 + np.floor(spare * share).astype(int), sizes)
    dice = np.random.default_rng(shape.seed)
    owner = np.zeros(len(z), dtype=np.intp)
    offset = 0
    order = np.argsort(group, kind="stable")
    for code, rows in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
        labels = _means(z[rows], int(counts[code]), dice)
        owner[rows] = offset + labels
        offset += int(labels.max(initial=-1)) + 1
    return owner


def _means(z: Single, count: int, dice: np.random.Generator) -> Places:
    """Return the cluster of each row of a small set by k-means; empty clusters are closed."""
    if count <= 1:
        return np.zeros(len(z), dtype=np.intp)
    centres = z[dice.choice(len(z), count, replace=False)]
    labels = np.zeros(len(z), dtype=np.intp)
    for _ in range(8):
        labels = ((z[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        mass = np.bincount(labels, minlength=count)
        sums = np.stack([z[labels == place].sum(axis=0) for place in range(count)])
        centres = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1)[:, None], centres)
    return np.unique(labels, return_inverse=True)[1].astype(np.intp)


@dataclass(frozen=True)
class Fit:
    """One metric fitted on a basis.

    Attributes:
        mean: log of what the correction returns to. `weights`: of each centre (m,).
        residual: log(measured / corrected), (n,).
        trusted: weight of each point after outliers were found, over the noise (n,).
        at: kernel between points and centres (n, m). `factor`: Cholesky factor of the normal matrix (m, m).
    """

    mean: float
    weights: Floats
    residual: Floats
    trusted: Floats
    at: Floats
    factor: Floats

    @cached_property
    def half(self) -> Floats:
        """Return the points in the coordinates of the normal matrix's Cholesky factor, (m, n)."""
        out: Floats = np.linalg.solve(self.factor, self.at.T).astype(np.float64)
        return out

    def left_out(self, groups: Places) -> Floats:
        """Return the residual of each point if its whole group had been left out of the fit, (n,).

        With H the influence of a group's measurements on its own predictions, r / (1 - H): one fit answers
        for every group.

        Args:
            groups: group of each point (n,).
        """
        out = np.empty(len(self.residual))
        order = np.argsort(groups, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            part = self.half[:, rows]
            weight = self.trusted[rows]
            if len(rows) <= len(part):
                influence = part.T @ (part * weight)
                out[rows] = np.linalg.solve(np.eye(len(rows)) - influence, self.residual[rows])
            else:
                pulled = part @ (weight * self.residual[rows])
                core = np.eye(len(part)) - (part * weight) @ part.T
                out[rows] = self.residual[rows] + part.T @ np.linalg.solve(core, pulled)
        return out


def fit(points: Evidence, metric: str, shape: Shape, ground: Basis, at: Floats | None = None) -> Fit:
    """Fit the correction of one metric.

    Args:
        points: evidence in which the metric is measured at every point.
        metric: key of `points.targets`.
        shape: how to fit.
        ground: the basis.
        at: `ground.at(points)`, if it is there already.
    """
    y = points.targets[metric]
    features = ground.at(points) if at is None else at
    mean = float(np.median(y)) if len(y) else 0.0
    target = y - mean
    weights: Floats = np.zeros(len(ground.own))
    residual: Floats = target
    factor: Floats = np.linalg.cholesky(ground.own).astype(np.float64)
    seen = (np.linalg.solve(factor, features.T) ** 2).sum(axis=0)
    unseen = np.maximum(ground.kernel.itself(ground.kernel.standard(points.x)) - seen, 0.0)
    noise = shape.noise + unseen
    trusted = points.weight / noise
    for turn in range(shape.rounds):
        robust = np.minimum(1.0, shape.clip / np.maximum(np.abs(residual), 1e-9)) if turn else np.ones(len(y))
        trusted = points.weight * robust / noise
        normal = features.T @ (features * trusted[:, None]) + ground.own
        factor = np.linalg.cholesky(normal).astype(np.float64)
        pulled = np.linalg.solve(factor, features.T @ (trusted * target))
        weights = np.linalg.solve(factor.T, pulled).astype(np.float64)
        residual = target - features @ weights
    return Fit(mean, weights, residual, trusted, features, factor)
