"""The page of questions tells the truth: its commands run, and the answer stands where the page says."""

from __future__ import annotations

import re

import pytest

from assay.cli import VERBS, run
from source_tree import ROOT

PAGE = (ROOT / "docs" / "guides" / "questions.md").read_text(encoding="utf-8")
ROWS = {
    int(number): re.findall(r"`assay ([^`]+)`", command)
    for number, command in re.findall(r"^\| (\d+) \|[^|]+\|([^|]+)\|", PAGE, re.MULTILINE)
}
#: Question -> words of the output that carry the answer; those that take seconds or files of the user's are
#: left out.
ANSWERS = {
    1: r"! the model loads on \d+ chips; \d+ carry 20 requests/s",
    3: r"TTFT +\d+ ms +\d+ ms – ",
    4: r"! on \d+ chips expert parallelism beats",
    5: r"! disaggregated serving yields [\d.]+x",
    6: r"/M output",
    7: r"Self-host or API: cheaper than the host(?s:.)*deepinfra .*% \(",
    11: r"Speculation MTP\d: ×[\d.]+ in TPOT",
    17: r"at most 100\s+kW",
    18: r"--max-num-seqs 64 +# ",
    19: r"weights fp4",
    20: r"Boards: [\d.]+ J per input token",
    21: r"links +\d+ %",
}


def test_all_questions_stand_on_the_page() -> None:
    assert list(ROWS) == list(range(1, 26))
    unanswered = {number for number, commands in ROWS.items() if not commands}
    last = PAGE.rpartition("What no command answers")[2]
    assert unanswered == {23}
    assert unanswered <= {int(number) for number in re.findall(r"\((\d+)\)", last)}


@pytest.mark.parametrize("verb", sorted({line.split()[0] for lines in ROWS.values() for line in lines}))
def test_commands_have_the_flags_of_the_page(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb in VERBS
    assert run([verb, "--help"]) == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    lines = [line for lines in ROWS.values() for line in lines if line.split()[0] == verb]
    assert {flag for line in lines for flag in re.findall(r"--[a-z-]+", line)} <= known


@pytest.mark.parametrize("number", ANSWERS)
def test_the_answer_stands_where_the_page_says(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ROWS[number][0].split()) == 0
    assert re.search(ANSWERS[number], capsys.readouterr().out)


def test_how_many_users_fit(capsys: pytest.CaptureFixture[str]) -> None:
    sizes, load = ROWS[2]
    assert run(sizes.split()) == 0
    assert "70,272 B/token" in capsys.readouterr().out
    assert run(load.split()) == 0
    assert re.search(r"! memory holds \d+ requests at once", capsys.readouterr().out)
