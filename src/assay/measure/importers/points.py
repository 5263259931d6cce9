"""Importer of tables of operating points: the columns of `serving` and `inferencex` (one row a point)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from assay.measure import naming
from assay.measure.layouts import Deployed, deployed, number
from assay.measure.records import Record
from assay.study.conditions import Setting

#: Columns that tell this format from others.
COLUMNS = ("tok_s_per_gpu_basis", "accelerator", "tpot_ms_mean", "input_len", "concurrency")

#: Measured columns -> value, factor to SI.
_LATENCIES = {
    "tpot_ms_mean": "tpot",
    "tpot_ms_p50": "tpot_median",
    "tpot_ms_p99": "tpot_p99",
    "ttft_ms_mean": "ttft",
    "ttft_ms_p50": "ttft_median",
    "ttft_ms_p99": "ttft_p99",
    "e2e_ms_mean": "e2e",
    "e2e_ms_p50": "e2e_median",
}
_KEPT = ("tok_s_per_gpu", "tok_s_per_gpu_basis", "tok_s_per_user", "output_tok_s_total", "input_tok_s_total",
         "total_tok_s", "joules_per_output_token", "power_w_per_gpu", *_LATENCIES)  # fmt: skip
_STATIC = ("static batch", "offline latency", "llama-bench", "batched-bench", "batch-1", "real time",
           "1-token run", "fixed batch")  # fmt: skip
_APART = ("separate phases", "each phase alone")
_REQUESTS = re.compile(r"(\d[\d,]*) (?:requests|prompts)")
_YIELD = re.compile(r"tokens/step (\d+(?:\.\d+)?)")
_ACCEPTED = re.compile(r"accept(?:ance)?(?: length)? (\d+(?:\.\d+)?)", re.IGNORECASE)


def records(rows: Iterable[tuple[int, Mapping[str, str]]]) -> list[Record]:
    """Return one record a row.

    Args:
        rows: (line of the file, column -> text) of each row.
    """
    out: list[Record] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        record = _record(line, row)
        twin = _twin(row)
        if twin in seen:
            record = _duplicate(out, seen[twin], record)
        elif twin:
            seen[twin] = len(out)
        out.append(record)
    return out


def _twin(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return what two rows of one measurement share; empty where too little is measured to tell."""
    columns = ("ttft_ms_p50", "tpot_ms_p50", "ttft_ms_mean", "tpot_ms_mean")
    times = [number(row.get(name)) for name in columns]
    if sum(value is not None for value in times) < 2:
        return ()
    rounded = ["" if value is None else f"{value:.3g}" for value in times]
    same = (row.get(name) or "" for name in ("input_len", "output_len", "concurrency"))
    return (row.get("accelerator_norm") or row.get("accelerator") or "", *same, *rounded)


def _duplicate(out: list[Record], place: int, record: Record) -> Record:
    """Flag the second of two rows of one measurement, or the first if only the second has its layout."""
    if "workers_assumed" in out[place].flags and "workers_assumed" not in record.flags:
        out[place] = out[place].flagged("duplicate")
        return record
    return record.flagged("duplicate")


def _record(line: int, row: Mapping[str, str]) -> Record:
    device = naming.accelerator(row.get("accelerator") or row.get("accelerator_norm") or "")
    model, unknown = naming.model(row.get("model") or "", row.get("model_norm") or "")
    where = _deployed(row, device)
    phase = row.get("phase") or "e2e"
    if any(words in (row.get("notes") or "") for words in _APART) and phase == "e2e":
        row, phase = {**row, "phase": "decode"}, "decode"
    conditions = _conditions(row, phase)
    batch = number(row.get("batch_per_gpu"))
    if batch and where.chips and not {"concurrency", "rate"} & set(conditions):
        conditions["concurrency"] = batch * where.chips
    if not {"concurrency", "rate"} & set(conditions) and not any(row.get(name) for name in _LATENCIES):
        conditions["rate"] = float("inf")  # a throughput without a load or a latency is a greatest one
    problem = _problem(row, where, device.problem or unknown) or _missing(conditions, phase)
    speculation = speculative(row.get("spec_decoding") or "")
    if speculation[0] and (yielded := _YIELD.search(row.get("notes") or "")):
        conditions["acceptance"] = float(yielded[1])
    elif speculation[2]:
        conditions["acceptance"] = speculation[2]
    setting = None if problem else _setting(row, (model, device, where), conditions, speculation)
    return Record(
        id=row.get("id") or str(line),
        source=row.get("source") or "",
        evidence=row.get("evidence_class") or "",
        accelerator=row.get("accelerator_norm") or row.get("accelerator") or "",
        model=row.get("model_norm") or row.get("model") or "",
        engine=row.get("engine_norm") or row.get("framework") or "",
        setting=setting,
        problem=problem,
        conditions=conditions,
        values=_values(row, where, conditions, phase),
        published={name: row[name] for name in _KEPT if row.get(name)},
        flags=_flags(row, where),
        workload=row.get("workload") or "",
        line=line,
    )


