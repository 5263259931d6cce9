"""Pairs that differ in one condition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.calibrate.pairs import Pair, pairs, summary
from assay.calibrate.validate import Score, Validation
from assay.llm.layout import Layout
from assay.measure.records import Record, Records
from assay.report import proof
from assay.study.conditions import Pool, Setting

SETTING = Setting("llama-3.1-8b", "hgx-h100-8", 1, Pool(Layout()), weights="bf16", engine="vllm")


def record(setting: Setting, users: float = 8.0, source: str = "https://a.org/x") -> Record:
    return Record(
        "r", source, "blog", "H100", "Llama", "vLLM", setting,
        conditions={"isl": 100.0, "osl": 100.0, "concurrency": users, "date": 2026.1},
    )  # fmt: skip


def found(rows: list[Record], measured: list[float], value: list[float]) -> Validation:
    n = len(rows)
    blank = np.full(n, np.nan)
    score = Score(np.array(measured), np.array(value), blank, blank, blank, upper=False)
    return Validation(
        Records(tuple(rows)), ("",) * n, {"tpot": score}, np.zeros(n, dtype=np.bool_), ((),) * n
    )


def test_a_pair_differs_in_one_condition_only() -> None:
    fp8 = replace(SETTING, weights="fp8")
    rows = [record(SETTING), record(fp8), record(fp8, users=16.0), record(fp8, source="https://b.org/x")]
    made = pairs(found(rows, [0.010, 0.006, 0.007, 0.001], [0.011, 0.007, 0.008, 0.001]))
    named = {(item.mechanism, item.what.split(": ")[1]): item for item in made}
    assert set(named) == {
        ("weight format", "fp8 against bf16"),
        ("requests in flight", "16.0 against 8.0"),
    }
    pair = named["weight format", "fp8 against bf16"]
    assert pair.measured == pytest.approx(0.6)
    assert pair.predicted == pytest.approx(7 / 11)
    assert pair.right


def test_the_chips_of_a_wider_replica_may_differ() -> None:
    wide = replace(SETTING, chips=2, pool=Pool(Layout(tp=2)))
    (pair,) = pairs(found([record(SETTING), record(wide)], [0.010, 0.006], [0.010, 0.011]))
    assert pair.mechanism == "tensor parallel width"
    assert not pair.right


def test_several_rows_of_a_side_count_as_their_median_and_points_apart_not_at_all() -> None:
    fp8 = replace(SETTING, weights="fp8")
    rows = [record(SETTING), record(fp8), record(fp8), record(fp8)]
    whole = found(rows, [0.010, 0.004, 0.005, 0.006], [0.010, 0.005, 0.005, 0.005])
    assert [pair.measured for pair in pairs(whole)] == pytest.approx([0.5])
    apart = replace(whole, apart=np.array([True, False, False, False]))
    assert not pairs(apart)


def test_small_changes_have_no_direction() -> None:
    made = [
        Pair("a", "tpot", "", 1.03, 0.97),
        Pair("a", "tpot", "", 1.5, 1.5),
        Pair("a", "tpot", "", 0.5, 1.2),
    ]
    (row,) = summary(made)
    assert (row["pairs"], row["directions"], row["right"]) == (3, 2, 0.5)
    assert proof.pair_rows([row])[0][-1] == "no"
    assert proof.pair_rows([{**row, "right": 0.95, "median_error": 0.2}])[0][-1] == "yes"
    assert proof.pair_rows([{**row, "right": None}])[0][-1] == "no"
