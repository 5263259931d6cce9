"""What must hold for every run: nothing is lost, memory is never exceeded, queues obey their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.steady import at_batch, closed, open_loop
from assay.engine.step import Batch, Workload, seconds
from assay.llm.layout import Layout
from assay.simulate import forms
from assay.simulate import state as s
from assay.simulate.building import Ahead, build
from assay.simulate.cluster import OVER_LIMIT, ROUTERS, Cluster, Fleet, Member, Pool, Scaling
from assay.simulate.compiled import ready
from assay.simulate.deploy import deploy, handover
from assay.simulate.faults import Faults
from assay.simulate.run import Run, execute
from assay.simulate.tiers import Tier
from assay.simulate.walking import mixed, surface, walk
from assay.workload.arrivals import Requests, requests
from assay.workload.sessions import Sessions


def pool(
    name: str = "llama-3.1-8b", system: str = "h100", layout: str = "tp1", kind: str = "vllm", **given: Any
) -> Pool:
    """Return a pool of a model on a system."""
    prepared, _ = model(name)
    return deploy(
        prepared,
        catalogue().system(system),
        Layout.parse(layout),
        engine(kind),
        weights="native",
        kv="fp8",
        **given,
    )


def poisson(count: int, rate: float, isl: int, osl: int, seed: int = 0) -> Requests:
    """Return Poisson arrivals of equal requests."""
    return requests(np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count)), isl, osl)


def drawn(seed: int) -> tuple[Cluster, Any, dict[str, Any], int]:
    """Return a random cluster, its traffic, what else happens to it, and the number of requests."""
    random = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[int(random.integers(len(choices)))]

    count = int(random.integers(1, 250))
    isl, osl = random.integers(1, 1500, count), random.integers(1, 300, count)
    at = np.cumsum(random.exponential(1 / one_of(5.0, 50.0, 500.0), count))
    known: dict[str, Any] = {}
    if size := one_of(0, 16, 64):
        sizes = -(-isl // size)
        family = random.integers(0, 5, count)
        ids = [
            np.where(
                np.arange(n) < random.integers(0, n + 1),
                1000 * f + np.arange(n),
                10**6 + 1000 * i + np.arange(n),
            )
            for i, (n, f) in enumerate(zip(sizes, family, strict=True))
        ]
        known = {
            "blocks": (np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(ids)),
            "block_tokens": size,
        }
    session = random.integers(-1, 7, count)
    traffic: Any = requests(at, isl, osl, session=session, priority=random.integers(0, 4, count), **known)
    common = {
        "kind": one_of("vllm", "sglang", "trtllm"),
        "layout": one_of("tp1", "tp2", "dp2", "tp1pp2"),
        "budget": one_of(256, 2048),
        "sequences": one_of(4, 64),
        "drafts": one_of(0, 2),
        "capacity": one_of(0, 3000, 8000),
        "tiers": one_of((), (Tier("host", 4e8, 2e9, 1e-4),), (Tier("host", 5e7, 2e9), Tier("ssd", 3e8, 3e8))),
    }
    common["swap"] = bool(common["tiers"]) and one_of(False, True)
    options: dict[str, Any] = {"router": one_of(*ROUTERS), "most_waiting": one_of(0, 0, 20)}
    options["over_limit"] = one_of("serve", *OVER_LIMIT)
    options["ttft_limit"] = one_of(0.02, 0.2, 2.0)
    replicas = int(random.integers(1, 6))
    if random.random() < 0.3:
        front, back = (
            pool(role="prefill", replicas=replicas, **common),
            pool(role="decode", replicas=2, **common),
        )
        options["transfer"] = handover(front, back, 800.0)
        pools: tuple[Pool, ...] = (front, back)
    else:
        pools = (pool(replicas=replicas, **common),)
        if random.random() < 0.3:
            options["scaling"] = Scaling(1.0, 4.0, 1, pools[0].units, 2.0, one_of(0.0, 3.0))
    links = {"link_mtbf": one_of(0.0, 5.0), "link_mttr": 1.0} if len(pools) > 1 else {}
    faults = Faults(mtbf=one_of(0.0, 20.0, 5.0), mttr=3.0, **links)
    events = faults.events(pools[0].replicas, pools[0].stages, float(at[-1]) * 1.5 + 5, seed)
    more = {"users": one_of(0, 0, 5), "events": events, "cached": one_of(0.0, 0.5)}
    if not more["users"] and random.random() < 0.3:
        turn = np.array(
            [int((session[:i] == number).sum()) * (number >= 0) for i, number in enumerate(session)]
        )
        gap = np.where(turn > 0, random.exponential(1.0, count), np.nan)
        traffic = Sessions(requests(at, isl, osl, session=session, turn=turn, **known), gap)
    return Cluster(pools, **options), traffic, more, count


def conserved(run: Run, count: int) -> None:
    """Check that every request ended once, tokens add up and the cache was never larger than its memory."""
    totals, units, rows = run.state.totals[0], run.state.units, np.concatenate(run.tally.rows)
    assert np.sort(rows["number"]).tolist() == list(range(count))
    assert [int(totals[name]) for name in ("in_flight", "waiting", "running")] == [0, 0, 0]
    room = run.state.pools["room"][units["pool"]]
    assert (units["peak"] <= room).all()
    assert (units["used"] + units["idle"] <= room).all()
    for name in ("used", "context", "future", "count", "prompting", "waiting", "loading", "load", "queue"):
        assert not units[name].any(), name
    assert not run.state.entries["users"].any()
    tiers = run.state.tiers
    assert (tiers["peak"] <= tiers["room"]).all()
    assert not tiers["used"].any()
    assert not tiers["asked"].any()
    done = rows[rows["status"] == s.COMPLETED]
    assert run.state.models["output_tokens"].sum() == done["osl"].sum()
    assert (done["first"] >= done["arrival"]).all()
    assert (done["end"] >= done["first"]).all()
    assert (done["end"] > done["first"])[done["osl"] > 1].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_nothing_is_lost_under_random_faults(seed: int) -> None:
    cluster, traffic, more, count = drawn(seed)
    run = execute(cluster, traffic, keep=True, compiled=False, **more)
    conserved(run, count)
    if cluster.pools[0].policy.reserve == 1.0:
        assert run.state.models["preempted"][0] == 0


@pytest.mark.skipif(
    not ready(), reason="the compiled kernel is not in the cache: benchmarks/simulate.py makes it"
)
@pytest.mark.parametrize("seed", range(12))
def test_compiled_and_plain_are_the_same_bit_for_bit(seed: int) -> None:
    cluster, traffic, more, _ = drawn(seed)
    plain, compiled = (execute(cluster, traffic, keep=True, compiled=form, **more) for form in (False, True))
    assert compiled.compiled
    for name, one, other in zip(s.State._fields, plain.state, compiled.state, strict=True):
        assert one.tobytes() == other.tobytes(), name
    assert np.concatenate(plain.tally.rows).tobytes() == np.concatenate(compiled.tally.rows).tobytes()


@pytest.mark.parametrize("seed", [3, 8])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    cluster, traffic, more, _ = drawn(seed)
    once, again = (execute(cluster, traffic, keep=True, compiled=False, **more) for _ in range(2))
    assert np.concatenate(once.tally.rows).tobytes() == np.concatenate(again.tally.rows).tobytes()


SETTINGS = (
    ("llama-3.1-8b", "a100", "tp1"),
    ("llama-3.1-70b", "h200", "tp4pp2"),
    ("deepseek-v3", "h200", "dep16"),
    ("kimi-k2", "h200", "dep16"),
    ("gpt-oss-120b", "h100", "tp2"),
    ("gemma-3-12b", "h100", "tp1"),
    ("nemotron-3-ultra-550b-a55b", "b300", "tp8"),
)


@pytest.mark.parametrize("where", SETTINGS, ids=" ".join)
def test_tables_are_the_engine_model_within_a_fifth_of_a_percent(where: tuple[str, str, str]) -> None:
    one = pool(*where)
    state = forms.as_plain(build(Fleet((Member("", Cluster((one,))),)), (Ahead(40_000),)))
    row, settings_of = state.pools[0], one.copy.engine
    ranks, stages = row.ranks, one.stages
    random = np.random.default_rng(0)
    for _ in range(60):
        count = int(np.exp(random.uniform(0, np.log(200 * ranks))))
        context = float(np.exp(random.uniform(0, np.log(30_000))))
        local = -(-count // ranks)
        host = (settings_of.host + settings_of.host_sequence * local) * stages
        step = one.copy.step(Workload(isl=context, osl=0.0), one.skew)
        decode = float(seconds(step, Batch(local, count))[0, 0])
        got = walk(state.node, state.table, row, count, context, 1, float("inf"))[1]
        assert got == pytest.approx(max(decode + settings_of.gap * stages, host), rel=2e-3)
        chunk = int(np.exp(random.uniform(0, np.log(settings_of.budget))))
        before = float(random.integers(0, 20_000))
        load = Workload(isl=before + chunk, osl=0.0, cached=before / (before + chunk), chunk=float("inf"))
        step = one.copy.step(load, one.skew)
        spread = (chunk, chunk * ranks, 1, ranks)
        added = seconds(step, Batch(local, local * ranks, *spread)) - seconds(
            step, Batch(local, local * ranks)
        )
        base = seconds(one.copy.step(Workload(isl=context, osl=0.0), one.skew), Batch(local, local * ranks))
        attention = surface(state.node, state.table, row.prompt, float(chunk), before, row.contexts)
        got = mixed(state.node, state.table, row, local * ranks, context, (chunk, chunk * ranks, attention))
        true = float((added + base)[0, 0]) + settings_of.gap * stages
        assert got == pytest.approx(max(true, host), rel=2e-3)


@pytest.mark.parametrize("load", [0.1, 0.4, 0.7])
@pytest.mark.parametrize(
    ("where", "isl", "osl"),
    [
        (("llama-3.1-8b", "h100", "tp1", "vllm"), 512, 128),
        (("llama-3.1-8b", "h100", "tp1", "vllm"), 8000, 256),
        (("llama-3.1-8b", "h100", "tp1", "sglang"), 512, 128),
        (("llama-3.1-70b", "h200", "tp4", "vllm"), 2048, 512),
        (("llama-3.1-70b", "h200", "tp8", "trtllm"), 512, 128),
        (("qwen3-30b-a3b-2507", "h100", "tep2", "vllm"), 1024, 256),
        (("qwen3-30b-a3b-2507", "h100", "dep4", "vllm"), 1024, 128),
    ],
    ids=str,
)
def test_an_open_loop_agrees_with_the_steady_state(
    where: tuple[str, str, str, str], isl: int, osl: int, load: float
) -> None:
    one = pool(*where)
    step = one.copy.step(Workload(isl=isl, osl=osl, chunk=one.copy.engine.budget), one.skew)
    capacity = one.copy.capacity(np.array([[isl + osl / 2]]))
    batches = np.geomspace(1, float(capacity[0, 0]), 40)
    most = max(float(at_batch(step, one.copy.engine, batch).throughput[0, 0]) for batch in batches)
    steady = open_loop(step, one.copy.engine, np.array([[load * most]]), capacity)
    run = execute(Cluster((one,)), poisson(3000, load * most, isl, osl), keep=True, compiled=False)
    rows = np.concatenate(run.tally.rows)
    start, end = np.quantile(rows["arrival"], [0.15, 0.85])
    rows = rows[(rows["arrival"] > start) & (rows["arrival"] < end)]
    tpot = float(((rows["end"] - rows["first"]) / (osl - 1)).mean())
    assert tpot == pytest.approx(float(steady.tpot[0, 0]), rel=0.05)
    ttft = float((rows["first"] - rows["arrival"]).mean()) + one.copy.engine.request
    assert ttft == pytest.approx(float(steady.ttft[0, 0]), rel=0.05)


@pytest.mark.parametrize("users", [4, 16, 64])
def test_a_closed_loop_agrees_with_the_steady_state(users: int) -> None:
    one, isl, osl = pool("llama-3.1-8b", "h100", "tp1", "vllm"), 2048, 256
    step = one.copy.step(Workload(isl=isl, osl=osl, chunk=one.copy.engine.budget), one.skew)
    steady = closed(step, one.copy.engine, np.array([[float(users)]]))
    count = 2000 + 20 * users
    # equal answers would end together, and their users ask again together
    answers = np.maximum(np.random.default_rng(1).exponential(osl, count), 2).round().astype(int)
    traffic = requests(np.arange(count) * 1e-6, np.full(count, isl), answers)
    run = execute(Cluster((one,)), traffic, users=users, keep=True, compiled=False)
    rows = np.concatenate(run.tally.rows)
    start, end = np.quantile(rows["end"], [0.2, 0.8])
    rows = rows[(rows["end"] > start) & (rows["end"] < end)]
    tpot = float((rows["end"] - rows["first"]).sum() / (rows["osl"] - 1).sum())
    assert tpot == pytest.approx(float(steady.tpot[0, 0]), rel=0.05)
    assert len(rows) / (end - start) == pytest.approx(float(steady.throughput[0, 0]), rel=0.05)


@pytest.mark.parametrize(("load", "chance"), [(0.3, 0.02), (0.6, 0.03), (0.8, 0.08)])
def test_one_prompt_a_step_is_an_m_d_1_queue(load: float, chance: float) -> None:
    # no decodes, and a budget that holds one prompt
    one = pool(budget=1024)
    (alone,) = execute(Cluster((one,)), requests([0.0], 1024, 1), keep=True, compiled=False).tally.rows
    service = float(alone["end"][0] - alone["arrival"][0])
    traffic = poisson(30_000, load / service, 1024, 1, seed=5)
    found = execute(Cluster((one,)), traffic, compiled=False)
    ttft = found.tally.ttft.summary()["mean"] - one.copy.engine.request
    # Lindley's recursion on the same arrivals is exact
    waits, wait = [], 0.0
    for gap in np.diff(traffic.arrival, append=np.inf).tolist():
        waits.append(wait)
        wait = max(wait + service - gap, 0.0)
    assert ttft == pytest.approx(service + np.mean(waits), rel=1e-6)
    # Pollaczek and Khinchine's mean, as far as 30,000 arrivals tell
    assert np.mean(waits) == pytest.approx(load * service / (2 * (1 - load)), rel=2 * chance)


def test_a_lone_request_equals_the_steady_state_at_no_load() -> None:
    one = pool("llama-3.1-70b", "h200", "tp4")
    step = one.copy.step(Workload(isl=1024, osl=128, chunk=one.copy.engine.budget), one.skew)
    steady = at_batch(step, one.copy.engine, 1.0)
    found = execute(Cluster((one,)), requests([0.0], 1024, 128), compiled=False)
    assert found.tally.tpot.summary()["mean"] == pytest.approx(float(steady.decode_step[0, 0]), rel=2e-3)
