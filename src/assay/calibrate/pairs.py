"""Pairs of measured points that differ in one condition: does the prediction move the right way, and as far?

Pairs are found in the records themselves: same publisher, date, chip, model, engine, lengths and load, all
but one condition equal. Several rows of one side count as their median. A measured change smaller than
`TIE` has no direction, and counts in the size only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import Any

import numpy as np

from assay.calibrate.validate import Validation, publisher
from assay.llm.layout import Layout
from assay.measure.records import Record
from assay.study.conditions import Setting

#: Changes below this share are within what two runs of one deployment differ by.
TIE = 0.05
#: Share of directions that must be right, and greatest median error of the size of a change.
DIRECTION, SIZE = 0.90, 0.25

#: Software dates within this part of a year count as one.
_YEAR_PARTS = 6


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One condition that pairs differ in.

    Attributes:
        free: parts of `parts` that may differ, because they follow from the condition.
        value: side of a record, None where the mechanism does not concern it; sides are compared in order.
        metrics: what the change is seen in.
        equal: what must be equal in place of the free parts.
    """

    free: tuple[str, ...]
    value: Callable[[Record, Setting], Any]
    metrics: tuple[str, ...] = ("tpot", "throughput")
    equal: Callable[[Record, Setting], Hashable] | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides of a mechanism and one metric.

    Attributes:
        mechanism, metric, what: what is compared; `what` names the model, chip and the two sides.
        measured, predicted: second side over first.
    """

    mechanism: str
    metric: str
    what: str
    measured: float
    predicted: float

    @property
    def tied(self) -> bool:
        """Return whether the measured change is too small to have a direction."""
        return abs(self.measured - 1.0) < TIE

    @property
    def right(self) -> bool:
        """Return whether the prediction moves the same way."""
        return (self.measured - 1.0) * (self.predicted - 1.0) > 0

    @property
    def error(self) -> float:
        """Return |predicted change / measured change - 1|."""
        return abs(self.predicted / self.measured - 1.0)


def _together(setting: Setting) -> Layout | None:
    """Return the layout of an aggregated deployment, None of any other."""
    return setting.pool.layout if setting.pool is not None and setting.prefill is None else None


def _tensor(row: Record, setting: Setting) -> int | None:
    """Return the TP degree of one replica that shards in no other way."""
    del row
    layout = _together(setting)
    plain = layout is not None and layout.chips == layout.tp == setting.chips and layout.ep == 1
    return layout.tp if layout is not None and plain else None


def _experts(row: Record, setting: Setting) -> int | None:
    """Return the EP degree of a deployment with attention data parallelism."""
    del row
    layout = _together(setting)
    return layout.ep if layout is not None and layout.dp > 1 and layout.ep > 1 else None


def _attention(row: Record, setting: Setting) -> int | None:
    """Return the attention DP degree of a replica of several chips."""
    del row
    layout = _together(setting)
    return layout.dp if layout is not None and layout.chips > 1 else None


def _per_chip(row: Record, setting: Setting) -> Hashable:
    """Return requests in flight on a chip."""
    return row.conditions.get("concurrency", 0.0) / setting.chips


def _octave(row: Record, setting: Setting) -> Hashable:
    """Return requests in flight on a chip in half octaves: pools have other numbers of chips."""
    users = row.conditions.get("concurrency")
    return round(2 * log2(users / setting.chips)) if users else None


MECHANISMS: Mapping[str, Mechanism] = {
    "tensor parallel width": Mechanism(("pool", "chips"), _tensor, ("tpot", "throughput", "energy")),
    "expert parallel width": Mechanism(("pool", "chips", "concurrency"), _experts, equal=_per_chip),
    "attention: TP or DP": Mechanism(("pool",), _attention),
    "weight format": Mechanism(
        ("weights", "activations"),
        lambda row, setting: setting.weights or None,
        ("tpot", "throughput", "energy"),
    ),
    "cache format": Mechanism(("kv",), lambda row, setting: setting.kv or None),
    "speculation": Mechanism(
        ("speculation", "draft_tokens", "acceptance"), lambda row, setting: setting.speculation != ""
    ),
    "disaggregation": Mechanism(
        ("pool", "prefill", "chips", "concurrency", "requests"),
        lambda row, setting: setting.prefill is not None if setting.pool is not None else None,
        equal=_octave,
    ),
    "prefix cache": Mechanism(
        ("cached",), lambda row, setting: row.conditions.get("cached", 0.0), ("ttft", "throughput")
    ),
    "requests in flight": Mechanism(
        ("concurrency", "requests"), lambda row, setting: row.conditions.get("concurrency")
    ),
}


def parts(row: Record, setting: Setting) -> dict[str, Hashable]:
    """Return everything that tells a point from another, by name."""
    made: dict[str, Hashable] = {name: getattr(setting, name) for name in Setting.__slots__}
    made |= {name: float(f"{value:.3g}") for name, value in row.conditions.items() if name != "date"}
    made["date"] = round(row.conditions.get("date", 0.0) * _YEAR_PARTS)
    made["source"] = publisher(row.source)
    return made


def pairs(found: Validation) -> list[Pair]:
    """Return all pairs of a validation, mechanism by mechanism.

    Args:
        found: validation of the points; those set apart or not answered make no pair.
    """
    return [
        pair
        for name, mechanism in MECHANISMS.items()
        for metric in mechanism.metrics
        if metric in found.scores
        for pair in _pairs(found, name, mechanism, metric)
    ]


def _pairs(found: Validation, name: str, mechanism: Mechanism, metric: str) -> Iterator[Pair]:
    score = found.scores[metric]
    have = np.isfinite(score.ape) & ~found.apart
    groups: dict[Hashable, dict[Any, list[int]]] = {}
    for place in np.flatnonzero(have):
        row = found.records.rows[place]
        setting = row.setting
        side = None if setting is None else mechanism.value(row, setting)
        if setting is None or side is None:
            continue
        fixed = {key: value for key, value in parts(row, setting).items() if key not in mechanism.free}
        if mechanism.equal is not None:
            fixed["equal"] = mechanism.equal(row, setting)
        groups.setdefault(frozenset(fixed.items()), {}).setdefault(side, []).append(int(place))
    for sides in groups.values():
        for first, second in pairwise(sorted(sides)):
            one, two = sides[first], sides[second]
            measured = np.median(score.measured[two]) / np.median(score.measured[one])
            predicted = np.median(score.value[two]) / np.median(score.value[one])
            row = found.records.rows[one[0]]
            what = f"{row.model} on {row.accelerator}: {second} against {first}"
            yield Pair(name, metric, what, float(measured), float(predicted))


def summary(found: list[Pair]) -> list[dict[str, Any]]:
    """Return figures of each mechanism and metric: pairs, directions, share right, median error."""
    out = []
    for name, metric in dict.fromkeys((pair.mechanism, pair.metric) for pair in found):
        members = [pair for pair in found if (pair.mechanism, pair.metric) == (name, metric)]
        directed = [pair for pair in members if not pair.tied]
        right = sum(pair.right for pair in directed) / len(directed) if directed else None
        out.append(
            {
                "mechanism": name,
                "metric": metric,
                "pairs": len(members),
                "directions": len(directed),
                "right": right,
                "median_error": float(np.median([pair.error for pair in members])),
            }
        )
    return out
