"""Conformal intervals: 80 % of measured values must lie within them, by how much of a group is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.calibrate.holdout import QUESTIONS
from assay.calibrate.residual import Basis, Evidence, Fit, Shape, fit
from assay.engine.features import LEVELS
from assay.engine.kernel import Floats
from assay.engine.residual import ASKED, KNOWLEDGE, mark

#: A residual smaller than this, log, counts as this much: nobody measures better.
FINEST = 0.01

#: Fewest residuals that make quantiles of their own.
FEWEST = 30


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Residuals of points under one question.

    Attributes:
        question: key of `QUESTIONS`, or `point` where each point is left out alone.
        residual: log(measured / corrected) without the point's group, (n,).
        kind: how much of the group is then known, keys of `KNOWLEDGE`, (n,).
    """

    question: str
    residual: Floats
    kind: NDArray[np.str_]


def left_out(points: Evidence, fitted: Fit, deployments: Mapping[str, float]) -> tuple[LeftOut, ...]:
    """Return residuals under every question.

    Args:
        points: the evidence of one metric. `fitted`: its fit.
        deployments: what each deployment leaves; taken into account where it stays known.
    """
    alone = np.arange(len(points))
    out = [LeftOut("point", _alone(points, fitted, deployments), kinds(points, alone))]
    for question, parts in QUESTIONS.items():
        groups = points.codes(parts)
        out.append(LeftOut(question, fitted.left_out(groups), kinds(points, groups)))
    return tuple(out)


def _alone(points: Evidence, fitted: Fit, deployments: Mapping[str, float]) -> Floats:
    """Return residuals of points left out alone, what their deployment leaves taken from the others."""
    own = (fitted.half**2).sum(axis=0) * fitted.trusted
    residual: Floats = fitted.residual / np.maximum(1.0 - own, 0.05)
    if not deployments:
        return residual
    names = points.names(LEVELS[-1])
    count = np.bincount(points.codes(LEVELS[-1]))[points.codes(LEVELS[-1])]
    shift = np.array([deployments.get(mark(str(name)), 0.0) for name in names])
    others = np.where(count > 1, shift - fitted.residual / np.maximum(count, 2), 0.0)
    out: Floats = residual - others
    return out


def kinds(points: Evidence, groups: NDArray[np.intp]) -> NDArray[np.str_]:
    """Return how much is known of each point once its group has been left out."""
    seen = []
    for level in ASKED:
        code = points.codes(level)
        both = np.unique(np.column_stack([code, groups]), axis=0, return_inverse=True)[1].ravel()
        seen.append(np.bincount(code)[code] > np.bincount(both)[both])
    names = tuple(KNOWLEDGE)
    rest = np.where(seen[3], np.where(seen[4], names[3], names[4]), np.where(seen[4], names[5], names[6]))
    out: NDArray[np.str_] = np.where(
        seen[0], names[0], np.where(seen[1], names[1], np.where(seen[2], names[2], rest))
    )
    return out


def spread(
    points: Evidence, tests: tuple[LeftOut, ...], ground: Basis, at: Floats, shape: Shape
) -> tuple[float, Floats]:
    """Return (mean, weight of each centre) of the log of the residuals' size.

    Args:
        points: the evidence of one metric. `tests`: its residuals under every question.
        ground: basis. `at`: kernel between points and centres. `shape`: of the fit.
    """
    sizes = [np.log(np.maximum(np.abs(test.residual), FINEST)) for test in tests]
    mean = np.mean(sizes, axis=0)
    sized = replace(points, targets={"size": mean})
    found = fit(sized, "size", replace(shape, noise=2.0, clip=2.0, rounds=1), ground, at)
    return found.mean, found.weights


def quantiles(
    tests: tuple[LeftOut, ...], size: Floats, weight: Floats, coverage: float
) -> Mapping[str, tuple[float, float]]:
    """Return, for each kind of knowledge, the (low, high) quantiles of residual over size.

    A kind with few residuals borrows from the better-known one before it.

    Args:
        tests: residuals under every question.
        size: predicted size of each point's residual (n,).
        weight: of each point (n,).
        coverage: share of the residuals that lie between them.
    """
    ratio = np.concatenate([test.residual / size for test in tests])
    kind = np.concatenate([test.kind for test in tests])
    mass = np.tile(weight, len(tests))
    out: dict[str, tuple[float, float]] = {}
    before = (-1.3, 1.3)
    for name in KNOWLEDGE:
        rows = (kind == name) & np.isfinite(ratio)
        count = int(rows.sum())
        if count >= FEWEST:
            low, high = weighted_quantile(ratio[rows], mass[rows], count, coverage)
            before = min(low, -1e-3), max(high, 1e-3)
        out[name] = before
    return out


def weighted_quantile(values: Floats, weight: Floats, count: int, coverage: float) -> tuple[float, float]:
    """Return the quantiles that hold a share, widened for a finite sample as conformal prediction asks."""
    order = np.argsort(values)
    ranks = np.cumsum(weight[order]) - weight[order] / 2
    ranks /= weight.sum()
    tail = (1 - coverage) / 2 - 0.5 / (count + 1)
    low, high = np.interp([tail, 1 - tail], ranks, values[order])
    return float(low), float(high)
