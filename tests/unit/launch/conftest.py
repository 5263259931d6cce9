"""Rows made by hand: one for every kind of deployment that launch files are written for."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import pytest

from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.study.answer import Row
from assay.study.conditions import Pool
from assay.study.deployment import Deployment


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
