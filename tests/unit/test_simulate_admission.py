"""Routing by predicted TTFT, admission by it, and links between pools that fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Price
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.simulate.cluster import Cluster, Pool
from assay.simulate.deploy import deploy, handover
from assay.simulate.faults import Event
from assay.simulate.outcome import outcome
from assay.simulate.run import execute
from assay.simulate.state import LINK
from assay.workload.arrivals import Requests, requests


def pool(**given: Any) -> Pool:
    """Return Llama 3.1 8B on H100s."""
    prepared, _ = model("llama-3.1-8b")
    system = catalogue().system("h100")
    return deploy(prepared, system, Layout.parse("tp1"), engine("vllm"), weights="native", kv="bf16", **given)


def mixture(count: int = 600, rate: float = 6.0) -> Requests:
    """Return short prompts with a very long one in ten."""
    random = np.random.default_rng(2)
    isl = np.where(random.random(count) < 0.1, 30_000, 500)
    return requests(np.cumsum(random.exponential(1 / rate, count)), isl, 50)


def test_the_slo_router_keeps_short_prompts_away_from_long_ones() -> None:
    one = pool(replicas=4)
    tails = {}
    for router in ("round-robin", "least-load", "slo"):
        cluster = Cluster((one,), router)
        tails[router] = execute(cluster, mixture(), compiled=False).tally.ttft.summary()["p90"]
    assert tails["slo"] < tails["least-load"] < tails["round-robin"]


@pytest.mark.parametrize("router", ["least-load", "slo"])
def test_refusing_keeps_the_others_within_the_limit(router: str) -> None:
    one, limit = pool(replicas=2), 2.0
    traffic = mixture(rate=30.0)
    free = outcome(Cluster((one,), router), execute(Cluster((one,), router), traffic, compiled=False)).figures
    cluster = Cluster((one,), router, ttft_limit=limit, over_limit="reject")
    figures = outcome(cluster, execute(cluster, traffic, compiled=False)).figures
    assert free["ttft_s"]["p50"] > 2 * limit
    assert figures["ttft_s"]["p90"] < 1.1 * limit
    assert figures["rejected"] == figures["refused_for_ttft"] > 0
    assert figures["completed"] + figures["rejected"] == 600
    # no more is refused than the load demands
    assert figures["ttft_s"]["p50"] > limit / 4


def test_what_nobody_was_answered_for_has_no_price() -> None:
    cluster = Cluster((pool(),), ttft_limit=0.001, over_limit="reject")
    price = Price("h100", "list", 2.0, 2.0, 2.0, "2026-01", "somebody", "source")
    found = outcome(cluster, execute(cluster, mixture(20), compiled=False), price)
    assert found.figures["completed"] == 0
    for name in ("usd_per_request", "usd_per_million_output_tokens", "joules_per_request"):
        assert found.figures[name] is None
    assert "predicted TTFT was beyond the limit" in found.notes[0]


def test_deferring_loses_nobody_and_serves_the_short_ones_first() -> None:
    one = pool(replicas=2)
    cluster = Cluster((one,), ttft_limit=2.0, over_limit="defer")
    run = execute(cluster, mixture(rate=30.0), compiled=False)
    figures = outcome(cluster, run).figures
    assert figures["completed"] == 600
    assert 0 < figures["deferred"] < 600
    plain = execute(Cluster((one,)), mixture(rate=30.0), compiled=False).tally
    assert figures["ttft_s"]["p50"] < plain.ttft.summary()["p50"]


def test_a_prediction_at_an_idle_unit_is_what_happens() -> None:
    one = pool()
    lone = requests([0.0], 6000, 4)
    ttft = execute(Cluster((one,)), lone, compiled=False).tally.ttft.summary()["mean"]
    for limit, ended in ((0.97 * ttft, "rejected"), (1.03 * ttft, "completed")):
        cluster = Cluster((one,), ttft_limit=limit, over_limit="reject")
        figures = outcome(cluster, execute(cluster, lone, compiled=False)).figures
        assert figures[ended] == 1, limit


def test_a_link_that_is_down_holds_its_transfers_up() -> None:
    front, back = pool(role="prefill"), pool(role="decode")
    cluster = Cluster((front, back), transfer=handover(front, back, 4000.0))
    traffic = requests(np.arange(4.0), 4000, 20)
    before = np.concatenate(execute(cluster, traffic, keep=True, compiled=False).tally.rows)
    sent = float(before["first"][1])
    # goes down while the second cache is on its way, for a time in which the third is computed
    events = [Event(sent + 1e-4, 0, LINK, 1.5)]
    run = execute(cluster, traffic, keep=True, compiled=False, events=events)
    after = np.concatenate(run.tally.rows)
    assert after["first"].tolist() == before["first"].tolist()
    late = after["end"] - before["end"]
    assert late[0] == 0.0
    assert late[1] == pytest.approx(1.5, rel=0.01)
    assert 0.4 < late[2] < 0.6
    assert late[3] == pytest.approx(0.0, abs=1e-6)
    assert outcome(cluster, run).figures["stalled_transfers"] == 1


def test_mistakes_are_named() -> None:
    one = pool()
    with pytest.raises(BadInput, match="needs a limit on TTFT"):
        Cluster((one,), over_limit="reject")
    with pytest.raises(BadInput, match="No admission 'drop'"):
        Cluster((one,), over_limit="drop")
    with pytest.raises(BadInput, match="there is one pool"):
        execute(Cluster((one,)), requests([0.0], 10, 2), compiled=False, events=[Event(1.0, 0, LINK, 1.0)])
