"""Whole runs, small enough to be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.step import Batch, Workload, seconds
from assay.errors import BadInput, DoesNotFit
from assay.llm.layout import Layout
from assay.simulate.carbon import grid
from assay.simulate.cluster import Cluster, Pool, Scaling
from assay.simulate.deploy import deploy, handover
from assay.simulate.faults import Faults
from assay.simulate.outcome import outcome
from assay.simulate.run import Limits, Run, execute
from assay.simulate.saturation import saturation
from assay.workload.arrivals import Requests, requests
from assay.workload.sessions import Sessions


def pool(name: str = "vllm", layout: str = "tp1", system: str = "h100", **given: Any) -> Pool:
    """Return a pool of Llama 3.1 8B."""
    prepared, _ = model("llama-3.1-8b")
    settings = engine(name)
    return deploy(
        prepared,
        catalogue().system(system),
        Layout.parse(layout),
        settings,
        weights="native",
        kv="bf16",
        **given,
    )


def run(cluster: Cluster | Pool, traffic: Any, **given: Any) -> tuple[Run, np.ndarray[Any, Any]]:
    """Run in plain Python and return the run and its requests in order."""
    serving = cluster if isinstance(cluster, Cluster) else Cluster((cluster,))
    found = execute(serving, traffic, keep=True, compiled=False, **given)
    rows = np.concatenate(found.tally.rows)
    return found, rows[np.argsort(rows["number"])]


def poisson(count: int, rate: float, isl: int = 512, osl: int = 64, seed: int = 0) -> Requests:
    """Return Poisson arrivals of equal requests."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return requests(np.cumsum(gaps), isl, osl)


def step_seconds(one: Pool) -> Callable[..., float]:
    """Return what a step of a pool costs, from the engine's own model."""

    def spent(context: float, batch: int, prompt: int = 0) -> float:
        step = one.copy.step(Workload(isl=context, osl=0.0, chunk=float("inf")), one.skew)
        load = Batch(batch, batch, prompt, prompt, 1.0, 1.0) if prompt else Batch(batch, batch)
        settings = one.copy.engine
        return max(
            float(seconds(step, load)[0, 0]) + settings.gap, settings.host + settings.host_sequence * batch
        )

    return spent


def test_one_request_takes_its_prompt_and_its_decode_steps() -> None:
    one = pool()
    spent = step_seconds(one)
    _, (row,) = run(one, requests([1.0], 1000, 11))
    assert row["first"] - row["arrival"] == pytest.approx(spent(1000, 0, 1000), rel=2e-3)
    assert row["end"] - row["first"] == pytest.approx(sum(spent(1000 + k, 1) for k in range(10)), rel=2e-3)


def test_a_long_prompt_comes_in_chunks() -> None:
    found, (row,) = run(pool(budget=512), requests([0.0], 2000, 1))
    assert found.state.pools["mixed_steps"].sum() == 4
    assert row["end"] == row["first"]


def test_prompts_share_steps_in_vllm_and_go_first_in_sglang() -> None:
    traffic = requests([0.0, 0.1], [100, 4000], [200, 10])
    mixed, _ = run(pool("vllm"), traffic)
    first, _ = run(pool("sglang"), traffic)
    assert (
        mixed.state.pools["steps"].sum()
        < first.state.pools["steps"].sum() + first.state.pools["mixed_steps"].sum()
    )
    # the decode that waited for a prompt shows as a gap of the prompt's length
    longest = np.flatnonzero(first.state.gaps)[-1]
    assert longest > np.flatnonzero(mixed.state.gaps)[0]


def test_a_full_cache_preempts_in_vllm_and_waits_in_trtllm() -> None:
    traffic = requests(np.zeros(8), 1000, 500)
    vllm, _ = run(pool("vllm", capacity=6000), traffic)
    careful, _ = run(pool("trtllm", capacity=6000), traffic)
    assert vllm.tally.ended.tolist() == careful.tally.ended.tolist() == [8, 0, 0, 0]
    assert vllm.state.models["preempted"][0] > 0
    assert careful.state.models["preempted"][0] == 0
    assert vllm.state.units["peak"].max() <= 6000


