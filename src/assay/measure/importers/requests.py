"""Importers of tables of requests and of load-test stages (`requests_vllm`, `loadtests_vllm`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from assay.catalogue.load import catalogue
from assay.errors import BadInput
from assay.measure.layouts import number

Row = dict[str, str]

#: Columns that tell a table of requests.
REQUESTS = ("request_id", "arrival_s", "input_tokens", "output_tokens")
#: Columns that tell a table of load-test stages.
STAGES = ("exp_id", "stage_index", "itl_mean_ms", "e2e_mean_ms")


def runs(rows: Iterable[tuple[int, Mapping[str, str]]], name: str) -> list[Row]:
    """Return the columns of each run (hardware, model, version) of a table of requests.

    The load is open: the rate is requests over the span of arrivals. `assay simulate` replays the same
    table request by request. Layout and formats are those of the table, else of `settings`, else one chip.

    Args:
        rows: (line, column -> text).
        name: the file, for messages.

    Raises:
        BadInput: an arrival, length or latency that is not a number.
    """
    grouped: dict[tuple[str, str, str], list[Mapping[str, str]]] = {}
    for _, row in rows:
        key = (row.get("hardware") or "", row.get("model") or "", row.get("vllm_version") or "")
        grouped.setdefault(key, []).append(row)
    return [_run(key, items, name) for key, items in grouped.items()]


def settings(hardware: str, model: str, version: str) -> Mapping[str, Any]:
    """Return how a published run was made, from `data/measurements/runs.yaml`; empty where nobody says.

    Args:
        hardware, model, version: as the table of requests writes them.
    """
    known: Mapping[str, Mapping[str, Any]] = catalogue().table("measurements/runs")["runs"]
    return known.get("/".join((hardware, model, version)), {})


def _run(key: tuple[str, str, str], items: list[Mapping[str, str]], name: str) -> Row:
    known = settings(*key)
    degrees = {
        column: next((item[column] for item in items if item.get(column)), str(known.get(column, "1")))
        for column in ("tp", "dp", "ep")
    }
    chips = str(int(degrees["tp"]) * int(degrees["dp"])) if known else "1"
    try:
        columns = {
            column: np.array([float(item[column]) for item in items])
            for column in ("arrival_s", "input_tokens", "output_tokens", "ttft_s", "e2e_s", "tpot_ms")
        }
    except (KeyError, ValueError) as error:
        raise BadInput(f"{name}: a request without a number where one is needed ({error}).") from None
    arrival, ttft, e2e = columns["arrival_s"], columns["ttft_s"] * 1e3, columns["e2e_s"] * 1e3
    span = float((arrival + columns["e2e_s"]).max() - arrival.min())
    out: Row = {
        "id": "/".join(key),
        "source": name,
        "evidence_class": "repo-csv",
        "accelerator": key[0],
        "model": key[1],
        "framework": "vLLM",
        "framework_version": key[2],
        **degrees,
        "n_accelerators": next(
            (item["n_accelerators"] for item in items if item.get("n_accelerators")), chips
        ),
        "quant": str(known.get("quant", "")),
        "kv_dtype": str(known.get("kv", "")),
        "phase": "e2e",
        "requests": repr(float(len(items))),
        "input_len": repr(float(columns["input_tokens"].mean())),
        "output_len": repr(float(columns["output_tokens"].mean())),
        "request_rate": repr((len(items) - 1) / max(float(np.ptp(arrival)), 1e-9)),
        "output_tok_s_total": repr(float(columns["output_tokens"].sum()) / span),
        "workload": f"trace of {len(items)} requests",
    }
    for short, array in (("ttft", ttft), ("tpot", columns["tpot_ms"]), ("e2e", e2e)):
        out |= {
            f"{short}_ms_mean": repr(float(array.mean())),
            f"{short}_ms_p50": repr(float(np.median(array))),
        }
    return out


def stages(rows: Iterable[tuple[int, Mapping[str, str]]], name: str) -> list[Row]:
    """Return the columns of each stage of a table of load tests.

    Its `itl_mean_ms` is latency over output tokens, first token included; output tokens follow from it,
    and TPOT from latency and TTFT. Neither input length nor rate is stated: such rows cannot be predicted.

    Args:
        rows: (line, column -> text).
        name: the file.
    """
    out = []
    for line, row in rows:
        ttft, itl, e2e = (number(row.get(f"{metric}_mean_ms")) for metric in ("ttft", "itl", "e2e"))
        item: Row = {
            "id": f"{row.get('experiment') or row.get('exp_id')}/{row.get('stage_index')}",
            "source": f"{name}:{line}",
            "evidence_class": "repo-csv",
            "accelerator": row.get("hardware") or "",
            "model": row.get("model") or "",
            "framework": "vLLM",
            "tp": row.get("tp") or "",
            "dp": row.get("dp") or "",
            "n_accelerators": repr((number(row.get("tp")) or 1) * (number(row.get("dp")) or 1)),
            "quant": row.get("precision") or "",
            "phase": "e2e",
            "workload": row.get("workload") or "",
            "input_len": row.get("input_len") or "",
            "request_rate": row.get("request_rate") or "",
        }
        if ttft and e2e:
            item |= {"ttft_ms_mean": repr(ttft), "e2e_ms_mean": repr(e2e)}
        if ttft and itl and e2e and e2e > 2 * itl:
            tokens = e2e / itl
            item |= {"output_len": repr(tokens), "tpot_ms_mean": repr((e2e - ttft) / (tokens - 1))}
        out.append(item)
    return out
