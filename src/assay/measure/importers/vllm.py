"""Importer of `vllm bench serve --save-result` (and `--save-detailed`, `--append-result`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = dict[str, str]

_STATISTICS = {"mean": "mean", "median": "p50", "p99": "p99"}
_METRICS = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e"}

#: Keys that users write with `--metadata`, under the names of our columns.
_METADATA = {
    **{key: key for key in ("tp", "pp", "dp", "ep", "dp_attention", "accelerator", "quant")},
    **dict.fromkeys(("gpu", "hw", "hardware"), "accelerator"),
    **dict.fromkeys(("gpus", "chips", "n_gpus"), "n_accelerators"),
    "precision": "quant",
    "kv_cache_dtype": "kv_dtype",
    "version": "framework_version",
}


def is_result(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is one result of `vllm bench serve`."""
    return {"endpoint_type", "request_throughput", "output_throughput", "model_id"} <= set(item) or {
        "backend", "num_prompts", "total_token_throughput", "model_id"
    } <= set(item)  # fmt: skip


def row(item: Mapping[str, Any], name: str) -> Row:
    """Return the columns of one result.

    Lengths are means over the completed requests; TPOT excludes the first token; a latency of requests
    that failed is in none of the statistics, but in the detailed lists (as zeros): such runs are flagged.

    Args:
        item: the JSON object.
        name: where it was read.
    """
    done, failed = float(item.get("completed") or 0), float(item.get("failed") or 0)
    out: Row = {
        column: str(item[key]) for key, column in _METADATA.items() if item.get(key) not in (None, "")
    }
    for statistic, column in _STATISTICS.items():
        for metric, short in _METRICS.items():
            value = item.get(f"{statistic}_{metric}_ms")
            if isinstance(value, int | float) and value > 0:
                out[f"{short}_ms_{column}"] = repr(float(value))
    rate = item.get("request_rate")
    endless = rate in ("inf", None) or rate == float("inf")
    concurrency = item.get("max_concurrency")
    out |= {
        "model": str(item.get("model_id") or ""),
        "framework": out.get("framework", "vLLM"),
        "phase": "e2e",
        "input_len": repr(float(item.get("total_input_tokens") or 0) / done) if done else "",
        "output_len": repr(float(item.get("total_output_tokens") or 0) / done) if done else "",
        "requests": repr(done),
        "date": _date(str(item.get("date") or "")),
        "output_tok_s_total": repr(float(item.get("output_throughput") or 0)) if done else "",
        "source": name,
        "id": name,
        "flags": ",".join(flags(done, failed)),
    }
    if concurrency:
        out["concurrency"] = repr(float(concurrency))
    if not (concurrency and endless):
        out["request_rate"] = "inf" if endless else repr(float(rate or 0))
    return out


def flags(done: float, failed: float) -> list[str]:
    """Return flags of a run with no completed or with failed requests."""
    return [name for name, hit in (("no_requests", done == 0), ("failed", failed > 0)) if hit]


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) >= 8 and text[:8].isdigit() else text
