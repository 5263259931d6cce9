"""Coverage: measured, predicted, cannot; days from release; alternatives within twice the cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from assay.catalogue.load import catalogue
from assay.claims.coverage import Cell, cells, locks, planned
from assay.claims.engines import CANNOT, MEASURED, PREDICTED, RUNS, UNKNOWN, Served, days
from assay.study.answer import Answer, Refusal, Row
from assay.study.question import Question


def test_counts_of_measurements_are_shown_with_dates_and_engines() -> None:
    (cell,) = cells(["deepseek-r1"], ["hgx-h200-8"], catalogue())
    assert cell.state == MEASURED
    assert cell.points == sum(cell.engines.values()) > 100
    assert cell.newest.startswith("2026")
    assert cell.days is None or cell.days >= 0


def test_what_was_not_measured_is_predicted_or_cannot() -> None:
    found = {
        cell.system: cell
        for cell in cells(["kimi-k2-instruct"], ["vr-nvl72", "rtx-4090-8", "tpu-8i-pod"], catalogue())
    }
    assert found["vr-nvl72"].state == PREDICTED
    assert found["rtx-4090-8"].state == CANNOT
    assert "weights take" in found["rtx-4090-8"].reason
    assert "nobody has published" in found["tpu-8i-pod"].reason


def test_each_engine_is_measured_published_predicted_refused_or_unknown() -> None:
    names = ("gb200-nvl72", "mi325x-8", "mi355x-8", "groqrack-v1", "cloudmatrix384")
    found = {cell.system: cell for cell in cells(["kimi-k2.5"], names, catalogue())}
    of = {name: {item.engine: item for item in cell.served} for name, cell in found.items()}
    vllm, trtllm = of["gb200-nvl72"]["vllm"], of["gb200-nvl72"]["trtllm"]
    assert (vllm.state, trtllm.state) == (MEASURED, RUNS)
    assert vllm.points > 0
    assert trtllm.source
    # a recipe names the chip: it runs, though nobody measured it
    published = of["mi325x-8"]["vllm"]
    assert (published.state, published.since, found["mi325x-8"].state) == (RUNS, "0.19.1", RUNS)
    assert of["mi355x-8"]["trtllm"].state == CANNOT  # an engine of another maker
    assert of["mi355x-8"]["trtllm"].note
    assert of["mi355x-8"]["sglang"].state == PREDICTED
    assert of["groqrack-v1"]["vllm"].state == CANNOT
    assert {item.state for item in of["cloudmatrix384"].values()} <= {PREDICTED, UNKNOWN, CANNOT}
    for cell in found.values():
        for item in cell.served:
            assert item.source or item.points or item.note, (cell.system, item.engine)
            assert item.json()["state"] == item.state


def test_days_from_release_need_exact_dates_in_order() -> None:
    assert days("2026-01-27", "2026-04-06") == 69
    assert days("2026-01", "2026-04-06") is None
    assert days("2026-04-06", "2026-01-27") is None
    assert Served("vllm", MEASURED, newest="2026-11-20").age(date(2026, 11, 24)) == 4


def test_age_needs_an_exact_date() -> None:
    today = date(2026, 11, 24)
    assert Cell("m", "s", MEASURED, 1, newest="2026-11-20").age(today) == 4
    assert Cell("m", "s", MEASURED, 1, newest="2026-11").age(today) is None


def test_every_counted_pair_is_in_the_catalogue() -> None:
    facts = catalogue()
    for row in facts.table("measurements/coverage")["rows"]:
        assert facts.model_id(str(row["model"])) == row["model"]
        assert facts.system_id(str(row["system"])) == row["system"]
        assert row["points"] > 0


@pytest.fixture
def answer(make_row: Callable[..., Row]) -> Answer:
    rows = (
        make_row("h200", "tp8", 40, 1000, usd=2.0),
        make_row("mi355x", "tp8", 40, 1000, usd=3.9),
        make_row("b200", "tp8", 40, 1000, usd=9.0),
        make_row("h100", "tp8", 40, 1000, usd=1.0, meets=False),
    )
    ids = {"h200": "hgx-h200-8", "mi355x": "mi355x-8", "b200": "hgx-b200-8", "h100": "hgx-h100-8"}
    named = tuple(
        replace(row, deployment=replace(row.deployment, system=ids[row.deployment.system])) for row in rows
    )
    refused = (Refusal("rtx-4090-8", "too small"),)
    return Answer(Question("deepseek-r1"), {"name": "deepseek-r1"}, named, {}, refused)


def test_alternatives_within_twice_the_cost_under_the_same_limits(answer: Answer) -> None:
    found = {lock.system: lock for lock in locks(answer, catalogue())}
    assert set(found) == {"hgx-h200-8", "mi355x-8", "hgx-b200-8"}
    assert found["hgx-h200-8"].others == ("mi355x-8",)
    assert found["hgx-h200-8"].vendors == ("amd",)
    assert found["mi355x-8"].others == ("hgx-h200-8",)
    assert found["hgx-b200-8"].others == ("hgx-h200-8", "mi355x-8")


def test_one_model_on_every_platform_of_an_answer(answer: Answer) -> None:
    found = {cell.system: cell for cell in planned(answer, catalogue())}
    assert found["hgx-h200-8"].state == MEASURED
    assert found["rtx-4090-8"].state == CANNOT
    assert found["rtx-4090-8"].reason == "too small"
