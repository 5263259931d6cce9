"""Curves of the kinds whose tables are too small to fit: recurrent states, element-wise passes, gathers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from assay.calibrate.kernel_rows import CHIPS
from assay.catalogue.schema import Chip

#: Gated DeltaNet shape of the measured rows: value heads, key and value width; bytes of a state element.
VALUE_HEADS, WIDTH, STATE_BYTES = 32, 128, 4
#: Chunk of the prefill scan, tokens.
CHUNK = 64
#: Kernels that make up the prefill scan; the convolution before them is a `stream`.
SCAN = ("kkt", "tril", "wu", "chunk_gdn", "chunk_o")
#: Batch from which the decode kernel is bound by memory, not by its launch.
BOUND = 64


def fixed(paths: list[Path], chips: Mapping[str, Chip]) -> dict[str, dict[str, Any]]:
    """Return kind -> entry of the curve file, for kinds with no table of shapes.

    `state_decode` and `state_prefill` come from the H20 rows of the gated DeltaNet kernels; rows that claim
    twice the heads at the same time are copies and left out. `gather` is assumed: half the bandwidth.
    """
    rows = pl.concat(
        [
            pl.read_parquet(path)
            .select(
                *(pl.col(n).cast(pl.String) for n in ("kind", "op", "accelerator", "shape")), "latency_us"
            )
            .with_columns(pl.col("latency_us").cast(pl.Float64))
            for path in paths
        ]
    )
    rows = rows.filter(
        (pl.col("kind") == "linear_attention") & pl.col("shape").str.contains(f"-{VALUE_HEADS}-{WIDTH}")
    )
    assumed = {"compute": 1.0, "memory": 0.5, "rows_half": 0.0, "overhead": 3e-6, "sigma": 0.5, "n": 0}
    found: dict[str, dict[str, Any]] = {
        kind: dict(assumed) for kind in ("state_decode", "state_prefill", "stream", "gather")
    }
    found["stream"]["sigma"] = 0.3
    if rows.height:
        chip = chips[CHIPS[rows["accelerator"][0]]]
        found["state_decode"] |= _decode(rows, chip)
        found["state_prefill"] |= _prefill(rows, chip) | {"memory": found["state_decode"]["memory"]}
    return found


def _decode(rows: pl.DataFrame, chip: Chip) -> dict[str, Any]:
    update = rows.filter(pl.col("op").str.contains("gdn_update"))
    update = update.with_columns(
        batch=pl.col("shape").str.json_decode(pl.Struct({"batchsize": pl.Float64})).struct.field("batchsize")
    ).filter(pl.col("batch") >= BOUND)
    moved = 2 * VALUE_HEADS * WIDTH * WIDTH * STATE_BYTES
    shares = [
        batch * moved / (microseconds * 1e-6) / chip.memory_bandwidth
        for batch, microseconds in update.select("batch", "latency_us").iter_rows()
    ]
    return {"memory": round(median(shares), 3), "n": len(shares)}


def _prefill(rows: pl.DataFrame, chip: Chip) -> dict[str, Any]:
    scan = rows.filter(
        pl.col("op").str.contains("prefill") & pl.col("op").str.split(" ").list.last().is_in(SCAN)
    )
    tokens = scan["shape"].str.json_decode(pl.Struct({"seq_len": pl.Float64})).struct.field("seq_len")[0]
    per_head = 6 * WIDTH**2 + 2 * CHUNK * 5 * WIDTH + 2 / 3 * CHUNK**2
    flops = float(tokens) * VALUE_HEADS * per_head
    share = flops / (float(scan["latency_us"].sum()) * 1e-6) / chip.peak_flops["bf16"]
    return {"compute": round(share, 3), "n": scan.height}
