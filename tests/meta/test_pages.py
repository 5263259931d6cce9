"""The reference pages name everything that the code writes or reads."""

from __future__ import annotations

import re

import pytest

from assay.cli import VERBS, run
from assay.estimate import BASES, Estimate
from assay.llm.layout import Layout
from assay.study.answer import FIGURES, SCHEMA, Answer, Refusal, Row
from assay.study.deployment import Deployment
from assay.study.question import OBJECTIVES, PRICES, Question
from source_tree import ROOT

JSON_PAGE = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
CLI_PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def missing(names: object, page: str) -> set[str]:
    """Return the names that the page does not show as code."""
    assert isinstance(names, dict | tuple | list)
    page = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    return set(names) - set(re.findall(r"[\w.-]+", " ".join(re.findall(r"`([^`]+)`", page))))


def answer() -> Answer:
    """Return an answer with one row and one refusal."""
    deployment = Deployment("h200", "HGX H200", Layout(tp=8), "fp8", "fp8")
    row = Row(deployment, 64.0, 8, {name: Estimate(2.0, 1.0, 3.0, 1.0, BASES[0]) for name in FIGURES})
    return Answer(Question("kimi-k2"), {}, (row,), {}, (Refusal("h100", "Too small."),))


def test_the_json_page_names_every_key() -> None:
    data = answer().json()
    (row,), (refusal,) = data["rows"], data["refused"]
    for part in (data["question"], row, row["layout"], row["ttft_s"], refusal):
        assert not missing(part, JSON_PAGE)
    headings = re.findall(r"^## (\w+)$", JSON_PAGE, re.MULTILINE)
    assert set(data) - {"schema"} <= set(headings)


def test_the_json_page_is_of_this_version() -> None:
    assert JSON_PAGE.startswith(f"# JSON: schema `{SCHEMA}`")
    assert all(f"`{basis}`" in JSON_PAGE for basis in BASES)


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_page_names_every_flag(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    flags = set(re.findall(r"(?<![\w-])--[a-z0-9-]+", capsys.readouterr().out)) - {"--help"}
    assert flags >= {"--json"}
    assert not {flag for flag in flags if not re.search(rf"`[^`]*{flag}\b", CLI_PAGE)}


def test_the_command_page_names_verbs_objectives_and_prices() -> None:
    assert not missing(OBJECTIVES + PRICES + tuple(VERBS), CLI_PAGE)
