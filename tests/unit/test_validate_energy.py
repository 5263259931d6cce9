"""Energy per token of measured points: power of the boards over the rate, never better than its floor."""

from __future__ import annotations

import numpy as np
import pytest

from assay.calibrate.validate import validate
from assay.catalogue.load import catalogue
from assay.cli.measured import predictor
from assay.llm.layout import Layout
from assay.measure.records import Record, Records
from assay.plan import predict
from assay.study.conditions import Conditions, Pool, Predictions, Setting

AGGREGATED = Setting("llama-3.3-70b", "hgx-h100-8", 4, Pool(Layout(tp=4)), weights="fp8", engine="vllm")
SPLIT = Setting(
    "llama-3.3-70b", "hgx-h100-8", 8, Pool(Layout(tp=4)), Pool(Layout(tp=4)), weights="fp8", engine="vllm"
)
USERS = [1.0, 8.0, 64.0]


def found(setting: Setting) -> Predictions:
    columns = {"isl": [1000.0] * 3, "osl": [500.0] * 3, "concurrency": USERS}
    return predict(Conditions.of([setting] * 3, columns), residual=False)


@pytest.mark.parametrize("setting", [AGGREGATED, SPLIT], ids=["aggregated", "split"])
def test_energy_is_a_power_that_the_chip_can_draw(setting: Setting) -> None:
    made = found(setting)
    joules, rate = np.asarray(made.joules.value), np.asarray(made.throughput.value)
    limit = catalogue().system(setting.system).chip.tdp_watts
    assert limit is not None
    watts = joules * rate
    assert np.all((watts > 0.1 * limit) & (watts <= limit * (1 + 1e-9)))
    assert np.all(joules >= np.asarray(made.joules.floor))
    assert np.all(np.diff(joules) < 0)  # more requests share the weights


def test_prefill_alone_draws_more_than_decode_alone() -> None:
    power = {}
    for phase in ("prefill", "decode"):
        setting = Setting(
            "llama-3.3-70b", "hgx-h100-8", 4, Pool(Layout(tp=4)), weights="fp8", load="static", phase=phase
        )
        made = predict(
            Conditions.of([setting], {"isl": [2000.0], "osl": [500.0], "concurrency": [4.0]}), residual=False
        )
        power[phase] = float(np.asarray(made.joules.value * made.throughput.value)[0])
    assert power["prefill"] > power["decode"] > 0


def test_a_record_with_energy_is_scored() -> None:
    row = Record(
        "a", "https://example.org", "blog", "H100", "Llama", "vLLM", AGGREGATED,
        conditions={"isl": 1000.0, "osl": 500.0, "concurrency": 64.0}, values={"joules": 1.0},
    )  # fmt: skip
    figures = validate(Records((row,)), predictor()).figures()["energy"]
    assert figures["n"] == 1
    assert figures["median_ape"] is not None
    assert figures["median_ape"] < 1.0
