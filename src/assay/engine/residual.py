"""The calibrated correction of a prediction, and its interval; read from `calibrations/serving`.

log(measured / predicted) is modelled in three parts, fitted by `assay calibrate`: a ridge regression on
physical features, effects of the groups that measurements share (engine, generation, chip, model ... shrunk
to zero where a group has little evidence), and boosted trees on the features. All of it fades with the
distance to the nearest evidence. Intervals come from the residuals of predictions whose group was left out,
by how much of the group is known.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.engine.features import LEVELS, keys, numbers
from assay.estimate import Estimate
from assay.study.conditions import Conditions, Predictions

Floats = NDArray[np.float64]

#: Predicted quantities that have a correction of their own.
METRICS = ("tpot", "ttft", "throughput", "e2e", "joules")

#: How much of a point's group has been measured, most to least, and the rung of evidence it stands on.
KNOWLEDGE = {
    "deployment": "calibrated model",
    "chip, model and engine": "calibrated model",
    "chip and model": "calibrated model",
    "chip and family apart": "calibrated chip",
    "chip only": "calibrated chip",
    "model only": "datasheet",
    "neither": "datasheet",
}

#: Half width, in log, of the interval of a prediction without any calibration.
UNCALIBRATED = 0.7


@dataclass(frozen=True, slots=True)
class Trees:
    """Boosted oblivious trees: each asks the same `depth` questions of every point.

    Attributes:
        feature: column asked about, (trees, depth). `threshold`: (trees, depth). `leaf`: (trees, 2^depth).
    """

    feature: NDArray[np.intp]
    threshold: Floats
    leaf: Floats

    def __call__(self, features: Floats) -> Floats:
        """Return the sum over trees at each row of `features` (n, columns); NaN goes left."""
        if not len(self.leaf):
            return np.zeros(len(features))
        depth = self.feature.shape[1]
        powers = 1 << np.arange(depth)
        rows = np.arange(len(self.leaf))
        out = np.empty(len(features))
        for start in range(0, len(features), 1024):
            part = features[start : start + 1024]
            bits = part[:, self.feature] > self.threshold
            out[start : start + 1024] = self.leaf[rows, bits @ powers].sum(axis=1)
        return out


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of one metric, in log.

    Attributes:
        center, scale: of the features, (columns,).
        coefficients: of the standardised features, (columns,). `intercept`: scalar.
        effects: group (`level:key`) -> effect.
        trees: on the features.
    """

    center: Floats
    scale: Floats
    coefficients: Floats
    intercept: float
    effects: Mapping[str, float]
    trees: Trees

    def linear(self, features: Floats) -> Floats:
        """Return the part of the ridge regression; unknown features count as average, outliers as edges."""
        z = np.clip(np.nan_to_num((features - self.center) / self.scale), -3.0, 3.0)
        out: Floats = z @ self.coefficients + self.intercept
        return out

    def groups(self, groups: tuple[tuple[str, ...], ...], index: NDArray[np.intp]) -> Floats:
        """Return the sum of the effects of each point's groups."""
        sums = [
            sum(self.effects.get(f"{level}:{key}", 0.0) for level, key in enumerate(group))
            for group in groups
        ]
        return np.array(sums, dtype=np.float64)[index]

    def __call__(
        self, features: Floats, groups: tuple[tuple[str, ...], ...], index: NDArray[np.intp]
    ) -> Floats:
        """Return the correction of each point, log.

        Args:
            features: (n, columns).
            groups: keys of each setting at each level.
            index: setting of each point (n,).
        """
        return self.linear(features) + self.groups(groups, index) + self.trees(features)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything `assay calibrate` learned for serving.

    Attributes:
        corrections: metric -> correction.
        spreads: metric -> trees that predict the log of the interval's half width.
        intervals: metric -> knowledge -> (low, high): quantiles of residual over spread.
        known: groups (`level:key`) that were measured, at the levels that `knowledge` asks about.
        anchors: cluster centres of the standardised evidence, (k, columns); `reach`: distance at which the
            correction has faded to one half.
        id: what identifies the calibration in answers.
    """

    corrections: Mapping[str, Correction]
    spreads: Mapping[str, Correction]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    known: frozenset[str]
    anchors: Floats
    reach: float
    id: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def knowledge(self, group: tuple[str, ...]) -> str:
        """Return how much of a setting's group has been measured, a key of `KNOWLEDGE`."""

        def seen(*names: str) -> bool:
            level = LEVELS.index(names)
            return f"{level}:{group[level]}" in self.known

        if seen("chip", "model", "engine", "recipe", "layout"):
            return "deployment"
        if seen("chip", "model", "engine"):
            return "chip, model and engine"
        if seen("chip", "model"):
            return "chip and model"
        if seen("chip"):
            return "chip and family apart" if seen("family") else "chip only"
        return "model only" if seen("family") else "neither"

    def trust(self, features: Floats) -> Floats:
        """Return how far each point's correction is to be trusted by its distance to evidence, 0 to 1."""
        if not len(self.anchors):
            return np.ones(len(features))
        some = next(iter(self.corrections.values()))
        z = np.clip(np.nan_to_num((features - some.center) / some.scale), -6.0, 6.0)
        out = np.empty(len(z))
        squares = (self.anchors**2).sum(axis=1)
        for start in range(0, len(z), 2048):
            part = z[start : start + 2048]
            gap = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ self.anchors.T
            nearest = np.sqrt(np.maximum(gap.min(axis=1), 0.0))
            out[start : start + 2048] = 1.0 / (1.0 + (nearest / self.reach) ** 4)
        return out


