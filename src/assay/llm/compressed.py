"""DeepSeek V4 attention: a raw window, compressed entries (CSA, HCA) and entries shared over layers (CSA2).

One key-value head of width D serves as key and value. Reference: docs/concepts/operators.md,
"Compressed attention".
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from assay.llm.attention import LOGITS
from assay.llm.blocks import V4, Indexer
from assay.llm.linear import cores, elements, linear, stream
from assay.llm.operators import Cache, Operator

#: Operators that write what later layers read; computed for every prompt row even where layers skip rows.
SHARED_ENTRIES = frozenset({"v4.compress", "v4.index.k"})


def operators(block: V4, hidden: int) -> tuple[Operator, ...]:
    """Return the operators of one V4 attention layer.

    Parameters: `d*q + q*H*D + d*D + H*D*o + g*o*d + q + D + H`, plus the compressor and the indexer of the
    layer. Core FLOPs per query: `4*H*D` times window, plus selected or compressed entries.

    Args:
        block: shapes of the mixer.
        hidden: width of the residual stream, elements.
    """
    h, dim, q, g, o = block.heads, block.head_dim, block.q_lora, block.o_groups, block.o_lora
    grouped = linear("v4.out_a", "attention", h * dim / g, o, split="heads", heads=g)
    return (
        linear("v4.down", "attention", hidden, q + dim),
        linear("v4.q_b", "attention", q, h * dim, split="heads", heads=h),
        *_compressor(block, hidden),
        *_index(block, hidden),
        *_cores(block),
        replace(
            grouped, weights=h * dim * o, flops=2.0 * h * dim * o, row_in=float(h * dim), row_out=float(g * o)
        ),
        linear("v4.out_b", "attention", g * o, hidden, split="heads", heads=g),
        _stream(block),
    )


def _compressor(block: V4, hidden: int) -> tuple[Operator, ...]:
    """Return the projection of compressed entries.

    CSA projects two overlapping series of entries and gates (d x 4D), HCA one (d x 2D); CSA2 owners one
    entry (d x D), with a gate where the ratio is above 1.
    """
    width = {
        "swa": 0,
        "csa": 4,
        "hca": 2,
        "csa2": (2 if block.ratio > 1 else 1) if block.owns_kv else 0,
    }[block.mode]
    if not width:
        return ()
    return (linear("v4.compress", "attention", hidden, width * block.head_dim),)


def _index(block: V4, hidden: int) -> tuple[Operator, ...]:
    """Return the indexer: keys (compressed like the entries), queries, scores over T / ratio entries."""
    index = block.indexer
    if index is None or not block.owns_index:
        return ()
    n, dim = index.heads, index.dim
    found = []
    if block.mode == "csa":
        found.append(linear("v4.index.k", "index", hidden, 4 * dim))
    elif block.owns_kv:
        found.append(linear("v4.index.k", "index", block.head_dim, dim))
    found.append(linear("v4.index.q", "index", block.q_lora, n * dim))
    found.append(linear("v4.index.weights", "index", hidden, n))
    size = key_bytes(index)
    score = cores(
        "v4.index.score",
        2 * n * dim,
        {kind: value + LOGITS for kind, value in size.items()},
        cap=float(index.candidates or inf),
        row_in=n * dim + dim,
        compute="fp8",
        heads=n,
    )
    return (*found, *(replace(part, stride=float(block.ratio)) for part in score))


def _cores(block: V4) -> tuple[Operator, ...]:
    """Return the window core and the core over compressed entries; engines run both as one kernel."""
    h, dim = block.heads, block.head_dim
    shape: dict[str, Any] = {"split": "heads", "heads": h, "kv_heads": 1}
    window = cores(
        "v4.window",
        4 * h * dim,
        _raw_bytes(block),
        cap=float(block.window),
        row_in=h * dim + dim,
        row_out=h * dim,
        **shape,
    )
    if block.mode == "swa":
        return window
    index = block.indexer
    cap = float(index.topk) if index else inf
    entries = cores(f"v4.{block.mode}", 4 * h * dim, entry_bytes(block), cap=cap, launches=0, **shape)
    return (*window, *(replace(part, stride=float(block.ratio)) for part in entries))


def _stream(block: V4) -> Operator:
    """Return norms, rotary, sinks, pooling and cache write, with all small vectors of the layer."""
    dim, index = block.head_dim, block.indexer
    small = block.q_lora + dim + block.heads
    if block.mode == "csa":
        small += block.ratio * 2 * dim + dim
    elif block.mode == "hca":
        small += block.ratio * dim + dim
    elif block.mode == "csa2" and block.owns_kv:
        small += dim
    if index and block.owns_index:
        if block.mode == "csa":
            small += block.ratio * 2 * index.dim + index.dim
        elif block.owns_kv:
            small += index.dim
    return stream("v4.latents", block.q_lora + dim, block.q_lora + dim, weights=small)


def _raw_bytes(block: V4) -> dict[str, float]:
    """Return bytes of one raw entry: fp8 without the rotary part (bf16), 8 B of scales and padding."""
    plain, rotary = block.head_dim - block.qk_rope, block.qk_rope
    return {"bf16": 2.0 * block.head_dim, "fp8": plain + 2.0 * rotary + 8}


def entry_bytes(block: V4) -> dict[str, float]:
    """Return bytes of one compressed entry: 584 B in fp8 for D = 512; CSA2 packs it to fp4, 288 B."""
    size = _raw_bytes(block)
    if block.mode == "csa2":
        size["fp8"] = block.head_dim / 2 + block.head_dim / 16
    return size


def key_bytes(index: Indexer) -> dict[str, float]:
    """Return bytes of one index key: fp4 with scales (64 + 4 for a key of 128), or bf16."""
    return {"bf16": elements(index.dim)["bf16"], "fp8": index.dim / 2 + index.dim / 32}


def caches(block: V4) -> tuple[Cache, ...]:
    """Return the ring of raw entries, and the compressed entries and index keys that the layer owns."""
    found = [Cache("v4.window", 1, _raw_bytes(block), window=float(block.window))]
    if block.mode == "swa" or not block.owns_kv:
        return tuple(found)
    found.append(Cache(f"v4.{block.mode}", 1, entry_bytes(block), stride=float(block.ratio)))
    if block.indexer and block.owns_index:
        found.append(Cache("v4.index", 1, key_bytes(block.indexer), stride=float(block.ratio)))
    return tuple(found)
