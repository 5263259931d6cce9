"""Answers cite the measured points nearest to them, from a table that holds no closed source."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.calibrate.evidence import CLOSED, EACH, main, rows
from assay.catalogue.load import catalogue
from assay.engine.evidence import COLUMNS, nearest
from assay.llm.layout import Layout
from assay.measure.records import Record, Records
from assay.study.conditions import Pool, Setting

SETTING = Setting("deepseek-r1", "hgx-h200-8", 8, Pool(Layout(tp=8)), weights="fp8", engine="sglang")
LOAD = {"isl": 1024.0, "osl": 1024.0, "concurrency": 64.0}


def point(users: float, source: str = "acme/bench id=7") -> Record:
    """Make one measured point."""
    load = {**LOAD, "concurrency": users}
    values = {"tpot": 0.012345678, "throughput": 99.0}
    row = Record(str(users), source, "repo-csv", "H200", "R1", "SGLang", SETTING)
    return replace(row, conditions=load, values=values)


def test_a_few_points_stand_for_a_deployment() -> None:
    found = rows(Records(tuple(point(users) for users in (1.0, 2.0, 4.0, 8.0, 16.0))))
    place = COLUMNS.index("concurrency")
    assert [row[place] for row in found] == [1.0, 16.0]
    assert len(found) == EACH
    first = dict(zip(COLUMNS, found[0], strict=True))
    assert first["source"] == "acme/bench"
    assert first["tpot_s"] == 0.01235
    assert first["ttft_s"] is None


def test_closed_sources_and_flagged_points_stay_out() -> None:
    closed = point(1.0, "SemiAnalysisAI/InferenceX:run")
    flagged = replace(point(2.0), flags=("duplicate",))
    assert rows(Records((closed, flagged, point(4.0)))) == rows(Records((point(4.0),)))


def test_the_table_at_hand_holds_no_closed_source() -> None:
    table = catalogue().table("measurements/points")
    assert not [name for name in table["sources"] if any(word in name.lower() for word in CLOSED)]
    assert {len(row) for row in table["points"]} == {len(COLUMNS)}


def test_nearest_points_come_nearest_first() -> None:
    found = nearest(SETTING, LOAD, 5)
    gaps = [row["distance"] for row in found]
    assert len(found) == 5
    assert gaps == sorted(gaps)
    assert found[0]["model"] == "deepseek-r1"


def test_an_unseen_chip_is_farther_than_a_seen_one() -> None:
    stranger = replace(SETTING, system="mi300x-8")
    other = replace(SETTING, model="llama-2-7b")
    assert nearest(stranger, LOAD, 1)[0]["distance"] >= nearest(SETTING, LOAD, 1)[0]["distance"]
    assert nearest(other, LOAD, 1)[0]["distance"] > nearest(SETTING, LOAD, 1)[0]["distance"]


def test_no_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) != 0
    assert "FILE" in capsys.readouterr().err
