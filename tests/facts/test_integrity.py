"""Our own data: sources resolve, units are known, values are sane, totals agree; and the checks can fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.catalogue.check import LEAST, check
from assay.catalogue.compiled import DATA, section
from assay.catalogue.load import catalogue

Edit = Callable[[str, str, str], list[str]]


def test_no_errors_in_our_facts() -> None:
    findings = [str(finding) for finding in check() if finding.level == "error"]
    assert findings == []


def test_there_is_enough_of_everything() -> None:
    facts = catalogue()
    assert len(facts.models()) >= LEAST["models"] == 110
    assert len(facts.chips()) >= LEAST["chips"] == 60
    assert len(facts.systems()) >= LEAST["systems"] == 30
    assert sum(len(facts.prices(chip)) for chip in facts.chips()) >= LEAST["prices"] == 120
    published = [ident for ident in facts.systems() if not facts.entry("system", ident).get("derived")]
    assert len(published) >= 30


def test_every_value_has_source_date_and_basis() -> None:
    for name in ("chips", "systems"):
        for file, entry in section(name).items():
            for field, fact in entry["facts"].items():
                assert {"value", "source", "date", "basis"} <= set(fact), f"{file}: {field}"


def test_nothing_is_from_memory_without_saying_so() -> None:
    for name in ("chips", "systems"):
        for file, entry in section(name).items():
            for field, fact in entry["facts"].items():
                if fact["source"] == "MEM":
                    assert fact["basis"] == "from_memory", f"{file}: {field}"
                if fact["source"] == "ASSAY":
                    assert fact["basis"] == "assumed", f"{file}: {field}"
                    assert fact.get("note"), f"{file}: {field}"


def test_every_model_reads_as_an_architecture() -> None:
    from assay.llm.architecture import Architecture

    facts = catalogue()
    for name in facts.models():
        architecture = Architecture.from_dict(facts.model(name).architecture)
        assert architecture.formats["experts"], name


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Copy the data, replace a piece of one file, and return the errors that `check` finds."""

    def change(file: str, old: str, new: str) -> list[str]:
        root = tmp_path / "data"
        shutil.copytree(DATA, root)
        path = root / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return [str(finding) for finding in check(root)]

    return change


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "chips/h200-sxm.yaml",
            "value: 4.8, unit: TB/s, source: MLE_ACC",
            "value: 4.8, unit: TB/s, source: NOBODY",
            "'NOBODY'",
        ),
        (
            "chips/h200-sxm.yaml",
            "value: 4.8, unit: TB/s",
            "value: 4.8, unit: furlong",
            "Unknown unit 'furlong'",
        ),
        ("chips/h200-sxm.yaml", "value: 4.8, unit: TB/s", "value: -4.8, unit: TB/s", "negative"),
        (
            "chips/h200-sxm.yaml",
            "value: 4.8, unit: TB/s",
            "value: 4.8e9, unit: TB/s",
            "outside the sane range",
        ),
        ("chips/h200-sxm.yaml", "date: 2026-08-22", "date: yesterday", "is no date"),
        ("chips/h200-sxm.yaml", "basis: datasheet", "basis: rumour", "basis 'rumour'"),
        ("chips/h200-sxm.yaml", "kind: gpu", "kind: toaster", "'toaster' is none of"),
        ("chips/h200-sxm.yaml", "id: h200-sxm", "id: h201-sxm", "is not the file's name"),
        ("chips/h200-sxm.yaml", "aliases: [h200,", "aliases: [h100,", "means"),
        ("chips/h200-sxm.yaml", "  tdp:", "  tdpp:", "is no known field"),
        ("systems/hgx-h200-8.yaml", "chip: h200-sxm", "chip: h300-sxm", "is no chip"),
        ("systems/hgx-h200-8.yaml", "topology: switch", "topology: star", "'star'"),
        (
            "systems/gb300-nvl72.yaml",
            "memory_total: {value: 20,",
            "memory_total: {value: 40,",
            "is not 72 x memory_capacity",
        ),
        ("prices/own.yaml", "usd_per_hour: ", "usd_per_hour: -", "negative"),
        ("prices/own.yaml", "chip: b200-sxm", "chip: b201-sxm", "is no chip of the catalogue"),
        ("models/kimi.yaml", "hf_id: moonshotai/Kimi-K2-Base", "hf_id: ''", "hf_id: is missing"),
        ("sources.yaml", "where: ", "were: ", "says not where it is"),
        ("measurements/achievable.yaml", "fraction: 0.834", "fraction: 0.9", "fraction is not value / peak"),
        ("models/kimi.yaml", "family: kimi", "family: [", "not valid YAML"),
    ],
)
def test_each_check_can_fail(edit: Edit, file: str, old: str, new: str, message: str) -> None:
    assert any(message in finding for finding in edit(file, old, new))


def test_too_few_entries_fail(tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(DATA, root)
    (root / "prices" / "list.yaml").unlink()
    assert any("at least 120" in str(finding) for finding in check(root))