def test_what_can_never_fit_is_refused() -> None:
    found, rows = run(pool(capacity=2000), requests([0.0, 0.0], [5000, 100], [10, 10]))
    assert found.tally.ended.tolist() == [1, 1, 0, 0]
    assert rows["status"].tolist() == [1, 0]
    assert any("too long for the cache" in note for note in outcome(Cluster((pool(),)), found).notes)


def test_smaller_priority_numbers_go_first() -> None:
    traffic = requests(np.zeros(4), 1000, 50, priority=[3, 2, 1, 0])
    _, rows = run(pool(sequences=1), traffic)
    assert np.argsort(rows["first"][1:]).tolist() == [2, 1, 0]


def blocks(shared: int, count: int, total: int = 32) -> tuple[Any, Any]:
    """Return prefix blocks of `count` prompts of which the first `shared` are the same."""
    ids = [list(range(shared)) + [1000 * (i + 1) + k for k in range(total - shared)] for i in range(count)]
    return np.arange(count + 1) * total, np.concatenate([np.array(row, dtype=np.int64) for row in ids])


def test_shared_prefixes_are_computed_once() -> None:
    traffic = requests([0.0, 5.0, 10.0], 512, 8, blocks=blocks(24, 3), block_tokens=16)
    found, rows = run(pool(), traffic)
    assert rows["hit"].tolist() == [0, 24 * 16, 24 * 16]
    assert (rows["first"] - rows["arrival"])[1] < (rows["first"] - rows["arrival"])[0]
    assert found.state.entries["users"].sum() == 0
    off, _ = run(Cluster((pool(),), prefix_cache=False), traffic)
    assert off.state.models["hit_tokens"][0] == 0


def test_the_cache_drops_what_was_not_used_for_longest() -> None:
    same = np.array([*range(32), *range(100, 132), *range(200, 232), *range(32)], dtype=np.int64)
    traffic = requests([0.0, 5.0, 10.0, 15.0], 512, 8, blocks=(np.arange(5) * 32, same), block_tokens=16)
    _, small = run(pool(capacity=1200), traffic)
    _, large = run(pool(capacity=4000), traffic)
    # its end went first, so that a part of the prefix is still there
    assert small["hit"].tolist() == [0, 0, 0, 160]
    # a whole prompt in the cache still computes its last block
    assert large["hit"].tolist() == [0, 0, 0, 31 * 16]


def test_routers_spread_and_stick() -> None:
    traffic = requests(np.arange(12) * 1e-3, 512, 64, session=[k % 3 for k in range(12)])
    turns = run(Cluster((pool(replicas=4),), "round-robin"), traffic)[1]["unit"]
    assert turns.tolist() == [0, 1, 2, 3] * 3
    sticky = run(Cluster((pool(replicas=4),), "session"), traffic)[1]["unit"]
    assert sticky.tolist() == [0, 1, 2] * 4
    loads = run(Cluster((pool(replicas=4),), "least-load"), traffic)[1]["unit"]
    assert np.bincount(loads).tolist() == [3, 3, 3, 3]


def test_the_prefix_router_follows_the_blocks() -> None:
    ids = np.concatenate([np.arange(32) + 100 * (k % 2) for k in range(8)]).astype(np.int64)
    traffic = requests(np.arange(8) * 2.0, 512, 8, blocks=(np.arange(9) * 32, ids), block_tokens=16)
    aware = run(Cluster((pool(replicas=4),), "prefix"), traffic)[1]
    assert len(set(aware["unit"][::2])) == 1
    assert aware["hit"][2:].min() > 0


