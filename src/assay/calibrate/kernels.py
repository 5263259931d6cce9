"""Fit the efficiency curves of `assay.timing.efficiency` to tables of measured kernels.

    python -m assay.calibrate.kernels --kernels kernels.parquet --extended kernels_extended.parquet \
        --achievable achievable.csv --out src/assay/catalogue/data/calibrations/kernels.yaml

Deterministic: no random numbers, the same tables give the same file but for its date. Needs polars and scipy.

Method, in order: (1) keep the newest version of each framework and drop what cannot be true
(`kernel_quality`); (2) at each shape take the fastest framework, which is what a tuned engine runs; (3) fit
four parameters to ln(predicted / measured) with a robust loss and a weak prior, first for the vendor, then
per generation, then per chip, each starting from the level above (`curves`); (4) score every level on
chips it has not seen; (5) chips without tables get factors from published bandwidth and GEMM tests
(`achieved`).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
from collections.abc import Mapping
from pathlib import Path
from statistics import median, stdev
from typing import Any

import numpy as np
import polars as pl
import yaml

from assay.calibrate.achieved import achieved, relative
from assay.calibrate.curves import Fitter
from assay.calibrate.kernel_quality import best, clean
from assay.calibrate.kernel_rows import CHIPS, read
from assay.calibrate.state_kernels import fixed
from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip
from assay.errors import NoEvidence
from assay.timing.roofline import ORDER

#: Kinds that are fitted, GEMM first: its overhead is the launch of the passes inside `experts`.
KINDS = ("gemm", "experts", "attention_decode", "attention_prefill")


def fit(
    kernels: Path, extended: Path | None, achievable: Path, chips: Mapping[str, Chip] | None = None
) -> dict[str, Any]:
    """Return the content of `calibrations/kernels.yaml`.

    Args:
        kernels: parquet table of measured kernels.
        extended: more of them, or None.
        achievable: CSV of published bandwidth and GEMM tests.
        chips: chips by id; all of the catalogue by default.
    """
    chips = _published() if chips is None else chips
    paths = [kernels] if extended is None else [kernels, extended]
    work, counts = clean(read(paths, chips))
    fastest = best(work)
    levels: dict[str, dict[str, Any]] = {"chip": {}, "generation": {}, "vendor": {}, "any": {}}
    scores: dict[str, Any] = {}
    launch: dict[str, float] = {}
    generation = {name: chip.generation for name, chip in chips.items()}
    for kind in KINDS:
        for fmt in sorted(fastest.filter(pl.col("kind") == kind)["format"].unique().to_list()):
            mine = (pl.col("kind") == kind) & (pl.col("format") == fmt)
            fitter = Fitter(fastest.filter(mine), work.filter(mine), generation, launch)
            if not fitter.names:
                continue
            result = fitter.run()
            if (kind, fmt) == ("gemm", "bf16"):
                launch = {name: entry["overhead"] for name, entry in result["chip"].items()}
            _store(levels, kind, fmt, result)
            scores.setdefault(kind, {})[fmt] = result["scores"]
    shares = achieved(achievable)
    _add_fixed(levels, fixed(paths, chips), shares, launch)
    factors = _factors(relative(shares, list(CHIPS.values())), chips)
    return {
        "provenance": _provenance(paths, achievable, counts, scores, factors),
        "between_vendors": _between_vendors(factors["chip"]),
        "between_formats": _between_formats(levels["chip"]),
        "curves": levels,
        "factors": factors,
    }


def _published() -> dict[str, Chip]:
    """Return the chips of the catalogue whose datasheet is complete enough to load."""
    library = catalogue()
    found = {}
    for name in library.chips():
        with contextlib.suppress(NoEvidence):
            found[name] = library.chip(name)
    return found


def _store(levels: dict[str, dict[str, Any]], kind: str, fmt: str, result: Mapping[str, Any]) -> None:
    for level in ("chip", "generation"):
        for name, entry in result[level].items():
            levels[level].setdefault(name, {}).setdefault(kind, {})[fmt] = entry
    for level, name in (("vendor", "nvidia"), ("any", "any")):
        levels[level].setdefault(name, {}).setdefault(kind, {})[fmt] = result["vendor"]


def _add_fixed(
    levels: dict[str, dict[str, Any]],
    entries: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, Mapping[str, Any]],
    launch: Mapping[str, float],
) -> None:
    """Add the kinds that have no table of shapes: element-wise passes by chip, the rest for any chip."""
    known = [x["memory"] for name, x in shares.items() if x["memory"] and name in CHIPS.values()]
    pooled = {"memory": round(median(known), 3), "overhead": round(median(launch.values()), 8)}
    for kind, entry in entries.items():
        base = dict(entry)
        if kind in ("stream", "gather"):
            base["overhead"] = pooled["overhead"]
        if kind == "stream":
            base["memory"] = pooled["memory"]
        levels["any"]["any"][kind] = {"bf16": base}
    stream = levels["any"]["any"]["stream"]["bf16"]
    for name, seconds in launch.items():
        own = shares.get(name, {}).get("memory")
        entry = stream | {"memory": own or pooled["memory"], "overhead": seconds, "n": 1 if own else 0}
        levels["chip"].setdefault(name, {})["stream"] = {"bf16": entry}


def _factors(relatives: Mapping[str, Any], chips: Mapping[str, Chip]) -> dict[str, dict[str, Any]]:
    """Return the factors of chips without tables, and their medians by generation and vendor."""
    found: dict[str, dict[str, Any]] = {"chip": {}, "generation": {}, "vendor": {}}
    without = {n: x for n, x in relatives.items() if n in chips and n not in CHIPS.values() and x["compute"]}
    found["chip"] = {n: x for n, x in without.items() if chips[n].vendor != "nvidia"}
    for level in ("generation", "vendor"):
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for name, entry in found["chip"].items():
            groups.setdefault(getattr(chips[name], level), []).append(entry)
        for key, members in groups.items():
            formats = sorted({fmt for entry in members for fmt in entry["compute"]})
            memory = [entry["memory"] for entry in members if entry["memory"]]
            found[level][key] = {
                "compute": {
                    fmt: round(median(e["compute"][fmt] for e in members if fmt in e["compute"]), 3)
                    for fmt in formats
                },
                "memory": round(median(memory), 3) if memory else None,
                "sources": sorted({source for entry in members for source in entry["sources"]}),
            }
    return found


def _between_vendors(factors: Mapping[str, Mapping[str, Any]]) -> float:
    """Return the sd of ln factor between chips of other vendors: what the vendor's name alone leaves open."""
    logs = [float(np.log(value)) for entry in factors.values() for value in entry["compute"].values()]
    return round(stdev(logs), 3) if len(logs) > 1 else 0.25


