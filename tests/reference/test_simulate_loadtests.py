"""Load tests of vLLM on H100 in stages of rising rate, simulated.

The file names models, layouts, budgets and stages, and neither rates nor lengths. Of those only the ratio of
the rates of two stages follows from it, since the row of all stages is their mean weighted by requests. So
rates and input lengths of each workload are inferred from one model, Llama 3.1 8B, and every other run is
predicted with them; output lengths follow from each run's own E2E, TTFT and ITL.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.llm.layout import Layout
from assay.simulate.cluster import Cluster
from assay.simulate.deploy import deploy
from assay.simulate.run import execute
from assay.workload.arrivals import requests

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
FILE = SHARED / "measured" / "loadtests_vllm.csv"
BASE = "meta-llama/Llama-3.1-8B-Instruct"
#: Inferred from `BASE` on TP1 with 2,048 tokens a step: input tokens that are computed, requests/s by stage.
WORKLOADS = {
    "general": (400, (10.0, 25.0)),
    "codegen": (350, (8.0, 16.0)),
    "roleplay": (400, (10.0,)),
    "reasoning": (1000, (6.0,)),
}
#: Names of the file that are not ours, lower case.
OURS = {
    "mixtral-8x7b-v0.1": "mixtral-8x7b",
    "mixtral-8x22b-v0.1": "mixtral-8x22b",
    "qwen2.5-7b-instruct": "qwen2.5-7b",
}
COUNT = 400
METRICS = ("ttft", "itl", "e2e")


class Stage(NamedTuple):
    """A stage of a run: what ran and the means it showed, ms."""

    name: str
    workload: str
    tp: int
    budget: int
    stage: int
    ttft: float
    itl: float
    e2e: float


def stages() -> Iterator[Stage]:
    """Yield the stages that can be predicted, each once.

    Left out: light variants of the workloads, whose rates the base model was not run at; rows of fp8 weights;
    and a run that the file repeats under several workloads.
    """
    seen = set()
    with FILE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            named = len(row["exp_id"]) < 8  # else a date
            if "lite" in row["experiment"] or not named or row["stage_index"] == "-1":
                continue
            if row["precision"] != "FP16":
                continue
            found = Stage(
                row["model"],
                row["workload"],
                int(row["tp"]),
                int(float(row["max_num_batched_tokens"])),
                int(row["stage_index"]),
                *(float(row[f"{metric}_mean_ms"]) for metric in METRICS),
            )
            if found not in seen:
                seen.add(found)
                yield found


def simulated(stage: Stage, isl: int, rate: float) -> tuple[float, float, float]:
    """Return simulated means of TTFT, TPOT and E2E of a stage, ms."""
    name = stage.name.split("/")[-1].lower()
    name = OURS.get(name, name)
    osl = round((stage.e2e - stage.ttft) / stage.itl) + 1
    pool = deploy(
        model(name)[0],
        catalogue().system("h100"),
        Layout.parse(f"tp{stage.tp}"),
        engine("vllm"),
        weights="native",
        kv="bf16",
        budget=stage.budget,
    )
    at = np.cumsum(np.random.default_rng(0).exponential(1 / rate, COUNT))
    tally = execute(Cluster((pool,)), requests(at, isl, osl), compiled=False).tally
    ttft, tpot, e2e = (sketch.summary()["mean"] * 1e3 for sketch in (tally.ttft, tally.tpot, tally.e2e))
    return ttft, tpot, e2e


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here")
def test_stages_of_load_tests_are_predicted_from_one_model() -> None:
    errors = []
    for stage in stages():
        isl, rates = WORKLOADS[stage.workload]
        if stage.name == BASE and stage.tp == 1 and stage.budget == 2048:
            continue
        got = simulated(stage, isl, rates[stage.stage])
        errors.append(
            [mine / theirs - 1 for mine, theirs in zip(got, (stage.ttft, stage.itl, stage.e2e), strict=True)]
        )
    median = np.median(np.abs(errors), axis=0)
    assert len(errors) == 42
    assert (median < (0.15, 0.09, 0.09)).all(), median
