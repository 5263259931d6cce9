"""Importer of aiperf: the summary `profile_export_aiperf.json` and the requests `profile_export.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assay.measure.importers.vllm import flags

Row = dict[str, str]

_METRICS = {"time_to_first_token": "ttft", "request_latency": "e2e"}
_STATISTICS = {"avg": "mean", "p50": "p50", "p99": "p99"}


def is_result(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is an aiperf summary."""
    return "aiperf_version" in item or {"input_config", "request_latency", "time_to_first_token"} <= set(item)


def is_request(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is one request of aiperf's export."""
    return isinstance(item.get("metadata"), Mapping) and "request_start_ns" in item["metadata"]


def row(item: Mapping[str, Any], name: str) -> Row:
    """Return the columns of one summary.

    aiperf has no TPOT: its inter-token latency is (latency - TTFT) / (OSL - tokens of the first chunk), the
    mean a request, which is TPOT up to the first chunk. Tokens are the client's unless the server's
    (`usage_completion_tokens`) are there; a difference of more than 5 % is flagged and TPOT recomputed.

    Args:
        item: the JSON object.
        name: where it was read.
    """
    client = _stat(item, "output_sequence_length", "avg")
    server = _stat(item, "usage_completion_tokens", "avg")
    osl = server or client
    config = item.get("input_config") or {}
    phase: Mapping[str, Any] = next(
        (entry for entry in config.get("phases") or [] if entry.get("kind") == "profiling"), {}
    )
    done = _stat(item, "request_count", "avg") or _stat(item, "request_latency", "count") or 0.0
    marks = flags(done, float(len(item.get("error_summary") or [])))
    if item.get("was_cancelled") or item.get("is_complete") is False:
        marks.append("cancelled")
    asked = _get(config, "datasets", 0, "prompts", "osl", "mean")
    if (client and server and abs(client / server - 1) > 0.05) or (
        client and not server and asked and abs(client / float(asked) - 1) > 0.05
    ):
        marks.append("tokens_mismatch")
    out: Row = {
        "model": str(_get(config, "models", "items", 0, "name") or ""),
        "framework": "",
        "phase": "e2e",
        "input_len": repr(
            _stat(item, "usage_prompt_tokens", "avg") or _stat(item, "input_sequence_length", "avg") or 0.0
        ),
        "output_len": repr(osl or 0.0),
        "requests": repr(done),
        "source": name,
        "id": name,
        "flags": ",".join(marks),
    }
    for metric, short in _METRICS.items():
        for statistic, column in _STATISTICS.items():
            if value := _stat(item, metric, statistic):
                out[f"{short}_ms_{column}"] = repr(value)
    scale = client / server if client and server else 1.0
    for statistic, column in _STATISTICS.items():
        if value := _stat(item, "inter_token_latency", statistic):
            out[f"tpot_ms_{column}"] = repr(value * scale)
    if rate := _stat(item, "output_token_throughput", "avg"):
        out["output_tok_s_total"] = repr(rate / scale)
    if phase.get("concurrency"):
        out["concurrency"] = repr(float(phase["concurrency"]))
    elif phase.get("rate") or phase.get("request_rate"):
        out["request_rate"] = repr(float(phase.get("rate") or phase["request_rate"]))
    return out


def requests(items: Sequence[Mapping[str, Any]], name: str) -> Row:
    """Return the columns of a run from its requests; time stamps are ns, latencies ms.

    Args:
        items: the objects of the JSON lines; those of the warm-up are left out.
        name: where they were read.
    """
    kept = [item for item in items if item["metadata"].get("benchmark_phase", "profiling") == "profiling"]
    good = [item for item in kept if not item.get("error") and not item["metadata"].get("was_cancelled")]

    def values(metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        found = (item["metrics"].get(metric, {}).get("value") for item in good)
        return np.array([np.nan if value is None else float(value) for value in found])

    ttft, e2e = values("time_to_first_token"), values("request_latency")
    client, server = values("output_sequence_length"), values("usage_completion_tokens")
    osl = np.where(np.isnan(server), client, server)
    tpot = (e2e - ttft) / np.maximum(osl - 1, 1)
    prompt = values("usage_prompt_tokens")
    isl = np.where(np.isnan(prompt), values("input_sequence_length"), prompt)
    out: Row = {
        "phase": "e2e",
        "framework": "",
        "source": name,
        "id": name,
        "requests": repr(float(len(good))),
    }
    marks = flags(len(good), len(kept) - len(good))
    if good:
        out |= {"input_len": repr(float(np.nanmean(isl))), "output_len": repr(float(np.nanmean(osl)))}
        for short, array in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
            out[f"{short}_ms_mean"], out[f"{short}_ms_p50"] = (
                repr(float(np.nanmean(array))),
                repr(float(np.nanmedian(array))),
            )
        start = min(item["metadata"]["request_start_ns"] for item in good)
        end = max(item["metadata"]["request_end_ns"] for item in good)
        out["output_tok_s_total"] = repr(float(np.nansum(osl)) / max((end - start) / 1e9, 1e-9))
        if np.nanmax(np.abs(client / osl - 1)) > 0.05:
            marks.append("tokens_mismatch")
        out["concurrency"] = repr(float(np.nansum(e2e)) * 1e6 / max(end - start, 1))
    return out | {"flags": ",".join(marks)}


def _stat(item: Mapping[str, Any], metric: str, statistic: str) -> float:
    value = (item.get(metric) or {}).get(statistic) if isinstance(item.get(metric), Mapping) else None
    return float(value) if isinstance(value, int | float) else 0.0


def _get(item: Any, *path: str | int) -> Any:
    for step in path:
        if isinstance(step, int):
            item = item[step] if isinstance(item, Sequence) and len(item) > step else None
        else:
            item = item.get(step) if isinstance(item, Mapping) else None
    return item
