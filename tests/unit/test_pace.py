"""The calibrated pace of simulated steps: the correction that `assay plan` makes, at the run's conditions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.llm.layout import Layout
from assay.plan import estimate, pace
from assay.plan.capacity import Case
from assay.plan.capacity_file import read
from assay.plan.pace import Mean, mean, paced
from assay.plan.points import SOFTWARE_DATE
from assay.plan.predict import predict
from assay.simulate.cluster import Cluster, Pool, Scaling
from assay.simulate.deploy import deploy
from assay.simulate.run import execute
from assay.study.conditions import Conditions, Setting
from assay.study.conditions import Pool as StudyPool
from assay.study.question import Question
from assay.workload.arrivals import requests
from assay.workload.generate import open_loop

RUN = (
    "simulate", "llama-3.1-8b", "--on", "h100", "--layout", "tp1", "--rate", "10", "--requests", "100",
    "--isl", "512", "--osl", "64",
)  # fmt: skip


def pool(name: str = "llama-3.1-70b", system: str = "h200", layout: str = "tp4", **given: Any) -> Pool:
    """Return a pool of vLLM."""
    prepared, _ = model(name)
    return deploy(
        prepared, catalogue().system(system), Layout.parse(layout), engine("vllm"),
        weights="native", kv="bf16", **given,
    )  # fmt: skip


@pytest.mark.parametrize("users", [1, 48])
def test_the_pace_is_the_correction_of_an_estimate(users: int) -> None:
    question = Question(
        "llama-3.1-70b", ("h200",), isl=2000, osl=300, concurrency=users, weights="native", kv="bf16",
        engine="vllm",
    )  # fmt: skip
    row = estimate(question, "h200", "tp4").rows[0]
    one = Cluster((pool(),))
    made, found = paced(one, Mean(2000, 300, users=users))
    assert found is not None
    assert found.concurrency == users
    layout = Layout.parse("tp4")
    setting = Setting(
        "llama-3.1-70b", "hgx-h200-8", 4, StudyPool(layout, 1), weights="native", kv="bf16", engine="vllm"
    )
    point = {"isl": [2000.0], "osl": [300.0], "concurrency": [float(users)], "date": [SOFTWARE_DATE]}
    raw = predict(Conditions.of([setting], point), residual=False)
    bare, floor = (float(np.asarray(item)[0]) for item in (raw.tpot.value, raw.tpot.floor))
    assert found.value * bare == pytest.approx(row.figures["tpot_s"].value, rel=0.02)
    assert found.low < found.value < found.high
    assert found.low * bare >= floor * 0.999
    assert made.pools[0].pace == found.value


def test_a_run_at_the_pace_has_the_corrected_tpot() -> None:
    one = Cluster((pool("llama-3.1-8b", "h100", "tp1"),))
    traffic = open_loop(5.0, 600, 512, 128, seed=1)
    made, found = paced(one, mean(traffic))
    assert found is not None
    bare, better = (
        execute(item, traffic, compiled=False).tally.tpot.summary()["mean"] for item in (one, made)
    )
    assert better / bare == pytest.approx(found.value, rel=0.05)


def test_requests_in_flight_follow_the_load() -> None:
    def at(load: Mean, **given: Any) -> float:
        found = paced(Cluster((pool(replicas=2),), **given), load)[1]
        assert found is not None
        return found.concurrency

    few, many = (at(Mean(1000, 200, rate=rate)) for rate in (1.0, 4.0))
    assert 1.0 <= few < many
    # each replica has its share of users and of the rate, and no more than it may run at once
    assert at(Mean(1000, 200, users=64)) == 32
    most = pool().policy.sequences
    assert at(Mean(1000, 200, rate=1e4)) == most == at(Mean(1000, 200, users=10**6))
    assert at(Mean(1000, 200, rate=1.0), scaling=Scaling(15.0, 24.0, 1, 2, 60.0)) == 24


def test_requests_that_come_at_once_are_users() -> None:
    assert mean(requests([1.0], 700, 50)) == Mean(700, 50, users=1)
    assert mean(requests([0.0, 2.0, 4.0], 700, 50)).rate == pytest.approx(0.75)
    assert mean(requests([0.0, 2.0], 700, 50), cached=0.5, users=8) == Mean(700, 50, 0.5, 0.0, 8)


def test_a_prefill_pool_keeps_bare_steps() -> None:
    pools = (pool(role="prefill", replicas=2), pool(role="decode"))
    made, found = paced(Cluster(pools), Mean(1000, 200, rate=1.0))
    assert found is not None
    assert (made.pools[0].pace, made.pools[1].pace) == (1.0, found.value)


def test_without_a_calibration_nothing_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "calibration", lambda: None)
    one = Cluster((pool(),))
    assert paced(one, Mean(1000, 200, users=4)) == (one, None)


def test_the_pace_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*RUN, "--calibrated"]) == 0
    assert "of bare physics, 80 % interval" in capsys.readouterr().out
    assert run([*RUN]) == 0
    assert "bare physics" not in capsys.readouterr().out
    found = []
    for flags in (("--calibrated",), ()):
        assert run([*RUN, "--json", *flags]) == 0
        found.append(json.loads(capsys.readouterr().out))
    corrected, bare = found
    assert bare["pace"] is None
    told = corrected["pace"]
    assert set(told) == {"value", "low", "high", "basis", "concurrency"}
    ratio = corrected["tpot_s"]["mean"] / bare["tpot_s"]["mean"]
    assert ratio == pytest.approx(told["value"], rel=0.1)


def test_a_study_takes_the_pace_where_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    text = (
        "{model: llama-3.1-8b, isl: 512, osl: 64, limits: {ttft: 2s}, candidates: "
        "[{system: h100, layout: tp1}], traffic: {hourly: [5], unit: requests/s, length: 60s}%s}"
    )
    file.write_text(text % "")
    usual = read(file)
    file.write_text(text % ", calibrated: true")
    corrected = read(file)
    assert (usual.calibrated, corrected.calibrated) == (False, True)
    assert corrected == replace(usual, calibrated=True)
    assert Case(usual, 0, 0).key("x") != Case(corrected, 0, 0).key("x")
