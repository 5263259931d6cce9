"""Confidence over seeds: Student's t, the interval of every figure, processes side by side, Ctrl-C."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import run
from assay.cli.simulate_job import Asked
from assay.cli.simulate_seeds import one
from assay.errors import BadInput, UnknownName
from assay.simulate.confidence import means, over, student
from assay.simulate.parallel import each

BASE = ("simulate", "llama-3.1-8b", "--on", "h100", "--layout", "tp1")
SMALL = (*BASE, "--rate", "20", "--requests", "120", "--isl", "512", "--osl", "64")


@pytest.mark.parametrize(
    ("degrees", "level", "expected"),
    # tables of Student's t: two-sided 90 % and 95 %
    [(1, 0.9, 6.314), (2, 0.9, 2.920), (5, 0.9, 2.015), (10, 0.95, 2.228), (30, 0.9, 1.697)],
)
def test_student(degrees: int, level: float, expected: float) -> None:
    assert student(degrees, level) == pytest.approx(expected, abs=6e-4)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draws = np.random.default_rng(1).normal(5.0, 2.0, (2000, 4))
    held = 0
    for row in draws:
        found = over([{"ttft_s": {"p99": float(value)}} for value in row])["ttft_s.p99"]
        held += found["low"] <= 5.0 <= found["high"]
    assert 0.88 < held / 2000 < 0.92


def test_means_keep_the_shape_of_an_outcome() -> None:
    runs = [
        {"ttft_s": {"p50": 1.0}, "completed": 10, "usd": None, "notes": ["a"], "compiled": True},
        {"ttft_s": {"p50": 3.0}, "completed": 10, "usd": 2.0, "notes": ["b"], "compiled": True},
    ]
    found = means(runs)
    assert found == {"ttft_s": {"p50": 2.0}, "completed": 10, "usd": None, "notes": ["a"], "compiled": True}
    assert set(over(runs)) == {"ttft_s.p50", "completed"}


def test_processes_say_what_one_process_says() -> None:
    assert sorted(each(math.sqrt, [4.0, 9.0, 16.0], 2)) == [(0, 2.0), (1, 3.0), (2, 4.0)]
    assert list(each(math.sqrt, [4.0, 9.0], 1)) == [(0, 2.0), (1, 3.0)]


def unknown(name: str) -> None:
    """Fail as a lookup does."""
    raise UnknownName("model", name, ["llama"])


def killed(_: int) -> None:
    """Die as a process does that memory runs out for."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_errors_of_other_processes_arrive() -> None:
    with pytest.raises(UnknownName, match=r"No model 'lama'. Did you mean llama\?"):
        list(each(unknown, ["lama", "lama"], 2))
    with pytest.raises(BadInput, match="memory may have run out"):
        list(each(killed, [1, 2], 2))


def test_seeds_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--seeds", "3", "--seed", "5", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert run([*SMALL, "--seed", "6", "--json"]) == 0
    single = json.loads(capsys.readouterr().out)
    figure = found["seeds"]["figures"]["ttft_s.p50"]
    assert figure["low"] < figure["mean"] < figure["high"]
    assert found["ttft_s"]["p50"] == figure["mean"]
    assert found["seeds"]["runs"] == 3
    assert figure["low"] - 3e-3 < single["ttft_s"]["p50"] < figure["high"] + 3e-3
    assert run([*SMALL, "--seeds", "2", "--workers", "1"]) == 0
    page = capsys.readouterr().out
    assert "means of 2 seeds; 90% intervals" in page
    assert max(map(len, page.splitlines())) <= 100


def test_seeds_of_a_trace_agree_and_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n", encoding="utf-8")
    assert run([*BASE, "--trace", str(trace), "--seeds", "2", "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("nothing of this load is drawn" in note for note in found["notes"])


def test_what_seeds_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, "--seeds", "2", "--saturation"]) == 2
    assert "of one run" in capsys.readouterr().err
    assert run([*BASE, "--seeds", "2"]) == 2
    assert "No load is given" in capsys.readouterr().err


def test_an_interruption_keeps_the_seeds_that_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[object] = []

    def interrupted(asked: Asked) -> dict[str, Any]:
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(asked)
        return one(asked)

    monkeypatch.setattr("assay.cli.simulate_seeds.one", interrupted)
    assert run([*SMALL, "--seeds", "9", "--workers", "1", "--json"]) == 130
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"]["runs"] == 2
    assert found["notes"][0] == "interrupted: 2 of 9 seeds are counted"


def test_who_stops_listening_ends_the_processes() -> None:
    listening = each(time.sleep, [0.0, 3600.0, 3600.0], 2)
    assert next(listening) == (0, None)
    listening.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20.0
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not multiprocessing.active_children()
