"""Two kinds of chip: one system prefills for another, GPUs or dataflow machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.errors import BadInput
from assay.plan import answer
from assay.study.answer import Row
from assay.study.question import Question

KIMI = Question("kimi-k2", platforms=("lpx",), prefill_platform="vr-nvl72", isl=4096, osl=512)

Facts = Callable[[float], Path]


@pytest.fixture
def network(tmp_path: Path) -> Facts:
    """Return a folder of facts that gives an LPU a network rate, Gb/s."""

    def write(rate: float) -> Path:
        folder = tmp_path / f"{rate}"
        (folder / "systems").mkdir(parents=True)
        (folder / "systems" / "groq3-lpx-rack.yaml").write_text(
            f"facts:\n  nic_bandwidth: {{value: {rate}, unit: Gb/s, source: ME, date: 2026-11}}\n"
        )
        (folder / "sources.yaml").write_text("ME: {where: a guess}\n")
        return folder

    return write


def best(question: Question, *facts: Path) -> Row:
    return answer(question, facts=facts).rows[0]


@pytest.mark.parametrize("platform", ["lpx", "groqrack"])
def test_the_missing_network_rate_is_named(platform: str) -> None:
    found = answer(replace(KIMI, platforms=(platform,)))
    assert not found.rows
    assert "nic_bandwidth" in found.refused[0].reason


def test_gpus_prefill_and_a_dataflow_machine_decodes(network: Facts) -> None:
    facts = network(100.0)
    row = best(KIMI, facts)
    assert row.deployment.serving == "disaggregated"
    assert row.deployment.prefill_system == "vr-nvl72"
    assert row.deployment.prefill is not None
    machine = row.chips - row.deployment.prefill.chips
    assert machine > 2000
    assert machine % 8 == 0  # whole trays
    # the prompt takes longer than a decode step
    assert row.figures["ttft_s"].value > row.figures["tpot_s"].value
    for figure in row.figures.values():
        assert figure.low <= figure.value <= figure.high
    assert row.figures["ttft_s"].floor <= row.figures["ttft_s"].low


def test_a_machine_that_only_decodes_is_faster_at_the_same_load(network: Facts) -> None:
    """Its stages do not stop for prompts."""
    facts = network(100.0)
    one = replace(KIMI, concurrency=512, kv="fp8")
    alone = best(replace(one, prefill_platform=""), facts)
    fed = best(one, facts)
    assert fed.figures["tpot_s"].value < alone.figures["tpot_s"].value


def test_a_slower_network_delays_first_tokens(network: Facts) -> None:
    one = replace(KIMI, concurrency=8)
    fast, slow = best(one, network(100.0)), best(one, network(0.02))
    assert slow.figures["ttft_s"].value > fast.figures["ttft_s"].value + 0.001
    assert slow.figures["tpot_s"].value == pytest.approx(fast.figures["tpot_s"].value)


def test_a_rate_is_carried_by_whole_machines(network: Facts) -> None:
    row = best(replace(KIMI, rate=4000.0), network(100.0))
    rate = row.figures["output_tokens_per_s_per_chip"].value * row.chips / KIMI.osl
    assert rate >= 4000.0
    assert row.deployment.prefill is not None
    assert row.deployment.prefill.replicas % row.deployment.replicas == 0


def test_a_wafer_behind_gpus_has_a_front() -> None:
    found = answer(replace(KIMI, platforms=("cs3",), prefill_platform="h200"))
    assert found.rows[0].deployment.prefill_system == "hgx-h200-8"
    per_user = [point["output_tokens_per_s_per_user"]["value"] for point in found.fronts["cs3"]]
    per_chip = [point["output_tokens_per_s_per_chip"]["value"] for point in found.fronts["cs3"]]
    assert len(per_user) > 3
    assert np.all(np.diff(per_user) < 0)
    assert np.all(np.diff(per_chip) > 0)


def test_gddr_prefills_for_hbm() -> None:
    row = best(replace(KIMI, platforms=("h200",), prefill_platform="rtx-pro-6000", serving="disaggregated"))
    assert row.deployment.prefill_system == "rtx-pro-6000-8"
    assert row.deployment.prefill is not None
    assert row.chips == row.deployment.prefill.chips + row.deployment.layout.chips * row.deployment.replicas


def test_rubin_cpx_is_refused_for_what_nobody_published_and_plans_once_given(tmp_path: Path) -> None:
    question = Question(
        "gpt-oss-120b", platforms=("vr-nvl72",), prefill_platform="rubin-cpx", serving="disaggregated"
    )
    assert "memory bandwidth" in answer(question).refused[0].reason
    (tmp_path / "cpx.yaml").write_text(
        "kind: chip\nid: my-cpx\nlike: rubin-cpx\nmem_bw: 1.75 TB/s\nfp8: 10 PFLOPS\nbf16: 5 PFLOPS\n"
        "nic: 800 Gb/s\n"
    )
    row = best(replace(question, prefill_platform="my-cpx"), tmp_path)
    assert row.deployment.prefill_system == "my-cpx"


def test_what_cannot_be_two_pools_is_said() -> None:
    with pytest.raises(BadInput, match="cannot prefill"):
        answer(replace(KIMI, prefill_platform="groqrack"))
    alone = replace(KIMI, prefill_platform="", serving="disaggregated")
    assert "no second pool" in answer(alone).refused[0].reason


def test_two_gpus_without_a_network_are_refused() -> None:
    found = answer(replace(KIMI, platforms=("h200",), prefill_platform="rtx-5090"))
    assert "nic_bandwidth" in found.refused[0].reason
