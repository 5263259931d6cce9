"""Fit latency and rate of collectives to measured message curves, into `calibrations/collectives`.

    python -m assay.calibrate.collectives --kernels kernels.parquet --extended kernels_extended.parquet \
        --out src/assay/catalogue/data/calibrations/collectives.yaml

Rewrites the section `fitted` of the file and leaves `published` (constants with their sources) alone.
Needs polars and scipy; deterministic.

For every generation, operation and rank count the fastest kernel at each size (custom all-reduce inside a
graph, NCCL, DeepEP, NVLink all-to-all) is described by two straight lines, the lower of which counts:
`min(l0 + b w0 / (s0 B), l1 + b w1 / (s1 B))` with b payload bytes, B the link rate and w the bytes on the
wire per payload byte of `assay.timing.collectives.wire`.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares

from assay.calibrate.curves import median_error
from assay.calibrate.kernel_rows import CHIPS
from assay.catalogue.load import catalogue
from assay.timing.collectives import away, wire

Array = NDArray[np.float64]

#: Name in the tables -> operation.
OPERATIONS = {
    "all_reduce": "all_reduce",
    "custom_all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
}
#: Chips joined by a switch and by PCIe; two systems stand for each generation where there are two.
SWITCHED = ("A100", "H100", "H200", "B200", "GB200", "B300", "GB300")
BUSSED = ("L40S", "RTX PRO 6000 Blackwell")
#: Chips whose tables have no expert dispatch: their NCCL all-to-all stands in.
PLAIN = ("A100", *BUSSED)
#: Generations whose switch reduces in the network: their all-reduce may beat a ring.
REDUCING = ("hopper", "blackwell", "blackwell-ultra")
#: Columns of a message table.
NAMES = ["name", "op", "ranks", "payload", "seconds"]
#: Bytes of one activation element by the `moe_dtype` of the tables; results come back in bf16.
ELEMENT = {"bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}
#: Fewest sizes that a pair of lines is fitted to.
FEWEST = 6
#: ln ratio at which the loss turns from squares to absolute values.
HUBER = 0.2


def messages(paths: list[Path]) -> pl.DataFrame:
    """Return the fastest time of every chip, operation, rank count and payload.

    Columns: name (chip in the tables), op, ranks, payload (B per rank, in the convention of
    `assay.timing.collectives`), seconds.
    """
    columns = ["kind", "op", "accelerator", "dtype", "shape", "notes"]
    frames = []
    for path in paths:
        raw = pl.read_parquet(path)
        frames.append(
            raw.select(
                *(pl.col(name).cast(pl.String) for name in columns),
                ranks=pl.col("n_accelerators").cast(pl.Float64, strict=False),
                seconds=pl.col("latency_us").cast(pl.Float64) * 1e-6,
            )
        )
    raw = pl.concat(frames).filter(pl.col("seconds") > 0).with_columns(pl.col("notes").fill_null(""))
    found = pl.concat([_collectives(raw), _deepep(raw), _alltoall(raw)])
    keys = ["name", "op", "ranks", "payload"]
    return found.group_by(keys).agg(pl.col("seconds").min()).sort(keys)


def _collectives(raw: pl.DataFrame) -> pl.DataFrame:
    rows = raw.filter((pl.col("kind") == "collective") & ~pl.col("notes").str.contains("eager"))
    size = pl.col("shape").str.json_decode(pl.Struct({"bytes": pl.Float64})).struct.field("bytes")
    rows = rows.with_columns(payload=size)
    named = rows.filter(pl.col("op").is_in(list(OPERATIONS))).with_columns(
        pl.col("op").replace_strict(OPERATIONS)
    )
    # without expert kernels of its own, a chip exchanges rows with the plain all-to-all
    plain = rows.filter((pl.col("op") == "alltoall") & pl.col("accelerator").is_in(PLAIN))
    plain = plain.with_columns(payload=pl.col("payload") * (1.0 - 1.0 / pl.col("ranks")))
    plain = pl.concat([plain.with_columns(op=pl.lit(name)) for name in ("dispatch", "combine")])
    columns = ["ranks", "payload", "seconds"]
    return pl.concat([part.select("op", *columns, name="accelerator") for part in (named, plain)]).select(
        *NAMES
    )


def _deepep(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the DeepEP kernels of one node: fp8 out, bf16 back, top-k copies of each token."""
    rows = raw.filter(
        pl.col("kind").is_in(["ep_dispatch", "ep_combine"]) & pl.col("op").str.starts_with("DeepEP ")
    )
    fields = dict.fromkeys(("nodes", "tokens", "hidden", "topk"), pl.Float64)
    rows = rows.with_columns(pl.col("shape").str.json_decode(pl.Struct(fields)).alias("_")).unnest("_")
    rows = rows.drop_nulls(list(fields)).filter(pl.col("nodes") == 1)
    combine = pl.col("kind") == "ep_combine"
    element = pl.when(combine).then(ELEMENT["bfloat16"]).otherwise(ELEMENT["fp8"])
    return _exchanged(rows, combine, pl.col("tokens"), pl.col("hidden"), element)


