"""Redundant experts: placement, memory, what a plan and its launch files make of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.redundancy import Copies, busiest, excess, expert_loads, slots_of, spare_slots, tried
from assay.engine.replica import Replica, replica
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.plan import answer, estimate
from assay.report.launch.emit import best
from assay.study.answer import Row
from assay.study.question import Question


def sharded(name: str, copies: Copies | None, *labels: str) -> Replica:
    prepared, _ = model(name)
    layouts = tuple(Layout.parse(label) for label in labels)
    return replica(prepared, catalogue().system("gb200-nvl72"), layouts, "native", "fp8", engine(), copies)


def one(redundant: tuple[int, ...], layout: str = "dep32", users: int = 8192, **given: object) -> Row:
    question = Question("deepseek-v3.2", concurrency=users, redundant=redundant, **given)  # type: ignore[arg-type]
    return estimate(question, "gb200-nvl72", layout).rows[0]


def rate(row: Row) -> float:
    return float(row.figures["output_tokens_per_s_per_chip"].value)


def test_loads_have_mean_one_and_fall() -> None:
    loads = expert_loads(256, 0.7)
    assert sum(loads) / 256 == pytest.approx(1.0)
    assert list(loads) == sorted(loads, reverse=True)
    assert set(expert_loads(8, 0.0)) == {1.0}


def test_slots_fill_every_rank() -> None:
    assert spare_slots(256, 32, 32) == 32
    assert spare_slots(256, 0, 72) == 32
    assert spare_slots(256, 33, 32) == 64
    assert spare_slots(384, 0, 16) == 0


def test_small_cases_are_the_best_there_is() -> None:
    """Four experts on two ranks: the greedy placement is one that no other beats."""
    loads = expert_loads(4, 0.8)
    best_left = min(
        max(loads[a] + loads[b], sum(loads) - loads[a] - loads[b])
        for a, b in itertools.combinations(range(4), 2)
    )
    assert excess(4, 0, 2, 0.8) == pytest.approx(best_left / 2 - 1)
    assert excess(4, 0, 1, 0.8) == pytest.approx(0.0)
    assert excess(4, 4, 4, 0.0) == pytest.approx(0.0)


@given(ranks=st.sampled_from([4, 8, 16, 32, 64]), variation=st.floats(0.0, 2.0))
def test_copies_of_every_expert_even_what_placing_does_not(ranks: int, variation: float) -> None:
    bare, copied = (excess(128, count, ranks, variation) for count in (0, 128))
    assert bare >= -1e-9
    assert copied <= bare + 0.02


def test_copies_take_the_memory_of_their_slots() -> None:
    plain, copied = (sharded("deepseek-v3.2", item, "dep32", "tp8") for item in (None, Copies(32, 1.28)))
    wide, narrow = copied.table.weight_bytes - plain.table.weight_bytes
    expert = 3 * 7168 * 2048  # fp8, scales apart
    assert wide == pytest.approx(58 * expert, rel=0.02)  # one more slot a rank in each of 58 layers
    assert narrow == 0
    assert slots_of(copied.table, Copies(32, 1.28)).ravel().tolist() == [32.0, 0.0]
    assert busiest(copied.table, Copies(32, 1.28))[1, 0] == 0.0
    assert copied.capacity(1000.0)[0, 0] <= plain.capacity(1000.0)[0, 0]


def test_copies_help_where_ranks_are_many() -> None:
    bare, some = one((0,)), one((32,))
    assert rate(some) > rate(bare) * 1.05
    assert some.deployment.redundant == 32
    assert some.memory["weights"] > bare.memory["weights"]
    assert any("32 redundant experts a layer take" in note for note in some.notes)


def test_nothing_changes_where_none_are_asked_for() -> None:
    row = one(())
    assert row.deployment.redundant == 0
    assert not any("redundant" in note for note in row.notes)


def test_even_loads_need_no_copies() -> None:
    bare, some = one((0,), variation=0.0), one((64,), variation=0.0)
    assert rate(some) < rate(bare) * 1.01


def test_a_plan_chooses_how_many() -> None:
    base = Question("deepseek-v3.2", ("gb200-nvl72",), isl=2000, osl=1000, tpot=0.05, serving="aggregated")
    chosen = answer(replace(base, redundant=tried())).rows[0]
    fixed = [answer(replace(base, redundant=(count,))).rows[0] for count in tried()]
    assert rate(chosen) == pytest.approx(max(rate(row) for row in fixed), rel=1e-9)


def test_a_dense_model_has_no_experts_to_copy() -> None:
    row = answer(Question("llama-3.3-70b", ("h200",), redundant=(32,))).rows[0]
    assert row.deployment.redundant == 0


def test_pools_have_copies_of_their_own() -> None:
    made = one((32,), layout="1xdep8+1xdep36", users=512).deployment
    assert (made.prefill_redundant, made.redundant) == (32, 32)


def test_one_deployment_has_one_number() -> None:
    with pytest.raises(BadInput, match="one number"):
        one((0, 32))


@pytest.mark.parametrize(
    ("engine_name", "words"),
    [
        ("vllm", ["--enable-eplb", '{"num_redundant_experts": 32}']),
        ("sglang", ["--enable-eplb", "--ep-num-redundant-experts 32"]),
        ("trtllm", ["load_balancer", "num_slots: 288"]),
    ],
)
def test_launch_files_carry_the_copies(engine_name: str, words: list[str]) -> None:
    question = Question("deepseek-v3.2", concurrency=1024, redundant=(32,))
    text = best(estimate(question, "h200", "dep16"), engine_name).text()
    assert all(word in text for word in words)
    bare = best(estimate(Question("deepseek-v3.2", concurrency=1024), "h200", "dep16"), engine_name).text()
    assert "eplb" not in bare
    assert "load_balancer" not in bare


def test_flags(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["estimate", "deepseek-v3.2", "--on", "h200", "--layout", "dep16", "--concurrency", "512"]
    assert run([*ask, "--redundant-experts", "32"]) == 0
    assert "redundant experts a layer" in capsys.readouterr().out
    assert run([*ask, "--expert-variation", "0.5"]) != 0
    assert "--redundant-experts" in capsys.readouterr().err
