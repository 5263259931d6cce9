"""`assay simulate --trace` with rows that cannot be used: each is named by line, the rest is simulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.cli import run
from assay.workload.traces import read, within

HEAD = "arrival_s,input_tokens,output_tokens"
BASE = ("simulate", "llama-3.1-8b", "--on", "h100", "--layout", "tp1", "--json", "--trace")


@pytest.mark.parametrize(
    ("rows", "completed", "messages"),
    [
        (["0,100,10", "1,200", "2,abc,10", "3,100,10"], 2, ["2 of 4 rows", "line 3: 2 fields", "line 4: "]),
        (["5,100,10", "-3,100,10", "6,100,10"], 2, ["1 of 3 rows", "line 3: arrival_s is '-3'"]),
        (["0,0,10", "1,100,0", "2,100,10"], 1, ["line 2: 0 input tokens", "line 3: 0 output tokens"]),
        (["0,10000000,10", "1,100,10", "2,100,10000000"], 1, [
            "line 2: 10,000,000 input and 10 output tokens exceed the context of llama-3.1-8b",
            "line 4: 100 input and 10,000,000 output",
        ]),
        (["0,99999999999999999999,10", "1,100,5"], 1, ["line 2: 100,000,000,000,000,000,000 input"]),
        (["5,100,10", "1,100,10", "3,100,10"], 3, ["Times go back at 2 rows, the first at line 3"]),
        (["1,100,10", "1,100,10", "1,100,10", "2,100,10"], 4, ["have the time of the row before"]),
        (["0,100,10", *["1,1,0"] * 5], 1, ["line 3", "line 4", "line 5", "and 2 more"]),
    ],
)  # fmt: skip
def test_bad_rows_are_named_and_the_rest_runs(
    rows: list[str], completed: int, messages: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    assert run([*BASE, str(trace)]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["completed"], found["requests"]) == (completed, completed)
    for message in messages:
        assert message in output.err
    assert "Traceback" not in output.err


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (f"{HEAD}\n0,10000000,10\n", (), "No request of 't.csv' can be served: line 2: 10,000,000 input"),
        (
            f"{HEAD}\n0,100,10\n1,0,10\n",
            ("--on-bad", "refuse"),
            "'t.csv' has bad rows: line 3: 0 input tokens",
        ),
        (f"{HEAD}\n", (), "it has a header and nothing else"),
        ("", (), "is empty"),
        ("hello world\nfoo\n", (), "Name them: --columns"),
        ("when,in,out\n1,2,3\n", ("--columns", "arrival=when,isl=in,osl=ou"), "ou"),
    ],
)
def test_files_without_a_usable_row(
    text: str, flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(text, encoding="utf-8")
    assert run([*BASE, str(trace), *flags]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err


def test_columns_and_units_of_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("when,in,out\n0,100,10\n2000,100,10\n", encoding="utf-8")
    flags = ("--columns", "arrival=when,isl=in,osl=out", "--time-unit", "ms")
    assert run([*BASE, str(trace), *flags]) == 0
    assert 2.0 < json.loads(capsys.readouterr().out)["duration_s"] < 2.2
    assert run([*BASE[:-1], "--rate", "1", *flags]) == 2
    assert "go with --trace" in capsys.readouterr().err


def test_lines_survive_sorting(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(f"{HEAD}\n5,900,10\n1,100,10\n3,800,10\n", encoding="utf-8")
    found = read(trace)
    assert found.line is not None
    assert found.line.tolist() == [3, 4, 2]
    left = within(found, 500, "it")
    assert [(row.line, left.dropped) for row in left.bad] == [(2, 2), (4, 2)]
    assert left.requests.isl.tolist() == [100]
    assert within(found, 0, "it") is found
