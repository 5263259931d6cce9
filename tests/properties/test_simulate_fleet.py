"""Several models: nothing is lost whether they have chips of their own or take turns on the same ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.llm.layout import Layout
from assay.simulate import state as s
from assay.simulate.cluster import Cluster, Fleet, Member, Pool, Scaling
from assay.simulate.compiled import ready
from assay.simulate.deploy import deploy, handover
from assay.simulate.faults import Event, Faults, in_fleet
from assay.simulate.run import Load, Run, execute, execute_fleet
from assay.simulate.tiers import Tier
from assay.workload.arrivals import Requests, requests
from assay.workload.sessions import Sessions

NAMES = ("llama-3.1-8b", "qwen3-8b", "gemma-3-12b", "gpt-oss-20b")


def pool(name: str = NAMES[0], layout: str = "tp1", **options: Any) -> Pool:
    """Return a pool of a model on H100."""
    prepared, _ = model(name)
    return deploy(
        prepared,
        catalogue().system("h100"),
        Layout.parse(layout),
        engine("vllm"),
        weights="native",
        kv="bf16",
        **options,
    )


def blocks_of(isl: np.ndarray[Any, Any], size: int) -> dict[str, Any]:
    """Return prefix blocks of which families of requests share the first half."""
    sizes = -(-isl // size)
    ids = [
        np.where(np.arange(n) < n // 2, 100 * (k % 3) + np.arange(n), 10**4 * (k + 1) + np.arange(n))
        for k, n in enumerate(sizes)
    ]
    return {
        "blocks": (np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(ids)),
        "block_tokens": size,
    }


def asked(random: np.random.Generator, count: int, size: int) -> Requests | Sessions:
    """Return random traffic of one model; some of it sessions."""
    isl, osl = random.integers(1, 900, count), random.integers(1, 200, count)
    at = np.cumsum(random.exponential(random.choice([0.02, 0.3]), count))
    session = random.integers(-1, 4, count)
    known = blocks_of(isl, size) if size else {}
    priority = random.integers(0, 4, count)
    if random.random() < 0.7:
        return requests(at, isl, osl, session=session, priority=priority, **known)
    turn = np.array([int((session[:i] == k).sum()) * (k >= 0) for i, k in enumerate(session)])
    gap = np.where(turn > 0, random.exponential(1.0, count), np.nan)
    return Sessions(requests(at, isl, osl, session=session, turn=turn, priority=priority, **known), gap)


def drawn(seed: int) -> tuple[Fleet, list[Load], list[Event], int]:
    """Return a random fleet, what its models are asked, its failures, and the number of requests."""
    random = np.random.default_rng(seed)
    members: list[Member] = []
    common = {"sequences": int(random.choice([2, 32])), "capacity": int(random.choice([3000, 0]))}
    for name in NAMES[: int(random.integers(0, 3))]:
        if random.random() < 0.3:
            both = (pool(name, role="prefill", **common), pool(name, role="decode", **common))
            members.append(Member(name, Cluster(both, transfer=handover(*both, 500.0))))
            continue
        one = pool(name, replicas=int(random.integers(1, 4)), **common)
        scaling = Scaling(1.0, 4.0, 1, one.units, 2.0, 3.0) if random.random() < 0.5 else None
        members.append(
            Member(name, Cluster((one,), str(random.choice(["prefix", "round-robin"])), scaling=scaling))
        )
    replicas, tiers = int(random.integers(1, 4)), (Tier("host", 1e9, 2e9, 1e-4),) * int(random.integers(0, 2))
    for name in NAMES[: int(random.integers(0 if members else 1, 5))]:
        one = pool(name, replicas=replicas, tiers=tiers, swap=bool(tiers), **common)
        patience, switch = float(random.choice([0.0, 1.0, math.inf])), float(random.choice([0.0, 0.4]))
        members.append(
            Member(name, Cluster((one,), most_waiting=int(random.choice([0, 9]))), True, switch, patience)
        )
    fleet = Fleet(tuple(members), strange=float(random.choice([0.0, 3.0, 64.0])))
    counts = [int(random.integers(1, 90)) for _ in members]
    loads = [Load(asked(random, count, int(random.choice([0, 16, 64])))) for count in counts]
    faults = Faults(mtbf=float(random.choice([0.0, 4.0, 15.0])), mttr=2.0)
    return fleet, loads, in_fleet(fleet, {"": faults}, 20.0, seed), sum(counts)


def conserved(run: Run, fleet: Fleet, count: int) -> None:
    """Check that every request ended once with its own model, and that nothing stays behind."""
    totals, units, rows = run.state.totals[0], run.state.units, np.concatenate(run.tally.rows)
    assert np.sort(rows["number"]).tolist() == list(range(count))
    assert [int(totals[name]) for name in ("in_flight", "waiting", "running")] == [0, 0, 0]
    served = rows[rows["unit"] >= 0]
    assert (run.state.pools["model"][units["pool"][served["unit"]]] == served["model"]).all()
    room = run.state.pools["room"][units["pool"]]
    assert (units["peak"] <= room).all()
    for name in ("used", "context", "future", "count", "prompting", "waiting", "loading", "load", "queue"):
        assert not units[name].any(), name
    assert not run.state.entries["users"].any()
    done = rows[rows["status"] == s.COMPLETED]
    for index in range(len(fleet.members)):
        assert run.state.models["output_tokens"][index] == done["osl"][done["model"] == index].sum()
    if fleet.sharing:
        first = int(run.state.pools["face"][-1])
        faces = units[units["pool"] >= first].reshape(fleet.sharing, -1)
        assert (faces["holds"].sum(axis=0) == 1).all()
        paid = run.state.pools["ready_seconds"][first:].sum()
        assert paid <= faces.shape[1] * totals["now"] * (1 + 1e-9)
        busy = run.state.pools[["prompt_busy", "decode_busy", "switching"]][first:].tolist()
        assert np.sum(busy) <= paid * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_nothing_is_lost_in_a_fleet_under_random_faults(seed: int) -> None:
    fleet, loads, events, count = drawn(seed)
    conserved(execute_fleet(fleet, loads, events=events, keep=True, compiled=False), fleet, count)


@pytest.mark.skipif(
    not ready(), reason="the compiled kernel is not in the cache: benchmarks/simulate.py makes it"
)
@pytest.mark.parametrize("seed", range(12))
def test_compiled_and_plain_fleets_are_the_same_bit_for_bit(seed: int) -> None:
    fleet, loads, events, _ = drawn(seed)
    plain, compiled = (
        execute_fleet(fleet, loads, events=events, keep=True, compiled=form) for form in (False, True)
    )
    for name, one, other in zip(s.State._fields, plain.state, compiled.state, strict=True):
        assert one.tobytes() == other.tobytes(), name


def poisson(count: int, rate: float, osl: int = 64, seed: int = 0) -> Requests:
    """Return Poisson arrivals of equal requests."""
    return requests(np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count)), 512, osl)


def test_models_on_their_own_chips_are_runs_of_their_own() -> None:
    members = tuple(Member(name, Cluster((pool(name, replicas=2),))) for name in NAMES[:3])
    loads = [Load(poisson(300, 20.0, seed=k)) for k in range(3)]
    run = execute_fleet(Fleet(members), loads, keep=True, compiled=False)
    for index, (member, load) in enumerate(zip(members, loads, strict=True)):
        alone = execute(member.cluster, load.traffic, keep=True, compiled=False)
        one, other = (np.concatenate(tally.rows) for tally in (run.tallies[index], alone.tally))
        for name in ("arrival", "first", "end"):
            assert np.sort(one[name]).tobytes() == np.sort(other[name]).tobytes()
        assert run.of(index).state.gaps.tobytes() == alone.state.gaps.tobytes()


def lone(one: Pool) -> float:
    """Return s that a request of one sequence at a time keeps a replica."""
    (row,) = execute(Cluster((one,)), poisson(1, 1.0), keep=True, compiled=False).tally.rows
    return float(row["end"][0] - row["arrival"][0])


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_models_that_switch_for_nothing_are_one_queue(load: float) -> None:
    # the same model under four names, one request at a time: M/D/1 over all of them
    one = pool(sequences=1)
    service = lone(one)
    fleet = Fleet(tuple(Member(f"m{k}", Cluster((one,)), shared=True) for k in range(4)))
    traffic = [poisson(2000, load / service / 4, seed=k) for k in range(4)]
    run = execute_fleet(fleet, [Load(each) for each in traffic], keep=True, compiled=False)
    rows = np.sort(np.concatenate(run.tally.rows), order="number")
    waits, wait = [], 0.0
    for gap in np.diff(rows["arrival"], append=np.inf).tolist():
        waits.append(wait)
        wait = max(wait + service - gap, 0.0)
    assert (rows["end"] - rows["arrival"] - service).mean() == pytest.approx(np.mean(waits), rel=1e-6)
    pools, totals = run.state.pools, run.state.totals[0]
    busy = (pools["prompt_busy"] + pools["decode_busy"]).sum() / totals["now"]
    assert busy == pytest.approx(8000 * service / totals["now"], rel=1e-6)


def test_as_many_models_are_active_as_an_infinite_server_queue_says() -> None:
    # chips of their own, hardly any batching: E[active] = M (1 - exp(-rate T)), as in the study of Aegaeon
    count, rate, osl = 30, 0.05, 512
    service = lone_of(osl)
    fleet = Fleet(tuple(Member(f"m{k}", Cluster((pool(),))) for k in range(count)))
    traffic = [poisson(150, rate, osl, seed=k) for k in range(count)]
    run = execute_fleet(fleet, [Load(each) for each in traffic], compiled=False)
    span = np.array([float(each.arrival[-1]) for each in traffic])
    active = float((run.state.units["busy"] / span).sum())
    assert active == pytest.approx(count * (1 - math.exp(-rate * service)), rel=0.05)


def lone_of(osl: int) -> float:
    """Return s of one request of so many output tokens alone."""
    found = execute(Cluster((pool(),)), requests([0.0], 512, osl), keep=True, compiled=False)
    row = found.tally.rows[0]
    return float(row["end"][0] - row["arrival"][0])


def test_patience_trades_switches_for_waiting() -> None:
    one = pool(sequences=16)
    traffic = [Load(poisson(400, 4.0, seed=k)) for k in range(3)]
    switches = []
    for patience in (0.0, 5.0, math.inf):
        members = tuple(
            Member(f"m{k}", Cluster((one,)), shared=True, switch=0.5, patience=patience) for k in range(3)
        )
        run = execute_fleet(Fleet(members), traffic, compiled=False)
        assert run.tally.ended[0] == 1200
        switches.append(int(run.state.pools["switches"].sum()))
    assert switches[0] > switches[1] > switches[2] > 0


def test_shared_chips_serve_rare_models_on_fewer_of_them() -> None:
    # eight models that are seldom asked: two chips hold the limit that eight hold
    one = pool(sequences=64)
    traffic = [Load(poisson(60, 0.05, seed=k)) for k in range(8)]
    apart = execute_fleet(
        Fleet(tuple(Member(f"m{k}", Cluster((one,))) for k in range(8))), traffic, compiled=False
    )
    shared = tuple(
        Member(f"m{k}", Cluster((replace(one, replicas=2),)), shared=True, switch=1.0, patience=1.0)
        for k in range(8)
    )
    fleet = Fleet(shared, strange=16.0)
    run = execute_fleet(fleet, traffic, compiled=False)
    assert fleet.chips == 2
    assert run.tally.ttft.summary()["p90"] < 5.0
    assert run.tally.ended[0] == apart.tally.ended[0] == 480
    used = [
        float((each.state.pools["prompt_busy"] + each.state.pools["decode_busy"]).sum())
        / float(each.state.pools["ready_seconds"].sum())
        for each in (apart, run)
    ]
    assert used[1] > 3 * used[0]
