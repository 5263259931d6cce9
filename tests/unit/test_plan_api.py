"""Self-host or API: the load from which a deployment is cheaper than what hosts ask."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.errors import NoEvidence
from assay.plan import answer
from assay.plan.api import against_api, request_price
from assay.study.answer import Answer
from assay.study.question import Question

QUESTION = Question("deepseek-r1", platforms=("h200",), isl=2000, osl=500, tpot=0.05)


@pytest.fixture(scope="module")
def found() -> Answer:
    return answer(QUESTION)


def test_a_request_costs_its_parts() -> None:
    offer = {"input": 1.0, "output": 4.0, "cached_input": 0.1}
    assert request_price(offer, 2000, 500, 0.0) == pytest.approx(0.004)
    assert request_price(offer, 2000, 500, 0.5) == pytest.approx(0.001 + 0.0001 + 0.002)
    assert request_price({"input": 1.0, "output": 4.0}, 2000, 500, 0.5) == pytest.approx(0.004)


def test_at_the_break_even_both_cost_the_same(found: Answer) -> None:
    row = against_api(found).rows[0]
    per_hour = (
        float(row.figures["usd_per_million_output_tokens"].value)
        * float(row.figures["output_tokens_per_s_per_chip"].value)
        * row.chips
        * 3600e-6
    )
    offers = row.api["offers"]
    assert len(offers) == sum(
        item["model"] == "deepseek-r1" for item in catalogue().table("prices/tokens")["rows"]
    )
    for item in offers:
        if item["break_even_requests_per_s"] is None:
            assert item["break_even_load"]["value"] > 1.0
        else:
            bought = item["break_even_requests_per_s"] * 3600 * item["usd_per_request"]
            assert bought == pytest.approx(per_hour)
    asked = [item["usd_per_request"] for item in offers]
    assert asked == sorted(asked)
    loads = [item["break_even_load"]["value"] for item in offers]
    assert loads == sorted(loads, reverse=True)


def test_a_deployment_that_is_dearer_never_wins(found: Answer) -> None:
    dear = {
        name: figure.apply(lambda number: number * 1e3) if "usd" in name else figure
        for name, figure in found.rows[0].figures.items()
    }
    row = replace(found.rows[0], figures=dear)
    offers = against_api(replace(found, rows=(row,))).rows[0].api["offers"]
    assert all(item["break_even_requests_per_s"] is None for item in offers)


def test_a_model_that_nobody_sells_is_refused() -> None:
    with pytest.raises(NoEvidence, match="by the token"):
        against_api(answer(Question("falcon-7b", platforms=("h200",), isl=1000, osl=200)))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "deepseek-r1", "--on", "h200", "--against-api"]
    assert run(words) == 0
    page = capsys.readouterr().out
    assert "Self-host or API" in page
    assert "deepinfra" in page
    assert run([*words, "--json"]) == 0
    offers = json.loads(capsys.readouterr().out)["rows"][0]["api"]["offers"]
    assert {"provider", "usd_per_million", "usd_per_request", "break_even_load"} <= set(offers[0])
