"""`assay simulate` as its users see it: the contract of --json, the page, sentences for mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run

BASE = ("simulate", "llama-3.1-8b", "--on", "h100", "--layout", "tp1")
SMALL = (*BASE, "--rate", "20", "--requests", "120", "--isl", "512", "--osl", "64")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the JSON of a command that succeeds."""
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(
        capsys, *SMALL, "--replicas", "2", "--engine", "vllm", "--router", "round-robin", "--seed", "3"
    )
    assert (found["requests"], found["completed"], found["chips"]) == (120, 120, 2)
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        assert {"mean", "p50", "p90", "p99", "p99_9"} <= set(found[name])
        assert 0 < found[name]["p50"] <= found[name]["p90"] <= found[name]["p99"]
    for name in (
        "duration_s",
        "goodput_per_s",
        "output_tokens_per_s",
        "usd_per_request",
        "joules_per_request",
    ):
        assert found[name] > 0, name
    assert (found["engine"], found["router"], found["seed"]) == ("vllm", "round-robin", 3)


def test_the_same_seed_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    once, again, other = (answer(capsys, *SMALL, "--seed", seed) for seed in ("1", "1", "2"))
    assert once == again
    assert once["ttft_s"] != other["ttft_s"]


def test_turns_of_a_trace_wait_for_the_answer_before_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trace, log = tmp_path / "agents.csv", tmp_path / "log.csv"
    trace.write_text(
        "arrival_s,input_tokens,output_tokens,session,turn,e2e_s\n"
        "0,4000,300,a,0,1.0\n3,5000,300,a,1,1.0\n7,6000,300,a,2,1.0\n7.5,100,5,b,0,\n",
        encoding="utf-8",
    )

    def sent(*flags: str) -> tuple[list[float], list[float], str]:
        """Return when each request of session a was sent and how long it took, and what stderr said."""
        assert run([*BASE, "--trace", str(trace), "--log", str(log), *flags, "--json"]) == 0
        with log.open(encoding="utf-8") as file:
            rows = {int(row["isl"]): row for row in csv.DictReader(file)}
        mine = [rows[isl] for isl in (4000, 5000, 6000)]
        said = capsys.readouterr().err
        return [float(row["arrival_s"]) for row in mine], [float(row["e2e_s"]) for row in mine], said

    at, took, said = sent()
    assert at[1] == pytest.approx(at[0] + took[0] + 2.0, abs=1e-6)
    assert at[2] == pytest.approx(at[1] + took[1] + 3.0, abs=1e-6)
    assert "2 of 4 requests wait for the answer" in said
    at, took, _ = sent("--sessions", "closed", "--speed", "2")
    assert at[1] == pytest.approx(at[0] + took[0] + 1.0, abs=1e-6)
    at, _, said = sent("--sessions", "open")
    assert at == [0.0, 3.0, 7.0]
    assert not said


def test_sessions_of_a_trace_that_does_not_know_its_pauses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,10,2\n1,10,2\n", encoding="utf-8")
    assert run([*BASE, "--trace", str(trace), "--sessions", "closed"]) == 2
    assert "does not say when its turns ended" in capsys.readouterr().err
    assert run([*SMALL, "--sessions", "closed"]) == 2
    assert "go with --trace" in capsys.readouterr().err


def test_users_and_a_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    closed = answer(capsys, *BASE, "--concurrency", "8", "--requests", "40", "--isl", "256", "--osl", "32")
    assert closed["most_in_flight"] == 8
    trace = tmp_path / "trace.csv"
    rows = [f"{k * 0.5},{200 + k},{20 + k}" for k in range(30)]
    trace.write_text(
        "\n".join(["arrival_s,input_tokens,output_tokens", *rows, "x,y,z"]) + "\n", encoding="utf-8"
    )
    assert run([*BASE, "--trace", str(trace), "--speed", "2", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["completed"] == 30
    assert "line 32" in output.err


def test_two_pools(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, *SMALL, "--prefill", "tp2", "--prefill-replicas", "2", "--replicas", "3")
    assert found["chips"] == 7
    assert found["deployment"] == "2xTP2 prefill -> 3xTP1 decode"


def test_faults_and_their_retries(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("faults: [{at: 1s, replica: 0, for: 3s}]\n", encoding="utf-8")
    found = answer(capsys, *SMALL, "--replicas", "2", "--faults", str(faults))
    assert found["completed"] == 120
    assert found["retries"] > 0


def test_saturation(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, *SMALL, "--ttft", "60ms", "--saturation")
    tipping = found["saturation"]
    assert 20 < tipping["load"] < tipping["beyond"] < tipping["load"] * 1.03


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--ttft", "40ms"]) == 0
    page = capsys.readouterr().out
    for word in (
        "TTFT",
        "p99.9",
        "120 of 120 requests completed",
        "waiting",
        "running",
        "USD",
        "within the limits",
    ):
        assert word in page
    assert max(map(len, page.splitlines())) <= 100


def test_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log, view = tmp_path / "log.csv", tmp_path / "trace.json"
    assert run([*SMALL, "--log", str(log), "--perfetto", str(view)]) == 0
    capsys.readouterr()
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("request,arrival_s,isl,osl")
    assert len(lines) == 121
    events = json.loads(view.read_text(encoding="utf-8"))["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 240
    # slices of a lane follow each other
    lanes: dict[tuple[int, int], float] = {}
    for event in slices:
        lane = (event["pid"], event["tid"])
        assert event["ts"] >= lanes.get(lane, 0.0) - 1e-3
        lanes[lane] = event["ts"] + event["dur"]


def test_parquet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run([*SMALL, "--log", str(tmp_path / "log.parquet")]) == 0
    capsys.readouterr()
    table = parquet.read_table(tmp_path / "log.parquet")
    assert table.num_rows == 120
    assert table["status"].unique().to_pylist() == ["completed"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (BASE, 2, "No load is given"),
        ((*BASE, "--rate", "1", "--isl", "10M", "--osl", "10"), 2, "exceed the context"),
        ((*SMALL, "--concurrency", "4"), 2, "More than one load"),
        ((*BASE, "--trace", "nothing.jsonl"), 2, "does not exist"),
        ((*SMALL, "--speed", "2"), 2, "--speed goes with --trace"),
        ((*SMALL, "--router", "magic"), 2, "router"),
        ((*SMALL, "--faults", "nothing.yaml"), 2, "cannot be read"),
        ((*SMALL, "--log", "requests.txt"), 2, "neither .parquet nor .csv"),
        ((*BASE, "--concurrency", "4", "--saturation"), 2, "searches over request rates"),
        (("simulate", "llama-3.1-8b", "--on", "h100", "--layout", "tp16", "--rate", "1"), 2, "TP over 16"),
        (("simulate", "kimi-k2", "--on", "h100", "--layout", "tp8", "--rate", "1"), 3, "does not fit"),
        (("simulate", "llama-3.1-8b", "--on", "groqrack", "--layout", "tp1", "--rate", "1"), 2, "estimate"),
        (("simulate", "no-such-model", "--on", "h100", "--layout", "tp1", "--rate", "1"), 2, "No model"),
    ],
)
def test_mistakes_are_sentences(
    arguments: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(list(arguments)) == code
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err


def test_an_interruption_keeps_what_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.simulate import building

    monkeypatch.setattr(building, "PAUSE", 100)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.cli.progress._Bar.show", stop)
    monkeypatch.setattr("assay.cli.progress._PATIENCE", -1.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run([*SMALL, "--json"]) == 130
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["completed"] < found["requests"]
    assert "interrupted" in found["notes"][0]
