"""Measured runs replayed request by request, with steps of bare physics and at the calibrated pace."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.llm.layout import Layout
from assay.measure.importers.requests import settings
from assay.measure.naming import accelerator
from assay.plan.pace import mean, paced
from assay.simulate.cluster import Cluster
from assay.simulate.deploy import deploy
from assay.simulate.run import execute
from assay.timing.collectives import link
from assay.units import parse_quantity
from assay.workload.arrivals import requests

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
FILE = SHARED / "measured" / "requests_vllm.csv"


def host(run: Mapping[str, Any], hardware: str) -> System:
    """Return the system of a run, its links as fast as the publisher states, where it does."""
    system = catalogue().system(accelerator(hardware).system)
    if "link" not in run:
        return system
    stated = parse_quantity(run["link"], "bandwidth")
    # the stated rate is what a message between two chips gets; ours is that of the wire
    reached = float(link(system, "all_reduce", 2).rate[1]) / system.link_bandwidth
    return replace(system, link_bandwidth=stated / reached, peer_bandwidth=stated / reached)


def layout(run: Mapping[str, Any]) -> Layout:
    return Layout(tp=run["tp"], dp=run["dp"], ep=run["ep"])


def replay(rows: list[dict[str, str]], *, calibrated: bool) -> dict[str, float]:
    """Return simulated over measured means of TPOT, E2E and TTFT of one run, minus one."""
    first = rows[0]
    run = settings(first["hardware"], first["model"], first["vllm_version"])
    prepared, _ = model(first["model"])
    pool = deploy(
        prepared,
        host(run, first["hardware"]),
        layout(run),
        engine("vllm"),
        weights=run["quant"],
        kv=run["kv"],
        sequences=run["sequences"],
        budget=run["budget"],
    )

    def column(key: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([float(row[key]) for row in rows])

    traffic = requests(
        column("arrival_s"), column("input_tokens").astype(int), column("output_tokens").astype(int)
    )
    serves = Cluster((pool,))
    if calibrated:
        serves, _ = paced(serves, mean(traffic))
    tally = execute(serves, traffic, compiled=False).tally
    return {
        "tpot": tally.tpot.summary()["mean"] / column("tpot_ms").mean() * 1e3 - 1,
        "e2e": tally.e2e.summary()["mean"] / column("e2e_s").mean() - 1,
        "ttft": tally.ttft.summary()["mean"] / column("ttft_s").mean() - 1,
    }


@pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here")
@pytest.mark.parametrize(
    ("calibrated", "limits"),
    [
        (False, {"tpot": 0.13, "e2e": 0.14, "ttft": 0.28}),
        # fitted to other points of this card, and one that is the mean of the second run
        (True, {"tpot": 0.08, "e2e": 0.10, "ttft": 0.20}),
    ],
    ids=["bare", "calibrated"],
)
def test_runs_of_vllm_are_replayed(calibrated: bool, limits: dict[str, float]) -> None:
    runs: dict[str, list[dict[str, str]]] = defaultdict(list)
    with FILE.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            runs[row["model"]].append(row)
    found = [replay(rows, calibrated=calibrated) for rows in runs.values()]
    assert len(found) == 3
    for metric, limit in limits.items():
        error = float(np.median([abs(item[metric]) for item in found]))
        assert error < limit, (metric, [item[metric] for item in found])