def _between_formats(chips: Mapping[str, Any]) -> float:
    """Return the sd of ln(share in a narrow format / share in bf16) of GEMM on the same chip."""
    logs = [
        float(np.log(entry["compute"] / kinds["gemm"]["bf16"]["compute"]))
        for kinds in chips.values()
        if "bf16" in kinds.get("gemm", {})
        for fmt, entry in kinds["gemm"].items()
        if fmt != "bf16"
    ]
    return round(float(np.sqrt(np.mean(np.square(logs)))), 3)


def _provenance(
    paths: list[Path],
    achievable: Path,
    counts: Mapping[str, int],
    scores: Mapping[str, Mapping[str, Any]],
    factors: Mapping[str, Any],
) -> dict[str, Any]:
    summary: dict[str, dict[str, float]] = {}
    for kind, formats in scores.items():
        for measure in ("own", "left out"):
            values = [value for result in formats.values() for value in result[measure].values()]
            summary.setdefault(kind, {})[measure] = round(median(values), 3)
    return {
        "made_by": "python -m assay.calibrate.kernels",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "sources": [path.name for path in [*paths, achievable]],
        "origin": "ai-dynamo/aiconfigurator kernel tables, alibaba/InferSim kernel tables, published tests",
        "order": ORDER,
        "rows": dict(counts),
        "median_error": summary,
        "error_by_chip": {kind: dict(formats) for kind, formats in scores.items()},
        "factors_of": sorted(factors["chip"]),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--extended", type=Path)
    parser.add_argument("--achievable", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    content = fit(options.kernels, options.extended, options.achievable)
    text = yaml.dump(content, sort_keys=False, width=110, default_flow_style=None)
    options.out.write_text("# Written by assay.calibrate.kernels; do not edit.\n" + text, encoding="utf-8")


if __name__ == "__main__":
    main()
