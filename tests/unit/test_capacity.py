"""`assay capacity`: the guide's example, resuming, ranking, and the sentence for each mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import run as command
from assay.errors import BadInput
from assay.plan import capacity
from assay.plan.capacity import Case, compared, copies, kept, run
from assay.plan.capacity_file import read
from assay.plan.traffic import Traffic, arriving, hourly

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "capacity.md"
SMALL = """
model: llama-3.1-8b
isl: 512
osl: 64
traffic: {hourly: [2, 6], length: 20min, rate: 2/s}
candidates:
  - {system: h100, layout: tp1}
  - {name: two, system: h100, layout: tp1, replicas: 2}
"""


def study(tmp_path: Path, text: str = SMALL) -> Path:
    """Write a study and return its path."""
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_of_the_guide(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    block = re.search(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    path = study(tmp_path, block[1])
    assert command(["capacity", str(path), "--workers", "1"]) == 0
    page = capsys.readouterr().out
    assert "99% of the requests within TTFT 2 s, TPOT 30 ms" in page
    assert max(map(len, page.splitlines())) <= 100
    assert len((tmp_path / "study.results.jsonl").read_text(encoding="utf-8").splitlines()) == 8
    assert command(["capacity", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] == found["rows"][0]
    assert (found["runs"], len(found["rows"])) == ({"done": 8, "all": 8}, 8)
    good = [row for row in found["rows"] if row["meets"]]
    assert [row["usd_per_day"] for row in good] == sorted(row["usd_per_day"] for row in good)
    fixed = next(row for row in found["rows"] if (row["candidate"], row["replicas"]) == ("H100", "3"))
    assert fixed["chip_hours_per_day"] == pytest.approx(3 * 24, rel=0.01)


def test_a_second_call_runs_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    usual = capacity.figured

    def counted(case: Case) -> dict[str, Any]:
        ran.append(case.number)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return usual(case)

    monkeypatch.setattr(capacity, "figured", counted)
    asked, results = read(study(tmp_path)), tmp_path / "r.jsonl"
    with pytest.raises(KeyboardInterrupt):
        list(run(asked, results, 1))
    assert len(kept(results)) == 1
    with results.open("a", encoding="utf-8") as file:
        file.write('{"key": "cut sho')  # as a crash leaves it
    whole = list(run(asked, results, 1))
    assert ran == [0, 1, 1]
    assert list(run(asked, results, 1)) == whole
    assert [json.loads(line)["candidate"] for line in results.read_text().splitlines()][1] == "two"
    # another rate is another study; its runs go into the same file
    list(run(read(study(tmp_path, SMALL.replace("2/s", "3/s"))), results, 1))
    assert len(ran) == 5


def test_ranking_and_refusals(tmp_path: Path) -> None:
    asked = read(study(tmp_path))
    found = compared(asked, list(run(asked, tmp_path / "r.jsonl", 1)))
    assert [row["candidate"] for row in found["rows"]] == ["TP1", "two"]
    assert found["rows"][1]["usd_per_day"] == pytest.approx(2 * found["rows"][0]["usd_per_day"], rel=0.01)
    assert found["refused"] == []
    large = read(study(tmp_path, SMALL.replace("model: llama-3.1-8b", "model: llama-3.1-405b")))
    refused = compared(large, list(run(large, tmp_path / "r.jsonl", 1)))["refused"]
    assert [item["candidate"] for item in refused] == ["TP1", "two"]
    assert "does not fit" in refused[0]["reason"]
    row = {"good_share": 0.5, "usd_per_day": 1.0, "chip_hours_per_day": 1.0, "notes": []}
    lines = {"key": "", "candidate": "", "seed": 0}
    bad = [
        (Case(asked, number, 0), row | lines | {"good_share": share})
        for number, share in ((0, 0.2), (1, 0.9))
    ]
    ranked = compared(asked, bad)
    assert ranked["best"] is None
    assert [item["candidate"] for item in ranked["rows"]] == ["two", "TP1"]


def test_seeds_give_intervals(tmp_path: Path) -> None:
    asked = read(study(tmp_path, SMALL.replace("isl: 512", "seeds: 2\nisl: 512")))
    results = tmp_path / "r.jsonl"
    row = compared(asked, list(run(asked, results, 2)))["rows"][0]
    assert row["seeds"] == 2
    interval = row["intervals"]["goodput_per_s"]
    assert interval["low"] < row["goodput_per_s"] == interval["mean"] < interval["high"]


def test_hours_follow_their_rates() -> None:
    traffic = Traffic(rates=(1.0, 3.0, 5.0), begin=5400.0, length=7200.0, isl=10, osl=5)
    levels, ends = traffic.hours()
    assert (levels.tolist(), ends.tolist()) == ([3.0, 5.0, 1.0], [1800.0, 5400.0, 7200.0])
    assert traffic.expected == 3 * 1800 + 5 * 3600 + 1 * 1800
    whole, _ = arriving(traffic, 1)
    parts = list(hourly(traffic, 1))
    for times in (whole.arrival, np.concatenate([part.arrival for part in parts])):
        assert (np.diff(times) >= 0).all()
        counts, _ = np.histogram(times, [0.0, *ends])
        assert np.abs(counts - [5400, 18000, 1800]).max() < 4 * np.sqrt(18000)


def test_long_traffic_comes_by_the_hour_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = read(study(tmp_path))
    usual = capacity.figured(Case(asked, 1, 0))
    monkeypatch.setattr(capacity, "STREAMED", 0)
    monkeypatch.setattr("assay.simulate.run.available", lambda: False)
    streamed = capacity.figured(Case(asked, 1, 0))
    assert streamed["goodput_per_s"] == pytest.approx(usual["goodput_per_s"], rel=0.1)
    assert streamed["tpot_s"]["mean"] == pytest.approx(usual["tpot_s"]["mean"], rel=0.05)


def test_a_trace_and_pools_that_do_not_scale(tmp_path: Path) -> None:
    rows = [f"{k},{300 + k},{20 + k % 7}" for k in range(40)]
    (tmp_path / "t.csv").write_text(
        "\n".join(["arrival_s,input_tokens,output_tokens", *rows]), encoding="utf-8"
    )
    text = """