def _problem(row: Mapping[str, str], where: Deployed, unknown: str) -> str:
    if naming.engine(row.get("framework") or row.get("engine_norm") or "") == "hosted":
        return "hardware not disclosed"
    if not unknown and where.chips == 0 and where.pool is None:
        return "number of chips not stated"
    return unknown


def _setting(
    row: Mapping[str, str],
    what: tuple[str, naming.Device, Deployed],
    conditions: Mapping[str, float],
    speculation: tuple[str, int, float],
) -> Setting:
    model, device, where = what
    formats = naming.native(model, naming.formats(row.get("quant") or "", row.get("kv_dtype") or ""))
    return Setting(
        model=model,
        system=device.system,
        chips=where.chips,
        pool=where.pool,
        prefill=where.prefill,
        share=device.share,
        weights=formats.weights,
        activations=formats.activations,
        kv=formats.kv,
        engine=naming.engine(row.get("framework") or row.get("engine_norm") or ""),
        speculation=speculation[0],
        draft_tokens=speculation[1],
        load=load(row, conditions),
        phase=row.get("phase") or "e2e",
    )


def _deployed(row: Mapping[str, str], device: naming.Device) -> Deployed:
    cores = device.cores
    if device.share < 1 and cores > 1:  # the source counts dies, TP too
        cores = 1
    where = deployed(row, cores)
    if (
        where.pool is None
        and "workers_assumed" in where.flags
        and device.system
        and (where.chips % 4 or not where.chips)
    ):
        return replace(where, chips=naming.domain(device.system))  # a count of one pool, or none
    return where


def speculative(text: str) -> tuple[str, int, float]:
    """Return (kind, draft tokens, mean tokens a step) of a published speculation setting; 0 = not stated."""
    low = text.lower()
    if low in ("", "none", "false", "no"):
        return "", 0, 0.0
    kinds = (("eagle", "eagle"), ("mtp", "mtp"), ("dflash", "dflash"), ("dspark", "dspark"), ("nextn", "mtp"))
    kind = next((name for part, name in kinds if part in low), "draft")
    accepted = _ACCEPTED.search(low)
    plain = re.sub(r"\(.*?\)|eagle3|dflash|dspark", " ", low)
    drafts = re.search(
        r"(?<![\d.])(\d)(?![\d.])", re.sub(r"steps?(\d)/draft\d", r" \1 ", plain).replace("mtp", " ")
    )
    return kind, int(drafts[1]) if drafts else 0, float(accepted[1]) if accepted else 0.0


def load(row: Mapping[str, str], conditions: Mapping[str, float]) -> str:
    """Return how the deployment was loaded, one of `LOADS`."""
    workload = (row.get("workload") or "").lower()
    if any(word in workload for word in _STATIC) or workload == "batch":
        return "static"
    rate = conditions.get("rate")
    if (row.get("phase") or "e2e") in ("decode", "prefill") and rate != float("inf"):
        return "static"
    if rate is not None and rate == float("inf"):
        return "offline"
    return "open" if rate is not None else "closed"


def _conditions(row: Mapping[str, str], phase: str) -> dict[str, float]:
    names = {"input_len": "isl", "output_len": "osl", "concurrency": "concurrency", "request_rate": "rate"}
    out = {name: value for column, name in names.items() if (value := number(row.get(column))) is not None}
    hit = re.match(r"[\d.e-]+", row.get("prefix_cache_hit") or "")
    if hit:
        out["cached"] = min(max(float(hit[0]), 0.0), 1.0)
    workload = row.get("workload") or ""
    rule = next(
        (item for item in naming.table()["workloads"] if all(word in workload for word in item["words"])),
        None,
    )
    if rule:
        inferencex(out, rule)
    for name in ("requests", "acceptance", "spread"):
        if (value := number(row.get(name))) is not None:
            out[name] = value
    if count := _REQUESTS.search(workload):
        out["requests"] = float(count[1].replace(",", ""))
    if phase == "decode" and "isl" not in out:
        out["isl"] = 0.0
    if (year := years(row.get("date") or "")) is not None:
        out["date"] = year
    return out