def test_full_queues_refuse() -> None:
    cluster = Cluster((pool(sequences=1),), most_waiting=2)
    found, rows = run(cluster, requests(np.zeros(10), 512, 64))
    assert found.tally.ended.tolist() == [3, 7, 0, 0]
    assert rows["status"][:3].tolist() == [0, 0, 0]


def test_a_failed_replica_loses_nothing() -> None:
    traffic = poisson(200, 20.0)
    faults = Faults(((2.0, 0, 3.0, 0.0), (4.0, 1, 100.0, 0.0))).events(2, 1, 0.0)
    found, rows = run(Cluster((pool(replicas=2),)), traffic, events=faults)
    assert found.tally.ended.tolist() == [200, 0, 0, 0]
    assert found.state.models["retried"][0] > 0
    assert rows["tries"].max() == 1
    # both were down between 4 s and 5 s
    assert not ((rows["end"] > 4.01) & (rows["end"] < 5.0)).any()


def test_what_nobody_can_serve_is_reported() -> None:
    faults = Faults(((1.0, 0, float("inf"), 0.0),)).events(1, 1, 0.0)
    found, _ = run(pool(), poisson(50, 20.0), events=faults)
    completed, _, _, unserved = found.tally.ended
    assert completed + unserved == 50
    assert unserved > 20
    careless, _ = run(Cluster((pool(),), tries=0), poisson(50, 20.0), events=faults)
    assert careless.tally.ended[2] > 0


def test_a_straggler_is_slower_by_its_factor() -> None:
    faults = Faults(((0.0, 0, float("inf"), 3.0),)).events(1, 1, 0.0)
    (slow,), (usual,) = (run(pool(), requests([1.0], 500, 50), events=e)[1] for e in (faults, []))
    assert slow["end"] - slow["arrival"] == pytest.approx(3 * (usual["end"] - usual["arrival"]))


def test_scaling_starts_units_after_their_cold_start() -> None:
    scaling = Scaling(every=1.0, target=4.0, least=1, greatest=4, cold_start=5.0)
    found, rows = run(Cluster((pool(replicas=4),), scaling=scaling), poisson(600, 30.0, osl=256))
    assert found.tally.ended[0] == 600
    assert rows["arrival"][rows["unit"] > 0].min() >= 5.0
    total = found.state.totals[0]
    assert found.state.pools["ready_seconds"][0] < 4 * total["now"]
    # quiet again: all but one are switched off
    quiet = requests(np.concatenate([np.linspace(0, 5, 200), [200.0]]), 512, 256)
    found, _ = run(Cluster((pool(replicas=4),), scaling=scaling), quiet)
    assert (found.state.units["health"] == 1).sum() == 1


def test_scaling_keeps_units_that_a_decision_within_the_window_wanted() -> None:
    # a burst every 20 s: a unit that stops between two of them is missing in the second
    bursts = requests(
        np.concatenate([start + np.linspace(0, 4, 120) for start in range(0, 200, 20)]), 512, 256
    )
    found = {}
    for window in (0.0, 60.0):
        scaling = Scaling(every=1.0, target=4.0, least=1, greatest=4, cold_start=5.0, window=window)
        found[window] = run(Cluster((pool(replicas=4),), scaling=scaling), bursts)
    # the third burst finds all four units only where none was stopped
    assert max(found[60.0][1]["unit"][240:280]) == 3 > max(found[0.0][1]["unit"][240:280])
    waits = [np.quantile(rows["first"] - rows["arrival"], 0.9) for _, rows in found.values()]
    paid = [made.state.pools["ready_seconds"][0] for made, _ in found.values()]
    assert waits[1] < waits[0]
    assert paid[1] > paid[0]
    # what stops drains: nothing is sent twice
    assert all(made.state.models["retried"][0] == 0 for made, _ in found.values())


