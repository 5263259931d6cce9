"""The calibrated correction of a prediction, and its interval; read from `calibrations/serving`.

log(measured / predicted) is a Gaussian process over physical features and shared groups
(`assay.engine.kernel`), fitted by `assay calibrate` on a few hundred centres of the evidence. It vanishes
where nothing like the point was measured. Intervals come from residuals of points whose group was left out
of the fit, by how much of the group is known.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.engine.features import LEVELS, NOTHING, Known, keys, numbers
from assay.engine.kernel import Codes, Floats, Kernel, Single, encode, plain, squared, terms_of
from assay.estimate import Estimate
from assay.study.conditions import Conditions, Predictions

#: Predicted quantities that have a correction of their own. The time of a request follows from them.
METRICS = ("tpot", "ttft", "throughput", "joules")

#: How much of a point's group has been measured, most to least, and the rung of evidence it stands on.
KNOWLEDGE = {
    "deployment": "calibrated model",
    "chip, model and engine": "calibrated model",
    "chip and model": "calibrated model",
    "chip and family": "calibrated chip",
    "chip": "calibrated chip",
    "family": "datasheet",
    "nothing": "datasheet",
}

#: Levels whose groups `knowledge` asks about, most specific first.
ASKED = (
    ("chip", "model", "engine", "recipe", "layout"),
    ("chip", "model", "engine"),
    ("chip", "model"),
    ("chip",),
    ("family",),
)
_ASKED = tuple(LEVELS.index(level) for level in ASKED)

#: Bounds on the log of an interval's scale.
SCALES = (-4.6, 1.1)

#: How much wider an interval is, at most, than its quantiles say, where nothing alike was measured.
WIDER = 0.5

#: Half width, in log, of the interval of a prediction without any calibration.
UNCALIBRATED = 0.7


@dataclass(frozen=True)
class Correction:
    """What `assay calibrate` learned of one metric.

    Attributes:
        kernel: how alike two points are.
        centres: standardised features of the centres (m, columns); `codes`: their groups (m, levels).
        vocabulary: name of a group -> code, for each level of the kernel.
        weights: weight of each centre (m,). `mean`: log of what the correction returns to without evidence.
        deployments: mark of a deployment -> what is left of it after the kernel, log.
        spread: (mean, weight of each centre) of the log of the interval's scale.
        intervals: knowledge -> (low, high): quantiles of residual over scale.
        near: similarity to the nearest centre that ordinary evidence has; further points get wider intervals.
        length: length of that similarity.
    """

    kernel: Kernel
    centres: Single
    codes: Codes
    vocabulary: tuple[Mapping[str, int], ...]
    weights: Floats
    mean: float
    deployments: Mapping[str, float]
    spread: tuple[float, Floats]
    intervals: Mapping[str, tuple[float, float]]
    near: float
    length: float

    @cached_property
    def stacked(self) -> Single:
        """Return the weights of the metric and of its scale, side by side, (m, 2)."""
        return np.array([self.weights, self.spread[1]], dtype=np.float32).T.copy()

    @cached_property
    def squares(self) -> Single:
        """Return the squared length of each centre's features, (m,)."""
        return squared(self.centres)

    def look_up(
        self, features: Floats, groups: list[tuple[str, ...]], index: NDArray[np.intp], kinds: list[str]
    ) -> tuple[Floats, tuple[Floats, Floats]]:
        """Return the correction of n points and the bounds of its interval around it, all in log.

        Args:
            features: of the points (n, columns). `index`: setting of each (n,).
            groups: keys of each setting (s, levels). `kinds`: knowledge of each setting (s,).
        """
        codes, place = setting_codes(groups, self.kernel, self.vocabulary)
        z = self.kernel.standard(features)
        between, gap = self.kernel.compare((z, codes, place[index]), (self.centres, self.codes), self.squares)
        shift, size = (between @ self.stacked).astype(np.float64).T
        left = np.array([self.deployments.get(mark(group[-1]), 0.0) for group in groups])
        alike = np.exp(-0.5 * gap / self.length**2)
        wider = 1.0 + WIDER * np.clip(1.0 - alike / max(self.near, 1e-9), 0.0, 1.0)
        scale = np.exp(np.clip(size + self.spread[0], *SCALES)) * wider
        low, high = np.array([self.intervals[kind] for kind in kinds]).reshape(-1, 2)[index].T
        return shift + self.mean + left[index], (low * scale, high * scale)


