"""The page of `assay plan`, on answers made by hand."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay.report.panels import shortfall
from assay.report.terminal import WIDTH, plan_page, put
from assay.study.answer import Answer, Row

SNAPSHOT = Path(__file__).with_name("snapshots") / "plan.txt"


def page(answer: Answer, width: int = WIDTH) -> str:
    stream = io.StringIO()
    put(plan_page(answer, width), stream)
    return stream.getvalue()


def test_snapshot(kimi: Answer) -> None:
    text = page(kimi)
    if os.environ.get("ASSAY_SNAPSHOT"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8"), "ASSAY_SNAPSHOT=1 writes the new page"


def test_plain_when_piped_and_within_one_screen(kimi: Answer) -> None:
    lines = page(kimi).splitlines()
    assert "\x1b" not in page(kimi)
    assert max(map(len, lines)) <= WIDTH
    assert all(line == line.rstrip() for line in lines)
    assert len(lines) <= 45


def test_three_numbers_come_before_chart_and_table(kimi: Answer) -> None:
    text = page(kimi)
    order = [text.index(word) for word in ("$0.191 /M output", "output tok/s per chip ↑", "platform")]
    assert order == sorted(order)
    assert "61 output tok/s/user" in text
    assert "2,910 output tok/s/chip" in text
    assert "0.15–0.24" in text
    assert "49–76, at most 120" in text


def test_axes_and_columns_say_output_and_per_what(kimi: Answer) -> None:
    text = page(kimi)
    assert "output tok/s per user →" in text
    assert "dotted: limit 33" in text
    assert "  out   out $ per" in text
    assert "per chip = over all chips" in text


def test_rows_that_break_the_slo_are_last_and_marked(kimi: Answer) -> None:
    rows = [line for line in page(kimi).splitlines() if re.match(r"[\d✗] [a-z]", line)]
    assert [line.split()[0] for line in rows] == ["1", "2", "3", "✗"]
    assert "21!" in rows[-1]
    assert "3.1 s!" in rows[-1]
    assert not any("!" in line for line in rows[:-1])


def test_engines_stand_under_the_table(kimi: Answer, make_row: Callable[..., Row]) -> None:
    many = tuple(
        make_row(f"chip-{index}", "tp8", 40, 1000 - index, engine="vllm" if index in (2, 7) else "sglang")
        for index in range(12)
    )
    assert "\n  engine of each row: sglang 1 2 4–7 9 10, vllm 3 8\n" in page(replace(kimi, rows=many))
    named = replace(kimi, question=replace(kimi.question, engine="vllm"))
    assert "engine of each row" not in page(named)
    unnamed = tuple(replace(row, deployment=replace(row.deployment, engine="")) for row in kimi.rows)
    assert "engine of each row" not in page(replace(kimi, rows=unnamed))


def test_a_missing_price_is_not_a_zero(kimi: Answer) -> None:
    asked = replace(kimi, question=replace(kimi.question, platforms=("groqrack",)))
    line = next(line for line in page(asked).splitlines() if line.startswith("4 groqrack"))
    assert " – " in line
    text = page(kimi)
    assert "Without a published price, by output tok/s/chip:\n  4 groqrack 31" in text


def test_what_one_screen_cannot_hold_follows_by_name(kimi: Answer, make_row: Callable[..., Row]) -> None:
    many = tuple(make_row(f"chip-{index}", "tp8", 40, 1000 - index) for index in range(25))
    text = page(replace(kimi, rows=many, fronts={}))
    assert "10 chip-9" in text
    assert "  11 chip-10 0.56  12 chip-11 0.56" in text
    assert "25 chip-24" in text
    everything = page(replace(kimi, rows=many, question=replace(kimi.question, platforms=("all-of-them",))))
    assert len([line for line in everything.splitlines() if re.match(r" *\d+ chip-\d+ ", line)]) == 25


def test_refusals_carry_their_arithmetic(kimi: Answer) -> None:
    assert "rtx-4090  1,029 GB of weights over 8 chips of 24 GB: 837 GB too much." in page(kimi)
    assert "l40s      No published link bandwidth." in page(kimi)
    many = tuple(replace(kimi.refused[0], platform=f"chip-{index}") for index in range(30))
    text = page(replace(kimi, refused=many))
    assert "30 refused:\n  chip-0  1,029 GB" in text
    assert "chip-9, 20 more, each with its reason in --json" in " ".join(text.split())


def test_nothing_meets_the_slo(kimi: Answer) -> None:
    none = replace(kimi, rows=kimi.rows[-1:])
    assert "Nothing meets these limits. Closest:" in page(none)
    sentence = shortfall(none)
    assert sentence.startswith("Nothing meets TTFT ≤ 2 s, TPOT ≤ 30 ms. Closest is h100 · 16 chips · TP16")
    assert "TTFT 3.1 s, 1.6 times the limit" in sentence
    assert "TPOT 47.6 ms, 1.6 times the limit" in sentence


def test_nothing_fits(kimi: Answer) -> None:
    none = replace(kimi, rows=(), fronts={})
    text = page(none)
    assert "No platform answers." in text
    assert "837 GB too much" in text
    assert shortfall(none).startswith("None of the 2 platforms can serve kimi-k2. rtx-4090: 1,029 GB")


@pytest.mark.parametrize(
    ("objective", "words", "column"),
    [
        ("throughput", "Most output tokens a chip:", "of tok/s"),
        ("energy", "Least energy per output token:", "of J"),
        ("latency", "Fastest for one user:", "of tok/s"),
        ("cost", "Cheapest output tokens at list prices of 2026-07:", "of $/M"),
    ],
)
def test_headline_says_the_objective(kimi: Answer, objective: str, words: str, column: str) -> None:
    text = page(replace(kimi, question=replace(kimi.question, objective=objective, price="list")))
    assert words in text
    assert column in text


def test_stated_limits_are_not_called_defaults(kimi: Answer) -> None:
    assert "TTFT ≤ 2 s, TPOT ≤ 30 ms (defaults)" in page(kimi)
    stated = page(replace(kimi, question=replace(kimi.question, tpot=0.02)))
    assert "TTFT ≤ 2 s, TPOT ≤ 20 ms\n" in stated


@pytest.mark.parametrize("width", [60, 80, 90, 100])
def test_narrow_terminals_lose_columns_not_rows(kimi: Answer, width: int) -> None:
    text = page(kimi, width)
    assert "1 gb300-nvl72" in text
    assert ("w/kv" in text) == (width >= 100)


def test_nearest_measurement_and_provenance(kimi: Answer) -> None:
    text = page(kimi)
    assert "Nearest measurement: 2,750 · GB300, conc 2048 · MLPerf" in text
    assert "assay 0.1.0 · catalogue 3f2a91c0 · calibration 2026-11-24" in text