def test_scaling_gives_up_units_that_have_not_started_yet() -> None:
    scaling = Scaling(every=1.0, target=4.0, least=1, greatest=4, cold_start=1000.0)
    traffic = requests(np.concatenate([np.linspace(0, 2, 60), [100.0]]), 512, 64)
    found, rows = run(Cluster((pool(replicas=4),), scaling=scaling), traffic)
    assert set(rows["unit"]) == {0}
    assert found.state.pools["ready_seconds"][0] < 2 * found.state.totals["now"][0]


def test_a_pace_multiplies_every_step() -> None:
    usual, slower = pool(), replace(pool(), pace=1.25)
    (one,), (other,) = (run(item, requests([1.0], 3000, 50))[1] for item in (usual, slower))
    for part in ("first", "end"):
        assert other[part] - other["arrival"] == pytest.approx(1.25 * (one[part] - one["arrival"]))
    assert run(replace(usual, pace=1.0), poisson(50, 20.0))[1].tobytes() == (
        run(usual, poisson(50, 20.0))[1].tobytes()
    )
    with pytest.raises(BadInput, match="must be positive"):
        replace(usual, pace=0.0)


def test_a_disaggregated_request_prefills_crosses_and_decodes() -> None:
    front, back = pool(role="prefill"), pool(role="decode", replicas=2)
    transfer = handover(front, back, 1000.0)
    cluster = Cluster((front, back), transfer=transfer)
    found, (row,) = run(cluster, requests([0.0], 1000, 11))
    spent = step_seconds(back)
    crossing = transfer[0] + transfer[1] * 1000
    assert row["first"] == pytest.approx(row["arrival"] + spent(1000, 0, 1000), rel=2e-3)
    decode = sum(spent(1000 + k, 1) for k in range(10))
    assert row["end"] - row["first"] == pytest.approx(crossing + decode, rel=2e-3)
    assert found.state.units["served"].tolist() == [0, 1, 0]


def test_energy_of_two_pools_counts_all_their_chips() -> None:
    front, back = pool(role="prefill"), pool(role="decode", replicas=2)
    cluster = Cluster((front, back), transfer=handover(front, back, 1000.0))
    found, _ = run(cluster, requests(np.arange(40) / 4.0, 1000, 100))
    figures = outcome(cluster, found, grid=grid("norway")).figures
    seconds = float(found.state.totals[0]["now"])
    assert figures["chip_hours"] == pytest.approx(3 * seconds / 3600)
    assert figures["joules_per_request"] == pytest.approx(
        float(figures["watts_per_chip"] or 0.0) * 3 * seconds / 40
    )
    limit = front.copy.system.chip.tdp_watts or 0.0
    assert 0.1 * limit < figures["watts_per_chip"] < limit
    # 28 g a kWh
    assert figures["kg_co2_per_request"] == pytest.approx(figures["joules_per_request"] / 3.6e6 * 0.028)
    alone, _ = run(pool(replicas=3), requests(np.arange(40) / 4.0, 1000, 100))
    one = outcome(Cluster((pool(replicas=3),)), alone).figures
    assert figures["joules_per_request"] == pytest.approx(one["joules_per_request"], rel=0.25)
    assert one["kg_co2_per_request"] is None


def test_a_grid_is_known_given_or_refused() -> None:
    assert grid("France").kg_per_joule * 3.6e6 == pytest.approx(0.041)
    assert grid("30 g/kWh").kg_per_joule * 3.6e6 == pytest.approx(0.030)
    with pytest.raises(BadInput, match="No grid 'atlantis'"):
        grid("atlantis")


def test_a_closed_loop_keeps_its_users() -> None:
    found, rows = run(pool(), requests(np.zeros(60), 512, 64), users=6)
    assert found.tally.ended[0] == 60
    at = rows["arrival"]
    in_flight = [((at <= t) & (rows["end"] > t)).sum() for t in np.linspace(0.5, at[-1], 50)]
    assert set(in_flight) <= {5, 6}


