"""Fit of board power to activity: `python -m assay.calibrate.energy --inferencex F --serving F ...`.

Observations are mean board watts over the power limit. Activity is computed from operator counts and the
*measured* rate, not from a predicted time, so that an error of the timing model cannot enter:

    u_compute = output rate * (FLOPs per token + FLOPs per prompt / osl) / (chips * peak of the format)
    u_memory  = bytes of a decode step / TPOT / (chips * bandwidth)

The form is `share = min(1, e^o (idle + c u_compute^a + m u_memory^b))` with an offset o a chip, shrunk
towards zero. Deterministic: no random numbers. Needs the `dev` extra (polars, scipy).
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip
from assay.errors import BadInput
from assay.llm.architecture import Architecture
from assay.llm.formats import BYTES, weight_formats
from assay.llm.forward import operators
from assay.timing.pipeline import Work, decode_bytes, decode_flops, gather, prompt_flops

Array = NDArray[np.float64]

#: Model names of the files -> catalogue. Only these have power, and an architecture in the catalogue.
MODELS = {
    "gpt-oss-120b": "gpt-oss-120b",
    "Kimi-K2": "kimi-k2.5",
    "GLM-5": "glm-5",
    "MiniMax-M2": "minimax-m2.5",
    "MiniMax-M3": "minimax-m3",
    "Qwen3.5-397B": "qwen3.5-397b-a17b",
    "DeepSeek-V3/R1": "deepseek-r1",
    "DeepSeek-V4-Pro": "deepseek-v4-pro",
    "Llama-2-7B": "llama-2-7b",
    "Llama-3-8B": "llama-3.1-8b",
}
#: Names of chips in the files that are not aliases of the catalogue.
CHIPS = {"A100": "a100-80gb-sxm", "GB200": "gb200-nvl72-gpu", "GB300": "gb300-nvl72-gpu"}
NAMES = ("H100", "H200", "GH200", "B200", "B300", "MI300X", "MI325X", "MI355X")
#: Kernel formats -> (format of the arithmetic, bytes per weight).
KERNEL_FORMATS = {
    "bfloat16": ("bf16", 2.0),
    "fp8": ("fp8", 1.0),
    "fp8_block": ("fp8", 1.0),
    "nvfp4": ("fp4", BYTES["nvfp4"]),
    "w4a16_mxfp4": ("bf16", BYTES["mxfp4"]),
    "w4a8_mxfp4_mxfp8": ("fp8", BYTES["mxfp4"]),
}
#: Board power above the limit by more than this share: another quantity was recorded; such rows are dropped.
ABOVE_LIMIT = 1.10
#: Kernels shorter than this are sampled between idle gaps; less active ones say little about serving.
KERNEL_US, KERNEL_COMPUTE, KERNEL_MEMORY = 100.0, 0.4, 0.5
#: Weight of the offset of a chip against its rows in the fit: residual sd over offset sd, per ten settings.
SHRINK = 0.13
HUBER = 0.1
INTERVAL = 1.2815515655446004  # standard normal quantile of an 80 % interval


@dataclass(frozen=True, slots=True)
class Points:
    """Observations: arrays (n,). `source` names the file, `chip` the catalogue id."""

    source: NDArray[np.str_]
    chip: NDArray[np.str_]
    compute: Array
    memory: Array
    share: Array

    @property
    def group(self) -> NDArray[np.str_]:
        """Return source and chip of each row; every group weighs the same in the fit."""
        return np.char.add(np.char.add(self.source, ":"), self.chip)

    def take(self, keep: NDArray[np.bool_]) -> Points:
        """Return the rows where `keep` is true."""
        return Points(*(getattr(self, name)[keep] for name in self.__slots__))


@lru_cache(maxsize=64)
def _work(model: str, choice: str, isl: float, osl: float) -> Work:
    arch = Architecture.from_dict(catalogue().model(model).architecture)
    formats = weight_formats(arch, choice)
    sizes = {group: BYTES[name] for group, name in formats.items()}
    return gather(operators(arch), sizes, "fp8", np.array([isl]), np.array([osl]))


def _chip(name: str) -> Chip | None:
    """Return the chip of a name in the files; None for the others (consumer cards, whole-system power)."""
    known = catalogue()
    if name in CHIPS:
        return known.chip(CHIPS[name])
    return known.chip(name.lower()) if name in NAMES else None


def serving(rows: Iterable[Mapping[str, Any]], source: str) -> tuple[Points, dict[str, int]]:
    """Turn measured serving points into observations.

    Returns:
        The observations, and how many rows were dropped for which reason.
    """
    found: list[tuple[str, str, int, float, float, float]] = []
    dropped: dict[str, int] = {}
    for row in rows:
        reason = _unfit(row)
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
            continue
        found.append(_observe(row))
    strange = {(chip, model) for chip, model, chips, *_, share in found if chips < 8 and share > ABOVE_LIMIT}
    kept = []
    for chip, model, chips, compute, memory, share in found:
        if share > ABOVE_LIMIT or (chips < 8 and (chip, model) in strange):
            dropped["above the power limit"] = dropped.get("above the power limit", 0) + 1
        else:
            kept.append((source, chip, compute, memory, share))
    return _points(kept), dropped


def _unfit(row: Mapping[str, Any]) -> str:
    if row["model_norm"] not in MODELS or _chip(row["accelerator_norm"]) is None:
        return "no model or chip in the catalogue"
    if row["qa_flag"]:
        return "flagged"
    if row["disaggregated"] or (row["spec_decoding"] or "none") != "none":
        return "disaggregated or speculative"
    rate, seconds = _rate(row), row["tpot_ms_p50"] or row["tpot_ms_mean"] or row["tok_s_per_user"]
    power = row["power_w_per_gpu"] or row["joules_per_output_token"]
    return "" if rate and seconds and power and row["input_len"] and row["concurrency"] else "incomplete"


def _rate(row: Mapping[str, Any]) -> float:
    return float(row["output_tok_s_total"] or row["output_tok_s_est"] or 0.0)


def _observe(row: Mapping[str, Any]) -> tuple[str, str, int, float, float, float]:
    chip = _chip(row["accelerator_norm"])
    if chip is None or not chip.tdp_watts:
        raise BadInput(f"No power limit is known for {row['accelerator_norm']}.")
    quant = (row["quant"] or "").upper()
    choice = "int4" if "INT4" in quant else "fp4" if "FP4" in quant else "bf16" if "16" in quant else "fp8"
    order = {"fp4": ("fp4", "bf16"), "fp8": ("fp8", "bf16")}.get(choice, ("bf16",))
    peak = next(chip.peak_flops[name] for name in order if chip.peak_flops.get(name))
    # InferenceX draws lengths with a mean of about 0.9 of the nominal
    scale = 0.9 if "InferenceX" in (row["workload"] or "") else 1.0
    isl, osl = scale * float(row["input_len"]), scale * float(row["output_len"])
    work = _work(MODELS[row["model_norm"]], choice, isl, osl)
    chips = int(row["n_accelerators"])
    milliseconds = row["tpot_ms_p50"] or row["tpot_ms_mean"] or 1e3 / row["tok_s_per_user"]
    rate = _rate(row)
    moved = float(decode_bytes(work, np.array([float(row["concurrency"])])).sum())
    flops = float(decode_flops(work, np.ones(1)).sum()) + float(prompt_flops(work).sum()) / osl
    watts = row["power_w_per_gpu"] or row["joules_per_output_token"] * rate / chips
    return (
        chip.id,
        row["model_norm"],
        chips,
        min(rate * flops / (chips * peak), 1.0),
        min(moved / (milliseconds / 1e3) / (chips * chip.memory_bandwidth), 1.0),
        float(watts) / chip.tdp_watts,
    )


def kernels(rows: Iterable[Mapping[str, Any]]) -> Points:
    """Turn long, busy GEMM and MoE kernels into observations: they fix the power of a saturated chip."""
    found = []
    for row in rows:
        chip = _chip(row["accelerator"])
        if (
            chip is None
            or not chip.tdp_watts
            or row["kind"] not in ("gemm", "moe")
            or row["latency_us"] < KERNEL_US
        ):
            continue
        name, size = KERNEL_FORMATS[row["dtype"]]
        shape, seconds = json.loads(row["shape"]), row["latency_us"] * 1e-6
        flops, moved = (_gemm if row["kind"] == "gemm" else _moe)(shape, size)
        compute = min(flops / seconds / chip.peak_flops[name], 1.0)
        memory = min(moved / seconds / chip.memory_bandwidth, 1.0)
        if compute >= KERNEL_COMPUTE or memory >= KERNEL_MEMORY:
            found.append(("kernels", chip.id, compute, memory, row["power_w"] / chip.tdp_watts))
    return _points(found)


def _gemm(shape: Mapping[str, float], size: float) -> tuple[float, float]:
    m, n, k = shape["m"], shape["n"], shape["k"]
    return 2.0 * m * n * k, n * k * size + 2.0 * m * (n + k)


def _moe(shape: Mapping[str, float], size: float) -> tuple[float, float]:
    tokens, topk, experts = shape["tokens"], shape["topk"], shape["experts"]
    matrix = 3.0 * shape["hidden"] * shape["inter"] / shape["moe_tp"]
    used = experts * (1.0 - (1.0 - topk / experts) ** tokens)
    return 2.0 * tokens * topk * matrix / shape["moe_ep"], used / shape["moe_ep"] * matrix * size


def _points(rows: Sequence[tuple[str, str, float, float, float]]) -> Points:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    source, chip = (np.array(column, dtype=np.str_) for column in columns[:2])
    compute, memory, measured = (np.array(column, dtype=np.float64) for column in columns[2:])
    return Points(source, chip, compute, memory, measured)


def join(parts: Sequence[Points]) -> Points:
    """Return all observations together."""
    return Points(*(np.concatenate([getattr(part, name) for part in parts]) for name in Points.__slots__))


def share(form: Array, compute: Array, memory: Array) -> Array:
    """Return idle + c u_compute^a + m u_memory^b for `form` = (idle, c, a, m, b)."""
    return np.asarray(form[0] + form[1] * compute ** form[2] + form[3] * memory ** form[4])


def fit(points: Points) -> tuple[Array, dict[str, float]]:
    """Return the form (idle, c, a, m, b) and the log offset of each group of rows."""
    groups, index, counts = np.unique(points.group, return_inverse=True, return_counts=True)
    weight = np.sqrt(np.where(points.source == "kernels", 0.5, 1.0) / counts[index])
    target = np.log(np.minimum(points.share, 1.0))

    def residuals(values: Array) -> Array:
        predicted = np.log(share(values[:5], points.compute, points.memory)) + values[5:][index]
        error = np.minimum(predicted, 0.0) - target
        soft = np.sign(error) * np.sqrt(2 * HUBER * (np.hypot(HUBER, error) - HUBER))
        return np.concatenate([weight * soft, SHRINK * values[5:]])

    low = np.array([0.05, 0.0, 0.3, 0.0, 0.3] + [-1.0] * len(groups))
    high = np.array([0.5, 10.0, 1.0, 2.0, 1.0] + [1.0] * len(groups))
    starts = ([0.2, 1.5, 0.7, 0.5, 0.7], [0.2, 3.0, 0.9, 0.5, 0.5], [0.15, 1.0, 0.4, 0.5, 0.4])
    runs = [
        least_squares(residuals, np.array([*s, *[0.0] * len(groups)]), bounds=(low, high)) for s in starts
    ]
    best = min(runs, key=lambda run: float(run.cost))
    return best.x[:5], {str(name): float(value) for name, value in zip(groups, best.x[5:], strict=True)}


def offsets(points: Points, found: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the log offsets of chips seen in serving, by rows, and the mean of each generation."""
    chips: dict[str, list[tuple[float, int]]] = {}
    for name, value in found.items():
        source, chip = name.split(":")
        if source != "kernels":
            rows = int(np.sum(points.group == name))
            chips.setdefault(chip, []).append((value, rows))
    own = {}
    for chip, values in chips.items():
        levels, counts = np.array(values).T
        own[chip] = float(np.average(levels, weights=counts))
    generations: dict[str, list[float]] = {}
    for chip, value in own.items():
        generations.setdefault(catalogue().chip(chip).generation, []).append(value)
    return own, {name: float(np.mean(values)) for name, values in generations.items()}


