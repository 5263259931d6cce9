"""`--evidence`: the nearest measured points of every row, on the page and in the JSON."""

from __future__ import annotations

import json

import pytest

from assay.cli import run
from assay.plan.evidence import _rate

PLAN = ["plan", "deepseek-r1", "--on", "h200,b200"]


def test_without_it_only_the_best_row_is_cited(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, "--json"]) == 0
    best, second = json.loads(capsys.readouterr().out)["rows"]
    assert best["evidence"]
    assert not second["evidence"]


def test_every_row_is_cited_with_source_and_distance(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, "--evidence", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 2
    for row in rows:
        distances = [point["distance"] for point in row["evidence"]]
        assert distances
        assert distances == sorted(distances)
        assert all(point["source"] and point["value"] for point in row["evidence"])


def test_the_page_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "estimate",
        "deepseek-r1",
        "--on",
        "h200",
        "--layout",
        "tp8",
        "--concurrency",
        "64",
        "--evidence",
    ]
    assert run(words) == 0
    out = capsys.readouterr().out
    listed = out.partition("Nearest measured points")[2]
    assert "deepseek-r1" in listed
    assert "Distance 0 is the same conditions" in listed


def test_great_rates_are_written_out() -> None:
    assert _rate(19_806.4) == "19,806"
    assert _rate(386.29) == "386.3"
