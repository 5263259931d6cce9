"""Chips that models share, against what the authors of Aegaeon found for switching between requests."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.reader import read_yaml
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.llm.layout import Layout
from assay.plan.fleet import good, least
from assay.simulate.cluster import Cluster, Fleet, Member, Pool
from assay.simulate.deploy import deploy
from assay.simulate.run import Limits, Load, execute, execute_fleet
from assay.workload.arrivals import Requests, requests

(PAPER,) = read_yaml(Path(__file__).with_name("pooling.yaml"), "pooling.yaml")
#: A sample of the 100 models, and s of traffic.
MODELS, SPAN = 20, 1500.0


def pool() -> Pool:
    """Return Qwen3 14B on one A100 of 80 GB."""
    prepared, _ = model("qwen3-14b")
    system = catalogue().system("a100")
    return deploy(prepared, system, Layout.parse("tp1"), engine("vllm"), weights="native", kv="bf16")


def seconds(one: Pool, osl: int) -> float:
    """Return s of a lone request."""
    (row,) = execute(Cluster((one,)), requests([0.0], 512, osl), keep=True, compiled=False).tally.rows
    return float(row["end"][0] - row["arrival"][0])


def asked(osl: int, seed: int) -> Requests:
    """Return Poisson arrivals at the rate of the paper."""
    at = np.cumsum(
        np.random.default_rng(seed).exponential(1 / PAPER["rate"], round(2 * SPAN * PAPER["rate"]))
    )
    return requests(at[at < SPAN], 512, osl)


@pytest.fixture(scope="module")
def long() -> tuple[Pool, int]:
    """Return a pool and the output tokens with which a lone request takes as long as in the paper."""
    one = pool()
    each = (seconds(one, 1000) - seconds(one, 500)) / 500
    return one, round(1000 + (PAPER["service_s"] - seconds(one, 1000)) / each)


def test_so_many_models_are_active_at_once(long: tuple[Pool, int]) -> None:
    one, osl = long
    assert seconds(one, osl) == pytest.approx(PAPER["service_s"], rel=0.01)
    share = 1 - math.exp(-PAPER["rate"] * PAPER["service_s"])
    assert PAPER["active"] == pytest.approx(PAPER["models"] * share, rel=0.01)
    fleet = Fleet(tuple(Member(f"m{k}", Cluster((one,))) for k in range(MODELS)))
    run = execute_fleet(fleet, [Load(asked(osl, k)) for k in range(MODELS)], compiled=False)
    active = float(run.state.units["busy"].sum()) / float(run.state.totals["now"][0])
    assert active == pytest.approx(MODELS * share, rel=0.08)


def test_switching_between_requests_saves_chips_but_serves_few_models_on_each(long: tuple[Pool, int]) -> None:
    one, osl = long
    fewest: dict[float, Any] = {}
    for switch in (0.0, 2.0):
        loads = [Load(asked(osl, k), Limits(ttft=10.0, tpot=0.1)) for k in range(MODELS)]

        def holds(replicas: int, loads: Any = loads, switch: float = switch) -> bool:
            cluster = Cluster((replace(one, replicas=replicas),))
            members = tuple(Member(f"m{k}", cluster, True, switch, 10.0 - switch) for k in range(MODELS))
            return good(execute_fleet(Fleet(members, 32.0), loads, compiled=False)) >= 0.9

        fewest[switch] = least(holds, MODELS)
    assert fewest[0.0] <= fewest[2.0] < MODELS
    # not even when a switch costs nothing
    assert MODELS / fewest[0.0] < PAPER["most_models_a_chip"]
