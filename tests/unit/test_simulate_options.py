"""Flags of KV tiers, swapping, admission and carbon reach the simulator, alike from a deployment file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run

FREE = ("--rate", "60", "--requests", "300", "--isl", "2k", "--osl", "64", "--ttft")
LOAD = (*FREE, "500ms")
SERVES = ("simulate", "llama-3.1-8b", "--on", "h100", "--layout", "tp1")
BASE = (*SERVES, *LOAD)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the JSON of a command that succeeds."""
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_admission_by_predicted_ttft(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    served = answer(capsys, *BASE)
    refused = answer(capsys, *BASE, "--over-limit", "reject", "--router", "slo")
    assert served["rejected"] == 0 < refused["rejected"]
    assert refused["ttft_s"]["p99"] < served["ttft_s"]["p99"]
    file = tmp_path / "d.yaml"
    file.write_text(
        "{system: h100, layout: tp1, router: slo, over_limit: reject, ttft_limit: 500ms}", encoding="utf-8"
    )
    assert answer(capsys, "simulate", "llama-3.1-8b", "--deployment", str(file), *LOAD) == refused


def test_tiers_and_carbon(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, *BASE, "--kv-tiers", "host:512GB:50GB/s", "--preempt", "swap", "--grid", "30")
    assert [tier["tier"] for tier in found["tiers"]] == ["host"]
    assert found["kg_co2_per_request"] == pytest.approx(found["joules_per_request"] / 3.6e6 * 0.03)
    assert run([*BASE, "--grid", "france", "--kv-tiers", "host:512GB:50GB/s"]) == 0
    page = capsys.readouterr().out
    assert "CO2 a request" in page
    assert "tier host" in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((*LOAD, "--preempt", "swap"), "no KV tier"),
        ((*LOAD, "--kv-tiers", "host"), "not name:capacity:bandwidth"),
        ((*LOAD, "--grid", "mars"), "No grid 'mars'"),
        ((*FREE, "none", "--over-limit", "reject"), "needs a limit on TTFT"),
    ],
)
def test_mistakes(flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SERVES, *flags]) == 2
    assert message in capsys.readouterr().err
