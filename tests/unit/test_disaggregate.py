"""Disaggregated serving: the queue, the transfer, pairs of layouts, sizes, and what the plan says of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.split import Prompting, block_bytes, closed_split, crossing, wait
from assay.errors import BadInput, NoEvidence
from assay.llm.layout import Layout
from assay.plan import answer, estimate
from assay.plan.crossover import envelope
from assay.plan.disaggregate import Pairs, Sides, fixed, pairs, shortlist, sides
from assay.plan.predict import skew
from assay.plan.space import layouts, shape
from assay.plan.sweep import Lengths, Sweep, sweep
from assay.plan.why import why
from assay.study.answer import Answer
from assay.study.conditions import Pool
from assay.study.deployment import Deployment
from assay.study.question import Question


def swept(name: str, system: str, *labels: str, isl: float = 2048.0, osl: float = 512.0) -> Sweep:
    prepared, _ = model(name)
    place = catalogue().system(system)
    found = tuple(Layout.parse(text) for text in labels) or tuple(
        layouts(shape(prepared.architecture), place)
    )
    return sweep(
        prepared, place, found, "native", "fp8", engine(), Lengths(isl, osl, 0.0), skew(), concurrency=1
    )


def pair(**lengths: float) -> Sides:
    both = sides(
        swept("llama-3.1-8b", "h100", "tp1", **lengths),
        swept("llama-3.1-8b", "h100", "tp2", **lengths),
        engine(),
        1e6,
        batches=160,
        thin=False,
    )
    assert both is not None
    return both


@pytest.fixture(scope="module")
def rack() -> Answer:
    return answer(Question("deepseek-r1", platforms=("gb200-nvl72",), ttft=2.0, tpot=0.03, top=3))


@given(load=st.floats(0.01, 0.99), service=st.floats(0.001, 10.0))
def test_one_server_waits_as_in_a_single_queue(load: float, service: float) -> None:
    assert float(wait(service, 1, load)) == pytest.approx(service * load / (1 - load) / 2, rel=1e-6)


def test_many_servers_wait_less_and_none_from_saturation_on() -> None:
    waits = wait(1.0, np.array([1.0, 4.0, 64.0]), 0.8)
    assert np.all(np.diff(waits) < 0)
    assert np.isinf(wait(1.0, 4, 1.0))


def test_steps_of_a_prefill_pool_fill_with_the_rate() -> None:
    one = np.ones((1, 1))
    steps = Prompting(0.1 * one, 0.22 * one, 4.0 * one, one, one)
    assert float(steps.step(0.0)[0, 0]) == pytest.approx(0.1)
    assert float(steps.step(1e6)[0, 0]) == pytest.approx(0.22)
    spent = [float(steps.step(rate)[0, 0]) for rate in np.linspace(0.0, 20.0, 9)]
    assert np.all(np.diff(spent) >= -1e-12)
    # what arrives during a step is what it carries: k = rate x step
    middle = float(steps.step(12.0)[0, 0])
    assert 12.0 * middle == pytest.approx(1.0 + (middle - 0.1) / 0.04)


def test_a_latent_is_copied_to_every_rank_and_heads_are_divided() -> None:
    system = catalogue().system("h200")
    for name, factor in (("deepseek-r1", 1.0), ("llama-3.3-70b", 8.0)):
        table = swept(name, "h200", "tp8").copy.table
        found = crossing(table, table, (system, system), np.array([[4096.0]]))
        alone = swept(name, "h200", "tp1").copy.table
        whole = crossing(alone, alone, (system, system), np.array([[4096.0]]))
        assert float(whole.size[0, 0, 0] / found.size[0, 0, 0]) == pytest.approx(factor)


def test_a_transfer_is_slower_over_the_nics_and_with_small_blocks() -> None:
    system = catalogue().system("h200")
    table = swept("llama-3.3-70b", "h200", "tp8").copy.table
    found = crossing(table, table, (system, system), np.array([[4096.0]]))
    far, near = (found.over(np.array(inside))[1][0, 0, 0, 0] for inside in (False, True))
    assert far > near > 0
    assert float(block_bytes(table)[0]) == pytest.approx(1024 * 256)
    other = crossing(table, table, (system, catalogue().system("h100")), np.array([[4096.0]]))
    assert np.isinf(other.over(np.array(True))[1][0, 0, 0, 0])


def test_a_system_without_a_nic_stays_within_its_domain() -> None:
    found = swept("llama-3.1-8b", "ascend-950pr-8", "tp1", "tp4", "tp8")
    both = sides(found, found, engine(), 1e6, thin=False)
    assert both is not None
    good = pairs(both, 1e6)
    assert np.any(good.valid)
    assert np.max(good.chips[good.valid]) <= 8


def test_users_rate_and_times_obey_littles_law() -> None:
    found = pairs(pair(), 64)
    held = found.rate * (found.ttft + 511.0 * found.tpot)
    assert np.allclose(found.users[found.valid], held[found.valid])


@pytest.mark.parametrize("users", [16, 64, 192])
def test_interpolated_pairs_agree_with_the_closed_loop(users: int) -> None:
    both = pair()
    found = fixed(both, 64, [(2, 1)], concurrency=users)
    latency, busy = both.handover.over(np.array(True))
    exact = closed_split(
        both.first.step,
        both.last.step,
        engine(),
        np.array([[float(users)]]),
        prefill_replicas=2,
        decode_replicas=1,
        transfer=(latency + busy)[0, 0],
    )
    assert float(found.tpot[0, 0, 0, 0]) == pytest.approx(float(exact.tpot[0, 0]), rel=0.05)
    assert float(found.rate[0, 0, 0, 0]) == pytest.approx(float(exact.throughput[0, 0]), rel=0.05)


def test_users_beyond_the_pools_wait() -> None:
    both = pair()
    few, many = (fixed(both, 64, [(1, 4)], concurrency=users) for users in (512, 5120))
    assert float(many.rate[0, 0, 0, 0]) <= float(few.rate[0, 0, 0, 0]) * 1.1
    assert float(many.ttft[0, 0, 0, 0]) > 5 * float(few.ttft[0, 0, 0, 0])


def test_a_rate_beyond_the_pools_has_no_steady_state() -> None:
    assert np.isinf(fixed(pair(), 64, [(1, 1)], rate=1e5).ttft).all()


def test_a_finite_run_is_slower_than_a_long_one() -> None:
    both = pair()
    arguments: dict[str, Any] = {"prefill_replicas": 1, "decode_replicas": 1, "transfer": 0.0}
    users = np.array([[64.0]])
    long = closed_split(both.first.step, both.last.step, engine(), users, **arguments)
    short = closed_split(both.first.step, both.last.step, engine(), users, requests=640.0, **arguments)
    assert float(short.throughput[0, 0] / long.throughput[0, 0]) == pytest.approx(1 / 1.05, abs=0.05)
    assert float(short.ttft[0, 0]) > float(long.ttft[0, 0])


def best(found: Pairs, osl: float, speed: float) -> float:
    good = found.valid & (1.0 / found.tpot >= speed)
    return float(np.max((found.rate * osl / found.chips)[good]))


def test_thinning_loses_next_to_nothing() -> None:
    found = swept("deepseek-r1", "gb200-nvl72")
    thin, full = (sides(found, found, engine(), 72, thin=thin) for thin in (True, False))
    assert thin is not None
    assert full is not None
    few, all_pairs = pairs(thin, 72), pairs(full, 72)
    assert few.tpot.size < all_pairs.tpot.size / 3
    for speed in (20.0, 40.0, 80.0):
        assert best(few, 512, speed) > 0.95 * best(all_pairs, 512, speed)


def test_the_shortlist_holds_the_fastest_and_the_cheapest() -> None:
    found = swept("deepseek-r1", "gb200-nvl72")
    both = sides(found, found, engine(), 72)
    assert both is not None
    all_pairs = pairs(both, 72)
    places = shortlist(all_pairs, 512, None, None, 32)
    assert len(places[0]) <= 32
    per_chip = all_pairs.rate * 512 / all_pairs.chips
    assert np.max(per_chip[places]) == pytest.approx(np.max(per_chip[all_pairs.valid]))
    assert np.min(all_pairs.tpot[places]) == pytest.approx(np.min(all_pairs.tpot[all_pairs.valid]))


def test_labels_say_which_pool_does_what() -> None:
    made = Deployment(
        "s", "S", Layout.parse("dep32"), "fp8", "fp8", prefill=Pool(Layout(tp=2), 4), speculation="MTP3"
    )
    assert made.label() == "4xTP2 prefill + 1xDEP32 decode MTP3"
    assert made.short() == "4xTP2+1xDEP32 MTP3"
    assert made.json()["serving"] == "disaggregated"
    assert replace(made, prefill=None, replicas=2).label() == "2xDEP32 MTP3"
    assert "prefill on h200 +" in replace(made, prefill_system="h200").label()


def test_rows_count_the_chips_of_both_pools(rack: Answer) -> None:
    split = [row for row in rack.rows if row.deployment.prefill]
    assert split
    for row in split:
        made = row.deployment
        assert made.prefill is not None
        assert row.chips == made.prefill.chips + made.layout.chips * made.replicas
        assert re.fullmatch(r"\d+x\w+ prefill \+ \d+x\w+ decode", made.label())
        rate = float(row.figures["output_tokens_per_s_per_chip"].value) * row.chips / 512
        held = float(row.figures["ttft_s"].value) + 511 * float(row.figures["tpot_s"].value)
        assert rate * held == pytest.approx(row.concurrency, rel=0.1)


def test_fronts_tell_both_ways_of_serving_apart(rack: Answer) -> None:
    ways = {point["serving"] for point in rack.fronts["gb200-nvl72"]}
    assert ways == {"aggregated", "disaggregated"}


def test_one_note_says_the_break_even(rack: Answer) -> None:
    said = [note for note in rack.rows[0].notes if "disaggregated" in note]
    assert len(said) == 1
    assert re.search(r"yields \d+\.\d\dx the tokens per chip|only \w+ serving is this fast", said[0])


@pytest.mark.parametrize("serving", ["aggregated", "disaggregated"])
def test_serving_is_as_asked(serving: str) -> None:
    found = answer(Question("deepseek-r1", platforms=("b200",), serving=serving, top=2))
    assert {row.deployment.serving for row in found.rows} == {serving}


def test_one_chip_cannot_hold_two_pools() -> None:
    found = answer(Question("llama-3.1-8b", platforms=("h100",), serving="disaggregated", chips=1))
    assert not found.rows
    assert "two pools need more chips" in found.refused[0].reason


def test_neither_way_wins_everywhere() -> None:
    """Loose limits and few chips favour aggregated serving, a tight TPOT with long prompts the other."""
    loose = answer(Question("llama-3.3-70b", platforms=("h200",), isl=512, osl=2048, chips=8)).best()
    tight = answer(Question("deepseek-r1", platforms=("gb200-nvl72",), isl=8192, osl=1024, tpot=0.02)).best()
    assert loose is not None
    assert tight is not None
    assert loose.deployment.serving == "aggregated"
    assert tight.deployment.serving == "disaggregated"


def test_pools_are_sized_for_a_rate() -> None:
    chips = []
    for rate in (5.0, 50.0, 200.0):
        found = answer(
            Question(
                "deepseek-r1",
                platforms=("gb200-nvl72",),
                rate=rate,
                ttft=2.0,
                tpot=0.03,
                serving="disaggregated",
            )
        )
        row = found.rows[0]
        carried = float(row.figures["output_tokens_per_s_per_chip"].value) * row.chips / 512
        assert row.meets
        assert carried == pytest.approx(rate, rel=0.05)
        assert any("after the loss of a node" in note for note in row.notes)
        chips.append(row.chips)
    assert chips == sorted(chips)
    assert chips[0] < chips[-1]


def test_spare_nodes_add_replicas() -> None:
    plain, safe = (
        answer(Question("llama-3.3-70b", platforms=("h200",), rate=20.0, tpot=0.03, spare=spare)).rows[0]
        for spare in (0, 1)
    )
    assert safe.chips >= plain.chips + 1
    assert safe.meets


def test_a_power_cap_and_a_budget_bound_the_deployment() -> None:
    system = catalogue().system("h200")
    assert system.power_watts
    capped = answer(Question("deepseek-r1", platforms=("h200",), power=60e3, tpot=0.05)).best()
    assert capped is not None
    assert capped.power_watts is not None
    assert capped.power_watts <= 60e3
    priced = answer(Question("deepseek-r1", platforms=("h200",), budget=100.0, tpot=0.05)).best()
    assert priced is not None
    rate = float(priced.figures["output_tokens_per_s_per_chip"].value) * priced.chips
    dollars = float(priced.figures["usd_per_million_output_tokens"].value) * rate * 3600 / 1e6
    assert dollars <= 100.0


def test_a_cap_nobody_can_check_is_refused() -> None:
    known = catalogue()
    blind = next(
        name for name in ("helios-72", "atlas950-superpod", "h800") if not known.system(name).power_watts
    )
    found = answer(Question("llama-3.1-8b", platforms=(blind,), power=1e6))
    assert "cannot be checked" in found.refused[0].reason


def test_pools_may_stand_on_two_systems() -> None:
    found = answer(
        Question(
            "deepseek-r1",
            platforms=("gb200-nvl72",),
            prefill_platform="h200",
            serving="disaggregated",
            tpot=0.03,
        )
    )
    made = found.rows[0].deployment
    assert made.prefill_system == "hgx-h200-8"
    assert made.system == "gb200-nvl72"
    cost = float(found.rows[0].figures["usd_per_million_output_tokens"].value)
    assert np.isfinite(cost)
    with pytest.raises(BadInput, match="cannot prefill"):
        answer(Question("deepseek-r1", platforms=("gb200-nvl72",), prefill_platform="lpx"))


def test_a_stated_pair_is_estimated() -> None:
    question = Question("deepseek-r1", isl=2048, osl=512, concurrency=1024, weights="fp4")
    found = estimate(question, "gb200-nvl72", "4xdep4+1xdep32", explain=True)
    row = found.rows[0]
    assert row.deployment.label() == "4xDEP4 prefill + 1xDEP32 decode"
    assert row.chips == 48
    assert row.concurrency == pytest.approx(1024)
    assert {item["phase"] for item in found.explain} == {"decode", "prefill"}
    slow = estimate(replace(question, concurrency=None, rate=10.0), "gb200-nvl72", "4xdep4+1xdep32").rows[0]
    assert float(slow.figures["output_tokens_per_s_per_chip"].value) * 48 / 512 == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize("text", ["4xtp2+", "0xtp2+tp4", "tp2+tp4+tp8", "2ytp2+tp4"])
def test_pools_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadInput):
        estimate(Question("llama-3.1-8b"), "h100", text)


def test_a_pair_without_a_way_to_cross_is_refused() -> None:
    with pytest.raises(NoEvidence, match="scale-up domains"):
        estimate(Question("llama-3.1-8b"), "ascend-950pr-8", "1xtp8+1xtp8")


def test_the_envelope_is_the_best_at_no_less_speed() -> None:
    known = (np.array([0.0, 1.0]), np.array([5.0, 3.0]))
    assert list(envelope(np.array([-1.0, 0.5, 2.0]), known)) == [5.0, 4.0, -np.inf]


def test_why_of_a_platform_without_a_price() -> None:
    found = why(Question("kimi-k2", platforms=("lpx", "h200"), tpot=0.002))
    assert found.answer.rows[0].deployment.system == "groq3-lpx-rack"
    assert [item.platform for item in found.rivals] == ["hgx-h200-8"]
    assert 0 < found.rivals[0].factor < 100
    assert "misses" in found.rivals[0].reason


def test_why_adds_up_and_names_rivals() -> None:
    found = why(Question("deepseek-r1", platforms=("gb200-nvl72", "h200"), tpot=0.03, speculation="mtp"))
    assert sum(found.parts.values()) == pytest.approx(1.0)
    assert found.parts["draft passes"] > 0
    assert {item["phase"] for item in found.steps} == {"decode", "prefill"}
    assert all(item.factor >= 0.999 for item in found.rivals)
    ways = {"prefill" in item.deployment for item in found.rivals}
    assert ways == {True, False}
    ends = [abs(np.log(low / high)) for low, high in found.sensitivity.values()]
    assert ends == sorted(ends, reverse=True)
    assert any("speculative" in name for name in found.sensitivity)
    assert set(found.json()["why"]) >= {"parts", "moves", "sensitivity", "rivals", "refused"}