def corrected(conditions: Conditions, raw: Predictions, table: Mapping[str, Any] | None) -> Predictions:
    """Return predictions with the calibrated correction, its interval and basis; floors are never crossed.

    Args:
        conditions: n points.
        raw: what physics and the engine's parameters say of them, with terms.
        table: `calibrations/serving`, or None for a wide interval around `raw`.
    """
    if not table:
        return _uncalibrated(raw)
    return apply(conditions, raw, load(table))


def apply(conditions: Conditions, raw: Predictions, calibration: Calibration) -> Predictions:
    """Return `raw` corrected by a calibration."""
    x = numbers(conditions, raw)
    groups = tuple(keys(setting) for setting in conditions.settings)
    places = conditions.setting
    trust = calibration.trust(x)
    kinds = [calibration.knowledge(group) for group in groups]
    changed: dict[str, Estimate] = {}
    for metric in METRICS:
        if metric not in calibration.corrections:
            changed[metric] = _widened(getattr(raw, metric), metric == "throughput")
            continue
        shift = trust * calibration.corrections[metric](x, groups, places)
        spread = (
            np.exp(calibration.spreads[metric](x, groups, places)) if metric in calibration.spreads else 1.0
        )
        bounds = np.array([calibration.intervals[metric][kind] for kind in kinds]).reshape(-1, 2)[places]
        low, high = (bounds * np.reshape(spread, (-1, 1))).T
        wider = 1.0 + (1.0 - trust)
        changed[metric] = _shifted(getattr(raw, metric), shift, (low * wider, high * wider), metric)
        if metric == "ttft":
            changed["ttft_median"] = _shifted(raw.ttft_median, shift, (low * wider, high * wider), metric)
    basis = tuple(
        KNOWLEDGE[kinds[place]] if not reason else "assumed"
        for place, reason in zip(places, raw.reason, strict=True)
    )
    return _with(replace(raw, basis=basis), changed)


def _shifted(raw: Estimate, shift: Floats, bounds: tuple[Floats, Floats], metric: str) -> Estimate:
    """Return `raw` times e^shift, with an interval of e^bounds around it, held on the right side of the floor."""
    value = np.asarray(raw.value, dtype=np.float64) * np.exp(shift)
    low, high = value * np.exp(bounds[0]), value * np.exp(bounds[1])
    floor = np.asarray(raw.floor, dtype=np.float64)
    hold = np.fmin if metric == "throughput" else np.fmax
    return Estimate(hold(value, floor), hold(low, floor), hold(high, floor), raw.floor, "calibrated chip")


