"""The published accuracy figures are still true: no source may get worse than the ratchet says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.calibrate.validate import validate
from assay.cli.measured import predictor
from assay.measure.read import read
from assay.report.scoreboard import percent, ratchet, worse

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path(os.environ.get("ASSAY_SHARED", ROOT.parent / "shared")) / "measured"
RATCHET = ROOT / "src" / "assay" / "catalogue" / "data" / "calibrations" / "accuracy.yaml"

pytestmark = pytest.mark.skipif(not MEASURED.exists(), reason="needs the measured points beside the checkout")


@pytest.fixture(scope="module")
def before() -> dict[str, Any]:
    if not RATCHET.exists():
        pytest.skip("no accuracy figures have been written yet")
    loaded: dict[str, Any] = yaml.safe_load(RATCHET.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("name", ["serving", "inferencex", "mlperf"])
def test_no_source_gets_worse(name: str, before: dict[str, Any]) -> None:
    result = validate(read(MEASURED / f"{name}.csv.gz"), predictor()).json(("source",))
    assert not worse(ratchet(result), before["sets"][name])
    assert result["metrics"]["tpot"]["below_floor"] in (0.0, None)
    assert result["metrics"]["throughput"]["below_floor"] in (0.0, None)


def test_the_readme_says_what_the_ratchet_says(before: dict[str, Any]) -> None:
    if not before["questions"]:
        pytest.skip("no question has been scored yet")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for words, figures in before["questions"].items():
        line = next((row for row in text.splitlines() if row.startswith(f"| {words} |")), "")
        for metric in ("tpot", "throughput", "ttft"):
            assert f"| {percent(figures[metric])} |" in line
