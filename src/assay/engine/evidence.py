"""The measured points nearest to an operating point, with their source and how far away they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import isfinite, log2, sqrt
from typing import Any

from assay.catalogue.load import catalogue
from assay.engine.features import family, identity
from assay.errors import AssayError
from assay.study.conditions import Setting

#: Columns of `measurements/points`, one list a point; its source is a place in `sources` of that file.
COLUMNS = (
    *("model", "system", "chips", "deployment", "weights", "engine", "load", "isl", "osl", "concurrency"),
    *("tpot_s", "ttft_s", "tokens_per_s_per_chip", "source", "evidence"),
)

#: Distance of one unit: another member of a family or generation, or a factor of four in a length or load.
_STRANGER = 3.0
_OCTAVES = 2.0
#: What a condition that the source does not publish counts.
_UNKNOWN = 0.5


@cache
def _points() -> tuple[Mapping[str, Any], ...]:
    try:
        table: Mapping[str, Any] = catalogue().table("measurements/points")
    except AssayError:
        return ()
    sources = table["sources"]
    points = (dict(zip(COLUMNS, row, strict=True)) for row in table["points"])
    return tuple({**point, "source": sources[point["source"]]} for point in points)


@cache
def _group(system: str) -> tuple[str, str, str]:
    """Return (chip, generation, vendor) of a system."""
    parts = identity(Setting("", system, 1))
    return parts["chip"], parts["generation"], parts["vendor"]


def distance(point: Mapping[str, Any], setting: Setting, load: Mapping[str, float]) -> float:
    """Return how far a measured point is from an operating point; 0 = the same conditions.

    Args:
        point: columns of `COLUMNS`.
        setting: of the operating point.
        load: its isl, osl and concurrency.
    """
    near, far = _group(point["system"]), _group(setting.system)
    steps = next(
        (place for place, (a, b) in enumerate(zip(near, far, strict=True)) if a == b), int(_STRANGER)
    )
    parts = [float(steps)]
    if point["model"] != setting.model:
        parts.append(1.0 if family(point["model"]) == family(setting.model) else _STRANGER)
    parts.append(0.5 * (point["engine"] != setting.engine and bool(setting.engine)))
    parts.append(0.5 * (point["weights"] != setting.weights and bool(setting.weights)))
    parts.append(_octaves(point["chips"], setting.chips))
    parts += [_octaves(point[name], load.get(name)) for name in ("isl", "osl")]
    users = load.get("concurrency")
    if users:
        each = point["concurrency"] / point["chips"] if point["concurrency"] else None
        parts.append(_octaves(each, users / setting.chips))
    return sqrt(sum(part * part for part in parts))


def _octaves(first: float | None, second: float | None) -> float:
    """Return the distance of a measured value, if it was published, from the one that is asked about."""
    if not second or not isfinite(second):
        return 0.0
    return abs(log2(first / second)) / _OCTAVES if first else _UNKNOWN


def nearest(setting: Setting, load: Mapping[str, float], most: int = 3) -> tuple[dict[str, Any], ...]:
    """Return the measured points nearest to an operating point, nearest first.

    Args:
        setting: of the operating point.
        load: its isl, osl and concurrency.
        most: number of points.

    Returns:
        Columns of `COLUMNS` and `distance`; empty where no table of measured points is at hand.
    """
    scored = [(distance(point, setting, load), place) for place, point in enumerate(_points())]
    found = sorted(scored)[:most]
    return tuple({**_points()[place], "distance": round(gap, 3)} for gap, place in found)
