"""Writes the table of measured points that answers cite as evidence: figures as facts, each with its source.

    python -m assay.calibrate.evidence FILE...

A few points stand for each deployment. Only published tables whose terms allow it belong in here:
InferenceX is fitted and validated on, and its rows are not carried over.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from assay.catalogue.compiled import DATA
from assay.engine.evidence import COLUMNS
from assay.errors import AssayError, BadInput
from assay.measure.read import read_all
from assay.measure.records import Record, Records

#: Points kept of each deployment and pair of lengths, spread over its loads.
EACH = 2

#: Sources whose rows are fitted and validated on and not carried over, in small letters.
CLOSED = ("inferencex",)

_HEAD = (
    "# Measured operating points that answers cite, SI; by `python -m assay.calibrate.evidence`.\n"
    f"# Columns: {' '.join(COLUMNS)}.\n"
    "# Throughput is output tokens/s (input for prefill) over all chips. A few stand for each.\n"
)


def rows(records: Records) -> list[list[Any]]:
    """Return rows of `COLUMNS` for points that are not set apart, a few for each deployment.

    Args:
        records: measured points.
    """
    apart = records.apart()
    grouped: dict[tuple[object, ...], list[Record]] = {}
    for row, flagged in zip(records.rows, apart, strict=True):
        if flagged or row.setting is None or any(name in row.source.lower() for name in CLOSED):
            continue
        key = (row.setting, row.conditions.get("isl"), row.conditions.get("osl"))
        grouped.setdefault(key, []).append(row)
    return [_columns(row) for members in grouped.values() for row in _spread(members)]


def _spread(members: Sequence[Record]) -> list[Record]:
    """Return a few points of one deployment, spread over its loads."""
    ordered = sorted(members, key=lambda row: row.conditions.get("concurrency", 0.0))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(EACH, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]


def _columns(row: Record) -> list[Any]:
    setting = row.setting
    assert setting is not None  # noqa: S101 - kept by `rows`
    tpot = row.values.get("tpot", row.values.get("tpot_median"))
    ttft = row.values.get("ttft", row.values.get("ttft_median"))
    values: dict[str, Any] = {
        "model": setting.model,
        "system": setting.system,
        "chips": setting.chips,
        "deployment": setting.label(),
        "weights": setting.weights,
        "engine": setting.engine,
        "load": setting.load if setting.phase == "e2e" else setting.phase,
        "isl": _rounded(row.conditions.get("isl")),
        "osl": _rounded(row.conditions.get("osl")),
        "concurrency": _rounded(row.conditions.get("concurrency")),
        "tpot_s": _rounded(tpot),
        "ttft_s": _rounded(ttft),
        "tokens_per_s_per_chip": _rounded(row.values.get("throughput")),
        "source": row.source.split(" id=")[0],
        "evidence": row.evidence,
    }
    return [values[name] for name in COLUMNS]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.4g}")


def main(arguments: Sequence[str]) -> int:
    """Write the table from measured files and say how many points it holds."""
    try:
        if not arguments:
            raise BadInput("No measured points.", "`python -m assay.calibrate.evidence FILE...`")
        found = rows(read_all(list(arguments)))
    except AssayError as error:
        print(f"assay: {error}", file=sys.stderr)
        return error.exit_code
    place = DATA / "measurements" / "points.yaml"
    where = COLUMNS.index("source")
    sources = {name: number for number, name in enumerate(sorted({row[where] for row in found}))}
    for row in found:
        row[where] = sources[row[where]]
    content = {"sources": list(sources), "points": found}
    text = yaml.dump(
        content, Dumper=yaml.CSafeDumper, default_flow_style=None, sort_keys=False, width=1_000_000
    )
    place.write_text(_HEAD + text, encoding="utf-8")
    print(f"{len(found):,} points written to {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
