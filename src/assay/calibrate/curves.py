"""Fit one efficiency curve to measured kernels, on every level, and score it on chips it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import least_squares

from assay.timing.roofline import kernel_seconds

Array = NDArray[np.float64]

#: Start of every fit, ln of: compute share, memory share, rows at half rate, s per kernel ...
START = np.log([0.6, 0.8, 30.0, 5e-6])
#: ... how far (in ln) the prior lets a parameter go before the data must insist ...
REACH = np.array([0.5, 0.25, 1.5, 1.0])
#: ... and the bounds: no share above the datasheet, nor above the best memory rate anybody measured
#: (0.949 of it, BabelStream dot on H100, source AZURE_H), nor far beyond the best row of the table.
LOW, HIGH = np.log([0.02, 0.05, 1e-2, 2e-7]), np.log([1.0, 0.95, 4000.0, 3e-4])
BEYOND = 1.1
#: Second start, as a step from the first: the loss has a local minimum on either side of the ridge.
SECOND = np.array([-0.5, -0.5, 0.0, -0.5])
#: ln ratio at which the loss turns from squares to absolute values.
HUBER = 0.15
#: Kernels around the two grouped GEMMs of `experts` (permute, activation, reduce) and their memory share.
STREAM_LAUNCHES, STREAM_SHARE = 3.0, 0.87
#: s of an element-wise kernel where the chip has no GEMM table to take it from.
LAUNCH = 2.5e-6
#: Fewest shapes that a curve is fitted to.
FEWEST = 20
#: Quantile of |ln ratio| that an 80 % interval needs, and the same quantile of the normal distribution.
COVER, NORMAL = 0.8, 1.2816
#: Left out of the pooled levels: its arithmetic is a seventh of its generation's at the same bandwidth, so
#: the padding of a tile looks like missing bandwidth.
ODD = ("h20",)


@dataclass(frozen=True, slots=True)
class Level:
    """One fitted curve: ln of the four parameters, spread, and the rows behind it."""

    theta: Array
    sigma: float
    n: int

    def plain(self) -> dict[str, float | int]:
        """Return the entry of the data file."""
        compute, memory, half, overhead = (float(x) for x in np.exp(self.theta))
        return {
            "compute": round(compute, 3),
            "memory": round(memory, 3),
            "rows_half": round(half, 1),
            "overhead": round(overhead, 8),
            "sigma": round(self.sigma, 3),
            "n": self.n,
        }


def predict(theta: Array, rows: pl.DataFrame, launch: float) -> Array:
    """Return the time of each row under parameters `theta`, s.

    Args:
        theta: ln of compute share, memory share, rows_half, overhead.
        rows: work.
        launch: s per element-wise kernel, for the passes inside `experts`.
    """
    compute, memory, half, overhead = np.exp(theta)
    peak, bandwidth = rows["peak"].to_numpy(), rows["bandwidth"].to_numpy()
    total = np.zeros(rows.height)
    for flops, moved in (("flops", "moved"), ("flops_2", "moved_2")):
        work = rows[flops].to_numpy()
        seconds = kernel_seconds(
            work,
            rows[moved].to_numpy(),
            rows["rows"].to_numpy(),
            compute_rate=peak * compute,
            memory_rate=bandwidth * memory,
            rows_half=half,
            overhead=overhead,
        )
        total += np.where(work > 0, seconds, 0.0)
    streamed = rows["streamed"].to_numpy()
    passes = streamed / (bandwidth * STREAM_SHARE) + STREAM_LAUNCHES * launch
    return np.asarray(total + np.where(streamed > 0, passes, 0.0))


def estimate(rows: pl.DataFrame, start: Array, launch: float, reach: float = 1.0) -> Array:
    """Return the parameters (ln) that fit `rows`, each chip weighing the same.

    Args:
        rows: best rows of one kind and format.
        start: prior mean.
        launch: s per element-wise kernel.
        reach: factor on the width of the prior.
    """
    seconds = rows["seconds"].to_numpy()
    members = rows["chip"].to_numpy()
    _, place, counts = np.unique(members, return_inverse=True, return_counts=True)
    scale = np.sqrt(len(members) / len(counts) / counts)[place]

    def residual(theta: Array) -> Array:
        data = scale * np.log(predict(theta, rows, launch) / seconds)
        return np.concatenate([data, HUBER * (theta - start) / (REACH * reach)])

    high = _ceiling(rows)
    fits = []
    for step in (0.0, 1.0):
        first = np.clip(start + step * SECOND, LOW + 1e-6, high - 1e-6)
        fits.append(least_squares(residual, first, bounds=(LOW, high), loss="soft_l1", f_scale=HUBER))
    return np.asarray(min(fits, key=lambda fit: float(fit.cost)).x)


def _ceiling(rows: pl.DataFrame) -> Array:
    """Return the upper bounds: no FLOP rate far beyond the best that a row of the table shows."""
    rate = (rows["flops"] + rows["flops_2"]).to_numpy() / rows["seconds"].to_numpy()
    seen = np.log(BEYOND * float((rate / rows["peak"].to_numpy()).max()))
    high = HIGH.copy()
    high[0] = max(min(high[0], seen), LOW[0] + 0.1)
    return high


def spread(residuals: Array) -> float:
    """Return the log-normal sd whose 80 % interval holds 80 % of the residuals."""
    return float(np.quantile(np.abs(residuals), COVER) / NORMAL)


def median_error(residuals: Array) -> float:
    """Return the median of |predicted / measured - 1|, from ln(measured / predicted)."""
    return round(float(np.median(np.abs(np.expm1(-residuals)))), 3)


class Fitter:
    """One kind and format: its rows by chip, and fits over any set of chips.

    Args:
        best: fastest rows of each shape.
        every: rows of all frameworks; their spread is part of sigma.
        generation: chip id -> generation.
        launch: chip id -> s per element-wise kernel.
    """

    def __init__(
        self,
        best: pl.DataFrame,
        every: pl.DataFrame,
        generation: Mapping[str, str],
        launch: Mapping[str, float],
    ) -> None:
        counts = best.group_by("chip").len().filter(pl.col("len") >= FEWEST)
        self.names = sorted(counts["chip"].to_list())
        self.best = {name: best.filter(pl.col("chip") == name) for name in self.names}
        self.every = {name: every.filter(pl.col("chip") == name) for name in self.names}
        self.generation = {name: generation[name] for name in self.names}
        self.launch = launch

    def pooled(self, names: Iterable[str], start: Array, reach: float = 1.0) -> Array:
        """Fit the rows of several chips together; one that is odd only where it is alone."""
        members = sorted(set(names))
        members = [name for name in members if name not in ODD] or members
        launch = float(np.median([self.launch.get(name, LAUNCH) for name in members]))
        return estimate(pl.concat([self.best[name] for name in members]), start, launch, reach)

    def residuals(self, name: str, theta: Array, *, every: bool = True) -> Array:
        """Return ln(measured / predicted) of a chip: all frameworks, or the fastest at each shape."""
        rows = self.every[name] if every else self.best[name]
        predicted = predict(theta, rows, self.launch.get(name, LAUNCH))
        return np.asarray(np.log(rows["seconds"].to_numpy() / predicted))

    def level(self, names: Iterable[str], theta: Array) -> Level:
        """Return a level with the spread of its own chips about it."""
        members = sorted(set(names))
        seen = np.concatenate([self.residuals(name, theta) for name in members])
        return Level(theta, spread(seen), sum(self.best[name].height for name in members))

    def run(self) -> dict[str, Any]:
        """Return `{vendor: entry, generation: {...}, chip: {...}, scores: {...}}`."""
        vendor = self.level(self.names, self.pooled(self.names, START, reach=2.0))
        members: dict[str, list[str]] = {}
        for name in self.names:
            members.setdefault(self.generation[name], []).append(name)
        generations = {
            key: self.level(names, self.pooled(names, vendor.theta)) for key, names in members.items()
        }
        chips = {
            name: self.level([name], self.pooled([name], generations[key].theta))
            for key, names in members.items()
            for name in names
        }
        siblings, strangers, errors = self._left_out(members, vendor.theta)
        near = max(siblings.values(), default=0.0)
        far = float(np.mean(list(strangers.values()))) if strangers else 1.5 * vendor.sigma
        fallback = near or max(far, vendor.sigma)
        found = {
            "vendor": vendor.plain() | {"sigma": round(max(far, near, vendor.sigma), 3)},
            "generation": {
                key: level.plain() | {"sigma": round(max(level.sigma, siblings.get(key, fallback)), 3)}
                for key, level in generations.items()
            },
            "chip": {name: level.plain() for name, level in chips.items()},
        }
        own = {name: median_error(self.residuals(name, chips[name].theta, every=False)) for name in chips}
        return found | {"scores": {"own": own, "left out": errors}}

    def _left_out(
        self, members: Mapping[str, list[str]], vendor: Array
    ) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Score each chip under curves that have not seen it.

        Returns:
            sigma by generation from its other chips; sigma by generation from the other generations; and
            the median error of each chip on the nearest level that is left without it.
        """
        siblings: dict[str, list[float]] = {}
        strangers: dict[str, list[float]] = {}
        errors: dict[str, float] = {}
        for key, names in members.items():
            outside = [name for name in self.names if name not in names]
            stranger = self.pooled(outside, START, reach=2.0) if outside else None
            for name in names:
                if stranger is not None:
                    strangers.setdefault(key, []).append(spread(self.residuals(name, stranger)))
                others = [other for other in names if other != name]
                guess = self.pooled(others, vendor if stranger is None else stranger) if others else stranger
                if guess is None:
                    continue
                if others and name not in ODD:
                    siblings.setdefault(key, []).append(spread(self.residuals(name, guess)))
                errors[name] = median_error(self.residuals(name, guess, every=False))
        return _means(siblings), _means(strangers), errors


def _means(values: Mapping[str, list[float]]) -> dict[str, float]:
    return {key: float(np.mean(items)) for key, items in values.items()}
