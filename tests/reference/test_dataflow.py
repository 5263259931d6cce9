"""Published speeds of dataflow chips, single stream, against the model as calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from assay.calibrate.dataflow import error, evidence, fit, predict
from assay.catalogue.load import catalogue


def name(row: Mapping[str, Any]) -> str:
    return f"{row['system']}-{row['model']}-{row['source']}"


@pytest.mark.parametrize("row", evidence("fit"), ids=name)
def test_published_speed_within_a_quarter(row: Mapping[str, Any]) -> None:
    assert abs(error(row)) < np.log(1.25)


@pytest.mark.parametrize("row", evidence("check"), ids=name)
def test_speed_not_used_in_the_fit(row: Mapping[str, Any]) -> None:
    assert abs(error(row)) < np.log(1.25)


@pytest.mark.parametrize("row", evidence("speculative"), ids=name)
def test_speculation_is_faster_than_plain_decoding(row: Mapping[str, Any]) -> None:
    assert error(row) < 0


def test_interval_holds_four_of_five() -> None:
    inside = []
    for row in evidence("fit", "check"):
        tpot = predict(row).tpot
        inside.append(
            float(np.asarray(tpot.low)[0]) <= 1 / row["output_rate"] <= float(np.asarray(tpot.high)[0])
        )
    assert np.mean(inside) >= 0.8


def test_stated_residuals_are_true() -> None:
    stated = catalogue().table("calibrations/dataflow")["provenance"]
    rows = evidence("fit", "check", "speculative")
    found = [error(row) for row in rows]
    assert [item["ln_predicted_over_published"] for item in stated["residuals"]] == pytest.approx(
        found, abs=0.01
    )
    used = [value for value, row in zip(found, rows, strict=True) if row["use"] != "speculative"]
    assert np.sqrt(np.mean(np.square(used))) == pytest.approx(stated["rms"], abs=0.005)


def test_fit_reproduces_the_file() -> None:
    stated = catalogue().table("calibrations/dataflow")["provenance"]["fitted"]
    assert fit() == pytest.approx(stated, rel=0.02)


def test_llama_2_70b_fits_the_576_chips_it_ran_on() -> None:
    row = next(row for row in evidence("fit") if row["model"] == "llama-2-70b")
    result = predict(row)
    assert result.fits[0]
    alone = predict({key: value for key, value in row.items() if key != "chips"})
    assert alone.chips_low[0] <= 576 <= 1.3 * alone.chips_high[0]
