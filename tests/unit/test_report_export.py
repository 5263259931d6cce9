"""CSV and JSON of an answer."""

from __future__ import annotations

import csv
import io
import json
from math import inf, nan

import numpy as np
import pytest

from assay.report.export import write_csv, write_json
from assay.study.answer import FIGURES, SCHEMA, Answer


def test_csv_carries_the_names_of_the_json(kimi: Answer) -> None:
    stream = io.StringIO()
    write_csv(kimi, stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    plain = kimi.rows[0].json()
    assert len(rows) == len(kimi.rows)
    assert {name.partition(".")[0] for name in rows[0]} == set(plain)
    for name in FIGURES:
        assert float(rows[0][name]) == plain[name]["value"]
        assert float(rows[0][f"{name}.low"]) == plain[name]["low"]
    assert rows[0]["platform"] == "gb300-nvl72"
    assert json.loads(rows[0]["evidence"])[0]["source"] == "MLPerf"
    assert rows[3]["usd_per_million_output_tokens"] == ""


def test_json_is_strict(kimi: Answer) -> None:
    stream = io.StringIO()
    write_json(kimi.json(), stream)
    data = json.loads(stream.getvalue(), parse_constant=pytest.fail)
    assert data["schema"] == SCHEMA
    assert data["rows"][0]["usd_per_million_output_tokens"]["floor"] is None


def test_what_json_cannot_say_becomes_null_or_a_list() -> None:
    stream = io.StringIO()
    write_json(
        {"a": nan, "b": [inf, 1.0], "c": np.array([1.0, nan]), "d": np.float64(2.5), "e": (1, "x")}, stream
    )
    assert json.loads(stream.getvalue()) == {
        "a": None,
        "b": [None, 1.0],
        "c": [1.0, None],
        "d": 2.5,
        "e": [1, "x"],
    }
