"""Deployments as users state them: files, a plan's rows, flags; and the sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.simulate.deployment import read, stated

LOAD = ("--rate", "20", "--requests", "120", "--isl", "512", "--osl", "64")
BASE = ("simulate", "llama-3.1-8b")
SESSIONS = (*BASE, "--on", "h100", "--layout", "tp1", "--session-rate", "0.5")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the JSON of a command that succeeds."""
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_file_and_its_flags_say_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(
        "system: h100\nengine: vllm\nrouter: round-robin\npools:\n"
        "- {role: prefill, layout: tp2, replicas: 2}\n- {role: decode, layout: tp1, replicas: 3}\n",
        encoding="utf-8",
    )
    by_file = answer(capsys, *BASE, "--deployment", str(file), *LOAD)
    flags = (
        "--on",
        "h100",
        "--layout",
        "tp1",
        "--replicas",
        "3",
        "--prefill",
        "tp2",
        "--prefill-replicas",
        "2",
    )
    by_flags = answer(capsys, *BASE, *flags, "--engine", "vllm", "--router", "round-robin", *LOAD)
    assert by_file == by_flags


def test_fields_of_the_whole_hold_for_every_pool() -> None:
    found = stated(
        {
            "system": "h200",
            "drafts": 3,
            "pools": [
                {"role": "prefill", "layout": "tp4", "system": "h100"},
                {"role": "decode", "layout": "dep8", "acceptance": 2.5},
            ],
        },
        "d.yaml",
        engine="vllm",
    )
    assert [pool.system for pool in found.pools] == ["h100", "h200"]
    assert [pool.engine for pool in found.pools] == ["vllm", "vllm"]
    assert found.pools[1].layout == Layout(ep=8, dp=8)
    assert found.pools[1].acceptance == 2.5


@pytest.mark.parametrize("serving", ["aggregated", "disaggregated"])
def test_a_plan_is_a_deployment(serving: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = ("plan", "llama-3.1-70b", "--on", "h200", "--rate", "20", "--serving", serving)
    found = answer(capsys, *plan)
    whole, row = tmp_path / "plan.json", tmp_path / "row.json"
    whole.write_text(json.dumps(found), encoding="utf-8")
    row.write_text(json.dumps(found["rows"][0]), encoding="utf-8")
    simulated = answer(capsys, "simulate", "llama-3.1-70b", "--deployment", str(whole), *LOAD)
    assert simulated["chips"] == found["rows"][0]["chips"]
    assert simulated["usd_per_request"] > 0
    assert simulated == answer(capsys, "simulate", "llama-3.1-70b", "--deployment", str(row), *LOAD)


def test_a_system_that_would_not_be_used_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "d.yaml"
    file.write_text("{system: h100, layout: tp1}", encoding="utf-8")
    assert run([*BASE, "--deployment", str(file), "--on", "b200", *LOAD]) == 2
    assert "--on b200 is not used" in capsys.readouterr().err
    file.write_text("{layout: tp1}", encoding="utf-8")
    assert run([*BASE, "--deployment", str(file), *LOAD]) == 2
    assert "names no system" in capsys.readouterr().err
    assert answer(capsys, *BASE, "--deployment", str(file), "--on", "h100", *LOAD)["platform"] == "h100"


def test_autoscaling_follows_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    base = (*BASE, "--on", "h100", "--layout", "tp1", "--rate", "40", "--requests", "2000", "--isl", "1k")
    least = answer(capsys, *base, "--osl", "64")
    scaled = answer(
        capsys, *base, "--osl", "64", "--scale-max", "4", "--scale-target", "8", "--cold-start", "5s",
        "--scale-every", "1s",
    )  # fmt: skip
    assert scaled["deployment"] == "1-4xTP1"
    assert least["chip_hours"] < scaled["chip_hours"] < 4 * scaled["duration_s"] / 3600
    assert scaled["ttft_s"]["p50"] < least["ttft_s"]["p50"]


def test_sessions_wait_for_their_answers_and_grow(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(
        capsys, *SESSIONS, "--turns", "5", "--isl", "1k", "--growth", "500", "--osl", "50", "--think", "2s",
        "--requests", "100",
    )  # fmt: skip
    assert found["requests"] == 100
    # turns bring 1000, 1500 ... 3000 tokens; four of five find what the turn before left, in blocks of 16
    assert 0.55 < found["hit_rate"] < 7000 / 10000
    published = answer(capsys, *SESSIONS, "--workload", "agentic", "--requests", "66", "--isl", "9k")
    assert published["requests"] == 66
    assert published["hit_rate"] > 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layout: tpp4", "d.yaml: layout: Cannot read layout 'tpp4'"),
        ("pools: [{role: both, layot: tp4}]", "d.yaml: pool 1 has a field 'layot'"),
        ("pools: [{role: both}]", "d.yaml: pool 1 has no 'layout'"),
        ("pools: []", "d.yaml: pools is []"),
        ("pools: [{layout: tp4, role: decode}]", "Pools with roles decode"),
        ("{pools: [{layout: tp4}], layout: tp4}", "pools and a layout"),
        ("{layout: tp4, replicas: 1.5}", "d.yaml: replicas = 1.5 is not a whole number"),
        ("{layout: tp4, replicas: zero}", "d.yaml: replicas = 'zero' is not a quantity"),
        ("{layout: tp4, weights: fp3}", "d.yaml: weights = 'fp3'"),
        ("{layout: tp4, router: magic}", "d.yaml: router = 'magic'"),
        ("{layout: tp4, drafts: 2, acceptance: 4}", "d.yaml: acceptance = 4 tokens"),
        ("{layout: tp4, scaling: {max: 4}}", "d.yaml: scaling has no 'target'"),
        ("{layout: tp4, replicas: 2, scaling: {max: 4, target: 8, cold_start: 1min}}", "both replicas and"),
        ("{layout: tp4, scaling: {min: 5, max: 4, target: 8, cold_start: 1min}}", "fewer than at least 5"),
        ("{layout: tp4pp2, scaling: {max: 4, target: 8, cold_start: 1min}}", "without pipeline stages"),
        ("[1, 2]", "not a list of fields"),
        ("{schema: assay-answer-1, rows: []}", "the plan found no deployment"),
        ("{deployment: TP4, layout: {system: h200}}", "not of a plan's row"),
        (
            "{deployment: TP4, layout: {experts: {replicas: 2}}}",
            "has experts = {'replicas': 2}, which the sim",
        ),
        ("{layout: tp4", "not valid YAML"),
    ],
)
def test_mistakes_name_file_and_field(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read(file)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*BASE, *LOAD), "Nothing serves"),
        ((*BASE, *LOAD, "--deployment", "nothing.yaml"), "does not exist"),
        ((*BASE, *LOAD, "--deployment", "pyproject.toml", "--layout", "tp1"), "--layout and --deployment"),
        (
            (*BASE, *LOAD, "--on", "h100", "--layout", "tp1", "--scale-max", "4"),
            "--scale-target and --cold-start",
        ),
        (
            (*BASE, *LOAD, "--on", "h100", "--layout", "tp1", "--turns", "4"),
            "--turns goes with --session-rate",
        ),
        ((*SESSIONS, "--turns", "4"), "Sessions need --isl, --growth, --osl, --think too"),
        ((*SESSIONS, "--workload", "chat"), "no published sessions"),
        ((*SESSIONS, "--rate", "3"), "More than one load is given: --rate and --session-rate"),
    ],
)
def test_mistakes_of_flags(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(list(arguments)) in (2, 3)
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err
