"""Importer of SGLang's serving benchmark (one JSON line a run)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.measure.importers.vllm import flags

Row = dict[str, str]

_STATISTICS = {"mean": "mean", "median": "p50", "p99": "p99"}
_METRICS = {"ttft": "ttft", "tpot": "tpot", "e2e_latency": "e2e"}

#: `server_info` (the launch configuration of an SGLang server) under the names of our columns.
_SERVER = {
    "model_path": "model",
    "tp_size": "tp",
    "pp_size": "pp",
    "ep_size": "ep",
    "dp_size": "dp",
    "quantization": "quant",
    "kv_cache_dtype": "kv_dtype",
    "enable_dp_attention": "dp_attention",
    "version": "framework_version",
}


def is_result(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is one run of SGLang's benchmark."""
    return {"total_output_tokens_retokenized", "mean_e2e_latency_ms", "request_throughput"} <= set(item)


def row(item: Mapping[str, Any], name: str) -> Row:
    """Return the columns of one run.

    `total_output_tokens` is the *requested* length; the re-tokenised count is kept apart and a difference of
    more than 5 % is flagged only when the server did not count itself (`output_lens` differ).

    Args:
        item: the JSON object.
        name: where it was read.
    """
    done = float(item.get("completed") or 0)
    out: Row = {}
    server = item.get("server_info") or {}
    if isinstance(server, Mapping):
        out |= {
            column: str(server[key]) for key, column in _SERVER.items() if server.get(key) not in (None, "")
        }
    if server:
        out["framework"] = "SGLang"
        if server.get("speculative_algorithm"):
            out["spec_decoding"] = (
                f"{server['speculative_algorithm']} {server.get('speculative_num_steps') or ''}".strip()
            )
    for statistic, column in _STATISTICS.items():
        for metric, short in _METRICS.items():
            value = item.get(f"{statistic}_{metric}_ms")
            if isinstance(value, int | float) and value > 0:
                out[f"{short}_ms_{column}"] = repr(float(value))
    rate = item.get("request_rate")
    endless = rate in ("inf", None) or rate == float("inf")
    concurrency = item.get("max_concurrency")
    retokenized = float(item.get("total_output_tokens_retokenized") or 0)
    stated = float(item.get("total_output_tokens") or 0)
    marks = flags(done, float(item.get("failed") or 0))
    if stated and retokenized and abs(retokenized / stated - 1) > 0.05:
        marks.append("tokens_mismatch")
    out |= {
        "framework": out.get("framework", str(item.get("backend") or "SGLang")),
        "phase": "e2e",
        "input_len": repr(float(item.get("total_input_tokens") or 0) / done) if done else "",
        "output_len": repr(stated / done) if done else "",
        "requests": repr(done),
        "output_tok_s_total": repr(float(item.get("output_throughput") or 0)) if done else "",
        "source": name,
        "id": name,
        "flags": ",".join(marks),
    }
    if item.get("accept_length"):
        out["acceptance"] = repr(float(item["accept_length"]))
    if concurrency:
        out["concurrency"] = repr(float(concurrency))
    if not (concurrency and endless):
        out["request_rate"] = "inf" if endless else repr(float(rate or 0))
    return out
