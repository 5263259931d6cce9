from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.errors import NoEvidence
from assay.estimate import Estimate
from assay.timing.energy import (
    board_joules,
    board_joules_per_token,
    board_watts,
    power_model,
    provisioned_joules_per_token,
    provisioned_watts,
    watts,
)

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
GRID = np.linspace(0.0, 1.0, 11)


def rate(value: float) -> Estimate:
    return Estimate(value, value / 2, value * 2, value * 10, "calibrated chip")


@pytest.mark.parametrize(
    "name", ["h100", "h200", "b200", "b300", "gb300-nvl72", "mi300x", "mi355x", "trn2", "gaudi3"]
)
def test_power_rises_with_activity_and_stays_within_the_limit(name: str) -> None:
    chip = catalogue().chip(name)
    assert chip.tdp_watts
    for arguments in ((GRID, 0.1, 0.1), (0.1, GRID, 0.1), (0.01, 0.1, GRID)):
        drawn = watts(chip, *arguments)
        assert np.all(np.diff(drawn) >= 0)
        assert np.all((drawn > 0) & (drawn <= chip.tdp_watts))
    assert watts(chip, 0.75, 0.2) > 0.9 * chip.tdp_watts * (0.8 if name == "h100" else 1.0)
    assert watts(chip, 0.0, 0.0) < 0.4 * chip.tdp_watts


def test_the_documented_example() -> None:
    assert watts(catalogue().chip("h200"), 0.02, 0.3) == pytest.approx(455, abs=5)


def test_interval_and_floor() -> None:
    chip = catalogue().chip("b200")
    power = board_watts(chip, GRID, GRID)
    low, value, high = (np.asarray(item) for item in (power.low, power.value, power.high))
    assert np.all((np.asarray(power.floor) <= low) & (low <= value) & (value <= high))
    assert np.all(high <= chip.tdp_watts)
    assert power.basis == "calibrated chip"
    near = board_watts(catalogue().chip("rubin-vr200"), 0.01, 0.3)
    assert near.basis == "datasheet"
    width = [float(np.asarray(p.high).flat[-1] / np.asarray(p.low).flat[-1]) for p in (near,)]
    assert width[0] > 1.4


def test_unpublished_power_is_refused() -> None:
    for name in ("tpu-v7", "groq3-lpu-lp30"):
        with pytest.raises(NoEvidence, match="not published"):
            power_model(catalogue().chip(name))


def test_measured_power_stands_in_for_a_limit() -> None:
    power = board_watts(catalogue().chip("tpu-v4"), 0.1, 0.5)
    assert (float(power.value), float(power.low), float(power.high)) == (170.0, 90.0, 192.0)
    assert power.basis == "measured"


def test_dataflow_chips_are_assumed_to_draw_nearly_their_limit() -> None:
    power = board_watts(catalogue().chip("lpu-v1"), 0.001, 0.01)
    assert power.basis == "assumed"
    assert 150 <= float(power.low) < float(power.value) < float(power.high) == 300


def test_energy_is_power_times_chips_over_rate() -> None:
    power = Estimate(500.0, 400.0, 600.0, 100.0, "calibrated chip")
    joules = board_joules_per_token(power, 8, rate(1000.0))
    assert float(joules.value) == pytest.approx(4.0)
    assert float(joules.floor) == pytest.approx(100 * 8 / 10000)
    assert float(joules.high) == pytest.approx(4.0 * np.exp(np.hypot(np.log(1.2), np.log(2))))
    assert float(joules.low) == pytest.approx(4.0 * np.exp(-np.hypot(np.log(1.25), np.log(2))))
    step = board_joules(power, 8, Estimate(0.01, 0.01, 0.01, 0.005, "assumed"))
    assert float(step.value) == pytest.approx(40.0)
    assert step.basis == "assumed"


def test_energy_over_many_points() -> None:
    points = np.array([1.0, 10.0, 100.0])
    power = board_watts(catalogue().chip("h100"), points / 1000, points / 200)
    joules = board_joules_per_token(power, 8, Estimate(points, points, points, 10 * points, "datasheet"))
    assert np.asarray(joules.value).shape == (3,)
    assert joules.basis == "datasheet"
    assert np.all(np.asarray(joules.floor) <= np.asarray(joules.low))


def test_provisioned_power_is_kept_apart() -> None:
    system = catalogue().system("h100")
    assert provisioned_watts(system) > float(watts(system.chip, 0.0, 0.0))
    joules = provisioned_joules_per_token(system, 8, rate(1000.0))
    assert float(joules.value) == pytest.approx(8 * provisioned_watts(system) / 1000)
    with pytest.raises(NoEvidence, match="provisioned power"):
        provisioned_watts(replace(system, power_watts=None))


def test_zero_rate_is_infinite_energy() -> None:
    joules = board_joules_per_token(
        Estimate(1.0, 1.0, 1.0, 1.0, "assumed"), 1, Estimate(0.0, 0.0, 0.0, 1.0, "assumed")
    )
    assert float(joules.value) == np.inf


def test_stated_accuracy() -> None:
    table = catalogue().table("calibrations/energy")
    told = table["provenance"]["residuals"]
    assert told["in_sample_all"]["median_error"] < 0.10
    assert told["unseen_chip_all"]["median_error"] < 0.15
    assert table["provenance"]["coverage_80"]["unseen"] >= 0.8
    assert len(told["unseen_chip"]) >= 8


@pytest.mark.skipif(not (SHARED / "measured").is_dir(), reason="needs ../shared/measured")
def test_fit_reproduces_the_file() -> None:
    pl = pytest.importorskip("polars")
    pytest.importorskip("scipy")
    from assay.calibrate.energy import calibrate, join, kernels, serving

    parts = []
    for name in ("inferencex", "serving"):
        table = pl.read_csv(SHARED / "measured" / f"{name}.csv.gz", infer_schema_length=None)
        powers = [
            pl.col(c).cast(pl.Float64, strict=False) for c in ("joules_per_output_token", "power_w_per_gpu")
        ]
        rows = table.with_columns(powers).filter(pl.any_horizontal(power.is_not_null() for power in powers))
        parts.append(serving(rows.iter_rows(named=True), name)[0])
    timed = pl.read_parquet(SHARED / "measured" / "kernels.parquet").filter(pl.col("power_w").is_not_null())
    found = calibrate(join([*parts, kernels(timed.iter_rows(named=True))]))
    stated = catalogue().table("calibrations/energy")
    assert found["form"] == pytest.approx(stated["form"], rel=0.05)
    assert found["sigma"] == pytest.approx(stated["sigma"], rel=0.05)
