"""An estimate at a rate says what the deployment carries, and how many carry what one does not."""

from __future__ import annotations

import json

import pytest

from assay.cli import run
from assay.plan import estimate
from assay.study.answer import Row
from assay.study.question import Question

LAYOUTS = ("tp4", "1xtp4+1xtp4", "1xtp4+2xtp4")


def row(layout: str, rate: float) -> Row:
    return estimate(Question("llama-3.3-70b", isl=1000, osl=200, rate=rate), "h100", layout).rows[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_rate_beyond_the_capacity_is_saturated(layout: str) -> None:
    found = row(layout, 40.0)
    carried = found.capacity["requests_per_s"]
    assert found.capacity["saturated"]
    assert not found.meets
    assert "ttft_s" not in found.figures
    assert carried["low"] < carried["value"] < carried["high"]
    assert carried["value"] < 40.0
    figure = found.figures["output_tokens_per_s_per_chip"]
    assert float(figure.low) < float(figure.value) < float(figure.high)
    assert "Saturated" in found.notes[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_copies_it_names_carry_the_rate(layout: str) -> None:
    copies = row(layout, 40.0).capacity["copies"]
    shared = row(layout, 40.0 / copies)
    assert not shared.capacity["saturated"]
    assert shared.meets
    assert shared.capacity["copies"] == 1
    assert row(layout, 40.0 / (copies - 1)).capacity["saturated"]


def test_the_capacity_does_not_depend_on_the_rate() -> None:
    few, many = (row("tp4", rate).capacity["requests_per_s"] for rate in (2.0, 40.0))
    assert few == many


def test_the_command_says_so_and_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", "llama-3.3-70b", "--on", "h100", "--layout", "tp4", "--isl", "1000", "--osl", "200"]
    assert run([*words, "--rate", "40", "--json"]) == 3
    said = capsys.readouterr()
    capacity = json.loads(said.out)["rows"][0]["capacity"]
    assert capacity["saturated"] is True
    assert capacity["offered_requests_per_s"] == 40.0
    assert f"{capacity['copies']} carry it" in said.err
    assert run([*words, "--rate", "2"]) == 0
    assert "one deployment carries" in capsys.readouterr().out
