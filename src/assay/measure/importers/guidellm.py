"""Importer of guidellm's `benchmarks.json` (versions 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.measure.importers.vllm import flags

Row = dict[str, str]

#: Metric of the report -> our short name, factor to ms.
_METRICS = {
    "time_to_first_token_ms": ("ttft", 1.0),
    "inter_token_latency_ms": ("tpot", 1.0),
    "request_latency": ("e2e", 1e3),
}


def is_result(item: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a guidellm report."""
    return isinstance(item.get("benchmarks"), list)


def rows(report: Mapping[str, Any], name: str) -> list[Row]:
    """Return the columns of each benchmark of a report.

    `time_per_output_token_ms` counts the first token, `inter_token_latency_ms` does not: the second is TPOT.
    `request_latency` is in seconds. Figures are of the successful requests.

    Args:
        report: the JSON object.
        name: where it was read.
    """
    spec = (report.get("config") or {}).get("spec") or report.get("args") or {}
    backend = spec.get("backend") or {}
    model = backend.get("model") if isinstance(backend, Mapping) else spec.get("model")
    return [
        _row(item, str(model or ""), f"{name}#{place}") for place, item in enumerate(report["benchmarks"])
    ]


def _row(item: Mapping[str, Any], model: str, name: str) -> Row:
    metrics: Mapping[str, Any] = item.get("metrics") or {}
    counts = _counts(item)
    out: Row = {
        "model": model,
        "framework": "",
        "phase": "e2e",
        "source": name,
        "id": name,
        "requests": repr(counts[0]),
        "flags": ",".join(flags(*counts)),
    }
    for metric, (short, scale) in _METRICS.items():
        for statistic, column in (("mean", "mean"), ("median", "p50")):
            if value := _stat(metrics, metric, statistic):
                out[f"{short}_ms_{column}"] = repr(value * scale)
        percentiles = ((metrics.get(metric) or {}).get("successful") or {}).get("percentiles") or {}
        if isinstance(percentiles.get("p99"), int | float):
            out[f"{short}_ms_p99"] = repr(float(percentiles["p99"]) * scale)
    if value := _stat(metrics, "prompt_token_count", "mean"):
        out["input_len"] = repr(value)
    if value := _stat(metrics, "output_token_count", "mean"):
        out["output_len"] = repr(value)
    if value := _stat(metrics, "output_tokens_per_second", "mean"):
        out["output_tok_s_total"] = repr(value)
    return out | _load(item, metrics)


def _load(item: Mapping[str, Any], metrics: Mapping[str, Any]) -> Row:
    config = item.get("config") or {}
    strategy = config.get("strategy") or item.get("args", {}).get("strategy") or {}
    kind = str(strategy.get("type_") or strategy.get("type") or strategy.get("kind") or "")
    streams = strategy.get("streams") or strategy.get("max_concurrency")
    if kind == "synchronous":
        return {"concurrency": "1.0"}
    if kind == "throughput":
        return {"request_rate": "inf"}
    if kind in ("constant", "poisson", "async") and strategy.get("rate"):
        return {"request_rate": repr(float(strategy["rate"]))}
    if kind == "concurrent" and streams:
        return {"concurrency": repr(float(streams))}
    measured = _stat(metrics, "request_concurrency", "mean")
    return {"concurrency": repr(measured)} if measured else {}


def _counts(item: Mapping[str, Any]) -> tuple[float, float]:
    """Return (successful, failed) requests."""
    state = item.get("scheduler_state") or {}
    requests = item.get("requests") or {}
    done = state.get("successful_requests")
    failed = state.get("errored_requests")
    if done is None:
        done = len(requests.get("successful") or [])
    if failed is None:
        failed = len(requests.get("errored") or [])
    return float(done), float(failed)


def _stat(metrics: Mapping[str, Any], metric: str, statistic: str) -> float:
    value = ((metrics.get(metric) or {}).get("successful") or {}).get(statistic)
    return float(value) if isinstance(value, int | float) else 0.0
