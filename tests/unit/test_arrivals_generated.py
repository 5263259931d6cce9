"""Generated traffic: rates, burstiness, profiles, lengths, sessions; the same seed gives the same traffic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import BadInput, NoEvidence, UnknownName
from assay.workload import distributions, generate, sessions
from assay.workload.arrivals import requests
from assay.workload.lengths import workload, workloads
from assay.workload.reshape import at_rate, mixed, shared_prefix, spread
from assay.workload.reuse import hit_curve
from assay.workload.statistics import summary, variation

FAMILIES = ("gamma", "weibull", "even")


@settings(max_examples=30)
@given(
    st.floats(1e-3, 1e4), st.floats(0.3, 3.0), st.sampled_from(("gamma", "weibull")), st.integers(0, 2**31)
)
def test_rate_and_burstiness_are_as_asked(rate: float, cv: float, family: Any, seed: int) -> None:
    arrival = generate.arrivals(rate, 20_000, cv, family, seed)
    assert (np.diff(arrival) >= 0).all()
    # standard error of a mean of gaps is cv / sqrt(n); of their CV more where tails are heavy
    assert arrival.size / arrival[-1] == pytest.approx(rate, rel=5 * cv / math.sqrt(20_000) + 1e-3)
    assert variation(arrival) == pytest.approx(cv, rel=0.2)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same(family: Any) -> None:
    first, again = (generate.arrivals(5.0, 100, 2.0, family, 3) for _ in range(2))
    assert (first == again).all()
    assert family == "even" or (first != generate.arrivals(5.0, 100, 2.0, family, 4)).any()


def test_even_arrivals() -> None:
    assert generate.arrivals(4.0, 3, family="even").tolist() == [0.25, 0.5, 0.75]
    assert generate.arrivals(4.0, 3, cv=0.0).tolist() == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("cv", [0.02, 0.5, 1.0, 2.0, 10.0])
def test_weibull_shape_gives_the_cv(cv: float) -> None:
    shape = generate.weibull_shape(cv)
    second, first = math.gamma(1 + 2 / shape), math.gamma(1 + 1 / shape)
    assert math.sqrt(second / first**2 - 1) == pytest.approx(cv, rel=1e-3)


def test_the_rate_follows_steps() -> None:
    arrival = generate.following([10.0, 0.0, 40.0], 100.0, seed=1)
    counts = np.histogram(arrival, [0, 100, 200, 300])[0]
    assert counts[1] == 0
    assert counts[0] == pytest.approx(1000, abs=160)
    assert counts[2] == pytest.approx(4000, abs=320)
    assert generate.following([0.0, 0.0], 10.0).size == 0


def test_burstiness_survives_a_profile() -> None:
    steady = generate.following([20.0] * 50, 100.0, cv=3.0, seed=2)
    assert variation(steady) == pytest.approx(3.0, rel=0.1)


def test_a_week_of_code_is_as_published() -> None:
    # Azure 2024: 27.8 requests/s, 83.9 in the peak hour, 2.8 in the trough
    hourly = generate.profile("code")
    assert hourly.size == 168
    assert (hourly.mean(), hourly.max(), hourly.min()) == pytest.approx((27.8, 83.9, 2.8), rel=0.02)
    assert hourly.sum() * 3600 == pytest.approx(16_803_695, rel=1e-3)
    assert generate.profile("chat").sum() * 3600 == pytest.approx(27_303_999, rel=1e-3)


def test_a_day_begins_where_asked_and_repeats() -> None:
    hourly = generate.profile("chat")
    arrival = generate.diurnal("chat", 5400.0, begin=167.5 * 3600, seed=1)
    first, second = np.histogram(arrival, [0, 1800, 5400])[0]
    assert first == pytest.approx(hourly[167] * 1800, rel=0.02)
    assert second == pytest.approx(hourly[0] * 3600, rel=0.02)
    slow = generate.diurnal("chat", 7 * 86400.0, rate=0.1, seed=1)
    assert slow.size / (7 * 86400) == pytest.approx(0.1, rel=0.02)
    with pytest.raises(NoEvidence, match="hourly"):
        generate.diurnal("rag", 3600.0)


def test_bursts_have_their_mean_rate_and_are_bursty() -> None:
    arrival = generate.bursts(20.0, 1.0, on=5.0, off=20.0, duration=20_000.0, seed=5)
    assert arrival.size / 20_000 == pytest.approx((20 * 5 + 1 * 20) / 25, rel=0.1)
    assert variation(arrival) > 1.5
    assert arrival[-1] < 20_000


def test_a_closed_loop_is_described() -> None:
    loop = generate.ClosedLoop(concurrency=4, count=10, think=2.0, ramp=8.0)
    pauses = loop.pauses(1)
    assert pauses[:4].tolist() == [0.0, 2.0, 4.0, 6.0]
    assert (pauses[4:] > 0).all()
    assert generate.ClosedLoop(2, 5).pauses().tolist() == [0.0] * 5


def test_uniform_lengths_are_within_their_range() -> None:
    drawn = distributions.uniform(1000, 0.2, 50_000, 1)
    assert (drawn.min(), drawn.max()) == (800, 1200)
    assert drawn.mean() == pytest.approx(1000, rel=0.005)
    assert (distributions.uniform(1000, 0.0, 5) == 1000).all()


def test_lognormal_lengths_have_mean_and_spread() -> None:
    drawn = distributions.lognormal(2000, 1.5, 400_000, 1)
    assert drawn.mean() == pytest.approx(2000, rel=0.02)
    assert drawn.std() / drawn.mean() == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize(
    "name", [name for name in workloads() if "percentiles" in workload(name).facts["isl"]]
)
@pytest.mark.parametrize("side", ["isl", "osl"])
def test_published_percentiles_and_means_come_back(name: str, side: str) -> None:
    fact = workload(name).facts[side]
    drawn = distributions.of_facts(fact, 100_000, 1)
    for point, tokens in fact["percentiles"].items():
        if float(point) < 100:
            assert np.percentile(drawn, float(point)) == pytest.approx(tokens, rel=0.05)
    assert drawn.max() <= fact["percentiles"].get("100", fact["percentiles"].get(100))
    assert drawn.mean() == pytest.approx(fact["value"], rel=0.07)


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=3), st.integers(0, 1000))
def test_any_percentiles_that_rise_come_back(tokens: list[float], seed: int) -> None:
    low, middle, high = sorted(tokens)
    drawn = distributions.quantiles({10: low, 50: middle, 90: high}, 4000, seed)
    assert drawn.min() >= 1
    assert np.percentile(drawn, 50) == pytest.approx(middle, rel=0.25 * max(1.0, math.log(high / low)), abs=1)


def test_lengths_of_a_trace_keep_their_pairs() -> None:
    trace = generate.open_loop(1.0, 50, 1000, 100, spread=0.9, seed=1)
    pairs = set(zip(trace.isl.tolist(), trace.osl.tolist(), strict=True))
    isl, osl = distributions.resampled(trace, 500, 2)
    assert set(zip(isl.tolist(), osl.tolist(), strict=True)) <= pairs


def test_open_loop_and_named_workloads() -> None:
    load = generate.open_loop(2.0, 5000, 1000, 100, cv=2.0, seed=1)
    assert (load.isl == 1000).all()
    found = summary(load)
    assert (found.rate, found.cv) == pytest.approx((2.0, 2.0), rel=0.1)
    chat = generate.like("chat", generate.arrivals(5.0, 20_000), seed=1)
    assert chat.isl.mean() == pytest.approx(1155, rel=0.03)
    bench = generate.like("1k1k", generate.arrivals(5.0, 10))
    assert (bench.isl == 1024).all()
    with pytest.raises(UnknownName):
        generate.like("chatt", generate.arrivals(1.0, 2))


def test_sessions_grow_and_share() -> None:
    kind = sessions.SessionShape(5, 1000, 400, 100, 2.0, 20.0, shared=512)
    made = sessions.sessions(kind, 0.5, 200, ttft=0.5, tpot=0.02, seed=1)
    found = made.requests
    assert len(found) == 1000
    assert (np.isnan(made.gap) == (found.turn == 0)).all()
    assert (found.isl == 1000 + 400 * found.turn).all()
    assert np.nanmedian(made.gap) == pytest.approx(2.0, rel=0.15)
    curve = hit_curve(found)
    assert curve is not None
    # a turn finds all whole blocks of the one before; the first finds the system prompt
    blocks = sum((1000 + 400 * turn) // 16 for turn in range(4)) + 512 // 16
    whole = 200 * 16 * blocks - 512
    assert curve.infinite == pytest.approx(whole / found.isl.sum(), rel=1e-6)
    last = found.arrival[(found.session == 0) & (found.turn == 4)]
    gaps = made.gap[(found.session == 0) & (found.turn > 0)].sum()
    first = found.arrival[(found.session == 0) & (found.turn == 0)]
    assert last[0] - first[0] == pytest.approx(gaps + 4 * (0.5 + 0.02 * 99))


def test_sessions_with_spread_keep_their_means() -> None:
    kind = sessions.SessionShape(8, 1000, 400, 100, 2.0, 20.0, turns_cv=0.5, growth_cv=0.8, longest=20_000)
    made = sessions.sessions(kind, 5.0, 4000, ttft=0.0, tpot=0.0, seed=1)
    found = made.requests
    assert len(found) / 4000 == pytest.approx(8, rel=0.05)
    second = found.isl[found.turn == 1]
    assert second.mean() - 1000 == pytest.approx(400, rel=0.05)
    assert second.std() / 400 == pytest.approx(0.8, rel=0.2)
    assert (found.isl[found.turn > 0] + 100).max() <= 20_000


def test_published_sessions_of_agents() -> None:
    kind = sessions.shape("agentic")
    assert (kind.turns, kind.first, kind.growth) == (33, 12_000, 2242)
    made = sessions.sessions(kind, 0.1, 30, ttft=1.0, tpot=0.02)
    curve = hit_curve(made.requests)
    assert curve is not None
    assert curve.infinite == pytest.approx(0.942, abs=0.01)  # published: 94.2 %
    with pytest.raises(NoEvidence):
        sessions.shape("chat")


def test_measured_gaps_pace_a_trace() -> None:
    kind = sessions.SessionShape(3, 100, 50, 10, 1.0, 2.0)
    made = sessions.sessions(kind, 1.0, 3, ttft=0.1, tpot=0.01)
    gap = made.gap.copy()
    lost = np.flatnonzero(made.requests.turn == 1)[0]
    gap[lost] = np.nan
    paced = sessions.paced(made.requests, gap)
    assert paced.requests.turn[lost] == 0
    assert np.unique(paced.requests.session).size == 4
    with pytest.raises(BadInput):
        sessions.paced(made.requests, gap[:2])


def test_what_follows_a_turn_of_unknown_pause_goes_on_behind_it() -> None:
    found = requests(
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 100, 10, session=[7, 7, 7, -1, 7, 9], turn=[1, 2, 3, 0, 4, 2]
    )
    paced = sessions.paced(found, np.array([np.nan, 0.5, np.nan, np.nan, 0.25, 1.0]))
    assert paced.requests.turn.tolist() == [0, 1, 0, 0, 1, 0]
    one, two, three, four, five, six = paced.requests.session.tolist()
    assert one == two == 7
    assert three == five
    assert len({one, three, four, six}) == 4
    assert paced.gap[[1, 4]].tolist() == [0.5, 0.25]
    assert np.isnan(paced.gap[[0, 2, 3, 5]]).all()
    faster = paced.scaled(2.0)
    assert (faster.requests.span, faster.gap[1]) == (2.5, 0.25)


def test_rounded_times_are_spread() -> None:
    rough = generate.open_loop(5.0, 3000, 100, 10, seed=1)
    rounded = rough.scaled()
    object.__setattr__(rounded, "arrival", np.floor(rough.arrival / 3) * 3)
    assert variation(rounded.arrival) > 3
    smooth = spread(rounded, 1)
    assert (np.diff(smooth.arrival) >= 0).all()
    assert variation(smooth.arrival) == pytest.approx(1.0, abs=0.1)
    assert (np.floor(smooth.arrival[:-20] / 3) * 3 == rounded.arrival[:-20]).all()


def test_traces_are_mixed_at_their_rates() -> None:
    one, other = (generate.open_loop(rate, 2000, 100, 10, seed=1) for rate in (1.0, 9.0))
    both = mixed([one, other], [3.0, 1.0])
    assert len(both) / both.span == pytest.approx(4.0, rel=0.1)
    assert at_rate(one, 7.0).span == pytest.approx(2000 / 7.0)
    with pytest.raises(BadInput):
        mixed([one], [1.0, 2.0])
    with pytest.raises(BadInput, match="without times"):
        at_rate(one.take([0]), 1.0)


def test_a_shared_prompt_gives_its_hit_rate() -> None:
    load = shared_prefix(generate.open_loop(1.0, 1000, 1600, 10), 0.5)
    curve = hit_curve(load)
    assert curve is not None
    assert curve.infinite == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    "call",
    [
        lambda: generate.arrivals(0.0, 5),
        lambda: generate.arrivals(float("nan"), 5),
        lambda: generate.arrivals(1.0, -1),
        lambda: generate.arrivals(1.0, 10**12),
        lambda: generate.gaps(5, cv=-1.0),
        lambda: generate.gaps(5, cv=1e9, family="weibull"),
        lambda: generate.gaps(5, seed=-1),
        lambda: generate.following([1.0, -1.0], 10.0),
        lambda: generate.following([1e9], 1e9),
        lambda: generate.bursts(1.0, 1.0, 0.0, 1.0, 10.0),
        lambda: generate.bursts(1.0, 1.0, 1e-9, 1e-9, 1e12),
        lambda: generate.ClosedLoop(0, 5),
        lambda: generate.ClosedLoop(1, 5, think=-1.0),
        lambda: distributions.uniform(10, 2.0, 5),
        lambda: distributions.quantiles({50: 10.0}, 5),
        lambda: distributions.quantiles({50: 10.0, 90: 5.0}, 5),
        lambda: distributions.lognormal(-1, 1, 5),
        lambda: distributions.fixed(0, 5),
        lambda: sessions.SessionShape(0.5, 100, 50, 10, 1.0, 2.0),
        lambda: sessions.SessionShape(5, 100, 50, 60, 1.0, 2.0),
    ],
)
def test_senseless_traffic_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(BadInput):
        call()
