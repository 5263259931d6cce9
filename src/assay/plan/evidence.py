"""The published measurements nearest to a row, in the words a reader needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from assay.engine.evidence import nearest
from assay.study.answer import Answer, Row
from assay.study.conditions import Pool, Setting
from assay.study.question import Question

#: Measurements further away than this say nothing about a row (see `assay.engine.evidence.distance`).
FARTHEST = 2.5
_MOST = 3


def near(row: Row, model: str, question: Question) -> tuple[Mapping[str, Any], ...]:
    """Return the nearest measured points of a row, nearest first: `{distance, value, conditions, source}`.

    Args:
        row: the row.
        model: catalogue name of its model.
        question: its workload.
    """
    made = row.deployment
    setting = Setting(
        model=model,
        system=made.system,
        chips=row.chips,
        pool=Pool(made.layout, made.replicas),
        weights=made.weights,
        kv=made.kv,
        engine=made.engine,
    )
    load = {"isl": question.isl, "osl": question.osl, "concurrency": row.concurrency * made.replicas}
    found = nearest(setting, load, _MOST)
    return tuple(_told(point) for point in found if point["distance"] <= FARTHEST)


def cited(answer: Answer) -> Answer:
    """Return an answer whose every row lists its nearest measured points, not only the best one."""
    name, question = str(answer.model["name"]), answer.question
    return replace(
        answer, rows=tuple(replace(row, evidence=near(row, name, question)) for row in answer.rows)
    )


def _told(point: Mapping[str, Any]) -> dict[str, Any]:
    values = [
        f"TPOT {_time(point['tpot_s'])}" if point["tpot_s"] else "",
        f"TTFT {_time(point['ttft_s'])}" if point["ttft_s"] else "",
        f"{_rate(point['tokens_per_s_per_chip'])} tok/s/chip" if point["tokens_per_s_per_chip"] else "",
    ]
    conditions = [
        f"{point['model']} {point['weights']} on {point['chips']} chips of {point['system']}",
        str(point["deployment"] or ""),
        f"{point['isl']:.0f} in, {point['osl']:.0f} out" if point["isl"] and point["osl"] else "",
        _load(point),
    ]
    return {
        "distance": point["distance"],
        "value": ", ".join(filter(None, values)),
        "conditions": ", ".join(filter(None, conditions)),
        "source": point["source"],
    }


def _rate(value: float) -> str:
    """Return tokens/s with four significant digits, never as a power of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _load(point: Mapping[str, Any]) -> str:
    if point["concurrency"]:
        return f"{point['concurrency']:.0f} in flight"
    return f"{point['load']} load, requests in flight not published"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1.0 else f"{seconds * 1e3:.3g} ms"
