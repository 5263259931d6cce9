"""Published pairs of one pool that differ in one mechanism: the right way, within a quarter of the ratio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import replica
from assay.engine.split import decode_seconds, prompt_seconds
from assay.engine.step import Workload
from assay.llm.layout import Layout
from assay.plan.predict import skew

DATA = yaml.safe_load((Path(__file__).parent / "mechanisms.yaml").read_text(encoding="utf-8"))
PAIRS = {row["name"]: row for row in DATA["pairs"]}


def side(row: dict[str, Any], *, second: bool) -> float:
    """Return tokens/s per chip of one side of a pair."""
    changed = row.get("change")
    row = row | row.get("other", {}) if second else row
    layout = Layout.parse(row["layout"])
    settings = engine("sglang")
    if row["phase"] == "prefill":
        settings = replace(settings, budget=max(settings.budget, row["isl"] * row["batch"]))
    prepared, _ = model(row["model"])
    system = catalogue().system(row["system"])
    copy = replica(prepared, system, (layout,), row["weights"], row["kv"], settings)
    work = Workload(
        isl=float(row["isl"]),
        osl=float(row.get("osl", 1)),
        cached=0.0,
        chunk=settings.budget,
        drafts=float(row.get("drafts", 0)),
        yields=float(row.get("acceptance", 1.0)),
    )
    step = copy.step(work, 0.0 if second and changed == "balance" else skew())
    if changed == "overlap" and not second:
        step = replace(step, overlap=0.0)
    if row["phase"] == "prefill":
        spent = float(prompt_seconds(step, settings, row["batch"])[0, 0])
        return float(row["batch"] * row["isl"] * layout.dp / spent / layout.chips)
    spent = float(decode_seconds(step, settings, row["batch"] * layout.chips)[0, 0])
    return float(row["batch"] * work.yields / spent)


@pytest.mark.parametrize("name", PAIRS)
def test_the_change_goes_the_right_way_and_as_far(name: str) -> None:
    row = PAIRS[name]
    measured = row["second"] / row["first"]
    predicted = side(row, second=True) / side(row, second=False)
    assert (predicted - 1.0) * (measured - 1.0) > 0, (predicted, measured)
    assert predicted / measured == pytest.approx(1.0, abs=0.25)
