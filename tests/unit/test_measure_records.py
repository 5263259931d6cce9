"""Records as columns, their consistency, and the conditions they ask a prediction for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.measure.records import Record, Records, check, littles_ratio
from assay.study.conditions import Conditions, Pool, Setting

SETTING = Setting("llama-3.1-8b", "hgx-h100-8", 2, Pool(Layout(tp=2)), weights="bf16", engine="vllm")


def record(concurrency: float = 10.0, throughput: float = 50.0, **values: float) -> Record:
    return Record(
        "a", "here", "repo-csv", "H100", "Llama", "vLLM", SETTING,
        conditions={"isl": 100.0, "osl": 100.0, "concurrency": concurrency},
        values={"throughput": throughput, "ttft": 0.1, "tpot": 0.099} | values,
    )  # fmt: skip


def test_littles_law() -> None:
    # 100 output tokens/s over two chips = 1 request/s; 0.1 s + 99 x 0.099 s = 9.9 s: ten in flight.
    ratio = littles_ratio(Records((record(), record(throughput=500.0), record(e2e=20.0))))
    assert ratio == pytest.approx([0.9901, 9.901, 2.0], rel=1e-3)


def test_a_limit_on_concurrency_is_not_a_concurrency() -> None:
    row = record(1000.0)
    limited = replace(row, conditions={**row.conditions, "rate": 1.0})
    assert check(Records((limited,))).rows[0].flags == ()


def test_contradictions_are_flagged_once() -> None:
    rows = check(check(Records((record(), record(throughput=500.0)))))
    assert [row.flags for row in rows.rows] == [(), ("littles",)]
    assert rows.apart().tolist() == [False, True]


def test_points_that_share_a_setting_are_one_group() -> None:
    other = replace(record(20.0), setting=replace(SETTING, engine="sglang"))
    refused = record().refused("lengths not stated")
    rows = Records((record(), other, refused, record(30.0)))
    conditions, places = rows.conditions()
    assert places.tolist() == [0, 1, 3]
    assert conditions.concurrency.tolist() == [10.0, 20.0, 30.0]
    assert np.isnan(conditions.rate).all()
    assert conditions.cached.tolist() == [0.0, 0.0, 0.0]
    assert [(s.engine, index.tolist()) for s, index in conditions.groups()] == [
        ("vllm", [0, 2]),
        ("sglang", [1]),
    ]
    assert rows.answerable().tolist() == [True, True, False, True]


def test_rows_can_be_taken_and_joined() -> None:
    rows = Records((record(1.0), record(2.0), record(3.0)), ("f",), ("f:9: bad",))
    picked = rows.take(np.array([True, False, True]))
    assert picked.column("concurrency").tolist() == [1.0, 3.0]
    joined = Records.join([picked, rows.take([1])])
    assert joined.column("concurrency").tolist() == [1.0, 3.0, 2.0]
    assert joined.rejected == ("f:9: bad", "f:9: bad")
    assert joined.groups()[0] == "H100|Llama|vLLM"


def test_conditions_check_their_shape() -> None:
    conditions = Conditions.of([SETTING, SETTING], {"isl": [1.0, 2.0]})
    assert len(conditions) == 2
    assert len(conditions.settings) == 1
    assert conditions.take(np.array([1])).isl.tolist() == [2.0]
    with pytest.raises(BadInput, match="no speed"):
        Conditions.of([SETTING], {"speed": [1.0]})
    with pytest.raises(BadInput, match="shape"):
        Conditions.of([SETTING], {"isl": [1.0, 2.0]})
    with pytest.raises(BadInput, match="not there"):
        replace(conditions, setting=np.array([0, 5]))


def test_labels() -> None:
    split = replace(SETTING, pool=Pool(Layout(dp=32, ep=32)), prefill=Pool(Layout(tp=2), 4))
    assert split.label() == "4xTP2 prefill + DEP32 decode"
    assert replace(SETTING, pool=None, chips=8).label() == "8 chips, layout not published"
