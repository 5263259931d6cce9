"""Answers made by hand: what pages and exports are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan
from typing import Any

import pytest

from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.study.answer import Answer, Refusal, Row
from assay.study.deployment import Deployment
from assay.study.question import Question

RISING = ("output_tokens_per_s_per_user", "output_tokens_per_s_per_chip", "total_tokens_per_s_per_chip")


def figure(name: str, value: float, basis: str) -> Estimate:
    """A figure with a fifth of play and a bound half (or twice) as large."""
    floor = nan if "usd" in name else value * (2.0 if name in RISING else 0.5)
    return Estimate(value, value * 0.8, value * 1.25, floor, basis)


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """Build a row from the speed of a user, the throughput of a chip and a price."""

    def build(  # noqa: PLR0913 - one argument a field
        system: str,
        layout: str,
        user: float,
        chip: float,
        *,
        usd: float | None = 2.0,
        replicas: int = 1,
        basis: str = "calibrated chip",
        ttft: float = 0.4,
        meets: bool = True,
        engine: str = "",
    ) -> Row:
        values = {
            "ttft_s": ttft,
            "tpot_s": 1 / user,
            "output_tokens_per_s_per_user": user,
            "output_tokens_per_s_per_chip": chip,
            "total_tokens_per_s_per_chip": chip * 6.5,
            "joules_per_output_token": 1000 / chip,
        }
        if usd is not None:
            values["usd_per_million_output_tokens"] = usd / 3600 / chip * 1e6
        shape = Layout.parse(layout)
        return Row(
            Deployment(
                system, system.upper(), shape, "native: fp8 experts, bf16 rest", "fp8", replicas, engine
            ),
            concurrency=512.0,
            chips=shape.chips * replicas,
            figures={name: figure(name, value, basis) for name, value in values.items()},
            meets=meets,
            limited_by="memory bandwidth",
            basis=basis,
            moves={"memory bandwidth x2": 1.62, "compute x2": 1.02, "links x2": 1.0},
            memory={"weights": 92e9, "kv cache": 48e9, "activations": 4e9, "reserve": 14e9},
            evidence=({"value": 2750.0, "conditions": "GB300, conc 2048", "source": "MLPerf"},),
            notes=("10 % slower steps make TTFT 2.1 times longer.",),
        )

    return build


@pytest.fixture
def kimi(make_row: Callable[..., Row]) -> Answer:
    """An answer with a best row, rows behind it, one that breaks the SLO, and refusals."""
    rows = (
        make_row("gb300-nvl72", "dep64", 61, 2910, engine="trtllm"),
        make_row("b200", "dep8", 45, 1400, replicas=2, engine="trtllm"),
        make_row("mi355x", "tp8", 48, 900, basis="datasheet"),
        make_row("groqrack", "tp576", 420, 31, usd=None, basis="assumed"),
        make_row("h100", "tp16", 21, 240, ttft=3.1, meets=False, engine="vllm"),
    )
    fronts = {
        row.deployment.system: tuple(
            {
                "output_tokens_per_s_per_user": 61 * scale * (1 + index),
                "output_tokens_per_s_per_chip": 2910 / scale / (1 + index) ** 2,
            }
            for scale in (0.5, 0.7, 1.0, 1.4, 2.0)
        )
        for index, row in enumerate(rows)
    }
    return Answer(
        question=Question("kimi-k2", isl=1155, osl=211, ttft=2.0, tpot=0.03, workload="chat"),
        model={
            "name": "kimi-k2-instruct",
            "params_total": 1026408209408,
            "params_active": 32861477888,
            "weight_bytes": 1.029e12,
        },
        rows=rows,
        fronts=fronts,
        refused=(
            Refusal("rtx-4090", "1,029 GB of weights over 8 chips of 24 GB: 837 GB too much."),
            Refusal("l40s", "No published link bandwidth."),
        ),
        provenance={
            "version": "0.1.0",
            "catalogue": "3f2a91c0",
            "calibration": "2026-11-24",
            "date": "2026-11-24",
            "prices": "2026-07",
        },
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, kimi: Answer) -> list[Question]:
    """Answer every question of the command line with the same answer, and keep the questions."""
    import assay.cli.estimate
    import assay.cli.plan

    seen: list[Question] = []

    def answer(question: Question, **_: Any) -> Answer:
        seen.append(question)
        return replace(kimi, question=question)

    def estimate(question: Question, system: str, layout: str, **_: Any) -> Answer:
        seen.append(replace(question, platforms=(system, layout)))
        return replace(kimi, question=question, rows=kimi.rows[:1])

    monkeypatch.setattr(assay.cli.plan, "answer", answer)
    monkeypatch.setattr(assay.cli.estimate, "predict", estimate)
    return seen
