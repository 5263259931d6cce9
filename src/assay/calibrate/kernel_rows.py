"""Read tables of measured kernels into work: FLOPs, bytes and rows counted as the engine counts them.

One row of a table is one kernel (for `experts`: permute, two grouped GEMMs, activation, reduction) at one
shape. Schema of the tables: columns `kind op accelerator framework framework_version dtype kv_dtype shape
latency_us notes`; `shape` is JSON. Needs polars (extra `calibrate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from assay.catalogue.schema import Chip
from assay.llm.formats import BYTES

#: Name in the tables -> chip id of the catalogue.
CHIPS = {
    "A100": "a100-80gb-sxm",
    "H100": "h100-sxm",
    "H200": "h200-sxm",
    "H800": "h800-sxm",
    "H20": "h20",
    "B200": "b200-sxm",
    "GB200": "gb200-nvl72-gpu",
    "B300": "b300-sxm",
    "GB300": "gb300-nvl72-gpu",
    "L40S": "l40s",
    "RTX PRO 6000 Blackwell": "rtx-pro-6000-blackwell",
}

#: `dtype` in the tables -> weight format. Weight-only int8 has no format of its own here and is left out.
FORMATS = {
    "bfloat16": "bf16",
    "bf16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "nvfp4": "nvfp4",
    "int4_wo": "int4",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4",
    "sq": "int8",
}

#: Bytes of one activation element that a kernel reads or writes.
ACTIVATION = 2.0

#: Columns of the result.
WORK = ["chip", "table", "kind", "format", "framework", "version", "series", "shape", "seconds"]
SIZES = ["flops", "moved", "rows", "flops_2", "moved_2", "streamed", "ranks"]


def read(paths: list[Path], chips: Mapping[str, Chip]) -> pl.DataFrame:
    """Return the work and the time of every usable row of the tables.

    Args:
        paths: parquet files of measured kernels.
        chips: chips by catalogue id; rows on others are left out.

    Returns:
        Columns `WORK` and `SIZES`, plus `peak` (FLOP/s of the format the kernel computes in) and
        `bandwidth` (B/s). `flops_2`, `moved_2` are the second GEMM of a mixture of experts, `streamed` the
        bytes of its permute, activation and reduction passes, `ranks` the expert-parallel degree it emulates;
        zero for other kernels.
    """
    raw = pl.concat([_raw(path) for path in paths]).unique(maintain_order=True)
    known = {name: chip for name, chip in CHIPS.items() if chip in chips}
    raw = raw.filter(pl.col("accelerator").is_in(list(known)) & (pl.col("latency_us") > 0))
    raw = raw.with_columns(
        chip=pl.col("accelerator").replace_strict(known, return_dtype=pl.String),
        seconds=pl.col("latency_us").round_sig_figs(4) * 1e-6,
        framework=pl.col("framework").fill_null(""),
        version=pl.col("framework_version").fill_null(""),
        kv_dtype=pl.col("kv_dtype").fill_null(""),
        notes=pl.col("notes").fill_null(""),
        dtype=pl.col("dtype").fill_null("bf16"),
    )
    parts = (_gemm, _moe, _grouped, _attention_decode, _attention_prefill, _mla, _bench, _mla_bench)
    work = pl.concat([part(raw).select(*WORK, *SIZES) for part in parts])
    work = work.unique(subset=[*WORK[:-1]], keep="first", maintain_order=True)
    pairs = work.select("chip", "format").unique(maintain_order=True)
    rates = [peak(chips[chip], fmt) for chip, fmt in pairs.iter_rows()]
    names = [label(chips[chip], fmt) for chip, fmt in pairs.iter_rows()]
    pairs = pairs.with_columns(
        peak=pl.Series(rates, dtype=pl.Float64), label=pl.Series(names, dtype=pl.String)
    )
    work = work.join(pairs.drop_nulls("label"), on=["chip", "format"])
    return (
        work.drop("format")
        .rename({"label": "format"})
        .with_columns(
            bandwidth=pl.col("chip").replace_strict(
                {name: chip.memory_bandwidth for name, chip in chips.items()}, return_dtype=pl.Float64
            ),
        )
    )


def peak(chip: Chip, fmt: str) -> float:
    """Return the dense rate that weights in `fmt` are multiplied at: the native one, or bf16, FLOP/s."""
    name = {"nvfp4": "fp4", "mxfp4": "fp4", "int4": "bf16"}.get(fmt, fmt)
    return chip.peak_flops.get(name) or chip.peak_flops["bf16"]


def label(chip: Chip, fmt: str) -> str | None:
    """Return the format a curve is filed under: `mxfp4-wide` where the chip must widen 4-bit weights.

    None where the chip has no such arithmetic at all (an 8-bit cache on a chip without fp8).
    """
    if fmt == "fp8" and not chip.peak_flops.get("fp8"):
        return None
    if fmt in ("mxfp4", "nvfp4") and not chip.peak_flops.get("fp4"):
        return f"{fmt}-wide"
    return fmt


def _raw(path: Path) -> pl.DataFrame:
    names = ["kind", "op", "accelerator", "framework", "framework_version", "dtype", "kv_dtype", "shape"]
    return pl.read_parquet(path).select(
        *(pl.col(name).cast(pl.String) for name in [*names, "notes"]),
        pl.col("latency_us").cast(pl.Float64).round_sig_figs(5),
    )


def _decode(raw: pl.DataFrame, numbers: str, texts: str = "") -> pl.DataFrame:
    """Keep the rows whose shape has all `numbers`, one column each."""
    fields = dict.fromkeys(numbers.split(), pl.Float64) | dict.fromkeys(texts.split(), pl.String)
    opened = raw.with_columns(pl.col("shape").str.json_decode(pl.Struct(fields)).alias("_")).unnest("_")
    return opened.drop_nulls(numbers.split())


def _finish(frame: pl.DataFrame, table: str, kind: str, series: pl.Expr, **sizes: pl.Expr) -> pl.DataFrame:
    zero = {name: pl.lit(0.0) for name in SIZES if name not in sizes}
    labels = {"table": pl.lit(table), "kind": pl.lit(kind), "series": series}
    return frame.with_columns(**labels, **sizes, **zero)


def _weights() -> pl.Expr:
    return pl.col("format").replace_strict({name: BYTES[name] for name in set(FORMATS.values())})


def _gemm(raw: pl.DataFrame) -> pl.DataFrame:
    rows = _decode(raw.filter((pl.col("kind") == "gemm") & pl.col("dtype").is_in(list(FORMATS))), "m n k")
    rows = rows.with_columns(format=pl.col("dtype").replace_strict(FORMATS))
    m, n, k = pl.col("m"), pl.col("n"), pl.col("k")
    moved = n * k * _weights() + m * (n + k) * ACTIVATION
    return _finish(rows, "gemm", "gemm", pl.col("dtype"), flops=2 * m * n * k, moved=moved, rows=m)


def _moe(raw: pl.DataFrame) -> pl.DataFrame:
    rows = raw.filter((pl.col("kind") == "moe") & pl.col("dtype").is_in(list(FORMATS)))
    rows = _decode(rows, "tokens hidden inter topk experts moe_tp moe_ep", "distribution")
    rows = rows.filter(pl.col("distribution") == "balanced")
    rows = rows.with_columns(format=pl.col("dtype").replace_strict(FORMATS))
    copies = pl.max_horizontal(pl.col("tokens") * pl.col("topk") / pl.col("moe_ep"), pl.lit(1.0))
    experts = pl.max_horizontal(
        pl.min_horizontal(pl.col("experts") / pl.col("moe_ep"), copies.floor()), pl.lit(1.0)
    )
    series, inter = pl.col("dtype") + pl.col("notes"), pl.col("inter") / pl.col("moe_tp")
    return _experts(rows, "moe", series, copies, experts, inter).with_columns(ranks=pl.col("moe_ep"))


def _experts(
    rows: pl.DataFrame, table: str, series: pl.Expr, copies: pl.Expr, experts: pl.Expr, inter: pl.Expr
) -> pl.DataFrame:
    width = pl.col("hidden")
    return _finish(
        rows,
        table,
        "experts",
        series,
        flops=2 * copies * width * 2 * inter,
        moved=experts * width * 2 * inter * _weights() + copies * (width + 2 * inter) * ACTIVATION,
        rows=copies / experts,
        flops_2=2 * copies * width * inter,
        moved_2=experts * width * inter * _weights() + copies * (width + inter) * ACTIVATION,
        streamed=copies * (2 * inter + width + inter + width) * ACTIVATION,
    )


def _grouped(raw: pl.DataFrame) -> pl.DataFrame:
    """Join the up and the down grouped GEMM of the InferSim tables into one mixture of experts."""
    rows = raw.filter((pl.col("kind") == "moe") & pl.col("op").str.starts_with("grouped GEMM"))
    rows = _decode(rows, "experts gpus local_experts topk hidden inter tokens_per_gpu")
    rows = rows.with_columns(down=pl.col("op").str.contains("down"), format=pl.lit("fp8"))
    phase = pl.col("op").str.contains("decode")
    group = ["chip", "framework", "version", "dtype", "shape", "format"]
    pair = rows.with_columns(phase=phase).group_by(*group, "phase", maintain_order=True)
    sizes = ["experts", "local_experts", "topk", "hidden", "inter", "tokens_per_gpu"]
    joined = pair.agg(
        pl.col("seconds").sum(), pl.col("down").n_unique(), pl.len(), *(pl.col(x).first() for x in sizes)
    )
    joined = joined.filter((pl.col("down") == 2) & (pl.col("len") == 2))
    copies = pl.col("tokens_per_gpu") * pl.col("topk")
    experts = pl.min_horizontal("local_experts", copies)
    found = _experts(joined, "grouped", pl.col("phase").cast(pl.String), copies, experts, pl.col("inter"))
    return found.with_columns(streamed=pl.lit(0.0))


def _cache(expr: str = "kv_dtype") -> pl.Expr:
    return pl.when(pl.col(expr) == "fp8").then(1.0).otherwise(2.0)


def _format(expr: str) -> pl.Expr:
    return pl.when(pl.col(expr) == "fp8").then(pl.lit("fp8")).otherwise(pl.lit("bf16"))


def _attention_decode(raw: pl.DataFrame) -> pl.DataFrame:
    rows = _decode(
        raw.filter(pl.col("kind") == "attention_decode"),
        "batch context heads kv_heads head_dim window",
    ).with_columns(format=_format("kv_dtype"))
    b, h, kv, d, window = (pl.col(x) for x in ("batch", "heads", "kv_heads", "head_dim", "window"))
    seen = pl.when(window > 0).then(pl.min_horizontal("context", "window")).otherwise(pl.col("context"))
    moved = b * (2 * seen * kv * d * _cache() + 2 * (h + kv) * d * ACTIVATION)
    return _finish(
        rows,
        "gqa",
        "attention_decode",
        pl.col("kv_dtype"),
        flops=4 * b * seen * h * d,
        moved=moved,
        rows=h / kv,
    )


def _attention_prefill(raw: pl.DataFrame) -> pl.DataFrame:
    """Causal prompts without a prefix: `context` in these rows repeats the prompt length.

    Rows of sliding windows are left out: their FLOPs are a vanishing part of any model.
    """
    rows = _decode(
        raw.filter(pl.col("kind") == "attention_prefill"),
        "batch isl context heads kv_heads head_dim window",
    ).with_columns(format=_format("dtype"))
    rows = rows.filter((pl.col("window") == 0) & (pl.col("context") == pl.col("isl")))
    b, s, h, kv, d = (pl.col(x) for x in ("batch", "isl", "heads", "kv_heads", "head_dim"))
    moved = b * s * d * 2 * (h + kv) * ACTIVATION
    flops = 4 * b * h * d * s * (s + 1) / 2
    return _finish(rows, "gqa", "attention_prefill", pl.col("dtype"), flops=flops, moved=moved, rows=s)


def _mla(raw: pl.DataFrame) -> pl.DataFrame:
    """Latent attention cores: absorbed in decode, expanded in prefill (latent 512, rope 64, nope 128)."""
    kinds = ["mla_decode", "mla_prefill"]
    rows = _decode(raw.filter(pl.col("kind").is_in(kinds)), "num_heads batch_size isl step")
    rows = rows.with_columns(format=_format("kv_dtype"))
    h, b, s, past = (pl.col(x) for x in ("num_heads", "batch_size", "isl", "step"))
    decode = _finish(
        rows.filter(pl.col("kind") == "mla_decode"),
        "mla",
        "attention_decode",
        pl.col("kv_dtype"),
        flops=2 * h * 1088 * (past + 1) * b,
        moved=b * ((past + 1) * 576 * _cache() + h * (576 + 512) * ACTIVATION),
        rows=h,
    )
    prefill = _finish(
        rows.filter((pl.col("kind") == "mla_prefill") & (past == 0)),
        "mla",
        "attention_prefill",
        pl.col("kv_dtype"),
        flops=2 * h * 320 * s * (s + 1) / 2 * b,
        moved=b * s * h * 2 * (192 + 128) * ACTIVATION,
        rows=s,
    )
    return pl.concat([decode.select(*WORK, *SIZES), prefill.select(*WORK, *SIZES)])


def _bench(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the grouped-query cores of the InferSim tables: `heads-kv-dim` = `32-8-128`."""
    rows = raw.filter(pl.col("kind").is_in(["attention_decode", "attention_prefill"]))
    rows = rows.with_columns(dims=pl.col("op").str.extract_groups(r"^mha (\d+)-(\d+)-(\d+)$")).unnest("dims")
    rows = rows.drop_nulls("1").with_columns(format=_format("kv_dtype"))
    h, kv, d = (pl.col(x).cast(pl.Float64) for x in ("1", "2", "3"))
    decode = _decode(rows.filter(pl.col("kind") == "attention_decode"), "batch_size kv_len")
    b, t = pl.col("batch_size"), pl.col("kv_len")
    found = _finish(
        decode,
        "gqa bench",
        "attention_decode",
        pl.col("kv_dtype") + pl.col("op"),
        flops=4 * b * t * h * d,
        moved=b * (2 * t * kv * d * _cache() + 2 * (h + kv) * d * ACTIVATION),
        rows=h / kv,
    )
    prompts = _decode(rows.filter(pl.col("kind") == "attention_prefill"), "seq_len")
    s = pl.col("seq_len")
    more = _finish(
        prompts,
        "gqa bench",
        "attention_prefill",
        pl.col("op"),
        flops=4 * h * d * s * s / 2,
        moved=s * d * 2 * (h + kv) * ACTIVATION,
        rows=s,
    )
    return pl.concat([found.select(*WORK, *SIZES), more.select(*WORK, *SIZES)])


def _mla_bench(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the latent decode core of the InferSim tables (128 heads, latent 512, rope 64)."""
    rows = raw.filter((pl.col("kind") == "mla_decode") & (pl.col("op") == "mla 128-512-64"))
    rows = _decode(rows, "batch_size kv_len").with_columns(format=_format("kv_dtype"))
    b, t = pl.col("batch_size"), pl.col("kv_len")
    return _finish(
        rows,
        "mla bench",
        "attention_decode",
        pl.col("kv_dtype"),
        flops=2 * 128 * 1088 * t * b,
        moved=b * (t * 576 * _cache() + 128 * (576 + 512) * ACTIVATION),
        rows=pl.lit(128.0),
    )