def _widened(raw: Estimate, upper: bool) -> Estimate:
    n = np.size(raw.value)
    wide = np.full(n, UNCALIBRATED)
    return _shifted(raw, np.zeros(n), (-wide, wide), "throughput" if upper else "")


def _uncalibrated(raw: Predictions) -> Predictions:
    names = (*METRICS, "ttft_median")
    return _with(raw, {name: _widened(getattr(raw, name), name == "throughput") for name in names})


def _with(predictions: Predictions, changed: Mapping[str, Estimate]) -> Predictions:
    parts: dict[str, Any] = dict(changed)
    return replace(predictions, **parts)


def pack(value: NDArray[Any], kind: str) -> dict[str, Any]:
    """Return an array as plain data: its shape, type and little-endian bytes in base64."""
    plain = np.ascontiguousarray(value, dtype=np.dtype(kind).newbyteorder("<"))
    return {"shape": list(plain.shape), "type": kind, "data": base64.b64encode(plain.tobytes()).decode()}


def unpack(packed: Mapping[str, Any]) -> NDArray[Any]:
    """Return the array that `pack` wrote."""
    raw = np.frombuffer(base64.b64decode(packed["data"]), dtype=np.dtype(packed["type"]).newbyteorder("<"))
    return raw.reshape(packed["shape"])


_LOADED: dict[int, tuple[Mapping[str, Any], Calibration]] = {}


def load(table: Mapping[str, Any]) -> Calibration:
    """Return the calibration that a table of `calibrations/serving` describes (kept for the last table)."""
    kept = _LOADED.get(0)
    if kept and kept[0] is table:
        return kept[1]
    found = _load(table)
    _LOADED[0] = (table, found)
    return found


def _load(table: Mapping[str, Any]) -> Calibration:
    return Calibration(
        corrections={name: _correction(item) for name, item in table["corrections"].items()},
        spreads={name: _correction(item) for name, item in table["spreads"].items()},
        intervals={
            name: {kind: (float(pair[0]), float(pair[1])) for kind, pair in item.items()}
            for name, item in table["intervals"].items()
        },
        known=frozenset(table["known"]),
        anchors=unpack(table["anchors"]).astype(np.float64),
        reach=float(table["reach"]),
        id=str(table.get("id", "")),
        about=dict(table.get("about", {})),
    )


def _correction(item: Mapping[str, Any]) -> Correction:
    trees = Trees(
        unpack(item["feature"]).astype(np.intp),
        unpack(item["threshold"]).astype(np.float64),
        unpack(item["leaf"]).astype(np.float64),
    )
    return Correction(
        center=unpack(item["center"]).astype(np.float64),
        scale=unpack(item["scale"]).astype(np.float64),
        coefficients=unpack(item["coefficients"]).astype(np.float64),
        intercept=float(item["intercept"]),
        effects={str(key): float(value) for key, value in item["effects"].items()},
        trees=trees,
    )


def dump(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as the plain data of `calibrations/serving`; `load` reads it back."""

    def plain(item: Correction) -> dict[str, Any]:
        return {
            "intercept": round(item.intercept, 6),
            "center": pack(item.center, "f4"),
            "scale": pack(item.scale, "f4"),
            "coefficients": pack(item.coefficients, "f4"),
            "feature": pack(item.trees.feature, "u1"),
            "threshold": pack(item.trees.threshold, "f4"),
            "leaf": pack(item.trees.leaf, "f4"),
            "effects": {key: round(value, 4) for key, value in sorted(item.effects.items())},
        }

    return {
        "id": calibration.id,
        "about": dict(calibration.about),
        "reach": round(calibration.reach, 6),
        "intervals": {
            name: {kind: [round(low, 5), round(high, 5)] for kind, (low, high) in item.items()}
            for name, item in calibration.intervals.items()
        },
        "known": sorted(calibration.known),
        "corrections": {name: plain(item) for name, item in calibration.corrections.items()},
        "spreads": {name: plain(item) for name, item in calibration.spreads.items()},
        "anchors": pack(calibration.anchors, "f4"),
    }