def errors(points: Points, form: Array, own: Mapping[str, float], shared: Mapping[str, float]) -> Array:
    """Return ln(predicted / measured) of each row, with the nearest offset there is."""
    level = [
        own.get(chip, shared.get(catalogue().chip(chip).generation, 0.0)) for chip in points.chip.tolist()
    ]
    predicted = np.minimum(np.exp(np.array(level)) * share(form, points.compute, points.memory), 1.0)
    return np.asarray(np.log(predicted / points.share))


def summary(error: Array) -> dict[str, float]:
    """Return rows, median, median absolute and standard deviation of log errors."""
    return {
        "rows": int(error.size),
        "median": round(float(np.median(error)), 3),
        "median_error": round(float(np.median(np.abs(error))), 3),
        "sd": round(float(np.std(error)), 3),
    }


def calibrate(points: Points) -> dict[str, Any]:
    """Fit, cross-validate by whole chips, and return the calibration as written to the file."""
    form, found = fit(points)
    own, shared = offsets(points, found)
    seen = points.source != "kernels"
    inside = {
        chip: errors(points.take(seen & (points.chip == chip)), form, own, shared) for chip in sorted(own)
    }
    outside = {}
    for chip in sorted(own):
        part, left = fit(points.take(points.chip != chip))
        others = offsets(points, left)
        outside[chip] = errors(points.take(seen & (points.chip == chip)), part, *others)
    known = float(np.sqrt(np.mean([np.mean(e**2) for e in inside.values()])))
    unseen = float(np.sqrt(np.mean([np.mean(e**2) for e in outside.values()])))
    checked = points.take(points.source == "kernels")
    return {
        "form": dict(
            zip(
                ("idle", "compute", "compute_power", "memory", "memory_power"), map(_round, form), strict=True
            )
        ),
        "coverage_80": {
            "known": _within(inside.values(), INTERVAL * known),
            "unseen": _within(outside.values(), INTERVAL * unseen),
        },
        "sigma": {"known": _round(known), "unseen": _round(unseen)},
        "floor": {"value": _round(float(points.share.min())), "note": "least measured share of the limit"},
        "offsets": {
            "chip": {name: _round(value) for name, value in sorted(own.items())},
            "generation": {name: _round(value) for name, value in sorted(shared.items())},
        },
        "residuals": {
            "note": "ln(predicted / measured) board power; unseen_chip: fitted without that chip",
            "in_sample": {chip: summary(error) for chip, error in inside.items()},
            "unseen_chip": {chip: summary(error) for chip, error in outside.items()},
            "in_sample_all": summary(np.concatenate(list(inside.values()))),
            "unseen_chip_all": summary(np.concatenate(list(outside.values()))),
            "busy_kernels": {
                chip: summary(errors(checked.take(checked.chip == chip), form, own, shared))
                for chip in sorted(set(checked.chip.tolist()))
            },
        },
    }