def test_turns_follow_the_end_of_the_one_before() -> None:
    base = requests([0.0, 0.0, 1.0], [500, 700, 400], 20, session=[7, 7, 8], turn=[0, 1, 0])
    _, rows = run(pool(), Sessions(base, np.array([np.nan, 2.0, np.nan])))
    request = pool().copy.engine.request
    assert rows["arrival"][1] == pytest.approx(rows["end"][0] + 2.0 + request)
    assert rows["number"].tolist() == [0, 1, 2]


def test_speculation_takes_fewer_steps() -> None:
    plain, _ = run(pool(), requests([0.0], 500, 101))
    drafting, _ = run(pool(drafts=3, acceptance=2.5), requests([0.0], 500, 101))
    assert plain.state.pools["steps"].sum() == 100
    assert drafting.state.pools["steps"].sum() == 40


def test_chunks_of_a_stream_are_the_whole() -> None:
    whole = requests(*_numbers(900), blocks=blocks(8, 900), block_tokens=16)
    parts = [whole.take(np.arange(at, at + 300)) for at in (0, 300, 600)]
    once, rows = run(Cluster((pool(replicas=2),), "prefix"), whole)
    again, chunked = run(Cluster((pool(replicas=2),), "prefix"), iter(parts))
    assert np.array_equal(rows["first"], chunked["first"])
    assert np.array_equal(rows["hit"], chunked["hit"])
    # sums of other chunks round otherwise
    assert once.tally.e2e.summary() == pytest.approx(again.tally.e2e.summary(), rel=1e-12)


def _numbers(count: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(3)
    return (
        np.cumsum(random.exponential(0.02, count)),
        random.integers(512, 900, count),
        random.integers(1, 90, count),
    )


def test_many_waiting_requests_find_room() -> None:
    found, _ = run(pool(), requests(np.zeros(3000), 64, 4))
    assert found.tally.ended[0] == 3000
    assert found.state.totals["peak"][0] == 3000
    assert len(found.state.slots) >= 3000


def test_goodput_counts_requests_within_their_limits() -> None:
    traffic = poisson(100, 5.0)
    found, rows = run(pool(), traffic, limits=Limits(ttft=0.03))
    ttft = rows["first"] - rows["arrival"] + pool().copy.engine.request
    assert found.tally.good == (ttft <= 0.03).sum()


def test_an_interruption_keeps_what_is_done() -> None:
    def stop(_: str, __: float) -> None:
        raise KeyboardInterrupt

    cluster = Cluster((pool(),))
    found = execute(cluster, poisson(100_000, 40.0, osl=16), compiled=False, progress=stop)
    figures = outcome(cluster, found).figures
    assert not found.whole
    assert 0 < figures["completed"] < 100_000
    assert "interrupted" in outcome(cluster, found).notes[0]


def test_nothing_to_do_is_a_sentence() -> None:
    with pytest.raises(BadInput, match="no requests"):
        run(pool(), requests([], [], []))


def test_a_model_that_does_not_fit_is_a_sentence() -> None:
    prepared, _ = model("llama-3.1-405b")
    big = deploy(
        prepared, catalogue().system("h100"), Layout.parse("tp1"), engine("vllm"), weights="native", kv="bf16"
    )
    with pytest.raises(DoesNotFit, match=r"takes .* GB a chip"):
        run(big, poisson(3, 1.0))


def test_names_are_checked() -> None:
    with pytest.raises(BadInput, match="No router 'nearest'"):
        Cluster((pool(),), "nearest")
    with pytest.raises(BadInput, match="do not make a cluster"):
        Cluster((replace(pool(), role="prefill"),))


def test_saturation_is_found_from_either_side() -> None:
    for start in (0.5, 10.0, 4000.0):
        found = saturation(lambda load: 1.0 if load <= 37.0 else 0.5, start)
        assert found.load <= 37.0 < found.beyond
        assert found.beyond / found.load <= 1.021
    assert saturation(lambda _: 0.0, 1.0).load == 0.0