@dataclass(frozen=True)
class Calibration:
    """Everything `assay calibrate` learned for serving.

    Attributes:
        metrics: metric -> its correction.
        known: marks of the groups that were measured, at the levels of `ASKED`.
        id: what identifies the calibration in answers. `about`: provenance.
    """

    metrics: Mapping[str, Correction]
    known: frozenset[str]
    id: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def knowledge(self, group: tuple[str, ...]) -> str:
        """Return how much of a setting's group has been measured, a key of `KNOWLEDGE`."""
        seen = [mark(group[place]) in self.known for place in _ASKED]
        if any(seen[:3]):
            return tuple(KNOWLEDGE)[seen.index(True)]
        return {(True, True): "chip and family", (True, False): "chip", (False, True): "family"}.get(
            (seen[3], seen[4]), "nothing"
        )


@cache
def mark(name: str) -> str:
    """Return a short mark of a group's name: names of deployments are long, and there are thousands."""
    return hashlib.blake2s(name.encode(), digest_size=5).hexdigest()


def corrected(
    conditions: Conditions,
    raw: Predictions,
    table: Mapping[str, Any] | None,
    known: Known = NOTHING,
    metrics: Sequence[str] = METRICS,
) -> Predictions:
    """Return predictions with the calibrated correction, its interval and basis; floors are never crossed.

    Args:
        conditions: n points.
        raw: what physics and the engine's parameters say of them, with terms.
        table: `calibrations/serving`, or None for a wide interval around `raw`.
        known: systems and models of the user's own.
        metrics: which are asked for; the others get the interval of a prediction without calibration.
    """
    if not table:
        names = (*METRICS, "ttft_median")
        return _with(raw, {name: _uncalibrated(getattr(raw, name), name) for name in names})
    return apply(conditions, raw, load(table), known, metrics)


def apply(
    conditions: Conditions,
    raw: Predictions,
    calibration: Calibration,
    known: Known = NOTHING,
    metrics: Sequence[str] = METRICS,
) -> Predictions:
    """Return `raw` corrected by a calibration in the metrics asked for."""
    used, index = np.unique(conditions.setting, return_inverse=True)
    groups = [keys(conditions.settings[place], known) for place in used]
    features = numbers(conditions, raw, known)
    kinds = [calibration.knowledge(group) for group in groups]
    changed: dict[str, Estimate] = {}
    for metric in METRICS:
        found = calibration.metrics.get(metric)
        if found is None or metric not in metrics:
            changed[metric] = _uncalibrated(getattr(raw, metric), metric)
            continue
        shift, bounds = found.look_up(features, groups, index, kinds)
        changed[metric] = _shifted(getattr(raw, metric), shift, bounds, metric)
        if metric == "ttft":
            changed["ttft_median"] = _shifted(raw.ttft_median, shift, bounds, metric)
        elif metric == "throughput":
            # requests in flight are throughput times the time of a request: the one errs as the other
            changed["e2e"] = _shifted(raw.e2e, -shift, (-bounds[1], -bounds[0]), "e2e")
    changed = {"e2e": _uncalibrated(raw.e2e, "e2e"), **changed}
    opened = np.array([conditions.settings[item].load == "open" for item in used])[index]
    changed["e2e"] = _where(
        opened, _request(conditions, changed["ttft"], changed["tpot"], raw.e2e), changed["e2e"]
    )
    basis = tuple(
        "assumed" if reason else KNOWLEDGE[kinds[place]]
        for place, reason in zip(index, raw.reason, strict=True)
    )
    return _with(replace(raw, basis=basis), changed)


def _request(conditions: Conditions, ttft: Estimate, tpot: Estimate, raw: Estimate) -> Estimate:
    """Return the time of a request from its parts: what an open load, which knows no users, is left with."""
    rest = np.fmax(conditions.osl - 1.0, 0.0)

    def both(part: str) -> Floats:
        return np.asarray(getattr(ttft, part) + rest * getattr(tpot, part), dtype=np.float64)

    low, value, high = (np.fmax(both(part), raw.floor) for part in ("low", "value", "high"))
    return Estimate(value, low, high, raw.floor, "calibrated chip")


def _where(mask: NDArray[np.bool_], first: Estimate, second: Estimate) -> Estimate:
    """Return the first estimate where a mask holds and the second elsewhere."""
    value, low, high, floor = (
        np.where(mask, getattr(first, part), getattr(second, part))
        for part in ("value", "low", "high", "floor")
    )
    return Estimate(value, low, high, floor, second.basis)