def _within(errors_of: Iterable[Array], bound: float) -> float:
    """Return the share of rows whose error is at most `bound`, mean over chips."""
    return round(float(np.mean([np.mean(np.abs(error) <= bound) for error in errors_of])), 3)


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read measured files, fit, and replace the fitted part of the calibration file."""
    parser = argparse.ArgumentParser(prog="python -m assay.calibrate.energy", description="Fit board power.")
    for name in ("inferencex", "serving", "kernels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args(arguments)
    parts, dropped = [], {}
    for name in ("inferencex", "serving"):
        table = pl.read_csv(getattr(given, name), infer_schema_length=None)
        powers = [
            pl.col(c).cast(pl.Float64, strict=False) for c in ("joules_per_output_token", "power_w_per_gpu")
        ]
        table = table.with_columns(powers).filter(pl.any_horizontal(power.is_not_null() for power in powers))
        found, dropped[name] = serving(table.iter_rows(named=True), name)
        parts.append(found)
    timed = pl.read_parquet(given.kernels).filter(pl.col("power_w").is_not_null())
    points = join([*parts, kernels(timed.iter_rows(named=True))])
    result = calibrate(points)
    data = yaml.safe_load(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    used = {name: int((points.source == name).sum()) for name in ("inferencex", "serving", "kernels")}
    data["provenance"] = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": "python -m assay.calibrate.energy --inferencex F --serving F --kernels F --out F",
        "rows": used,
        "dropped": dropped,
        "residuals": result.pop("residuals"),
        "coverage_80": result.pop("coverage_80"),
    }
    data.update(result)
    given.out.write_text(
        yaml.safe_dump(data, sort_keys=False, width=110, allow_unicode=True), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
