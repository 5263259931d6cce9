"""Speculation: yields, acceptance by position, labels, a gain that vanishes, copies of recurrent states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.engine.breakdown import breakdown
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import replica
from assay.engine.speculation import (
    Speculation,
    acceptance_by_position,
    acceptance_range,
    draft_counts,
    published_acceptance,
    speculation,
    usual_yield,
)
from assay.engine.split import decode_seconds
from assay.engine.step import Batch, Step, Workload, seconds
from assay.llm.layout import Layout
from assay.plan import answer, estimate
from assay.plan.predict import skew
from assay.plan.speculate import fitted_acceptance, label, options
from assay.study.question import Question


def step(name: str, layout: str, drafts: int, system: str = "b200") -> Step:
    prepared, _ = model(name)
    copy = replica(prepared, catalogue().system(system), (Layout.parse(layout),), "native", "fp8", engine())
    yields = usual_yield(drafts, name) if drafts else 1.0
    return copy.step(Workload(2048.0, 512.0, drafts=float(drafts), yields=yields), skew())


def test_yields_multiply_acceptances() -> None:
    each = acceptance_by_position(3, "deepseek-r1")
    assert usual_yield(3, "deepseek-r1") == pytest.approx(1 + each[0] + each[0] * each[1] + each.prod())
    assert usual_yield(0) == 1.0


@pytest.mark.parametrize("name", ["deepseek-r1", "glm-5.2", "an-unknown-model"])
def test_acceptances_are_within_their_range(name: str) -> None:
    for drafts in draft_counts():
        low, high = acceptance_range(drafts, name)
        assert low <= usual_yield(drafts, name) <= high


def test_every_acceptance_has_a_source_and_a_range() -> None:
    for fact in catalogue().table("engines/speculation")["by_position"].values():
        assert {"value", "low", "high", "source", "date", "basis", "note"} <= set(fact)
        assert all(fact["low"] <= value <= fact["high"] for value in fact["value"])


def test_what_a_source_states_wins_over_the_usual() -> None:
    found = speculation("mtp", 3, np.array([np.nan, 2.2]), "glm-5")
    assert found.yields[0] == pytest.approx(usual_yield(3, "glm-5"))
    assert found.yields[1] == 2.2
    assert not speculation("unknown", 3, np.array([2.0])).active


def test_options_and_labels() -> None:
    own, _ = model("deepseek-r1")
    without, _ = model("llama-3.1-8b")
    assert options("none", own) == (None,)
    drafts = [item.drafts for item in options("mtp", own) if item]
    assert drafts == list(draft_counts())
    assert options("auto", own)[0] is None
    assert label(own, 3.0) == "MTP3"
    assert label(without, 2.0) == "EAGLE2"
    assert label(own, 0.0) == ""


def test_the_gain_vanishes_with_the_batch() -> None:
    plain, drafting = step("deepseek-r1", "dep8", 0), step("deepseek-r1", "dep8", 3)
    gains = []
    for batch in (8.0, 128.0, 2048.0, 8192.0):
        without = decode_seconds(plain, engine(), batch)
        spent = decode_seconds(drafting, engine(), batch) / drafting.workload.yields
        gains.append(float((without / spent)[0, 0]))
    assert gains[0] > 1.3
    assert gains[-1] < 1.0
    assert gains[0] > gains[-2] > gains[-1]


def test_drafts_have_their_part_of_the_step() -> None:
    compiled = step("deepseek-r1", "tp8", 3)
    batch = Batch(np.full((1, 1), 16.0), np.full((1, 1), 16.0))
    parts = breakdown(compiled, batch)
    assert float(parts.draft[0, 0]) > 0
    assert float(parts.seconds[0, 0]) == pytest.approx(float(seconds(compiled, batch)[0, 0]), rel=1e-6)
    quiet = breakdown(step("deepseek-r1", "tp8", 0), batch)
    assert float(quiet.draft[0, 0]) == 0.0


def test_recurrent_states_are_copied_for_every_draft() -> None:
    """Bytes of a state are read once and written for each draft; a cache is read once whatever is drafted."""
    batch = Batch(np.full((1, 1), 64.0), np.full((1, 1), 64.0))
    moved = {
        (name, drafts): float(breakdown(step(name, "tp8", drafts, "h200"), batch).cache[0, 0])
        for name in ("qwen3.5-397b-a17b", "deepseek-r1")
        for drafts in (0, 3)
    }
    recurrent = moved["qwen3.5-397b-a17b", 3] / moved["qwen3.5-397b-a17b", 0]
    attention = moved["deepseek-r1", 3] / moved["deepseek-r1", 0]
    assert recurrent > attention + 0.3


@given(p=st.floats(0.05, 0.95), drafts=st.integers(1, 5), slower=st.floats(1.0, 2.0))
def test_the_fit_finds_the_acceptance_it_was_given(p: float, drafts: int, slower: float) -> None:
    yields = sum(p**k for k in range(drafts + 1))
    gain = np.array([yields / slower])
    found = fitted_acceptance(gain, np.array([slower]), np.array([1.0]), drafts)
    assert float(found[0]) == pytest.approx(p, abs=1e-3)


def test_plans_draft_where_it_helps() -> None:
    base = Question("deepseek-r1", platforms=("b200",), serving="aggregated")
    fast = answer(replace(base, speculation="auto", objective="latency")).rows[0]
    assert fast.deployment.speculation.startswith("MTP")
    plain = answer(replace(base, objective="latency")).rows[0]
    assert float(fast.figures["tpot_s"].value) < float(plain.figures["tpot_s"].value)
    always = answer(replace(base, speculation="mtp", top=3))
    assert all(row.deployment.speculation for row in always.rows)


def test_a_number_of_drafts_that_is_not_published_is_the_better_one() -> None:
    from assay.plan import predict
    from assay.study.conditions import Conditions, Pool, Setting

    setting = Setting(
        "deepseek-r1", "gb200-nvl72", 8, Pool(Layout.parse("dep8")), weights="fp4", speculation="mtp"
    )
    columns = {"isl": [1024.0], "osl": [1024.0], "concurrency": [4096.0]}

    def tpot(drafts: int) -> float:
        made = predict(Conditions.of([replace(setting, draft_tokens=drafts)], columns), residual=False)
        return float(np.asarray(made.tpot.value)[0])

    assert tpot(0) == pytest.approx(min(tpot(count) for count in draft_counts()))


def test_speculation_knows_whether_it_drafts() -> None:
    assert Speculation(3, np.ones(1), 3).active
    assert not Speculation(0, np.ones(1), 0).active


def test_published_acceptances_fall_with_the_position_and_have_a_source() -> None:
    rows = catalogue().table("engines/acceptance")["rows"]
    for row in rows:
        shares = row["by_position"]
        assert all(0 < share <= 1 for share in shares)
        assert shares == sorted(shares, reverse=True), row
        assert {"model", "method", "source", "date", "basis", "note"} <= set(row)
    found = {share for row in published_acceptance("deepseek-v3") for share in row["by_position"]}
    assert found == {0.85, 0.9}  # arXiv 2412.19437, section 5.4.3
    assert not published_acceptance("llama-3.1-8b")


def test_the_usual_acceptance_is_within_what_runs_publish() -> None:
    for name in ("deepseek-v4-pro", "gpt-oss-120b"):
        one = [row["by_position"][0] for row in published_acceptance(name)]
        assert min(one) - 0.1 <= acceptance_by_position(1, name)[0] <= max(one) + 0.1


def test_stated_acceptance_decides_drafts_and_yield() -> None:
    own, _ = model("deepseek-r1")
    (only,) = options("mtp", own, (0.9, 0.5))
    assert only is not None
    assert only.drafts == 2
    assert float(only.yields[0]) == pytest.approx(1 + 0.9 + 0.45)
    assert options("auto", own, (0.9,))[0] is None
    assert options("none", own, (0.9,)) == (None,)


def drafted(name: str, users: int, **given: object) -> dict[str, Any]:
    question = Question(name, concurrency=users, speculation="mtp", **given)  # type: ignore[arg-type]
    return dict(estimate(question, "h200", "tp8").rows[0].drafting)


def test_an_estimate_says_what_drafts_cost_and_give() -> None:
    made = drafted("deepseek-r1", 32)
    assert made["method"] == "MTP3"
    assert made["yields_range"][0] < made["yields"] < made["yields_range"][1]
    parts = made["plain_step_s"] + made["draft_s"] + made["verify_s"]
    assert parts == pytest.approx(made["step_s"])
    assert made["gain"] == pytest.approx(made["yields"] * made["plain_step_s"] / made["step_s"])
    assert made["draft_s"] > 0
    assert made["state_copy_bytes"] == 0
    gains = [point["gain"] for point in made["by_batch"]]
    assert gains[0] > 1.3
    assert gains[-1] < max(gains)
    assert made["published"] == []


def test_nothing_is_gained_from_some_batch_on() -> None:
    made = drafted("llama-3.3-70b", 8)
    assert made["no_gain_from"] is not None
    assert all((point["gain"] > 1) == (point["batch"] < made["no_gain_from"]) for point in made["by_batch"])


def test_states_are_copied_for_every_draft_of_every_sequence() -> None:
    one, two = (drafted("qwen3.5-27b", 16, acceptance=chances) for chances in ((0.8,), (0.8, 0.8)))
    assert one["state_copy_bytes"] > 0
    assert two["state_copy_bytes"] == pytest.approx(2 * one["state_copy_bytes"], rel=0.2)
    assert one["yields_range"] is None


def test_the_page_shows_the_gain(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["estimate", "deepseek-v3", "--on", "h200", "--layout", "dp2tp8ep16"]
    assert run([*ask, "--speculation", "mtp", "--acceptance", "0.88"]) == 0
    page = capsys.readouterr().out
    for words in ("Speculation MTP1", "1.88 tokens a step", "to verify", "gain", "Published: mtp"):
        assert words in page
    assert run([*ask, "--acceptance", "0.88"]) != 0
    assert "--speculation mtp" in capsys.readouterr().err