def inferencex(conditions: dict[str, float], rule: Mapping[str, Any]) -> None:
    """Turn the nominal lengths of a load generator that draws them from [ratio x L, L] into means, in place.

    Args:
        conditions: isl and osl as the generator was told, changed here; also sets spread and requests.
        rule: `range_ratio`, and `requests_per_concurrency` of the run.
    """
    low = float(rule["range_ratio"])
    for name in ("isl", "osl"):
        if name in conditions:
            conditions[name] *= (low + 1.0) / 2
    conditions["spread"] = (1.0 - low) / (1.0 + low)
    if "concurrency" in conditions:
        conditions["requests"] = float(rule["requests_per_concurrency"]) * conditions["concurrency"]


def years(date: str) -> float | None:
    """Return the last date in a text (`2026-02-14`, `2025-10..2026-07-20 (...)`, `2024`) in years."""
    found = re.findall(r"(20\d\d)(?:-(\d\d))?(?:-(\d\d))?", date)
    if not found:
        return None
    middles = [int(year) + ((int(month) - 1) / 12 if month else 0.5) + (int(day or 15) - 1) / 365
               for year, month, day in found]  # fmt: skip
    return sum(middles) / len(middles)


def _missing(conditions: Mapping[str, float], phase: str) -> str:
    if phase != "decode" and not conditions.get("isl"):
        return "lengths not stated"
    if phase == "e2e" and not conditions.get("osl"):
        return "lengths not stated"
    if not {"concurrency", "rate"} & set(conditions):
        return "load not stated"
    return ""


def _values(
    row: Mapping[str, str], where: Deployed, conditions: Mapping[str, float], phase: str
) -> dict[str, float]:
    """Normalise to SI and to output (or input) tokens per chip over all chips."""
    out = {name: value / 1e3 for column, name in _LATENCIES.items() if (value := number(row.get(column)))}
    user = number(row.get("tok_s_per_user"))
    static = load(row, conditions) == "static"
    if (
        user
        and not {"tpot", "tpot_median"} & set(out)
        and phase != "prefill"
        and not (static and phase == "e2e")
    ):
        out["tpot"] = 1.0 / user
    if (joules := number(row.get("joules_per_output_token"))) is not None:
        out["joules"] = joules
    rate = _per_chip(row, where, conditions, phase)
    if rate:
        out["throughput"] = rate
    return out


def _per_chip(
    row: Mapping[str, str], where: Deployed, conditions: Mapping[str, float], phase: str
) -> float | None:
    """Return output tokens/s per chip over all chips (input tokens/s for prefill), None if unknown."""
    wanted = "input_tok_s_total" if phase == "prefill" else "output_tok_s_total"
    isl, osl = conditions.get("isl", 0.0), conditions.get("osl", 0.0)
    stated, basis = number(row.get("tok_s_per_gpu")), row.get("tok_s_per_gpu_basis") or ""
    if "workers_assumed" in where.flags and not (stated and where.chips):
        return None
    kind = basis.split(" ")[0]
    if stated and kind == "total" and isl + osl > 0:
        return stated * (isl if phase == "prefill" else osl) / (isl + osl)
    if stated and kind == wanted.split("_", 1)[0]:
        if "decode GPU" in basis and where.pool is not None and where.chips:
            return stated * where.pool.chips / where.chips
        return stated
    total = number(row.get(wanted))
    return total / where.chips if total and where.chips else None


def _flags(row: Mapping[str, str], where: Deployed) -> tuple[str, ...]:
    flags = [*where.flags, *filter(None, (row.get("flags") or "").split(","))]
    if row.get("qa_flag"):
        flags += re.split(r"[;, ]+", row["qa_flag"])
    if row.get("evidence_class") == "ci-baseline":
        flags.append("threshold")
    if "synthetic" in (row.get("spec_decoding") or "").lower():
        flags.append("synthetic_acceptance")
    return tuple(dict.fromkeys(flags))
