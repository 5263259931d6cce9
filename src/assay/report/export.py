"""Answers as data: the versioned JSON of `Answer.json`, and a flat CSV whose columns carry its names."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from assay.study.answer import Answer


def write_json(data: Mapping[str, Any] | Sequence[Any], stream: IO[str]) -> None:
    """Write plain data as JSON; what is not finite becomes null, since JSON knows no NaN."""
    json.dump(_finite(data), stream, indent=1, ensure_ascii=False, allow_nan=False)
    stream.write("\n")


def write_csv(answer: Answer, stream: IO[str]) -> None:
    """Write the rows of an answer as CSV, SI units, best first.

    A figure fills four columns: `ttft_s` holds its value, `ttft_s.low`, `ttft_s.high` and `ttft_s.floor` the
    rest. Nested fields are joined by dots, lists are JSON.
    """
    rows = [_flat(row.json()) for row in answer.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if "value" in value:
                flat[name] = value["value"]
            flat |= _flat({part: item for part, item in value.items() if part != "value"}, f"{name}.")
        elif isinstance(value, list | tuple):
            flat[name] = json.dumps(_finite(value), ensure_ascii=False)
        else:
            flat[name] = value
    return flat


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if data - data == 0 else None
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if hasattr(data, "tolist"):  # numpy scalars and arrays
        return _finite(data.tolist())
    return data
