"""Gradient boosting with oblivious trees, in numpy: few parameters, quick to run, hard to overfit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.engine.residual import Trees

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Boosting:
    """How trees are grown.

    Attributes:
        trees: number of trees. `depth`: questions of each. `rate`: part of each tree's step that is kept.
        bins: thresholds tried per feature. `rows`, `columns`: share drawn for each tree.
        shrink: weight of zero in every leaf, in units of a point's weight.
        clip: residuals beyond it count as this much (log), so that outliers do not steer.
        seed: of the draws.
    """

    trees: int = 250
    depth: int = 4
    rate: float = 0.08
    bins: int = 24
    rows: float = 0.6
    columns: float = 0.5
    shrink: float = 20.0
    clip: float = 0.4
    seed: int = 0


def boost(
    x: Floats, y: Floats, weight: Floats, how: Boosting, groups: NDArray[np.intp] | None = None
) -> Trees:
    """Fit trees to y.

    Args:
        x: features (n, columns); NaN goes left.
        y: target (n,).
        weight: of each point (n,).
        how: growth.
        groups: group of each point (n,); each tree sees a share of the groups, so that no group is learned
            by heart. None = points are drawn alone.
    """
    edges = _edges(x, how.bins)
    codes = np.column_stack([np.searchsorted(edge, column) for edge, column in zip(edges, x.T, strict=True)])
    codes[np.isnan(x)] = 0
    codes = codes.astype(np.int32)
    dice = np.random.default_rng(how.seed)
    left = y.astype(np.float64).copy()
    feature = np.zeros((how.trees, how.depth), dtype=np.intp)
    threshold = np.zeros((how.trees, how.depth))
    leaf = np.zeros((how.trees, 1 << how.depth))
    usable = np.flatnonzero([len(edge) > 0 for edge in edges])
    if not len(usable) or not len(y):
        return Trees(feature[:0], threshold[:0], leaf[:0])
    for tree in range(how.trees):
        rows = _draw(len(y), groups, how.rows, dice)
        columns = dice.choice(usable, max(1, int(len(usable) * how.columns)), replace=False)
        target = np.clip(left, -how.clip, how.clip)
        place = np.zeros(len(y), dtype=np.int64)
        for level in range(how.depth):
            column, cut = _split(codes, rows, columns, place[rows], level, (target, weight), how)
            feature[tree, level], threshold[tree, level] = column, edges[column][cut]
            place |= (codes[:, column] > cut).astype(np.int64) << level
        mass = np.bincount(place[rows], weight[rows], minlength=1 << how.depth)
        pull = np.bincount(place[rows], (weight * target)[rows], minlength=1 << how.depth)
        leaf[tree] = how.rate * pull / (mass + how.shrink)
        left -= leaf[tree][place]
    return Trees(feature, threshold, leaf)


def _edges(x: Floats, bins: int) -> list[Floats]:
    """Return thresholds of each column at its quantiles."""
    out = []
    for column in x.T:
        known = column[np.isfinite(column)]
        cuts = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else known
        out.append(cuts[cuts < known.max()] if len(known) else cuts)
    return out


def _draw(
    n: int, groups: NDArray[np.intp] | None, share: float, dice: np.random.Generator
) -> NDArray[np.intp]:
    if groups is None:
        return dice.choice(n, max(1, int(n * share)), replace=False)
    kept = dice.random(int(groups.max()) + 1) < share
    rows = np.flatnonzero(kept[groups])
    return rows if len(rows) else np.arange(n)


def _split(
    codes: NDArray[np.int32],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    place: NDArray[np.int64],
    level: int,
    data: tuple[Floats, Floats],
    how: Boosting,
) -> tuple[int, int]:
    """Return the column and cut whose split over all leaves of this level gains most."""
    target, weight = data[0][rows], data[1][rows]
    leaves, bins = 1 << level, how.bins + 1
    best, found = -1.0, (int(columns[0]), 0)
    for column in columns:
        index = place * bins + codes[rows, column]
        mass = np.bincount(index, weight, minlength=leaves * bins).reshape(leaves, bins).cumsum(axis=1)
        pull = (
            np.bincount(index, weight * target, minlength=leaves * bins).reshape(leaves, bins).cumsum(axis=1)
        )
        right_mass, right_pull = mass[:, -1:] - mass, pull[:, -1:] - pull
        gain = (pull**2 / (mass + how.shrink) + right_pull**2 / (right_mass + how.shrink)).sum(axis=0)[:-1]
        cut = int(gain.argmax())
        if gain[cut] > best and mass[:, -1].sum() > mass[:, cut].sum() > 0:
            best, found = float(gain[cut]), (int(column), cut)
    return found
