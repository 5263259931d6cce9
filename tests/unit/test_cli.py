"""The command line: exit codes, sentences, contract of the JSON. Answers are made by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import assay.cli.estimate
import assay.cli.plan
from assay.cli import VERBS, run
from assay.errors import DoesNotFit
from assay.study.answer import Answer
from assay.study.question import Question

#: Names of a row that scripts rely on; the figures among them are `{value, low, high, floor}`.
FIGURES = {
    "ttft_s",
    "tpot_s",
    "output_tokens_per_s_per_user",
    "output_tokens_per_s_per_chip",
    "total_tokens_per_s_per_chip",
    "usd_per_million_output_tokens",
    "joules_per_output_token",
}
NAMES = {"platform", "system", "chips", "deployment", "fits", "limited_by", "basis"}
SOURCE = str(Path(__file__).resolve().parents[2] / "src")


def test_plan_prints_the_page(asked: list[Question], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "kimi-k2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("kimi-k2-instruct  1.03 T parameters")
    assert "\x1b" not in out
    assert err == ""
    assert asked[0] == Question("kimi-k2", isl=1155, osl=211, ttft=2.0, tpot=0.03, workload="chat")


def test_flags_become_si(asked: list[Question]) -> None:
    line = (
        "plan deepseek-r1 --on h200,b200 --on mi355x --isl 4k --osl 1000 --cached 90% --ttft 500ms"
        " --tpot 30ms --rate 300/min --chips 16 --objective energy --engine vllm --price own --weights fp8"
        " --kv fp8 --top 3"
    )
    assert run(line.split()) == 0
    expected = Question(
        "deepseek-r1",
        platforms=("h200", "b200", "mi355x"),
        isl=4000,
        osl=1000,
        cached=0.9,
        ttft=0.5,
        tpot=0.03,
        rate=5.0,
        chips=16,
        objective="energy",
        engine="vllm",
        price="own",
        weights="fp8",
        kv="fp8",
        top=3,
    )
    assert asked[0].cached == pytest.approx(0.9)
    assert replace(asked[0], cached=0.9) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", (1155, 211, 0.0, 2.0, 0.03, "chat")),
        ("--workload agentic", (64_000, 400, 0.9, 4.5, 0.02, "agentic")),
        ("--workload rag", (2588, 291, 0.0, 4.5, 0.08, "summarize")),
        ("--workload agentic --osl 100", (64_000, 100, 0.9, pytest.approx(3.2), 0.03, "")),
        ("--isl 1000 --osl 1000", (1000, 1000, 0.0, 2.0, 0.03, "")),
        ("--isl 20k --osl 1k", (20_000, 1000, 0.0, 10.0, 0.03, "")),
        ("--ttft none", (1155, 211, 0.0, None, 0.03, "chat")),
        ("--ttft none --tpot none", (1155, 211, 0.0, None, None, "chat")),
        ("--tpot 10ms", (1155, 211, 0.0, 2.0, 0.01, "chat")),
    ],
)
def test_workload_and_limits(asked: list[Question], flags: str, expected: tuple[Any, ...]) -> None:
    assert run(["plan", "kimi-k2", *flags.split()]) == 0
    found = asked[0]
    assert (found.isl, found.osl, found.cached, found.ttft, found.tpot, found.workload) == expected


def test_json_contract(asked: list[Question], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "kimi-k2", "--on", "all", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert asked[0].platforms == ()
    for row in data["rows"]:
        assert set(row) >= FIGURES | NAMES
        for name in FIGURES:
            assert row[name] is None or set(row[name]) == {"value", "low", "high", "floor"}
    assert set(data["fronts"]) == {row["platform"] for row in data["rows"]}
    assert {"schema", "question", "provenance", "refused"} <= set(data)


@pytest.mark.parametrize("flags", [["--csv"], ["--csv", "-"]])
def test_csv_to_standard_output(
    asked: list[Question], capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run(["plan", "kimi-k2", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("platform,system,chips,deployment,")
    assert len(lines) == 6


def test_csv_into_a_file_beside_the_page(
    asked: list[Question], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["plan", "kimi-k2", "--csv", str(tmp_path / "rows.csv")]) == 0
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8").count("\n") == 6
    assert capsys.readouterr().out.startswith("kimi-k2-instruct")


def test_nothing_meets_the_slo_is_three(
    asked: list[Question], monkeypatch: pytest.MonkeyPatch, kimi: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        assay.cli.plan, "answer", lambda question, **_: replace(kimi, question=question, rows=kimi.rows[-1:])
    )
    assert run(["plan", "kimi-k2", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"][0]["meets"] is False
    assert err.startswith("assay: Nothing meets TTFT ≤ 2 s, TPOT ≤ 30 ms. Closest is h100")
    assert err.count("\n") == 1


def test_does_not_fit_is_three(
    asked: list[Question], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> Answer:
        raise DoesNotFit("TP8 needs 130 GB a chip, 127 GB are free.", "Use 16 chips.")

    monkeypatch.setattr(assay.cli.estimate, "predict", refuse)
    assert run(["estimate", "kimi-k2", "--on", "h200", "--layout", "tp8"]) == 3
    assert capsys.readouterr().err == "assay: TP8 needs 130 GB a chip, 127 GB are free. Use 16 chips.\n"


def test_estimate_has_no_limits_and_explains(
    asked: list[Question], capsys: pytest.CaptureFixture[str]
) -> None:
    line = "estimate deepseek-r1 --on b200 --layout dep8 --isl 1k --osl 1k --concurrency 64 --weights fp8"
    assert run([*line.split(), "--explain"]) == 0
    assert (asked[0].platforms, asked[0].concurrency) == (("b200", "dep8"), 64)
    assert (asked[0].ttft, asked[0].tpot, asked[0].weights) == (None, None, "fp8")
    assert "80 % range" in capsys.readouterr().out


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSAY_DEBUG", "1")
    assert run(["model", "nosuch"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_assay_is_one_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> Answer:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(assay.cli.plan, "answer", fail)
    assert run(["plan", "kimi-k2"]) == 1
    err = capsys.readouterr().err
    assert "A fault in assay (ZeroDivisionError: division by zero)" in err
    assert "Traceback" not in err


def test_an_interruption_says_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Question, *, progress: Callable[[str, float], None], **__: Any) -> Answer:
        progress("h200", 0.25)
        raise KeyboardInterrupt

    monkeypatch.setattr(assay.cli.plan, "answer", interrupted)
    assert run(["plan", "kimi-k2"]) == 130
    assert capsys.readouterr().err == "assay: Interrupted. 25% was done, last: h200.\n"


def test_facts_pages_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("chip h100", "system gb200-nvl72", "model kimi-k2", "chip grace", "list workloads"):
        assert run(line.split()) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 100
        assert run([*line.split(), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("what", ["models", "chips", "systems", "prices", "workloads"])
def test_lists_fit_the_terminal_and_filter(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8
    assert max(map(len, lines)) <= 100
    assert run(["list", what, "zzzz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_model_json_has_the_names_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "kimi-k2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["params_total"] == 1026408209408
    assert data["kv_bytes_per_token"] == 70272
    assert data["layers"] == 61
    assert data["params_active_definition"]


def test_chip_facts_carry_unit_source_date_and_conflicts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chip", "h100"]) == 0
    out = capsys.readouterr().out
    assert "3.35 TB/s" in out
    assert "or 1.73 kW" in out
    assert "MLE_ACC" in out.partition("Sources")[2]


def test_check_is_zero_without_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from assay.catalogue.check import Finding
    from assay.cli import check

    monkeypatch.setattr(check, "findings", lambda **_: [Finding("warning", "a.yaml", "tdp", "odd")])
    assert run(["check"]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 1 warnings\n")
    monkeypatch.setattr(check, "findings", lambda **_: [Finding("error", "a.yaml", "tdp", "absurd")])
    assert run(["check", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)[0]["message"] == "absurd"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: assay {verb}" in out
    assert "--json" in out
    assert "\x1b" not in out


def assay_process(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": SOURCE}
    return subprocess.Popen(
        [sys.executable, "-m", "assay", *arguments],
        text=True,
        env=environment,
        stderr=subprocess.PIPE,
        **more,
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from assay.cli import run; run(['--help']);"
        "print(sorted({'numpy', 'yaml', 'pydantic', 'assay.plan', 'assay.report'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_error() -> None:
    with assay_process("list", "models", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_version_and_exit_code_of_the_program() -> None:
    with assay_process("--version", stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=30)[0].startswith("assay 0")
    with assay_process("chip", "h1000", stdout=subprocess.PIPE) as process:
        process.communicate(timeout=30)
        assert process.returncode == 2


def test_ctrl_c_is_quiet() -> None:
    code = (  # a shell starts its background jobs with the signal ignored
        "import signal, time, assay.cli, assay.cli.plan as plan\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(question, **_):\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "plan.answer = wait\n"
        "import sys; sys.argv = ['assay', 'plan', 'kimi-k2']; assay.cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "assay: Interrupted.\n"


def test_own_facts_may_be_given_twice_and_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rate in (("one", "1 TB/s"), ("two", "2 TB/s")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.yaml").write_text(
            f"kind: gpu\nid: chip-{name}\nbf16: 1 PFLOPS\n"
            f"memory_capacity: 100 GB\nmemory_bandwidth: {rate}\n",
            encoding="utf-8",
        )
    facts = ["--facts", str(tmp_path / "one"), "--facts", str(tmp_path / "two" / "two.yaml")]
    assert run(["chip", "chip-one", *facts, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memory_bandwidth"] == 1e12
    assert run(["chip", "chip-two", *facts]) == 0
    assert "100 GB hbm at 2 TB/s" in capsys.readouterr().out
    monkeypatch.setenv("ASSAY_FACTS", str(tmp_path / "two"))
    assert run(["chip", "chip-two"]) == 0
