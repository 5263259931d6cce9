"""Keep the measured kernels that a fit may use: newest versions, possible times, not bound by the host."""

from __future__ import annotations

import re

import polars as pl

#: A series is dropped when more than this share of its large rows (bytes) beats the roofline.
IMPOSSIBLE, LARGE = 0.05, 2e8
#: A series is host bound when its fastest kernels take this many times those of the best series.
HOST_BOUND = 4.0
#: A kernel that takes more than this share of its unsharded time at 8 expert-parallel ranks computes the
#: rows of other ranks too; only its unsharded rows count.
UNSPLIT, RANKS = 0.4, 8

#: Rows of one benchmark run: one chip, table, framework and format as the table writes it.
SERIES = ["chip", "table", "kind", "format", "framework", "series"]
WORK = ["chip", "table", "kind", "format", "flops", "moved", "rows"]


def clean(work: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the usable rows, and how many rows each rule took away.

    Args:
        work: rows of `assay.calibrate.kernel_rows.read`.
    """
    counts = {"read": work.height}
    rules = {
        "older software versions": _newest,
        "series that beat the roofline": _possible,
        "single rows that beat the roofline": _under_the_roof,
        "host-bound series": _device_bound,
        "expert-parallel rows that compute other ranks' rows": _split,
    }
    for name, rule in rules.items():
        before = work.height
        work = rule(work)
        counts[name] = before - work.height
    counts["kept"] = work.height
    return work, counts


def best(work: pl.DataFrame) -> pl.DataFrame:
    """Return the fastest row of each chip, kind, format and shape, in a fixed order."""
    return work.sort([*WORK, "seconds"]).unique(subset=WORK, keep="first", maintain_order=True)


def _newest(work: pl.DataFrame) -> pl.DataFrame:
    group = ["chip", "kind", "format", "framework"]
    versions = work.select(*group, "version").unique()
    order = pl.col("version").map_elements(_sortable, return_dtype=pl.String, skip_nulls=False)
    versions = versions.with_columns(order=order)
    versions = versions.filter(pl.col("order") == pl.col("order").max().over(group))
    return work.join(versions, on=[*group, "version"], how="semi")


def _sortable(text: str) -> str:
    """Return a version as text that sorts: numbers padded, release candidates before the release."""
    padded = ".".join(part.rjust(6, "0") for part in re.findall(r"\d+", text.replace("rc", ".")))
    return padded.replace(".", "!", 3) if "rc" in text else padded + "~"


def _share(work: pl.DataFrame) -> pl.DataFrame:
    flops, moved = pl.col("flops") + pl.col("flops_2"), pl.col("moved") + pl.col("moved_2")
    floor = pl.max_horizontal(flops / pl.col("peak"), moved / pl.col("bandwidth"))
    return work.with_columns(share=floor / pl.col("seconds"), bytes=moved)


def _possible(work: pl.DataFrame) -> pl.DataFrame:
    """Drop series whose shapes cannot mean what they say.

    Their large rows move more than the memory can: cache pages shared between sequences, or a router that
    reaches half of the experts.
    """
    large = _share(work).filter(pl.col("bytes") > LARGE)
    bad = large.group_by(SERIES).agg((pl.col("share") > 1).mean().alias("beats"))
    return work.join(bad.filter(pl.col("beats") > IMPOSSIBLE), on=SERIES, how="anti")


def _under_the_roof(work: pl.DataFrame) -> pl.DataFrame:
    """Drop rows faster than memory allows: a cache held their operands."""
    return _share(work).filter(pl.col("share") <= 1).drop("share", "bytes")


def _device_bound(work: pl.DataFrame) -> pl.DataFrame:
    least = work.group_by(SERIES).agg(pl.col("seconds").quantile(0.02).alias("least"))
    peers = pl.col("least").min().over("chip", "table", "kind", "format")
    return work.join(least.filter(pl.col("least") > HOST_BOUND * peers), on=SERIES, how="anti")


def _split(work: pl.DataFrame) -> pl.DataFrame:
    """Drop expert-parallel rows of kernels whose time does not fall with the number of ranks."""
    size = ["flops", "rows"]
    whole = work.filter((pl.col("kind") == "experts") & (pl.col("ranks") == 1))
    parts = work.filter((pl.col("kind") == "experts") & (pl.col("ranks") == RANKS))
    parts = parts.with_columns(pl.col("flops") * RANKS)
    pairs = whole.select(*SERIES, *size, "seconds").join(
        parts.select(*SERIES, *size, pl.col("seconds").alias("part")), on=[*SERIES, *size]
    )
    pairs = pairs.filter(pl.col("rows") == pl.col("rows").max().over(SERIES))
    lazy = pairs.group_by(["chip", "format", "framework"]).agg(
        (pl.col("part") / pl.col("seconds")).median().alias("ratio")
    )
    lazy = lazy.filter(pl.col("ratio") > UNSPLIT)
    sharded = (pl.col("kind") == "experts") & (pl.col("ranks") > 1)
    gone = work.filter(sharded).join(lazy, on=["chip", "format", "framework"], how="semi")
    return work.join(gone.select(work.columns), on=work.columns, how="anti", nulls_equal=True)