def _alltoall(raw: pl.DataFrame) -> pl.DataFrame:
    """Return the NVLink all-to-all kernels: one-sided dispatch, and either combine (bf16 results)."""
    rows = raw.filter(pl.col("kind").is_in(["ep_alltoall_dispatch", "ep_alltoall_combine"]))
    one_sided = pl.col("notes").str.contains("OneSided") | (pl.col("kind") == "ep_alltoall_combine")
    rows = rows.filter(one_sided)
    names = {"moe_ep_size": "ranks", "hidden_size": "hidden", "num_tokens": "tokens", "topk": "topk"}
    fields = dict.fromkeys(names, pl.Float64) | {"moe_dtype": pl.String, "distribution": pl.String}
    rows = rows.drop("ranks").with_columns(pl.col("shape").str.json_decode(pl.Struct(fields)).alias("_"))
    rows = rows.unnest("_").rename(names).filter(pl.col("distribution") == "balanced")
    combine = pl.col("kind").str.ends_with("combine")
    element = pl.when(combine).then(2.0).otherwise(pl.col("moe_dtype").replace_strict(ELEMENT))
    return _exchanged(rows, combine, pl.col("tokens"), pl.col("hidden"), element)


def _exchanged(
    rows: pl.DataFrame, combine: pl.Expr, tokens: pl.Expr, hidden: pl.Expr, element: pl.Expr
) -> pl.DataFrame:
    copies = pl.Series(away(rows["ranks"].to_numpy(), rows["topk"].to_numpy()))
    return (
        rows.with_columns(copies=copies)
        .select(
            name="accelerator",
            op=pl.when(combine).then(pl.lit("combine")).otherwise(pl.lit("dispatch")),
            ranks="ranks",
            payload=(tokens * hidden * element * pl.col("copies")).round(0),
            seconds="seconds",
        )
        .select(*NAMES)
    )


def lines(payload: Array, seconds: Array, cost: Array, ceiling: float) -> tuple[Array, float]:
    """Return `[l0, l1, s0, s1]` of the lower of two lines through a message curve, and the median error.

    Args:
        payload: bytes, ascending.
        seconds: measured time.
        cost: (2,) s per payload byte at the full link rate, by protocol.
        ceiling: greatest share of the link rate of the second protocol.
    """

    def predict(theta: Array) -> Array:
        values = np.exp(theta)
        first = values[0] + payload * cost[0] / values[2]
        second = values[0] + values[1] + payload * cost[1] / values[3]
        return np.asarray(np.minimum(first, second))

    def residual(theta: Array) -> Array:
        return np.asarray(np.log(predict(theta) / seconds))

    low = np.log([1e-6, 1e-7, 0.01, 0.02])
    high = np.log([1e-4, 2e-3, 1.0, ceiling])
    least = float(seconds.min())
    fits = []
    for step in (0.3, 1.0, 3.0, 10.0):
        start = np.clip(np.log([least, step * least, 0.5, 0.6]), low + 1e-6, high - 1e-6)
        fits.append(least_squares(residual, start, bounds=(low, high), loss="soft_l1", f_scale=HUBER))
    best = min(fits, key=lambda fit: float(fit.cost))
    values = np.exp(best.x)
    values[1] += values[0]
    return values, median_error(-residual(best.x))


