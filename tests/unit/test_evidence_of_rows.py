"""What a row says of its evidence, and whether the first place is settled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.llm.layout import Layout
from assay.plan import answer
from assay.plan.answer import unsettled
from assay.study.answer import Row
from assay.study.deployment import Deployment
from assay.study.question import Question

QUESTION = Question(
    "deepseek-r1", platforms=("b200", "h200", "mi355x"), isl=4096, osl=512, ttft=5.0, tpot=0.05
)
COST = "usd_per_million_output_tokens"


def priced(row: Row, system: str, value: float, low: float, high: float) -> Row:
    estimate = replace(row.figures[COST], value=value, low=low, high=high, floor=0.0)
    made = replace(row.deployment, system=system)
    return replace(row, deployment=made, figures={**row.figures, COST: estimate})


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    return answer(QUESTION).rows


def test_a_range_that_reaches_the_first_value_leaves_its_place_open(rows: tuple[Row, ...]) -> None:
    first = priced(rows[0], "one", 1.0, 0.8, 1.3)
    near, far = priced(rows[0], "two", 1.2, 0.9, 1.6), priced(rows[0], "three", 2.0, 1.1, 2.5)
    text = unsettled([first, near, far], QUESTION)
    assert "two" in text
    assert "three" not in text
    assert not unsettled([first, far], QUESTION)
    # the same platform in another layout is no rival, and a rate is a matter of whole chips
    assert not unsettled([first, priced(near, "one", 1.2, 0.9, 1.6)], QUESTION)
    assert not unsettled([first, near, far], replace(QUESTION, rate=10.0))


def test_a_platform_that_misses_the_limits_does_not_contest(rows: tuple[Row, ...]) -> None:
    first, near = priced(rows[0], "one", 1.0, 0.8, 1.3), priced(rows[0], "two", 1.2, 0.9, 1.6)
    assert not unsettled([first, replace(near, meets=not first.meets)], QUESTION)


def test_more_throughput_is_better(rows: tuple[Row, ...]) -> None:
    rate = "output_tokens_per_s_per_chip"
    question = replace(QUESTION, objective="throughput")
    made = []
    for system, value, high in (("one", 100.0, 120.0), ("two", 90.0, 110.0), ("three", 50.0, 80.0)):
        estimate = replace(rows[0].figures[rate], value=value, low=value / 2, high=high, floor=1e9)
        deployment = replace(rows[0].deployment, system=system)
        made.append(replace(rows[0], deployment=deployment, figures={**rows[0].figures, rate: estimate}))
    text = unsettled(made, question)
    assert "two" in text
    assert "three" not in text


def test_rows_stand_on_what_was_measured_of_their_kind(rows: tuple[Row, ...]) -> None:
    """DeepSeek R1 was measured on all three chips; the same chip in a model nobody ran says less."""
    assert {row.basis for row in rows} == {"calibrated model"}
    other = answer(replace(QUESTION, model="k-exaone-236b-a23b", platforms=("mi355x",))).rows[0]
    assert other.basis == "calibrated chip"
    assert other.figures["tpot_s"].basis == other.basis


def test_drafts_of_a_head_are_not_read_as_the_name_of_a_method() -> None:
    deployment = Deployment("h200", "H200", Layout(tp=8), "fp8", "fp8")
    assert replace(deployment, speculation="EAGLE3").label().endswith(" EAGLE x3")
    assert replace(deployment, speculation="MTP3").label().endswith(" MTP3")
