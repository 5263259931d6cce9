"""Fit of dataflow chips to published speeds: `python -m assay.calibrate.dataflow --out FILE`.

Four figures are fitted to the rows marked `fit` of data/calibrations/dataflow.yaml, as logarithms: the fixed
time of an exchange point of each chip, and, shared by all chips, the share of SRAM bandwidth that a
matrix-vector product reaches and the exchange points of a layer of routed experts. Rows marked `check` are
only compared; `speculative` ones are listed and count nowhere. Deterministic; needs the `dev` extra (scipy).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares

from assay.catalogue.load import catalogue
from assay.llm.architecture import Architecture
from assay.llm.formats import GROUPS
from assay.llm.forward import operators
from assay.llm.memory import cache_bytes
from assay.timing.dataflow import DataflowResult, Resident, plan_pipeline
from assay.timing.sram import parameters

Array = NDArray[np.float64]

#: Prior of the fitted figures, ln: what two constants cannot settle stays near these.
PRIOR = {"read_share": (0.15, 0.7), "expert_steps": (2.0, 0.5)}
#: Scatter expected of published speeds, ln: software date, load, length of the prompt.
SCATTER = 0.15
INTERVAL = 1.2815515655446004  # standard normal quantile of an 80 % interval


def evidence(*uses: str) -> list[Mapping[str, Any]]:
    """Return the published speeds of the calibration file, of the given uses."""
    return [row for row in catalogue().table("calibrations/dataflow")["evidence"] if row["use"] in uses]


@lru_cache(maxsize=64)
def _model(name: str, stored: float, context: float) -> Resident:
    arch = Architecture.from_dict(catalogue().model(name).architecture)
    sizes = dict.fromkeys(GROUPS, stored)
    held = cache_bytes(arch, "bf16", context) / context
    return Resident(operators(arch), sizes, held)


def predict(row: Mapping[str, Any], figures: Mapping[str, float] | None = None) -> DataflowResult:
    """Return what the model says of one published speed: one sequence, half of its context as prompt.

    Args:
        row: an entry of `evidence`.
        figures: values that replace the chip's own; none = the calibration as it stands.
    """
    system = catalogue().system(row["system"])
    table = parameters(system.chip)
    if figures:
        best = {name: np.array([[figures.get(name, values[0, 0])]]) for name, values in table.figures.items()}
        table = replace(table, figures=best)
    half = row["context"] / 2
    model = _model(row["model"], row["weights"], row["context"])
    return plan_pipeline(model, system, half, half, 1, chips=row.get("chips"), table=table)


def error(row: Mapping[str, Any], figures: Mapping[str, float] | None = None) -> float:
    """Return ln(predicted / published) output tokens per second of one sequence."""
    return float(-np.log(np.asarray(predict(row, figures).tpot.value)[0] * row["output_rate"]))


def fit() -> dict[str, float]:
    """Return the fitted figures; `step_seconds` once a chip, as `step_seconds:ID`."""
    rows = evidence("fit")
    chips = sorted({catalogue().system(row["system"]).chip.id for row in rows})
    names = ["read_share", "expert_steps", *(f"step_seconds:{chip}" for chip in chips)]

    def figures(values: Array, row: Mapping[str, Any]) -> dict[str, float]:
        found = dict(zip(names, np.exp(values).tolist(), strict=True))
        return found | {"step_seconds": found[f"step_seconds:{catalogue().system(row['system']).chip.id}"]}

    def residuals(values: Array) -> Array:
        prior = [(values[names.index(n)] - np.log(mean)) / sd for n, (mean, sd) in PRIOR.items()]
        return np.array([error(row, figures(values, row)) / SCATTER for row in rows] + prior)

    start = np.log([0.15, 2.0, *[1e-5] * len(chips)])
    run = least_squares(residuals, start, diff_step=1e-3)
    return {name: float(f"{value:.3g}") for name, value in zip(names, np.exp(run.x).tolist(), strict=True)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, and write the fitted figures and their residuals into the calibration file."""
    parser = argparse.ArgumentParser(
        prog="python -m assay.calibrate.dataflow", description="Fit dataflow chips."
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    found = fit()
    data = yaml.safe_load(given.out.read_text(encoding="utf-8"))
    listed = []
    for row in evidence("fit", "check", "speculative"):
        chip = catalogue().system(row["system"]).chip.id
        values = found | {"step_seconds": found[f"step_seconds:{chip}"]}
        gap = {"ln_predicted_over_published": round(error(row, values), 3)}
        listed.append({key: row[key] for key in ("system", "model", "output_rate", "source", "use")} | gap)
    gaps = np.array([row["ln_predicted_over_published"] for row in listed if row["use"] in ("fit", "check")])
    scatter = float(np.sqrt(np.mean(gaps**2)))
    for name, entry in (*data["chips"].items(), ("default", data["default"])):
        for figure in ("read_share", "expert_steps"):
            entry["figures"][figure]["value"] = found[figure]
        if f"step_seconds:{name}" in found:
            value = found[f"step_seconds:{name}"]
            ends = {"slow": INTERVAL * scatter, "fast": -INTERVAL * scatter}
            spread = {end: float(f"{value * np.exp(shift):.3g}") for end, shift in ends.items()}
            entry["figures"]["step_seconds"] |= {"value": value} | spread
    data["provenance"] = {
        "command": "python -m assay.calibrate.dataflow --out FILE",
        "fitted": found,
        "rms": round(scatter, 3),
        "residuals": listed,
    }
    given.out.write_text(
        yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
