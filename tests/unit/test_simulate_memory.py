"""Memory of a run: little for a replica, none for a request that has ended."""

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
from assay.simulate import run as running
from assay.simulate.building import build
from assay.simulate.cluster import Cluster, Fleet, Member
from assay.simulate.deploy import deploy
from assay.simulate.feeding import cut
from assay.simulate.run import ahead, execute
from assay.workload.arrivals import Requests, requests


def cluster(replicas: int, **options: Any) -> Cluster:
    """Return replicas of Llama 3.1 8B on an H100 each."""
    prepared, _ = model("llama-3.1-8b")
    one = deploy(
        prepared,
        catalogue().system("h100"),
        Layout.parse("tp1"),
        engine("vllm"),
        weights="native",
        kv="bf16",
        replicas=replicas,
        sequences=256,
    )
    return Cluster((one,), **options)


def built(serving: Cluster, requests_of: Requests, **known: Any) -> Any:
    """Return the state before the first event."""
    return build(Fleet((Member("", serving),)), (replace(ahead(requests_of), **known),))


def traffic(count: int, *, blocks: bool) -> Requests:
    """Return requests of several lengths, with prefix blocks or without."""
    random = np.random.default_rng(3)
    at, isl = np.cumsum(random.exponential(0.05, count)), random.integers(1, 900, count)
    known: dict[str, Any] = {}
    if blocks:
        sizes = -(-isl // 64)
        ids = np.concatenate([100 * (k % 7) + np.arange(n) for k, n in enumerate(sizes)])
        known = {"blocks": (np.concatenate([[0], np.cumsum(sizes)]), ids), "block_tokens": 64}
    return requests(at, isl, random.integers(1, 90, count), **known)


def test_a_replica_takes_four_kilobytes() -> None:
    sizes = []
    for replicas in (1024, 2048):
        given: Any = built(cluster(replicas), traffic(9, blocks=False))
        sizes.append(sum(array.nbytes for array in given))
    assert (sizes[1] - sizes[0]) / 1024 < 4096


def test_caches_are_given_no_more_places_than_there_are_blocks() -> None:
    one = traffic(50, blocks=True)
    few = built(cluster(10, router="prefix"), one)
    distinct = ahead(one).distinct
    assert len(few.entries) == 10 * distinct
    many = built(cluster(10, router="prefix"), one, distinct=0)
    assert len(many.entries) > len(few.entries)
    assert len(many.seen) > len(few.seen)


@pytest.mark.parametrize("blocks", [False, True])
def test_a_trace_in_pieces_is_the_whole_trace(blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = traffic(400, blocks=blocks)
    parts = list(cut(whole, 90))
    assert [len(part) for part in parts] == [90, 90, 90, 90, 40]
    serving = cluster(2, router="prefix")
    once = execute(serving, whole, keep=True, compiled=False)
    monkeypatch.setattr(running, "PIECE", 90)
    again = execute(serving, whole, keep=True, compiled=False)
    assert len(again.state.coming) < 90 < len(once.state.coming)
    assert np.concatenate(once.tally.rows).tobytes() == np.concatenate(again.tally.rows).tobytes()


def test_a_request_beyond_what_is_counted_is_refused() -> None:
    with pytest.raises(BadInput, match="longer than any"):
        execute(cluster(1), requests([0.0], 2**31, 5), compiled=False)
