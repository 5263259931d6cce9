"""A user's mistakes on the command line: one sentence, exit code 2, never a traceback."""

from __future__ import annotations

import pytest

from assay.cli import run

MISTAKES = {
    "plan": "MODEL requires an argument",
    "plan ''": "A name is empty.",
    "plan kimi-k2 extra": "extra",
    "pln kimi-k2": 'Did you mean "plan"?',
    "plan kimi-k2 --objetive cost": "Did you mean --objective?",
    "plan kimi-k2 --objective fame": 'Choose from: "cost"',
    "plan kimi-k2 --price free": 'Choose from: "own"',
    "plan kimi-k2 --isl 0": "zero",
    "plan kimi-k2 --isl -5": "negative",
    "plan kimi-k2 --isl nan": "not a finite number",
    "plan kimi-k2 --isl 1e9": "longer than any context window",
    "plan kimi-k2 --isl 3.5": "not a whole number",
    "plan kimi-k2 --isl ''": "not a quantity",
    "plan kimi-k2 --isl many": "not a quantity",
    "plan kimi-k2 --isl": "requires an argument",
    "plan kimi-k2 --osl 0": "zero",
    "plan kimi-k2 --ttft 2x": "Unknown unit",
    "plan kimi-k2 --ttft -2s": "negative",
    "plan kimi-k2 --tpot 0": "zero",
    "plan kimi-k2 --tpot nan": "not a finite number",
    "plan kimi-k2 --tpot inf": "not a finite number",
    "plan kimi-k2 --rate 0": "zero",
    "plan kimi-k2 --rate -1": "negative",
    "plan kimi-k2 --concurrency 0": "zero",
    "plan kimi-k2 --concurrency 2.5": "not a whole number",
    "plan kimi-k2 --concurrency 1e12": "not a whole number up to",
    "plan kimi-k2 --chips -8": "negative",
    "plan kimi-k2 --top 0": "zero",
    "plan kimi-k2 --cached 1": "leaves no new input token",
    "plan kimi-k2 --cached nan": "not a finite number",
    "plan kimi-k2 --rate 1 --concurrency 2": "Give one of them",
    "plan kimi-k2 --on ''": "empty name",
    "plan kimi-k2 --on h200,": "empty name",
    "plan kimi-k2 --workload chatt": "Did you mean chat",
    "plan kimi-k2 --engine vlm": "Known: generic, vllm",
    "plan kimi-k2 --weights fp3": "Known: native, bf16",
    "plan kimi-k2 --kv fp3": "Known: bf16, fp8",
    "estimate kimi-k2 --on h200 --price free": 'Choose from: "own"',
    "plan kimi-k2 --facts /nosuch": "does not exist",
    "plan kimi-k2 --csv --json": "standard output",
    "plan kimi-k2 --csv /nosuch/folder/x.csv": "Cannot use '/nosuch/folder/x.csv'",
    "estimate kimi-k2 --layout tp8": "--on requires an argument",
    "plan kimi-k2 --tpot 30": "Write 30ms, or 30s.",
    "plan kimi-k2 --speculation mtp --acceptance 1.8": "a chance above 1",
    "plan kimi-k2 --serving aggregated --prefill-on h200": "Leave one of them out.",
    "plan kimi-k2 --engine vllm --emit trtllm": "Write --engine trtllm, or --emit vllm.",
    "plan kimi-k2 --confirm x": "Nothing takes ['x']",
    "claims nosuch": "`assay claims` shows all.",
    "validate /nosuch.csv": "Cannot read '/nosuch.csv': No such file or directory.",
    "model nosuch": "No model 'nosuch'",
    "model kimi-k9": "Did you mean kimi-k",
    "model /nosuch/config.json": "/nosuch/config.json",
    "chip h1000": "Did you mean h100",
    "system h1000": "Did you mean h100",
    "list things": 'Choose from: "models"',
    "list": "requires an argument",
}

#: Mistakes that only the model and the system show.
LAYOUTS = {
    "estimate kimi-k2 --on h200": "Give --layout: tp8",
    "estimate llama-3.3-70b --on h100 --layout tp3": "cannot divide 64 attention heads by 3",
    "estimate kimi-k2 --on h200 --layout tp8 --prefill-on b200": "no prefill pool",
    "estimate llama-3.3-70b --on groqrack --layout tp4": "Leave --layout out.",
}


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("line", "part"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_two(line: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(["" if word == "''" else word for word in line.split()], part, capsys)


@pytest.mark.parametrize(("line", "part"), LAYOUTS.items(), ids=LAYOUTS)
def test_a_layout_that_cannot_be_is_refused(line: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(line.split(), part, capsys)


def refused(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    assert err.startswith("assay: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
