"""Reads any file of measurements: finds its format from its content and returns `Records`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.errors import BadInput
from assay.measure.importers import (
    aiperf,
    guidellm,
    inference_perf,
    inferencex,
    mlperf,
    points,
    requests,
    sglang,
    vllm,
)
from assay.measure.records import Record, Records, check

Row = dict[str, str]

#: Files larger than this are refused: no format here needs it.
LARGEST_BYTES = 2 << 30
_HINT = (
    "Known: tables of points (serving, inferencex, mlperf, requests, loadtests), InferenceX results and "
    "exports, MLPerf log summaries, vllm bench serve, SGLang, aiperf, guidellm, inference-perf."
)
_Convert = Callable[[Mapping[str, Any], str], Row]
_OBJECTS: tuple[tuple[Callable[[Mapping[str, Any]], bool], _Convert], ...] = (
    (inferencex.is_result, inferencex.row),
    (sglang.is_result, sglang.row),
    (vllm.is_result, vllm.row),
    (aiperf.is_result, aiperf.row),
    (inference_perf.is_result, inference_perf.row),
)


def read(path: str | Path, stated: Mapping[str, str] | None = None) -> Records:
    """Return the measurements in a file.

    Args:
        path: the file; `.gz` is unpacked.
        stated: what the user says about every point that its file does not: columns of
            `assay.measure.importers.points` (`accelerator`, `n_accelerators`, `tp`, `model`, `framework`,
            `quant`, `kv_dtype` ...).

    Raises:
        BadInput: the file cannot be read, or is in no format known here.
    """
    name = str(path)
    text = _text(Path(path))
    given = {key: value for key, value in (stated or {}).items() if value}
    if mlperf.is_summary(text):
        return Records(tuple(mlperf.records([(0, mlperf.summary(text, name) | _mlperf(given))])), (name,))
    start = text.lstrip()[:1]
    if start in ("{", "["):
        rows, rejected = _json(text, name)
        return _finish(rows, name, given, rejected)
    return _table(text, name, given)


def read_all(paths: Sequence[str | Path], stated: Mapping[str, str] | None = None) -> Records:
    """Return the measurements of several files as one set."""
    return Records.join(read(path, stated) for path in paths)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise BadInput(f"{path} is larger than {LARGEST_BYTES >> 30} GiB.", "Split it.")
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        if raw[:4] == b"PAR1":
            raise BadInput(
                f"{path} is a Parquet table, as measured kernels come in.",
                "`python -m assay.calibrate.kernels` fits and scores kernels; write operating points as CSV.",
            )
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(
            f"Cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}.",
            "Give a file of results.",
        ) from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not text in UTF-8.", _HINT) from None


def _table(text: str, name: str, given: Mapping[str, str]) -> Records:
    """Read a CSV table by its header."""
    reader = csv.DictReader(io.StringIO(text))
    try:
        header = set(reader.fieldnames or ())
        rows: list[tuple[int, Row]] = []
        rejected: list[str] = []
        for row in reader:
            if None in row or None in row.values():
                rejected.append(f"{name}:{reader.line_num}: {len(header)} columns are needed")
                continue
            rows.append((reader.line_num, dict(row)))
    except csv.Error as error:
        raise BadInput(f"{name}:{reader.line_num}: {error}.", _HINT) from None
    if set(mlperf.COLUMNS) <= header:
        return Records(tuple(mlperf.records(rows)), (name,), tuple(rejected))
    if set(points.COLUMNS) <= header:
        merged = [
            (line, {**given, **{key: value for key, value in row.items() if value}}) for line, row in rows
        ]
        return Records(tuple(points.records(merged)), (name,), tuple(rejected))
    if set(requests.REQUESTS) <= header:
        return _finish(requests.runs(rows, name), name, given, rejected)
    if set(requests.STAGES) <= header:
        return _finish(requests.stages(rows, name), name, given, rejected)
    if rows and inferencex.is_table(rows[0][1]):
        return _finish(
            inferencex.table([row for _, row in rows], _configs(name), name), name, given, rejected
        )
    raise BadInput(f"{name}: a table with no known header.", _HINT)


def _json(text: str, name: str) -> tuple[list[Row], list[str]]:
    """Read a JSON document, or JSON lines (`NaN` and `Infinity` are accepted, as SGLang writes them)."""
    rejected: list[str] = []
    try:
        document = json.loads(text)
    except RecursionError:
        raise BadInput(f"{name}: JSON nested too deeply.") from None
    except json.JSONDecodeError:
        document, rejected = _lines(text, name)
    items = document if isinstance(document, list) else [document]
    items = [item for item in items if isinstance(item, Mapping)]
    if not items:
        raise BadInput(f"{name}: JSON without a result in it.", _HINT)
    first = items[0]
    if inference_perf.is_request(first):
        return [inference_perf.requests(items, name)], rejected
    if aiperf.is_request(first):
        return [aiperf.requests(items, name)], rejected
    if inferencex.is_table(first) and not inferencex.is_result(first):
        return inferencex.table(items, _configs(name), name), rejected
    rows: list[Row] = []
    for place, item in enumerate(items):
        where = name if len(items) == 1 else f"{name}#{place + 1}"
        found = guidellm.rows(item, where) if guidellm.is_result(item) else _object(item, where)
        if found:
            rows += found
        else:
            rejected.append(f"{where}: no known result")
    if not rows:
        raise BadInput(f"{name}: JSON of no known format.", _HINT)
    return rows, rejected


def _object(item: Mapping[str, Any], where: str) -> list[Row]:
    return next(([convert(item, where)] for known, convert in _OBJECTS if known(item)), [])


def _lines(text: str, name: str) -> tuple[list[Any], list[str]]:
    items, rejected = [], []
    for line, part in enumerate(text.splitlines(), 1):
        if not part.strip():
            continue
        try:
            items.append(json.loads(part))
        except (json.JSONDecodeError, RecursionError) as error:
            rejected.append(f"{name}:{line}: {error}")
    if not items:
        raise BadInput(
            f"{name}: broken JSON ({rejected[0] if rejected else 'empty'}).", "Give the whole file."
        )
    return items, rejected


def _configs(name: str) -> dict[str, Mapping[str, Any]]:
    """Return the `configs` table beside a table of an InferenceX export, by id; empty if it is not there."""
    for path in (Path(name).with_name("configs.json"), Path(name).with_name("configs.csv")):
        if not path.exists():
            continue
        text = _text(path)
        rows = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(io.StringIO(text)))
        return {str(row["id"]): row for row in rows}
    return {}


def _finish(rows: Sequence[Row], name: str, given: Mapping[str, str], rejected: Sequence[str]) -> Records:
    """Fill in what the user states, normalise, and check each point against itself."""
    merged = [(place, {**row, **given}) for place, row in enumerate(rows, 1)]
    found: list[Record] = points.records(merged)
    return replace(check(Records(tuple(found), (name,))), rejected=tuple(rejected))


def _mlperf(given: Mapping[str, str]) -> Row:
    """Return what the user states under the names of the results table."""
    names = {
        "accelerator": "accelerator_normalised",
        "n_accelerators": "accelerators_total",
        "quant": "weight_precision_normalised",
        **{key: key for key in ("model", "framework", "tp", "kv_dtype")},
    }
    return {column: given[key] for key, column in names.items() if key in given}
