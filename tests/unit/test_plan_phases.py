"""Energy by phase: input and output add up to the whole, and the facility stands apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.cli import run
from assay.plan import answer, estimate
from assay.study.answer import Row
from assay.study.question import Question

QUESTION = Question("gpt-oss-120b", isl=2048, osl=512, concurrency=64)
LAYOUTS = ("tp8", "1xtp2+2xtp2")


def row(layout: str, **given: object) -> Row:
    return estimate(replace(QUESTION, **given), "h200", layout).rows[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_phases_add_up(layout: str) -> None:
    found = row(layout)
    energy = found.energy
    whole = QUESTION.osl * float(found.figures["joules_per_output_token"].value)
    parts = [
        QUESTION.isl * energy["joules_per_input_token"]["value"],
        QUESTION.osl * energy["joules_per_generated_token"]["value"],
    ]
    assert sum(parts) == pytest.approx(whole)
    assert parts[0] / whole == pytest.approx(energy["prompt_share"])
    assert 0.0 < energy["prompt_share"] < 1.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_longer_prompts_take_a_larger_share(layout: str) -> None:
    shares = [row(layout, isl=isl).energy["prompt_share"] for isl in (512, 2048, 8192)]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0]


def test_cached_input_is_cheaper_than_new() -> None:
    energy = row("tp8", cached=0.6).energy
    each, new = (energy[name]["value"] for name in ("joules_per_input_token", "joules_per_new_input_token"))
    assert new == pytest.approx(each / 0.4)
    assert each < row("tp8").energy["joules_per_input_token"]["value"]


def test_the_facility_is_counted_only_where_its_pue_is_stated() -> None:
    assert "facility" not in row("tp8").energy
    found = row("tp8", pue=1.3)
    facility = found.energy["facility"]
    assert facility["pue"] == 1.3
    boards = float(found.figures["joules_per_output_token"].value)
    assert facility["joules_per_output_token"]["value"] == pytest.approx(1.3 * boards)


def test_no_power_no_phases() -> None:
    found = answer(Question("llama-3.3-70b", platforms=("tpu-v6e",), isl=1000, osl=200))
    assert found.rows[0].energy == {}
    assert found.rows[0].json()["energy"] is None


def test_the_page_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", "gpt-oss-120b", "--on", "h200", "--layout", "tp8", "--concurrency", "64"]
    assert run([*words, "--pue", "1.2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "J per input token" in said
    assert "J per generated token" in said
    assert "PUE 1.2" in said
    assert run([*words, "--pue", "0.9"]) == 2
    assert "--pue" in capsys.readouterr().err
