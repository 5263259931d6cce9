"""KV tiers behind a replica: what is found there costs a transfer, what is preempted can go there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.simulate.cluster import Cluster, Pool
from assay.simulate.deploy import deploy
from assay.simulate.outcome import outcome
from assay.simulate.run import Run, execute
from assay.simulate.tiers import Tier, parse
from assay.workload.arrivals import Requests, requests

#: Tokens of a prompt: 63 whole blocks of 16 and the token that is always computed.
PROMPT = 1009


def pool(**given: Any) -> Pool:
    """Return Llama 3.1 8B on one H100."""
    prepared, _ = model("llama-3.1-8b")
    system = catalogue().system("h100")
    return deploy(prepared, system, Layout.parse("tp1"), engine("vllm"), weights="native", kv="bf16", **given)


def in_turn(order: list[int], gap: float = 10.0, osl: int = 2) -> Requests:
    """Return requests far apart, those of the same number with the same prompt of 63 blocks."""
    ids = np.concatenate([1000 * (number + 1) + np.arange(64) for number in order])
    places = 64 * np.arange(len(order) + 1)
    at = gap * np.arange(len(order))
    return requests(at, PROMPT, osl, blocks=(places, ids), block_tokens=16)


def first_tokens(run: Run) -> list[float]:
    """Return s to the first token of each request."""
    rows = np.sort(np.concatenate(run.tally.rows), order="number")
    return [float(value) for value in rows["first"] - rows["arrival"]]


def test_a_hit_in_a_tier_costs_its_transfer_and_no_more() -> None:
    # the cache holds one prompt, so the second pushes the first out
    plain = pool(capacity=1030)
    bytes_of = 2 * 32 * 8 * 128 * 2.0
    tier = Tier("host", 4000 * bytes_of, 20e9, 1e-3)
    order = [0, 1, 0, 0]
    without = first_tokens(execute(Cluster((plain,)), in_turn(order), keep=True, compiled=False))
    tiered = replace(plain, tiers=(tier,))
    run = execute(Cluster((tiered,)), in_turn(order), keep=True, compiled=False)
    found = first_tokens(run)
    assert found[:2] == without[:2]
    assert without[2] == pytest.approx(without[0])
    # the third loads 63 blocks; the fourth finds them in the cache itself
    assert found[2] - found[3] == pytest.approx(1e-3 + 63 * 16 * bytes_of / 20e9, rel=1e-6)
    (row,) = outcome(Cluster((tiered,)), run).figures["tiers"]
    assert row["hit_tokens"] == 63 * 16
    assert outcome(Cluster((tiered,)), run).figures["hit_rate"] == pytest.approx(2 * 63 * 16 / (4 * PROMPT))


def test_what_a_tier_cannot_hold_moves_to_the_next() -> None:
    small, large = Tier("host", 70 * 16 * 131072.0, 50e9), Tier("ssd", 1e12, 5e9)
    tiered = pool(capacity=1030, tiers=(small, large))
    run = execute(Cluster((tiered,)), in_turn([0, 1, 2, 0, 2]), keep=True, compiled=False)
    host, ssd = outcome(Cluster((tiered,)), run).figures["tiers"]
    assert ssd["hit_tokens"] > 0
    assert host["hit_tokens"] > 0
    assert host["hit_tokens"] + ssd["hit_tokens"] == 2 * 63 * 16
    assert host["peak"] <= 1.0


@pytest.mark.parametrize("swap", [False, True])
def test_preemption_by_swap_computes_nothing_twice(swap: bool) -> None:
    tiered = pool(capacity=3000, tiers=(Tier("host", 64e9, 50e9),), swap=swap)
    traffic = requests(np.zeros(6), 400, 300)
    run = execute(Cluster((tiered,)), traffic, keep=True, compiled=False)
    figures = outcome(Cluster((tiered,)), run).figures
    assert figures["completed"] == 6
    assert figures["preemptions"] > 0
    assert figures["swaps"] == (figures["preemptions"] if swap else 0)
    assert (figures["lost_tokens"] == 0) == swap
    (row,) = figures["tiers"]
    assert (row["moved_tokens"] > 0) == swap


def test_a_full_tier_leaves_recomputing() -> None:
    tiered = pool(capacity=3000, tiers=(Tier("host", 10 * 131072.0, 50e9),), swap=True)
    run = execute(Cluster((tiered,)), requests(np.zeros(6), 400, 300), compiled=False)
    figures = outcome(Cluster((tiered,)), run).figures
    assert figures["preemptions"] > 0
    assert figures["swaps"] == 0


def test_tiers_are_read_from_text() -> None:
    host, ssd = parse("host:512GB:50GB/s, ssd:8TB:12GB/s:100us")
    assert (host.name, host.bytes, host.bandwidth, host.latency) == ("host", 512e9, 50e9, 0.0)
    assert ssd.bytes == 8e12
    assert ssd.latency == pytest.approx(1e-4)
    for bad in ("host", "host:512GB", "host:1GB:1GB/s,host:1GB:1GB/s", "host:fast:1GB/s"):
        with pytest.raises(BadInput):
            parse(bad)


def test_swapping_needs_a_tier() -> None:
    with pytest.raises(BadInput, match="no KV tier"):
        pool(swap=True)