def setting_codes(
    groups: list[tuple[str, ...]], kernel: Kernel, vocabulary: tuple[Mapping[str, int], ...]
) -> tuple[Codes, NDArray[np.intp]]:
    """Return the different groups of settings as numbers, and which of them each setting has.

    Layouts of one plan share chip, model and engine, so that few of their groups differ.

    Returns:
        Codes at the levels of the kernel, (different, levels), and places among them, (settings,).
    """
    places = [LEVELS.index(level) for level in kernel.levels]
    different: dict[tuple[str, ...], int] = {}
    which = [
        different.setdefault(tuple([group[place] for place in places]), len(different)) for group in groups
    ]
    return encode(list(different), vocabulary), np.array(which, dtype=np.intp)


def _shifted(raw: Estimate, shift: Floats, bounds: tuple[Floats, Floats], metric: str) -> Estimate:
    """Return `raw` times e^shift with the interval e^bounds around it, on the right side of the floor."""
    value = np.asarray(raw.value, dtype=np.float64) * np.exp(shift)
    floor = np.asarray(raw.floor, dtype=np.float64)
    hold = np.fmin if metric == "throughput" else np.fmax
    low, high = value * np.exp(bounds[0]), value * np.exp(bounds[1])
    known = np.isfinite(value)
    value, low, high = (np.where(known, hold(part, floor), np.nan) for part in (value, low, high))
    return Estimate(value, low, high, raw.floor, "calibrated chip")


def _uncalibrated(raw: Estimate, metric: str) -> Estimate:
    n = np.size(raw.value)
    wide = np.full(n, UNCALIBRATED)
    return replace(_shifted(raw, np.zeros(n), (-wide, wide), metric), basis=raw.basis)


def _with(predictions: Predictions, changed: Mapping[str, Estimate]) -> Predictions:
    parts: dict[str, Any] = dict(changed)
    return replace(predictions, **parts)


def pack(value: NDArray[Any], kind: str) -> dict[str, Any]:
    """Return an array as plain data: its shape, type and little-endian bytes in base64."""
    little = np.ascontiguousarray(value, dtype=np.dtype(kind).newbyteorder("<"))
    return {"shape": list(little.shape), "type": kind, "data": base64.b64encode(little.tobytes()).decode()}


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
    metrics: Mapping[str, Mapping[str, Any]] = table["metrics"]
    return Calibration(
        metrics={name: _correction(item) for name, item in metrics.items()},
        known=frozenset(table["known"]),
        id=str(table.get("id", "")),
        about=dict(table.get("about", {})),
    )


def _correction(item: Mapping[str, Any]) -> Correction:
    terms, linear = terms_of(item["kernel"])
    center, scale = (unpack(item[name]).astype(np.float64) for name in ("center", "scale"))
    return Correction(
        kernel=Kernel(center, scale, terms, linear),
        centres=unpack(item["centres"]).astype(np.float32),
        codes=unpack(item["codes"]).astype(np.int32),
        vocabulary=tuple(
            {str(name): code for code, name in enumerate(names)} for names in item["vocabulary"]
        ),
        weights=unpack(item["weights"]).astype(np.float64),
        mean=float(item["mean"]),
        deployments={str(key): float(value) for key, value in item["deployments"].items()},
        spread=(float(item["spread_mean"]), unpack(item["spread_weights"]).astype(np.float64)),
        intervals={kind: (float(pair[0]), float(pair[1])) for kind, pair in item["intervals"].items()},
        near=float(item["near"]),
        length=float(item["length"]),
    )


def dump(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as the plain data of `calibrations/serving`; `load` reads it back."""
    return {
        "id": calibration.id,
        "about": dict(calibration.about),
        "metrics": {name: _plain(item) for name, item in calibration.metrics.items()},
        "known": sorted(calibration.known),
    }


def _plain(item: Correction) -> dict[str, Any]:
    return {
        "mean": round(item.mean, 6),
        "near": round(item.near, 6),
        "length": item.length,
        "intervals": {kind: [round(low, 4), round(high, 4)] for kind, (low, high) in item.intervals.items()},
        "kernel": plain(item.kernel),
        "spread_mean": round(item.spread[0], 6),
        "weights": pack(item.weights, "f4"),
        "spread_weights": pack(item.spread[1], "f4"),
        "deployments": {key: round(value, 3) for key, value in sorted(item.deployments.items())},
        "vocabulary": [list(words) for words in item.vocabulary],
        "center": pack(item.kernel.center, "f4"),
        "scale": pack(item.kernel.scale, "f4"),
        "codes": pack(item.codes, "i2"),
        "centres": pack(item.centres, "f2"),
    }
