"""A run as files: every request as Parquet or CSV, and a trace for Perfetto or chrome://tracing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from heapq import heappop, heappush
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.simulate.outcome import Outcome
from assay.simulate.run import Run

#: Code of `status` in the kernel's log -> word.
STATUS = ("completed", "rejected", "failed", "unserved")
#: Requests that a trace for a viewer holds; viewers get slow beyond.
MOST_SLICES = 200_000
_MICRO = 1e6


def table(run: Run) -> dict[str, NDArray[Any]]:
    """Return every request as columns, in order of arrival: s, tokens; NaN where there was no answer.

    Raises:
        BadInput: the run did not keep its requests.
    """
    if not run.tally.keep:
        raise BadInput("The run kept no requests.", "Run it with keep=True.")
    rows: NDArray[Any] = np.concatenate([run.state.log[:0], *run.tally.rows])
    rows = rows[np.argsort(rows["number"], kind="stable")]
    done = rows["status"] == 0
    request = run.tally.request
    ttft = np.where(done, rows["first"] - rows["arrival"] + request, np.nan)
    e2e = np.where(done, rows["end"] - rows["arrival"] + request, np.nan)
    gaps = np.maximum(rows["osl"] - 1, 1)
    return {
        "request": rows["number"],
        "arrival_s": rows["arrival"] - request,
        "isl": rows["isl"],
        "osl": rows["osl"],
        "cached_tokens": rows["hit"],
        "unit": rows["unit"],
        "status": np.array(STATUS)[rows["status"]],
        "retries": rows["tries"],
        "preemptions": rows["preempted"],
        "ttft_s": ttft,
        "tpot_s": np.where(rows["osl"] > 1, (e2e - ttft) / gaps, np.nan),
        "e2e_s": e2e,
    }


def check_log(path: Path) -> None:
    """Refuse a name that cannot be written, before a long run.

    Raises:
        BadInput: a suffix other than .parquet and .csv, or Parquet without pyarrow.
    """
    if path.suffix not in {".csv", ".parquet"}:
        raise BadInput(f"--log {path}: the suffix is neither .parquet nor .csv.", "Name it requests.parquet.")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise BadInput("Parquet needs pyarrow.", "Install assay-llm[tables], or write a .csv.")


def write_log(run: Run, path: Path) -> None:
    """Write every request into a file, by its suffix Parquet or CSV.

    Raises:
        BadInput: another suffix, or Parquet without pyarrow.
    """
    check_log(path)
    columns = table(run)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        return
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


def write_trace(run: Run, found: Outcome, path: Path) -> None:
    """Write a trace in the Chrome trace event format: a lane a request, a process a unit, counters."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
        for number, event in enumerate(_events(run, found)):
            file.write((",\n" if number else "") + json.dumps(event, separators=(",", ":")))
        file.write("\n]}\n")


def _events(run: Run, found: Outcome) -> Iterator[dict[str, Any]]:
    line = found.timeline
    for at, waiting, running, used in zip(
        line["at"], line["waiting"], line["running"], line["used"], strict=True
    ):
        for name, value in (("waiting", waiting), ("running", running), ("cache tokens", used)):
            yield {"ph": "C", "pid": 0, "ts": at * _MICRO, "name": name, "args": {name: value}}
    rows: NDArray[Any] = np.concatenate([run.state.log[:0], *run.tally.rows])
    rows = rows[np.argsort(rows["arrival"], kind="stable")][:MOST_SLICES]
    lanes: dict[int, tuple[list[tuple[float, int]], list[int]]] = {}
    for row in rows:
        if row["status"]:
            continue
        unit, start, end = int(row["unit"]), float(row["arrival"]), float(row["end"])
        busy, spare = lanes.setdefault(unit, ([], [0]))
        while busy and busy[0][0] <= start:
            heappush(spare, heappop(busy)[1])
        lane = heappop(spare)
        if not spare:
            heappush(spare, lane + 1)
        heappush(busy, (end, lane))
        about = {"isl": int(row["isl"]), "osl": int(row["osl"]), "cached": int(row["hit"])}
        first = float(row["first"])
        where = {"ph": "X", "pid": unit + 1, "tid": lane}
        number = f"request {int(row['number'])}"
        yield {
            **where,
            "ts": start * _MICRO,
            "dur": (first - start) * _MICRO,
            "name": "to first token",
            "args": about,
        }
        yield {**where, "ts": first * _MICRO, "dur": (end - first) * _MICRO, "name": number, "args": about}
    for unit in sorted(lanes):
        yield {"ph": "M", "pid": unit + 1, "name": "process_name", "args": {"name": f"unit {unit}"}}
