"""What chips without kernel tables reach, from published bandwidth and GEMM tests.

Their curves are those of the chips with tables, scaled by how the two compare in the same test.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

#: Prefixes of chip ids in the table that the catalogue leaves out.
VENDORS = (
    "nvidia",
    "amd",
    "google",
    "aws",
    "huawei",
    "intel",
    "cerebras",
    "apple",
    "meta",
    "microsoft",
    "sambanova",
)
FORMATS = {"bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "fp8 e4m3": "fp8", "int8": "int8", "nvfp4": "nvfp4"}
#: The test most chips share; where it is missing the best of the others counts.
SHARED = "MAMF"
#: Words that disqualify a row: other quantities, the tool's own assumptions, work in progress.
SKIP = ("device copy", "assumed", "unoptimised", "paper:", "share of peak bandwidth")


def achieved(path: Path) -> dict[str, dict[str, Any]]:
    """Return chip id -> `{compute: {format: share}, memory: share, sources: [...]}`.

    Args:
        path: CSV with columns `chip category metric dtype size measured peak peak_basis fraction source
            note`; shares are of the dense datasheet rate, at most 1.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fraction"] and not _skipped(row)]
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({row["chip"] for row in rows}):
        mine = [row for row in rows if row["chip"] == name]
        memory = _memory([row for row in mine if row["category"] == "hbm_bw"])
        compute = {}
        for fmt in sorted(set(FORMATS.values())):
            value = _gemm([r for r in mine if r["category"] == "gemm" and FORMATS.get(r["dtype"]) == fmt])
            if value:
                compute[fmt] = value
        if compute or memory:
            used = [row["source"] for row in mine if row["category"] in ("gemm", "hbm_bw")]
            found[_chip(name)] = {"compute": compute, "memory": memory, "sources": sorted(set(used))}
    return found


def relative(shares: Mapping[str, Mapping[str, Any]], reference: list[str]) -> dict[str, dict[str, Any]]:
    """Divide the shares by the median of the `reference` chips in the same test.

    Returns:
        chip id -> `{compute: {format: factor}, memory: factor or None, sources}`.
    """
    known = [shares[name] for name in reference if name in shares]
    memory = median(x["memory"] for x in known if x["memory"])
    formats = {fmt for x in known for fmt in x["compute"]}
    compute = {fmt: median(x["compute"][fmt] for x in known if fmt in x["compute"]) for fmt in formats}
    return {
        name: {
            "compute": {f: round(v / compute[f], 3) for f, v in x["compute"].items() if f in compute},
            "memory": round(x["memory"] / memory, 3) if x["memory"] else None,
            "sources": x["sources"],
        }
        for name, x in shares.items()
    }


def _chip(name: str) -> str:
    vendor, _, rest = name.partition("_")
    return (rest if vendor in VENDORS else name).replace("_", "-")


def _skipped(row: Mapping[str, str]) -> bool:
    text = f"{row['metric']} {row['peak_basis']} {row['note']}"
    return any(word in text for word in SKIP)


def _memory(rows: list[dict[str, str]]) -> float | None:
    triad = [float(row["fraction"]) for row in rows if "triad" in row["metric"]]
    other = [float(row["fraction"]) for row in rows if "read" not in row["metric"]]
    if triad:
        return round(min(median(triad), 1.0), 3)
    return round(min(max(other), 1.0), 3) if other else None


def _gemm(rows: list[dict[str, str]]) -> float | None:
    if not rows:
        return None
    shared = [float(row["fraction"]) for row in rows if SHARED in row["metric"]]
    if shared:
        return round(min(max(shared), 1.0), 3)
    marginal = _marginal([row for row in rows if "wall clock" in row["metric"] and "M=" in row["size"]])
    values = [float(row["fraction"]) for row in rows if "wall clock" not in row["metric"]]
    best = max([*values, marginal or 0.0], default=0.0) or max(float(row["fraction"]) for row in rows)
    return round(min(best, 1.0), 3)


def _marginal(rows: list[dict[str, str]]) -> float | None:
    """Return the share between the two largest sizes of a wall-clock sweep: dispatch time cancels."""
    sizes = []
    for row in rows:
        match = re.search(r"M=(\d+)", row["size"])
        if match:
            rows_m = float(match[1])
            sizes.append((rows_m, rows_m / float(row["measured"]), float(row["peak"])))
    if len(sizes) < 2:
        return None
    (small, first, _), (large, second, top) = sorted(sizes)[-2:]
    return (large - small) / (second - first) / top
