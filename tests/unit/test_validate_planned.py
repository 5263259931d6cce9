"""Points answered by planning, and ratios between accelerators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.calibrate.planned import by_chip, planned, ratios
from assay.calibrate.validate import Score, Validation
from assay.llm.layout import Layout
from assay.measure.records import Record, Records
from assay.plan import predict
from assay.report import proof
from assay.study.conditions import Conditions, Pool, Setting

SETTING = Setting("deepseek-r1", "gb300-nvl72", 72, weights="fp4", engine="trtllm", load="offline")


def row(accelerator: str, scenario: str = "Offline", date: float = 2026.6, **changes: Any) -> Record:
    return replace(
        Record(
            accelerator, "mlcommons", "mlperf", accelerator, "deepseek-r1", "TensorRT-LLM", SETTING,
            conditions={"isl": 800.0, "osl": 3880.0, "date": date}, published={"scenario": scenario},
        ),
        **changes,
    )  # fmt: skip


def validation(rows: list[Record], measured: list[float], value: list[float]) -> Validation:
    n = len(rows)
    blank = np.full(n, np.nan)
    score = Score(np.array(measured), np.array(value), blank, blank, blank, upper=True)
    return Validation(
        Records(tuple(rows)), ("",) * n, {"throughput": score}, np.zeros(n, dtype=np.bool_), ((),) * n
    )


def test_what_is_planned_and_what_is_not() -> None:
    stated = replace(SETTING, pool=Pool(Layout(tp=8)))
    rows = Records(
        (
            row("GB300"),
            row("GB300", setting=replace(SETTING, load="goodput"), published={"scenario": "Server"}),
            row("GB300", setting=stated),
            row("GB300", flags=("not_comparable",)),
            row("GB300", "Interactive"),
            row("GB300", setting=replace(SETTING, load="closed")),
            row("GB300", setting=None, problem="lengths not stated"),
        )
    )
    assert planned(rows).tolist() == [True, True, False, False, False, False, False]


def test_a_chip_is_judged_by_five_points_or_more() -> None:
    rows = [row("A")] * 5 + [row("B")] * 4
    found = by_chip(validation(rows, [100.0] * 9, [115.0] * 5 + [300.0] * 4))
    assert list(found) == ["A"]
    assert found["A"]["median_ape"] == pytest.approx(0.15)
    assert proof.planned_rows(found)[0][-1] == "yes"
    assert proof.planned_rows({"A": {**found["A"], "median_ape": 0.21}})[0][-1] == "no"


def test_ratios_are_of_the_latest_round_that_has_several() -> None:
    rows = [
        row("VR200"),
        row("GB300"),
        row("GB300", date=2026.1),
        row("B200", date=2026.1),
        row("C", date=2027),
    ]
    found = ratios(validation(rows, [200.0, 100.0, 90.0, 45.0, 1.0], [220.0, 100.0, 90.0, 45.0, 1.0]))
    assert [(item.first, item.second) for item in found] == [("VR200", "GB300")]
    assert found[0].measured == pytest.approx(2.0)
    assert found[0].error == pytest.approx(0.1)
    assert "VR200 : GB300" in proof.planned_section({}, found)


def test_a_part_of_a_validation_keeps_its_points() -> None:
    whole = validation([row("A"), row("B")], [100.0, 50.0], [110.0, 55.0])
    part = whole.where(np.array([False, True]))
    assert [item.accelerator for item in part.records.rows] == ["B"]
    assert part.scores["throughput"].measured.tolist() == [50.0]


def test_small_replicas_win_when_many_fit_on_the_chips() -> None:
    """Eight replicas of one chip outrun one of eight for a small model: the sum over replicas decides."""
    columns = {"isl": [778.0], "osl": [128.0], "rate": [np.inf]}
    best = replace(SETTING, model="llama-3.1-8b", system="mi355x", chips=8, weights="fp8", engine="vllm")
    forced = [replace(best, pool=Pool(Layout(tp=tp), 8 // tp)) for tp in (1, 8)]

    def throughput(setting: Setting) -> float:
        found = predict(Conditions.of([setting], columns), residual=False)
        return float(np.asarray(found.throughput.value)[0])

    single, whole = (throughput(setting) for setting in forced)
    assert single > whole
    assert throughput(best) >= single * (1 - 1e-9)
