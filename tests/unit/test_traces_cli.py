"""`assay trace`: the page, the JSON, and mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.cli import run

DATA = Path(__file__).resolve().parents[1] / "data" / "traces"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of one call."""
    code = run(["trace", *words])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


@pytest.mark.parametrize("path", sorted(DATA.glob("*.txt")), ids=lambda path: path.stem)
def test_every_format_has_a_page_and_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, page, _ = asked(capsys, str(path))
    assert code == 0
    assert "Lengths, tokens" in page
    assert max(map(len, page.splitlines())) <= 100
    code, text, _ = asked(capsys, str(path), "--json")
    data = json.loads(text)
    assert code == 0
    assert (data["schema"], data["format"]) == ("assay-trace-1", path.stem)
    assert data["requests"] + data["dropped"] == data["rows"]
    assert set(data["isl"]) == {"mean", "p50", "p90", "p99", "max"}


def test_bad_rows_are_on_the_page_and_in_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{row},{row % 2},5" for row in range(40)]
    path.write_text("time_s,isl,osl\n" + "\n".join(rows), encoding="utf-8")
    code, page, _ = asked(capsys, str(path))
    assert code == 0
    assert "40 rows, 20 left out" in page
    assert "line 2: 0 input tokens" in page
    assert "and 12 more; --json names them" in page
    data = json.loads(asked(capsys, str(path), "--json")[1])
    assert [bad["line"] for bad in data["bad"]] == list(range(2, 42, 2))
    code, out, err = asked(capsys, str(path), "--on-bad", "refuse")
    assert (code, out) == (2, "")
    assert "line 2: 0 input tokens" in err
    assert len(err.splitlines()) == 1


def test_slices_speed_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("at,in,out\n" + "".join(f"{row},10,5\n" for row in range(100)), encoding="utf-8")
    names = ["--columns", "arrival=at,isl=in,osl=out", "--time-unit", "s"]
    whole = json.loads(asked(capsys, str(path), *names, "--json")[1])
    assert (whole["requests"], whole["span_s"]) == (100, 99.0)
    part = ["--between", "10s,1min", "--speed", "2"]
    found = json.loads(asked(capsys, str(path), *names, *part, "--json")[1])
    assert (found["requests"], found["span_s"]) == (50, 24.5)
    assert found["rate_per_s"] == pytest.approx(50 / 24.5)
    open_end = json.loads(asked(capsys, str(path), *names, "--between", "90s,", "--json")[1])
    assert open_end["requests"] == 10


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nowhere.csv"], "No such file"),
        ([str(DATA)], "is a directory"),
        (["MOONCAKE", "--between", "5"], "not start,end"),
        (["MOONCAKE", "--between", "5s,2s"], "empty"),
        (["MOONCAKE", "--between", "1h,2h"], "between 3600 and"),
        (["MOONCAKE", "--speed", "0"], "zero"),
        (["MOONCAKE", "--speed", "fast"], "not a quantity"),
        (["MOONCAKE", "--columns", "isl"], "--columns"),
        (["MOONCAKE", "--columns", "isl=nothing"], "no column"),
        (["MOONCAKE", "--time-unit", "fortnight"], "no unit of time"),
        (["MOONCAKE", "--seed", "1.5"], "not a whole number"),
        (["MOONCAKE", "--requests", "0"], "at least 1"),
        (["MOONCAKE", "--on-bad", "ignore"], "ignore"),
        ([], "file"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(DATA / "mooncake.txt") if word == "MOONCAKE" else word for word in words]
    code, out, err = asked(capsys, *words)
    assert (code, out) == (2, "")
    assert reason.lower() in err.lower()
    assert len(err.splitlines()) == 1
    assert "fault in assay" not in err
