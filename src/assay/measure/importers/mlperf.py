"""Importer of MLPerf Inference results: the table of `mlperf` rows and the loadgen's own log summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.measure import naming
from assay.measure.layouts import number, stage
from assay.measure.records import Record
from assay.study.conditions import Pool, Setting

#: Columns that tell this format from others.
COLUMNS = ("scenario", "accelerator_normalised", "value_per_accelerator", "division")

_POOL = re.compile(
    r"(prefill|decode)\[tp=(\d+),pp=(\d+),ep=(\d+),dp_attn=(yes|no)[^\]]*?(?:spec=(\w+))?\]", re.IGNORECASE
)
_LATENCIES = {
    "mean_ttft_ms": "ttft",
    "p50_ttft_ms": "ttft_median",
    "p99_ttft_ms": "ttft_p99",
    "mean_tpot_ms": "tpot",
    "p50_tpot_ms": "tpot_median",
    "p99_tpot_ms": "tpot_p99",
}
_KEPT = ("value", "unit", "value_per_accelerator", "mean_output_tokens_perf", "mean_concurrency", "scenario",
         "round", "submitter", "power_w", "joule_per_token")  # fmt: skip


@cache
def _tables() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = catalogue().table("measurements/mlperf")
    return loaded


def records(rows: Iterable[tuple[int, Mapping[str, str]]]) -> list[Record]:
    """Return one record a row of the results table.

    Args:
        rows: (line of the file, column -> text) of each row.
    """
    return [_record(line, row) for line, row in rows]


def _record(line: int, row: Mapping[str, str]) -> Record:
    family, scenario = row.get("model_family") or "", row.get("scenario") or ""
    device = naming.accelerator(row.get("accelerator_normalised") or row.get("accelerator") or "")
    model, model_problem = naming.model(row.get("model") or "", family)
    conditions, basis = _conditions(row, family, scenario)
    chips = int(number(row.get("accelerators_total")) or 0) or _sockets(row)
    problem = device.problem or model_problem or ("" if chips else "number of chips not stated")
    if not problem and not {"isl", "osl"} <= set(conditions):
        problem = "lengths not stated"
    setting = None
    if not problem:
        setting = _setting(row, (model, device.system, device.share), chips, scenario, family)
    osl = conditions.get("osl", 0.0)
    return Record(
        id=row.get("row_id") or str(line),
        source=row.get("source") or "",
        evidence="mlperf",
        accelerator=row.get("accelerator_normalised") or row.get("accelerator") or "",
        model=family or row.get("model") or "",
        engine=row.get("framework") or "",
        setting=setting,
        problem=problem,
        conditions=conditions,
        values=_values(row, chips, osl),
        published={name: row[name] for name in _KEPT if row.get(name)}
        | ({"lengths": basis} if basis else {}),
        flags=_flags(row),
        workload=f"MLPerf {row.get('round') or ''} {row.get('model') or ''} {scenario}".strip(),
        line=line,
    )


def _sockets(row: Mapping[str, str]) -> int:
    """Return the CPU sockets of a CPU-only result: `2S` or `(x2)` in its names, times its nodes."""
    text = f"{row.get('system_name')} {row.get('platform_id')} {row.get('accelerator')}"
    found = re.search(r"(\d)S\b|\(x(\d)\)|\b(\d)x", text)
    if not (row.get("accelerator_normalised") or "").startswith("CPU") or found is None:
        return 0
    return int(next(part for part in found.groups() if part)) * int(number(row.get("host_nodes")) or 1)


def _conditions(row: Mapping[str, str], family: str, scenario: str) -> tuple[dict[str, float], str]:
    """Return conditions, and the basis of the lengths that the result does not state."""
    workload: Mapping[str, Any] = _tables()["workloads"].get(family, {})
    out: dict[str, float] = {}
    if "isl" in workload:
        out["isl"] = float(workload["isl"])
    osl = number(row.get("mean_output_tokens_perf")) or workload.get("osl")
    if osl:
        out["osl"] = float(osl)
    limits: Mapping[str, float] = _tables()["limits"].get(family, {}).get(scenario, {})
    for name, column in (("ttft", "ttft_limit_ms"), ("tpot", "tpot_limit_ms"), ("e2e", "latency_limit_ms")):
        limit = number(row.get(column)) or limits.get(name)
        if limit:
            out[f"{name}_limit"] = limit / 1e3
    if scenario == "SingleStream":
        out["concurrency"] = 1.0
    elif scenario == "Offline":
        out["rate"] = float("inf")
    if count := number(row.get("queries_issued")):
        out["requests"] = count
    if date := _tables()["rounds"].get(row.get("round") or ""):
        out["date"] = float(date)
    return out, str(workload.get("basis", ""))


def _setting(
    row: Mapping[str, str], ids: tuple[str, str, float], chips: int, scenario: str, family: str
) -> Setting:
    pools, speculation = _pools(row, chips)
    formats = _formats(row, ids[1])
    allowed = _tables()["speculation"].get(family, {}).get(scenario)
    kind, drafts = speculation or (tuple(allowed) if allowed else ("", 0))
    loads = {"Offline": "offline", "SingleStream": "closed", "MultiStream": "closed"}
    return Setting(
        model=ids[0],
        system=ids[1],
        share=ids[2],
        chips=chips,
        pool=pools[0],
        prefill=pools[1],
        weights=formats.weights,
        activations=formats.activations,
        kv=formats.kv,
        engine=naming.engine(row.get("framework") or ""),
        speculation=str(kind),
        draft_tokens=int(drafts),
        beams=int(_tables()["workloads"].get(family, {}).get("beams", 1)),
        load=loads.get(scenario, "goodput"),
    )


def _formats(row: Mapping[str, str], system: str) -> naming.Formats:
    """Return the formats a result ran in.

    What a TensorRT-LLM result lists as fp16 is the type of the weights its build starts from: on chips with
    FP8 it runs in FP8.
    """
    formats = naming.formats(row.get("weight_precision_normalised") or "", row.get("kv_dtype") or "")
    native = "fp8" in catalogue().system(system).chip.peak_flops
    if formats.weights in ("bf16", "") and native and naming.engine(row.get("framework") or "") == "trtllm":
        return naming.Formats("fp8", "fp8", formats.kv or "fp8")
    return formats


def _pools(
    row: Mapping[str, str], chips: int
) -> tuple[tuple[Pool | None, Pool | None], tuple[str, int] | None]:
    """Return (pool, prefill pool) and the speculation that a submission's configuration names."""
    text = row.get("disaggregation") or ""
    counts = {name: int(n) for name, n in re.findall(r"(prefill|decode)_workers=(\d+)", text)}
    found: dict[str, Pool] = {}
    speculation: tuple[str, int] | None = None
    for name, tp, pp, ep, attention, spec in _POOL.findall(text):
        one = stage(int(tp), 1, int(ep), attention_dp=attention == "yes")
        found[name] = Pool(Layout(one.tp, int(pp), one.ep, one.dp), counts.get(name, 1))
        if spec.lower().startswith("mtp"):
            speculation = "mtp", int(spec[3:] or 0)
    if {"prefill", "decode"} <= set(found):
        return (found["decode"], found["prefill"]), speculation
    tp, pp = int(number(row.get("tp")) or 0), int(number(row.get("pp")) or 1)
    if not tp or not chips or tp * pp > chips:
        return (None, None), speculation
    attention = (row.get("dp_attention") or "").startswith("yes")
    ep_text = row.get("ep") or "1"
    ep = tp if ep_text == "enabled" else int(number(ep_text) or 1)
    one = stage(max(tp, ep) if attention else tp, 1, ep, attention_dp=attention)
    layout = Layout(one.tp, pp, one.ep, one.dp)
    return (Pool(layout, max(1, chips // layout.chips)), None), speculation


def _values(row: Mapping[str, str], chips: int, osl: float) -> dict[str, float]:
    out = {name: value / 1e3 for column, name in _LATENCIES.items() if (value := number(row.get(column)))}
    value, unit = number(row.get("value")), row.get("unit") or ""
    if value and chips:
        if unit == "Tokens/s":
            out["throughput"] = value / chips
        elif unit in ("Samples/s", "Queries/s") and osl:
            out["throughput"] = value * osl / chips
        elif unit == "Latency (ms)":
            out["e2e"] = value / 1e3
    if (joules := number(row.get("joule_per_token"))) is not None:
        out["joules"] = joules
    return out


def _flags(row: Mapping[str, str]) -> tuple[str, ...]:
    flags = []
    if (row.get("comparable") or "yes") != "yes":
        flags.append("not_comparable")
    if row.get("duplicate_of"):
        flags.append("duplicate")
    if (row.get("valid") or "VALID") != "VALID":
        flags.append("invalid")
    return tuple(flags)


_SUMMARY = re.compile(r"^\s*([A-Za-z0-9 .%/()_-]+?)\s*[:=]\s*(.+?)\s*$")


def is_summary(text: str) -> bool:
    """Return whether a text is an `mlperf_log_summary.txt` of the loadgen."""
    return "MLPerf Results Summary" in text[:400]


def summary(text: str, name: str) -> dict[str, str]:
    """Return the columns of the results table that a loadgen log summary states.

    Model, accelerator and number of chips are not in it; the path of a submission
    (`.../SYSTEM/MODEL/SCENARIO/performance/...`) names the model, the user the rest.

    Args:
        text: the file.
        name: its path.

    Raises:
        BadInput: no scenario or no result in it.
    """
    lines = {}
    for line in text.splitlines():
        if (found := _SUMMARY.match(line)) and found[1].strip() not in lines:
            lines[found[1].strip()] = found[2]
    scenario = lines.get("Scenario", "")
    rates = (
        "Completed tokens per second",
        "Tokens per second",
        "Samples per second",
        "Completed samples per second",
    )
    rate = next((item for item in rates if item in lines), None)
    latency = lines.get("90th percentile latency (ns)") or lines.get("90.00 percentile latency (ns)")
    if not scenario or (rate is None and latency is None):
        raise BadInput(
            f"{name}: an MLPerf log summary without a scenario or a result.",
            "Give the file of a performance run.",
        )
    row = {"scenario": scenario, "valid": lines.get("Result is", ""), "row_id": name, "source": name}
    if scenario == "SingleStream" and latency:
        row |= {"unit": "Latency (ms)", "value": str(float(latency) / 1e6)}
    elif rate:
        row |= {"unit": "Tokens/s" if "okens" in rate else "Samples/s", "value": lines[rate]}
    for label, column in (("ttft", "First token latency (ns)"), ("tpot", "Time per output token (ns)")):
        short = "First Token" if label == "ttft" else "Time per Output Token"
        for stat, prefix in (("mean", "Mean"), ("p50", "50.00 percentile"), ("p99", "99.00 percentile")):
            found_value = lines.get(f"{prefix} {column}") or lines.get(f"{prefix} {short} latency (ns)")
            found_value = (
                found_value
                or lines.get(f"{prefix} {column.lower()}")
                or lines.get(f"{prefix} {column[0].lower() + column[1:]}")
            )
            if found_value and (value := number(found_value)):
                row[f"{stat}_{label}_ms"] = str(value / 1e6)
    known = sorted(_tables()["workloads"], key=len, reverse=True)
    folders = [part.lower() for part in re.split(r"[\\/]", name)]
    row["model"] = next((part for part in folders if any(part.startswith(model) for model in known)), "")
    row["model_family"] = next((model for model in known if row["model"].startswith(model)), "")
    return row
