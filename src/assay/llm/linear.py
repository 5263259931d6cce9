"""Constructors for the operators that every block uses: linears, attention cores, element-wise passes."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from assay.llm.operators import Operator

#: Bytes of one element of a key-value cache, by KV format.
BF16 = 2.0
FP8 = 1.0


def linear(name: str, group: str, inner: float, outer: float, *, bias: float = 0, **more: Any) -> Operator:
    """Return a dense linear of `inner` x `outer`: 2*inner*outer FLOPs per row, weights read once a step."""
    return Operator(
        name=name,
        kind="gemm",
        group=group,
        weights=inner * outer + bias,
        flops=2 * inner * outer,
        inner=inner,
        outer=outer,
        **({"row_in": inner, "row_out": outer} | more),
    )


def cores(
    name: str,
    pair_flops: float,
    cache_bytes: Mapping[str, float],
    *,
    prefill_pair_flops: float | None = None,
    prefix_flops: float = 0,
    cap: float = inf,
    compute: str = "bf16",
    **more: Any,
) -> tuple[Operator, Operator]:
    """Return the decode and the prefill core of one attention.

    Decode reads `cache_bytes` for every visible position of every sequence; prefill reads what its rows
    bring along. `prefix_flops` re-expands a cached prefix once per prompt chunk.
    """
    decode = Operator(
        name=f"{name}.decode",
        kind="attention_decode",
        group="attention",
        pair_flops=pair_flops,
        cache_bytes=dict(cache_bytes),
        cap=cap,
        prefill_rows=0,
        compute=compute,
        **more,
    )
    prefill = Operator(
        name=f"{name}.prefill",
        kind="attention_prefill",
        group="attention",
        pair_flops=pair_flops if prefill_pair_flops is None else prefill_pair_flops,
        prefix_flops=prefix_flops,
        cap=cap,
        decode_rows=0,
        compute=compute,
        **more,
    )
    return decode, prefill


def stream(name: str, row_in: float, row_out: float, *, weights: float = 0, **more: Any) -> Operator:
    """Return an element-wise pass over `row_in` + `row_out` elements per row; `weights` are its vectors."""
    return Operator(
        name=name, kind="stream", group="norm", weights=weights, row_in=row_in, row_out=row_out, **more
    )


def elements(count: float) -> dict[str, float]:
    """Return the bytes of `count` cache elements by KV format."""
    return {"bf16": BF16 * count, "fp8": FP8 * count}


def fixed(size: float) -> dict[str, float]:
    """Return `size` bytes for every KV format: state that the KV format does not touch."""
    return {"bf16": size, "fp8": size}
