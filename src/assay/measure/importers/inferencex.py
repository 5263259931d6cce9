"""Importer of InferenceX: result files of a run (`agg_*.json`) and tables of the database export.

Latencies are seconds. Throughput per GPU has a trap: a multi-node result divides output by the decode GPUs
and input by the prefill GPUs, a single-node result divides both by all. Everything becomes columns of
`assay.measure.importers.points`, output tokens per chip of all chips.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from assay.errors import BadInput
from assay.measure import naming

Row = dict[str, str]

_STATISTICS = {"mean": "mean", "median": "p50", "p99": "p99"}
_METRICS = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e"}


def is_result(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is the result of one InferenceX run."""
    return {"hw", "conc", "tput_per_gpu", "framework"} <= set(item)


def is_table(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object or CSV row is one of the export's `benchmark_results`."""
    return {"config_id", "conc", "isl", "osl", "metrics"} <= set(item) or {
        "hardware",
        "conc",
        "spec_method",
    } <= set(item)


def row(result: Mapping[str, Any], name: str) -> Row:
    """Return the columns of one result.

    Args:
        result: the JSON object of `agg_*.json`.
        name: where it was read, for messages.

    Raises:
        BadInput: a number that is not one.
    """
    multi = bool(result.get("is_multinode"))
    out = _latencies(result)
    out |= {
        "model": str(result.get("model") or ""),
        "model_norm": str(result.get("infmax_model_prefix") or ""),
        "accelerator": str(result.get("decode_hw") or result["hw"]),
        "framework": str(result["framework"]),
        "framework_version": str(result.get("image") or ""),
        "quant": str(result.get("precision") or ""),
        "spec_decoding": str(result.get("spec_decoding") or "none"),
        "input_len": str(result.get("isl") or ""),
        "output_len": str(result.get("osl") or ""),
        "concurrency": str(result["conc"]),
        "date": str(result.get("date") or ""),
        "phase": "e2e",
        "disaggregated": str(_true(result.get("disagg"))),
        "workload": "InferenceX fixed-length"
        if result.get("scenario_type") in (None, "fixed-length")
        else str(result["scenario_type"]),
        "source": name,
        "id": name,
    }
    if multi or _true(result.get("disagg")):
        out |= _workers(result)
    else:
        out |= {
            "tp": str(int(_number(result, "tp", 1) * _number(result, "pcp_size", 1))),
            "pp": str(int(_number(result, "pp", 1))),
            "ep": str(int(_number(result, "ep", 1))),
            "dp_attention": str(_true(result.get("dp_attention"))),
        }
        out["n_accelerators"] = str(int(float(out["tp"]) * float(out["pp"])))
    out |= _throughput(result, out, multi or _true(result.get("disagg")))
    return out | _power(result)


def _latencies(result: Mapping[str, Any]) -> Row:
    """Return latency columns in ms from `median_ttft` and its likes, s."""
    out: Row = {}
    for statistic, column in _STATISTICS.items():
        for metric, short in _METRICS.items():
            value = result.get(f"{statistic}_{metric}")
            if isinstance(value, int | float) and value > 0:
                out[f"{short}_ms_{column}"] = repr(float(value) * 1e3)
    return out


def _workers(result: Mapping[str, Any]) -> Row:
    sides = ("prefill", "decode")
    get = {side: {key: int(_number(result, f"{side}_{key}", 1)) for key in ("tp", "ep")} for side in sides}
    workers = {side: int(_number(result, f"{side}_num_workers", 0)) for side in sides}
    gpus = {side: int(_number(result, f"num_{side}_gpu", 0)) for side in sides}
    attention = {side: str(_true(result.get(f"{side}_dp_attention"))) for side in sides}
    if not _true(result.get("disagg")):
        return {
            "tp": str(get["decode"]["tp"]),
            "ep": str(get["decode"]["ep"]),
            "dp_attention": attention["decode"],
            "n_accelerators": str(gpus["decode"] or get["decode"]["tp"]),
        }
    return {
        "tp": f"{get['prefill']['tp']}P/{get['decode']['tp']}D",
        "ep": f"{get['prefill']['ep']}P/{get['decode']['ep']}D",
        "dp": "/".join(f"{workers[side]}x{get[side]['tp']}{side[0].upper()}" for side in sides) + " workers",
        "dp_attention": f"{attention['prefill']} P/{attention['decode']} D",
        "prefill_gpus": str(gpus["prefill"] or ""),
        "decode_gpus": str(gpus["decode"] or ""),
        "n_accelerators": str(gpus["prefill"] + gpus["decode"] or ""),
    }


def _throughput(result: Mapping[str, Any], row_: Mapping[str, str], multi: bool) -> Row:
    """Return tokens/s per GPU over all GPUs with its basis."""
    total = result.get("tput_per_gpu")
    output = result.get("output_tput_per_gpu")
    decode, everything = row_.get("decode_gpus"), row_.get("n_accelerators")
    if isinstance(output, int | float):
        scale = float(decode) / float(everything) if multi and decode and everything else 1.0
        return {"tok_s_per_gpu": repr(float(output) * scale), "tok_s_per_gpu_basis": "output"}
    if isinstance(total, int | float):
        return {"tok_s_per_gpu": repr(float(total)), "tok_s_per_gpu_basis": "total"}
    return {}


def _power(result: Mapping[str, Any]) -> Row:
    joules = result.get("joules_per_output_token")
    if not isinstance(joules, int | float):
        return {}
    valid = result.get("power_valid", 1) not in (0, False)
    return {"joules_per_output_token": repr(float(joules))} | ({} if valid else {"flags": "power_invalid"})


def table(
    rows: Iterable[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]], name: str
) -> list[Row]:
    """Return the columns of rows of `benchmark_results`, joined with their `configs`.

    Args:
        rows: rows of the table, `metrics` as an object or as JSON text.
        configs: id -> row of `configs`; empty where the columns are already joined.
        name: the file, for messages.

    Raises:
        BadInput: a row refers to a configuration that is not there.
    """
    out = []
    for place, item in enumerate(rows, 1):
        config = item if "hardware" in item else configs.get(str(item.get("config_id")))
        if config is None:
            raise BadInput(
                f"{name}: row {place} refers to configuration {item.get('config_id')}, which is not here.",
                "Put the export's `configs` table beside it.",
            )
        if item.get("error"):
            continue
        metrics = item.get("metrics") or {}
        if isinstance(metrics, str):
            metrics = json.loads(metrics)
        merged = {**config, **item, **metrics}
        merged |= {
            "hw": config["hardware"],
            "spec_decoding": config.get("spec_method"),
            "infmax_model_prefix": config.get("model"),
            "is_multinode": _true(config.get("is_multinode")),
            "tp": config.get("decode_tp"),
            "ep": config.get("decode_ep"),
            "dp_attention": config.get("decode_dp_attention"),
        }
        converted = row(merged, f"{name}#{item.get('id', place)}")
        if converted["accelerator"].split("-")[0] and not naming.accelerator(converted["accelerator"]).system:
            converted["accelerator"] = converted["accelerator"].split("-")[0]
        out.append(converted)
    return out


def _number(result: Mapping[str, Any], name: str, default: float) -> float:
    value = result.get(name)
    if value in (None, ""):
        return default
    try:
        return float(str(value))
    except (TypeError, ValueError):
        raise BadInput(f"InferenceX result: {name} is {value!r}, not a number.") from None


def _true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "t", "1")
