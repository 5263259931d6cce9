"""Importer of inference-perf: summaries of a run or a stage, and lists of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.measure.importers.vllm import flags

Row = dict[str, str]


def is_result(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a lifecycle summary."""
    return isinstance(item.get("successes"), Mapping) and "load_summary" in item


def is_request(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is one request."""
    return {"start_time", "end_time", "info", "request"} <= set(item)


def row(item: Mapping[str, Any], name: str) -> Row:
    """Return the columns of one summary.

    Its own TPOT and ITL count tokens by re-tokenising the text; `output_tokens` is the server's count. TPOT
    is recomputed from request latency, TTFT and the server's count, and throughput is scaled likewise.

    Args:
        item: the JSON object.
        name: where it was read.
    """
    good: Mapping[str, Any] = item["successes"]
    latency: Mapping[str, Any] = good.get("latency") or {}
    server, client = _stat(good, "output_tokens", "mean"), _stat(good, "output_len", "mean")
    osl = server or client
    done = float(good.get("count") or 0)
    marks = flags(done, float((item.get("failures") or {}).get("count") or 0))
    if server and client and abs(client / server - 1) > 0.05:
        marks.append("tokens_mismatch")
    out: Row = {
        "model": str(item.get("model") or ""),
        "framework": "",
        "phase": "e2e",
        "source": name,
        "id": name,
        "requests": repr(done),
        "input_len": repr(_stat(good, "prompt_tokens", "mean") or _stat(good, "prompt_len", "mean")),
        "output_len": repr(osl),
        "flags": ",".join(marks),
    }
    for metric, short in (("time_to_first_token", "ttft"), ("request_latency", "e2e")):
        for statistic, column in (("mean", "mean"), ("median", "p50"), ("p99", "p99")):
            if value := _stat(latency, metric, statistic):
                out[f"{short}_ms_{column}"] = repr(value * 1e3)
    if {"ttft_ms_mean", "e2e_ms_mean"} <= set(out) and osl > 1:
        out["tpot_ms_mean"] = repr((float(out["e2e_ms_mean"]) - float(out["ttft_ms_mean"])) / (osl - 1))
    rate = float((good.get("throughput") or {}).get("output_tokens_per_sec") or 0)
    if rate:
        out["output_tok_s_total"] = repr(rate * (server / client if server and client else 1.0))
    load = item.get("load_summary") or {}
    asked = load.get("requested_rate") or load.get("achieved_rate")
    if load.get("concurrency"):
        out["concurrency"] = repr(float(load["concurrency"]))
    elif asked:
        out["request_rate"] = repr(float(asked))
    return out


def requests(items: Sequence[Mapping[str, Any]], name: str) -> Row:
    """Return the columns of a run from its requests; times in s, tokens the server's where it gave them.

    Args:
        items: the objects of the list.
        name: where they were read.
    """
    good = [item for item in items if not item.get("error")]
    out: Row = {
        "phase": "e2e",
        "framework": "",
        "source": name,
        "id": name,
        "requests": repr(float(len(good))),
    }
    marks = flags(len(good), len(items) - len(good))
    if good:
        start = np.array([float(item["start_time"]) for item in good])
        end = np.array([float(item["end_time"]) for item in good])
        first = np.array([_first(item) for item in good])
        counted = [_tokens(item) for item in good]
        osl = np.array([server or client for server, client in counted], dtype=np.float64)
        if any(server and client and abs(client / server - 1) > 0.05 for server, client in counted):
            marks.append("tokens_mismatch")
        ttft, e2e = first - start, end - start
        tpot = (e2e - ttft) / np.maximum(osl - 1, 1)
        for short, array in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
            out[f"{short}_ms_mean"], out[f"{short}_ms_p50"] = (
                repr(float(np.mean(array) * 1e3)),
                repr(float(np.median(array) * 1e3)),
            )
        span = max(float(end.max() - start.min()), 1e-9)
        out["output_len"] = repr(float(osl.mean()))
        out["input_len"] = repr(
            float(np.mean([float(item["info"].get("input_tokens") or 0) for item in good]))
        )
        out["output_tok_s_total"] = repr(float(osl.sum()) / span)
        out["concurrency"] = repr(float(e2e.sum()) / span)
    return out | {"flags": ",".join(marks)}


def _first(item: Mapping[str, Any]) -> float:
    times = (
        item["info"].get("response_metrics", {}).get("chunk_times")
        or item["info"].get("output_token_times")
        or []
    )
    return float(times[0]) if times else float("nan")


def _tokens(item: Mapping[str, Any]) -> tuple[float, float]:
    """Return (server, client) output tokens; 0 = not given."""
    metrics = item["info"].get("response_metrics") or {}
    usage = metrics.get("server_usage") or {}
    return float(usage.get("completion_tokens") or 0), float(metrics.get("output_tokens") or 0)


def _stat(item: Mapping[str, Any], metric: str, statistic: str) -> float:
    value = (item.get(metric) or {}).get(statistic) if isinstance(item.get(metric), Mapping) else None
    return float(value) if isinstance(value, int | float) else 0.0