model: llama-3.1-8b
traffic: {trace: t.csv, speed: 2}
scaling: [{target: 4, cold_start: 1min}]
candidates:
  - {system: h100, pools: [{role: prefill, layout: tp1}, {role: decode, layout: tp1}]}
  - {system: h100, layout: tp1, replicas: 3}
"""
    asked = read(study(tmp_path, text))
    assert [copies(item) for item in asked.candidates] == ["1+1", "1-3"]
    assert "not autoscaled" in asked.notes[0]
    (first, *_) = [figures for _, figures in run(asked, tmp_path / "r.jsonl", 1)]
    assert (first["requests"], first["completed"]) == (40, 40)
    assert 19 < first["duration_s"] < 25


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model: llama-3.1-8b", "", "study.yaml has no 'model'"),
        ("isl: 512", "isl: many", "study.yaml: isl = 'many'"),
        ("isl: 512", "sahre: 1", "a field 'sahre'"),
        ("isl: 512", "share: 2", "share = 2 is more than all"),
        ("isl: 512", "limits: {ttft: none, tpot: none}", "every candidate would do"),
        ("isl: 512", "routers: [magic]", "routers: 1 is 'magic'"),
        ("isl: 512", "faults: none.yaml", "faults = "),
        ("isl: 512", "scaling: [{target: 3}]", "scaling: 1 has no 'cold_start'"),
        ("hourly: [2, 6]", "hourly: []", "traffic: hourly is []"),
        ("hourly: [2, 6]", "hourly: [2, x]", "hourly is not a list of rates"),
        ("hourly: [2, 6]", "hourly: [2, -6]", "negative"),
        ("hourly: [2, 6]", "hourly: r.csv", "does not exist"),
        ("hourly: [2, 6]", "hourly: study.yaml", "has no column ''"),
        ("hourly: [2, 6]", "hourly: [2], trace: x", "trace and hourly"),
        ("hourly: [2, 6]", "trace: x", "traffic: length does not go with trace"),
        ("hourly: [2, 6], length: 20min, rate: 2/s", "trace: x", "does not exist"),
        ("hourly: [2, 6]", "unit: requests/day, hourly: [2, 6]", "traffic: unit = 'requests/day'"),
        ("- {system: h100, layout: tp1}", "- {layout: tp1}", "candidate 1 names no system"),
        ("- {system: h100, layout: tp1}", "- {system: h101, layout: tp1}", "No system 'h101'"),
        ("- {system: h100, layout: tp1}", "- {system: h100}", "candidate 1 has no 'layout'"),
    ],
)
def test_mistakes_name_the_field(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["capacity", str(study(tmp_path, SMALL.replace(old, new)))]) in (2, 3)
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err


def test_nothing_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = study(tmp_path, SMALL.replace("isl: 512", "isl: 512\nlimits: {ttft: 1us}"))
    assert command(["capacity", str(path), "--workers", "1"]) == 3
    output = capsys.readouterr()
    assert "no candidate keeps them; nearest" in output.out
    assert "Add replicas" in output.err
    with pytest.raises(BadInput):
        read(tmp_path / "none.yaml")
