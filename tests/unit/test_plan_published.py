"""A plan describes its points to the calibration as sources describe measured ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.residual import corrected
from assay.llm.layout import Layout
from assay.plan.predict import bare, calibration
from assay.plan.published import length_spread, published
from assay.study.conditions import Conditions, Pool, Setting


@pytest.mark.parametrize(
    ("name", "weights", "kv", "found"),
    [
        ("deepseek-r1", "native", "fp8", ("fp8", "")),
        ("kimi-k2.5", "native", "fp8", ("int4", "")),
        ("gpt-oss-120b", "native", "bf16", ("fp4", "bf16")),
        ("deepseek-r1", "nvfp4", "bf16", ("fp4", "bf16")),
        ("llama-3.3-70b", "bf16", "bf16", ("bf16", "")),
    ],
)
def test_formats_are_named_as_sources_name_them(
    name: str, weights: str, kv: str, found: tuple[str, str]
) -> None:
    system = catalogue().system("b200")
    made = Setting(name, system.id, 8, weights=weights, kv=kv, speculation="mtp", draft_tokens=3)
    told = published(made, model(name)[0].architecture, system)
    assert (told.weights, told.kv) == found
    assert told == replace(made, weights=found[0], kv=found[1], draft_tokens=0)


def test_the_correction_of_a_plan_is_that_of_the_measurement() -> None:
    """Kimi K2.5 fp4, TP4 on MI355X, 922 in and out, 64 in flight: 32.2 ms (InferenceX, median)."""
    prepared, _ = model("kimi-k2.5")
    system = catalogue().system("mi355x")
    stated = Setting("kimi-k2.5", system.id, 4, Pool(Layout(tp=4)), weights="fp4", kv="fp8", engine="vllm")
    columns = {"isl": [922.0], "osl": [922.0], "concurrency": [64.0], "date": [2026.55]}
    found = {}
    for name, setting, spread in (
        ("told", published(stated, prepared.architecture, system), length_spread()),
        ("untold", stated, 0.0),
    ):
        points = Conditions.of([setting], columns | {"spread": [spread]})
        better = corrected(points, bare(prepared, system, setting, points), calibration())
        found[name] = float(np.asarray(better.tpot.value)[0])
    assert found["told"] == pytest.approx(0.0322, rel=0.25)
    assert found["untold"] > 1.3 * found["told"]