def fit(paths: list[Path]) -> dict[str, Any]:
    """Return the section `fitted` of the data file: topology -> generation -> operation -> figures."""
    rows = messages(paths)
    library = catalogue()
    found: dict[str, Any] = {}
    for topology, names in (("switch", SWITCHED), ("pcie", BUSSED)):
        chips = {name: library.chip(CHIPS[name]) for name in names}
        for generation in dict.fromkeys(chip.generation for chip in chips.values()):
            members = [name for name, chip in chips.items() if chip.generation == generation]
            link = chips[members[0]].link_bandwidth or 0.0
            entry = {}
            for op in ("all_reduce", "reduce_scatter", "all_gather", "dispatch", "combine"):
                mine = rows.filter(pl.col("name").is_in(members) & (pl.col("op") == op))
                if mine.height >= FEWEST:
                    entry[op] = _operation(mine, op, link, reduces=generation in REDUCING)
            found.setdefault(topology, {})[generation] = entry
    return found


def _operation(rows: pl.DataFrame, op: str, link: float, *, reduces: bool) -> dict[str, Any]:
    ranks, figures, errors, count = [], [], [], 0
    for value in sorted(rows["ranks"].unique().to_list()):
        mine = rows.filter(pl.col("ranks") == value)
        mine = mine.group_by("payload").agg(pl.col("seconds").median()).sort("payload")
        # a point that carries less and takes longer than another belongs to a slower kernel
        later = pl.col("seconds").reverse().cum_min().reverse()
        mine = mine.filter(pl.col("seconds") <= later)
        if mine.height < FEWEST:
            continue
        cost = wire(op, np.array([value]))[:, 0] / link
        ceiling = 2.0 * (value - 1) / value if op == "all_reduce" and reduces else 1.0
        values, error = lines(mine["payload"].to_numpy(), mine["seconds"].to_numpy(), cost, max(ceiling, 0.5))
        ranks.append(int(value))
        figures.append(values)
        errors.append(error)
        count += mine.height
    table = _monotone(np.array(figures).T, wire(op, np.array(ranks, dtype=np.float64)))
    return {
        "ranks": ranks,
        "latency": [[round(float(x), 9) for x in table[row]] for row in (0, 1)],
        "share": [[round(float(x), 4) for x in table[row]] for row in (2, 3)],
        "median_error": round(float(np.median(errors)), 3),
        "n": count,
    }


def _monotone(table: Array, cost: Array) -> Array:
    """Make latency never fall and payload rate never rise with the number of ranks."""
    table = table.copy()
    for row in (0, 1):
        table[row] = np.maximum.accumulate(table[row])
        slowest = np.maximum.accumulate(cost[row] / table[row + 2])
        table[row + 2] = cost[row] / slowest
    return table


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernels", type=Path, required=True)
    parser.add_argument("--extended", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    paths = [options.kernels] + ([options.extended] if options.extended else [])
    content = yaml.safe_load(options.out.read_text(encoding="utf-8"))
    content["provenance"] = {
        "made_by": "python -m assay.calibrate.collectives (section fitted); by hand (section published)",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "sources": [path.name for path in paths],
        "origin": "ai-dynamo/aiconfigurator: NCCL, custom all-reduce in graphs, DeepEP, NVLink all-to-all",
    }
    content["fitted"] = fit(paths)
    text = yaml.dump(content, sort_keys=False, width=110, default_flow_style=None)
    options.out.write_text(
        "# Section `fitted` is written by assay.calibrate.collectives.\n" + text, encoding="utf-8"
    )


if __name__ == "__main__":
    main()
