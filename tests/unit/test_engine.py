"""The engine: visible positions, expert coverage, steady state against closed forms, splits, speculation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import Engine, engine
from assay.engine.replica import replica
from assay.engine.routing import coverage, imbalance
from assay.engine.speculation import speculation, usual_yield
from assay.engine.split import closed_split
from assay.engine.steady import at_batch, closed, open_loop, static
from assay.engine.step import Batch, Step, Workload, seconds, visible
from assay.errors import UnknownName
from assay.llm.layout import Layout

WORK = Workload(isl=1000.0, osl=500.0, chunk=8192.0)


def step_of(name: str, system: str, *labels: str, work: Workload = WORK, weights: str = "native") -> Step:
    prepared, _ = model(name)
    layouts = tuple(Layout.parse(label) for label in labels)
    return replica(prepared, catalogue().system(system), layouts, weights, "bf16", engine()).step(work, 0.0)


@given(
    start=st.integers(0, 5000),
    length=st.integers(1, 5000),
    cap=st.integers(1, 4000),
    stride=st.sampled_from([1, 4, 16]),
)
def test_visible_is_the_mean_of_clipped_contexts(start: int, length: int, cap: int, stride: int) -> None:
    grid = np.linspace(start, start + length, 20001)
    expected = np.mean(np.minimum(grid / stride, cap))
    assert visible(start, start + length, cap, stride) == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_visible_at_one_context() -> None:
    assert visible(100, 100, 64) == 64
    assert visible(100, 100, np.inf) == 100
    assert visible(100, 300, np.inf, 4) == 50


def test_coverage_is_exact_for_one_token_and_full_in_the_limit() -> None:
    assert coverage(1.0, 384, 8) == pytest.approx(8 / 384)
    assert coverage(1e6, 384, 8) == pytest.approx(1.0)
    assert coverage(2.0, 8, 2) == pytest.approx(1 - (1 - 0.25) ** 2)
    assert coverage(3.0, 4, 4) == pytest.approx(1.0)


def test_imbalance_is_one_without_ranks_and_bounded_by_them() -> None:
    assert imbalance(64.0, 8, 1.0, 0.3) == pytest.approx(1.0)
    few = imbalance(1.0, 1, 64.0, 0.0)
    many = imbalance(1e7, 8, 64.0, 0.0)
    assert many < few <= 64.0
    assert many == pytest.approx(1.0, abs=0.01)


def test_imbalance_matches_the_greatest_of_random_loads() -> None:
    generator = np.random.default_rng(7)
    loads = generator.multinomial(64 * 200, np.full(64, 1 / 64), size=400)
    simulated = float(np.mean(loads.max(axis=1)) / 200)
    assert imbalance(64 * 200 / 8, 8, 64.0, 0.0) == pytest.approx(simulated, rel=0.06)


def test_decode_time_is_weights_over_bandwidth_for_one_user() -> None:
    """A dense model at batch one reads its weights once a token; published: 40 to 60 % of that rate."""
    step = step_of("llama-3.1-8b", "h100", "tp1")
    spent = float(seconds(step, Batch(1.0, 1.0))[0, 0])
    least = 2 * 7.5e9 / 3.35e12
    assert least < spent < 2.2 * least


def test_little_s_law_holds_in_the_closed_loop() -> None:
    step = step_of("llama-3.3-70b", "h100", "tp4", "tp8", weights="fp8")
    users = np.array([[1.0, 8.0, 64.0, 256.0]])
    state = closed(step, engine(), users)
    assert state.throughput * state.e2e(500 + 1) == pytest.approx(np.broadcast_to(users, (2, 4)), rel=0.01)


def test_the_open_loop_carries_its_rate_and_agrees_with_the_closed_one() -> None:
    step = step_of("llama-3.1-8b", "h100", "tp1")
    state = closed(step, engine(), np.array([[64.0]]))
    again = open_loop(step, engine(), state.throughput)
    assert again.throughput == pytest.approx(state.throughput)
    assert again.tpot == pytest.approx(state.tpot, rel=0.03)


def test_an_overloaded_open_loop_is_saturated() -> None:
    step = step_of("llama-3.1-8b", "h100", "tp1")
    state = open_loop(step, engine(), np.array([[1.0, 1e5]]))
    assert np.isfinite(state.ttft[0, 0])
    assert np.isinf(state.ttft[0, 1])
    assert state.utilisation[0, 1] == 1.0


def test_the_wait_is_that_of_kingman() -> None:
    """At the load of one prompt server the mean wait is rho / (1 - rho) * (c_a^2 + 0) / 2 * S."""
    step = step_of("llama-3.1-8b", "h100", "tp1")
    state = at_batch(step, engine(), np.array([[100.0]]), variation=1.0)
    rho = state.utilisation
    assert state.queue == pytest.approx(rho / (1 - rho) / 2 * state.mixed_step)


def test_ttft_never_falls_with_load() -> None:
    step = step_of("llama-3.3-70b", "h100", "tp8")
    state = at_batch(step, engine(), np.array([[1.0, 10.0, 100.0, 400.0]]))
    assert np.all(np.diff(state.ttft[0]) >= 0)


def test_prompts_first_delays_decodes_more_than_mixing() -> None:
    step = step_of("llama-3.3-70b", "h100", "tp8")
    mixing, first = engine(), replace(engine(), mixes=False)
    batch = np.array([[128.0]])
    assert at_batch(step, first, batch).tpot > at_batch(step, mixing, batch).tpot


def test_a_static_batch_counts_prefill_in_its_throughput() -> None:
    step = step_of("llama-3.1-8b", "h100", "tp1")
    state = static(step, engine(), np.array([[32.0]]))
    assert state.throughput == pytest.approx(32 / (state.ttft + state.tpot * 499))


def test_memory_limits_users_and_the_rest_wait() -> None:
    step = step_of("llama-3.1-8b", "h100", "tp1")
    held = closed(step, engine(), np.array([[100.0]]), np.array([[10.0]]))
    free = closed(step, engine(), np.array([[10.0]]))
    assert held.batch <= 10.001
    assert held.ttft > 5 * free.ttft
    assert held.throughput == pytest.approx(free.throughput, rel=0.05)


def test_disaggregation_keeps_prompts_out_of_decode_steps() -> None:
    step = step_of("llama-3.3-70b", "h100", "tp4")
    joint = closed(step, engine(), np.array([[64.0]]))
    apart = closed_split(
        step, step, engine(), np.array([[64.0]]), prefill_replicas=1, decode_replicas=1, transfer=0.01
    )
    assert apart.tpot < joint.tpot
    assert apart.throughput * (apart.ttft + 500 * apart.tpot) == pytest.approx(64.0, rel=0.02)


def test_speculation_pays_at_batch_one_and_fades_with_load() -> None:
    plain = step_of("deepseek-r1", "h200", "tp8")
    drafted = step_of("deepseek-r1", "h200", "tp8", work=replace(WORK, drafts=1.0, yields=usual_yield(1)))
    batches = np.array([[1.0, 256.0]])
    gain = at_batch(plain, engine(), batches).tpot / at_batch(drafted, engine(), batches).tpot
    assert gain[0, 0] > 1.2
    assert gain[0, 1] < gain[0, 0]


def test_usual_yield_sums_accepted_prefixes() -> None:
    assert usual_yield(0) == 1.0
    assert 1.0 < usual_yield(1) < 2.0
    assert speculation("", 3, np.array([2.0])).drafts == 0


def test_pipeline_stages_hold_whole_layers() -> None:
    step = step_of("llama-3.1-8b", "h100", "tp1", "pp2", "tp1pp3".replace("tp1pp3", "pp3"))
    assert step.table.uneven == pytest.approx([1.0, 1.0, 33 / 32])


def test_unknown_engine_is_refused_by_name() -> None:
    assert isinstance(engine("vllm"), Engine)
    with pytest.raises(UnknownName, match="vllm"):
        engine("vlm")
