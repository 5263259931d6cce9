"""Directions of mechanisms on the measured sets: which way a change goes, and how far."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from assay.calibrate.pairs import DIRECTION, SIZE, pairs, summary
from assay.calibrate.validate import validate
from assay.cli.measured import predictor
from assay.measure.read import read_all

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path(os.environ.get("ASSAY_SHARED", ROOT.parent / "shared")) / "measured"

pytestmark = pytest.mark.skipif(not MEASURED.exists(), reason="needs the measured points beside the checkout")

HELD = ("tensor parallel width", "attention: TP or DP", "weight format", "speculation", "disaggregation")
#: Least share of directions that the physics alone, with no fit, gets right.
PHYSICS = {"tensor parallel width": 0.90, "speculation": 0.90, "requests in flight": 0.95}


def found(*, residual: bool) -> dict[tuple[str, str], dict[str, Any]]:
    records = read_all([MEASURED / "serving.csv.gz", MEASURED / "inferencex.csv.gz"])
    rows = summary(pairs(validate(records, predictor(residual=residual))))
    return {(row["mechanism"], row["metric"]): row for row in rows}


def test_changes_go_the_right_way_and_as_far() -> None:
    rows = found(residual=True)
    for name in HELD:
        for metric in ("tpot", "throughput"):
            row = rows[name, metric]
            assert row["pairs"] >= 50
            assert row["right"] >= DIRECTION, row
            assert row["median_error"] <= SIZE, row


def test_physics_alone_knows_the_direction() -> None:
    rows = found(residual=False)
    for name, least in PHYSICS.items():
        assert rows[name, "tpot"]["right"] >= least, rows[name, "tpot"]
