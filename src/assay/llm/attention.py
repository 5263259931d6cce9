"""Grouped-query attention and its variants: window, sinks, gates, biases, block-sparse and QSA indexes.

Reference: docs/concepts/operators.md, "Grouped-query attention" and "Block-sparse attention".
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from assay.llm.blocks import Gqa
from assay.llm.linear import cores, elements, linear, stream
from assay.llm.operators import Cache, Operator

#: Bytes of logits that top-k selection writes and reads for every scored position (one fp32 each way).
LOGITS = 8.0


def operators(block: Gqa, hidden: int) -> tuple[Operator, ...]:
    """Return the operators of one GQA layer.

    Parameters: `d*H*dh + d*KV*(dh+dv) + H*dv*d`, plus biases, norms, gates and sinks. Core FLOPs per
    (query, visible position): `2*H*(dh+dv)`; cache bytes per position: `KV*(dh+dv)*b`.

    Args:
        block: shapes of the mixer.
        hidden: width of the residual stream, elements.
    """
    return (*_projections(block, hidden), *_cores(block), *_index(block, hidden), _stream(block))


def _projections(block: Gqa, hidden: int) -> tuple[Operator, ...]:
    h, kv, dh, dv = block.heads, block.kv_heads, block.head_dim, block.value_dim
    query = h * dh + {"elementwise": h * dv, "head": h}.get(block.gate or "", 0)
    query += h if block.sink_proj else 0
    query += h * block.rel.d_rel if block.rel else 0
    keys = kv * dh if block.k_eq_v else kv * (dh + dv)
    keys += 2 * kv * block.kv_sconv_dyn
    found = []
    inner = hidden
    if block.q_lora:
        found.append(linear("gqa.q_a", "attention", hidden, block.q_lora))
        inner = block.q_lora
    found.append(
        linear(
            "gqa.q", "attention", inner, query, bias=h * dh if block.qkv_bias else 0, split="heads", heads=h
        )
    )
    if not block.kv_shared:
        # engines run q, k and v as one GEMM; the key-value part is apart because TP shards it differently
        found.append(
            linear(
                "gqa.kv",
                "attention",
                hidden,
                keys,
                bias=kv * (dh + dv) if block.qkv_bias else 0,
                split="kv_heads",
                heads=h,
                kv_heads=kv,
                row_in=0,
                launches=0,
            )
        )
    out = linear(
        "gqa.out", "attention", h * dv, hidden, bias=hidden if block.o_bias else 0, split="heads", heads=h
    )
    return (*found, out)


def _cores(block: Gqa) -> tuple[Operator, ...]:
    h, kv, dh, dv = block.heads, block.kv_heads, block.head_dim, block.value_dim
    name = "swa" if block.window else "gqa"
    cap = float(block.window or inf)
    if block.block_index:
        name = "msa"
        cap = float(
            (block.block_index.topk_blocks + block.block_index.local_blocks) * block.block_index.block
        )
    elif block.qsa:
        name, cap = "qsa", float(block.qsa.topk)
    return cores(
        f"{name}.core",
        2 * h * (dh + dv),
        elements(kv * (dh + dv)),
        cap=cap,
        split="heads",
        heads=h,
        kv_heads=kv,
        row_in=h * dh + kv * (dh + dv),
        row_out=h * dv,
    )


def _index(block: Gqa, hidden: int) -> tuple[Operator, ...]:
    """Return the index projections and scores of block-sparse attention (MiniMax M3) and QSA."""
    if block.block_index:
        heads, dim, stride = block.block_index.heads, block.block_index.dim, 1.0
        keys, name = 1, "msa.index"
    elif block.qsa:
        heads, dim, stride = block.qsa.heads, block.qsa.dim, float(block.qsa.ratio)
        keys, name = block.qsa.kv_heads, "qsa.index"
    else:
        return ()
    project = linear(f"{name}.qk", "index", hidden, (heads + keys) * dim)
    score = cores(
        f"{name}.score",
        2 * heads * dim,
        {kind: size + LOGITS for kind, size in elements(keys * dim).items()},
        row_in=(heads + keys) * dim,
        compute="fp8",
        heads=heads // keys,
    )
    return project, *(replace(part, stride=stride) for part in score)


def _stream(block: Gqa) -> Operator:
    """Return the head-wise pass: QK-norm, rotary, gate, convolution, cache write, with all small vectors."""
    h, kv, dh, dv = block.heads, block.kv_heads, block.head_dim, block.value_dim
    small = {"head": dh if block.kv_shared else 2 * dh, "full": (h + kv) * dh}.get(block.qk_norm or "", 0)
    small += h if block.sinks else 0
    small += block.q_lora or 0
    small += block.small_extra
    if block.rel:
        small += block.rel.d_rel * block.rel.extent
    small += (block.kv_sconv + block.kv_sconv_dyn) * kv * (dh + dv)
    if block.block_index:
        small += 2 * block.block_index.dim
    if block.qsa:
        small += block.qsa.small
    gate = 2 * h * dv if block.gate == "elementwise" else 0
    return stream(
        "gqa.heads",
        h * dh + kv * (dh + dv) + gate,
        h * dh + kv * (dh + dv) + gate / 2,
        weights=small,
        split="rows",
    )


def caches(block: Gqa) -> tuple[Cache, ...]:
    """Return the caches of one GQA layer: `KV*(dh+dv)*b` per position, a ring where there is a window."""
    if block.kv_shared:
        return ()
    kv, window = block.kv_heads, float(block.window or inf)
    name = "swa.kv" if block.window else "gqa.kv"
    size = elements(kv * (block.head_dim + block.value_dim))
    found = [Cache(name, 1, size, window=window, kv_heads=kv)]
    if block.block_index:
        found.append(Cache("msa.index", 1, elements(block.block_index.dim)))
    if block.qsa:
        keys = elements(block.qsa.kv_heads * block.qsa.dim)
        found.append(Cache("qsa.index", 1, keys, stride=float(block.qsa.ratio)))
    return tuple(found)
