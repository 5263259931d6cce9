"""Rows made by hand: one for every kind of deployment that launch files are written for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.report.launch.emit import emit
from assay.report.launch.files import Files
from assay.report.launch.support import ENGINES, Unsupported
from assay.study.answer import Row
from assay.study.conditions import Pool
from assay.study.deployment import Deployment
from assay.study.question import Caches, Question

#: Model, system, layout, and what else the row says: together they use every flag of the table.
CASES: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "one node": ("llama-3.3-70b", "h200", "tp8", {"kv": "fp8"}),
    "quantised while loading": ("qwen3-8b", "h100", "tp1", {"weights": "fp8", "replicas": 4}),
    "experts": ("kimi-k2.5", "b200", "dep8", {"weights": "fp4", "kv": "fp8"}),
    "groups over nodes": ("deepseek-v3.2", "h200", "dep32", {}),
    "redundant experts": ("deepseek-v3.2", "h200", "dep16", {"redundant": 32}),
    "group over nodes": ("kimi-k2", "h100", "tp16", {}),
    "stages": ("kimi-k2", "h100", "tp8pp2", {}),
    "context": ("glm-5.2", "h200", "tp4cp2", {}),
    "compute domain": ("kimi-k3", "gb200-nvl72", "dep16", {}),
    "drafts": ("deepseek-r1", "b200", "dep8", {"speculation": "MTP3"}),
    "draft model": ("gpt-oss-120b", "h100", "tp2", {"speculation": "EAGLE2"}),
    "amd": ("deepseek-r1", "mi355x", "tp8", {"kv": "fp8"}),
    "block": ("deepseek-v4-pro", "b200", "dep8", {}),
    "apart": ("deepseek-r1", "b200", "dep8", {"prefill": "4xtep4", "replicas": 2, "kv": "fp8"}),
    "apart, equal": ("deepseek-r1", "b200", "dep8", {"prefill": "2xdep8"}),
    "apart, nodes": ("deepseek-r1", "h200", "dep32", {"prefill": "2xdep16", "speculation": "MTP1"}),
    "apart, chips": ("llama-3.3-70b", "h200", "tp4", {"prefill": "2xtp2", "prefill_system": "h100"}),
}


@pytest.fixture
def launched() -> Callable[..., Row]:
    """Build a row from a system, a layout and, for a disaggregated one, a prefill pool (`4xtp4`)."""

    def build(  # noqa: PLR0913 - one argument a field
        system: str,
        layout: str,
        *,
        weights: str = "native",
        kv: str = "bf16",
        concurrency: float = 256.0,
        replicas: int = 1,
        engine: str = "",
        prefill: str = "",
        prefill_system: str = "",
        speculation: str = "",
        redundant: int = 0,
        user: float = 50.0,
        chip: float = 1000.0,
    ) -> Row:
        shape = Layout.parse(layout)
        pool = None
        if prefill:
            copies, _, label = prefill.rpartition("x")
            pool = Pool(Layout.parse(label), int(copies or 1))
        values = {
            "ttft_s": 0.4,
            "tpot_s": 1 / user,
            "output_tokens_per_s_per_user": user,
            "output_tokens_per_s_per_chip": chip,
        }
        return Row(
            Deployment(
                system,
                system.upper(),
                shape,
                weights,
                kv,
                replicas,
                engine,
                prefill=pool,
                prefill_system=prefill_system,
                speculation=speculation,
                redundant=redundant,
            ),
            concurrency=concurrency,
            chips=shape.chips * replicas + (pool.chips if pool else 0),
            figures={
                name: Estimate(value, value * 0.8, value * 1.25, nan, "datasheet")
                for name, value in values.items()
            },
            basis="datasheet",
            memory={"capacity": 200e9, "reserved": 20e9, "activations": 10e9, "weights": 100e9},
        )

    return build


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Write a trace with prefix blocks: three requests, the longest one 7,500 tokens."""
    rows = [(1000, 100), (7000, 500), (200, 3000)]
    lines = [
        json.dumps({"timestamp": k, "input_length": isl, "output_length": osl, "hash_ids": [k]})
        for k, (isl, osl) in enumerate(rows)
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def tiers(trace: str) -> tuple[Caches, ...]:
    """Caches below the chip's memory: in host memory, on SSD behind it, on SSD alone; and hits of a trace."""
    alone = Caches(hit_rate=0.5, ssd=30e12, ssd_bandwidth=2e10)
    return (
        Caches(hit_rate=0.5, host=2e12),
        replace(alone, host=2e12),
        alone,
        Caches(trace=trace),
    )


@pytest.fixture
def asked(tiers: tuple[Caches, ...]) -> list[dict[str, object]]:
    """What is asked beside model and place: nothing, hits at a rate, and each kind of cache."""
    cached: list[dict[str, object]] = [{"caches": caches} for caches in tiers]
    return [{}, {"cached": 0.5, "rate": 3.0}, *cached]


@pytest.fixture
def every(launched: Callable[..., Row]) -> Callable[..., Iterator[tuple[str, Files]]]:
    """Yield the files of every case that a target can run, with each engine it can start."""

    def run(target: str, **more: object) -> Iterator[tuple[str, Files]]:
        engines = (target,) if target in ENGINES else ENGINES
        for name, (model, system, layout, fields) in CASES.items():
            asked = Question(model=model, isl=4096, osl=1024, ttft=2.0, tpot=0.05, **more)  # type: ignore[arg-type]
            for engine in engines:
                own = "" if engine == target else engine
                try:
                    yield (
                        f"{name} {engine}",
                        emit(launched(system, layout, **fields), asked, target, engine=own),
                    )
                except Unsupported:
                    continue

    return run
