"""Plans by energy: platforms whose power nobody has published follow, by cost, and say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.plan import answer
from assay.plan.why import why
from assay.study.answer import Answer
from assay.study.question import Question

KNOWN, UNKNOWN = ("h200", "trn2"), ("tpu-v6e", "tpu-v7")
QUESTION = Question("llama-3.3-70b", isl=1000, osl=200, ttft=2.0, tpot=0.05, objective="energy")


@pytest.fixture(scope="module")
def found() -> Answer:
    return answer(replace(QUESTION, platforms=(*UNKNOWN, *KNOWN)))


def test_rows_without_energy_come_after_those_with_it_by_cost(found: Answer) -> None:
    has = ["joules_per_output_token" in row.figures for row in found.rows]
    assert has == [True, True, False, False]
    usd = [float(row.figures["usd_per_million_output_tokens"].value) for row in found.rows[2:]]
    assert usd == sorted(usd)


def test_they_say_so(found: Answer) -> None:
    said = [any("power of" in note and "ranked by cost" in note for note in row.notes) for row in found.rows]
    assert said == [False, False, True, True]


def test_the_row_of_such_a_platform_is_its_cheapest() -> None:
    energy, cost = (
        answer(replace(QUESTION, platforms=("tpu-v7",), objective=aim)).rows[0] for aim in ("energy", "cost")
    )
    assert energy.deployment == cost.deployment
    assert energy.concurrency == cost.concurrency


def test_why_a_platform_without_power_lost() -> None:
    lost = {item.platform: item for item in why(replace(QUESTION, platforms=("h200", "tpu-v7"))).rivals}
    assert "its power is not published" in lost["tpu-v7-pod"].reason
