"""Multi-head latent attention (MLA) and its sparse form with a lightning indexer (DSA).

Decode absorbs `kv_b` into the query and the output and reads the latent; prefill expands keys and values.
Reference: docs/concepts/operators.md, "MLA" and "DSA".
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

from assay.llm.attention import LOGITS
from assay.llm.blocks import Indexer, Mla
from assay.llm.linear import cores, elements, linear, stream
from assay.llm.operators import Cache, Operator

#: Scale bytes beside an fp8 latent of 512 in the sparse-attention layout: four fp32.
SPARSE_SCALES = 16.0
#: Scale bytes beside an fp8 index key of 128: one fp32.
KEY_SCALE = 4.0


def operators(block: Mla, hidden: int) -> tuple[Operator, ...]:
    """Return the operators of one MLA or DSA layer.

    Parameters: `d*q + q*H*(n+r) + d*(c+r) + c*H*(n+v) + H*v*d + q + c`; without a query latent the first
    two are `d*H*(n+r)`. Core FLOPs per pair: absorbed `2*H*(2c+r)`, expanded `2*H*(n+r+v)`, with
    `2*c*H*(n+v)` per prefix position and chunk to expand a cached prefix again.

    Args:
        block: shapes of the mixer.
        hidden: width of the residual stream, elements.
    """
    h, c, n, r, v = block.heads, block.kv_lora, block.qk_nope, block.qk_rope, block.v_dim
    found = []
    if block.q_lora:
        # engines fuse both down-projections into one GEMM; neither is sharded by TP
        found.append(linear("mla.down", "attention", hidden, block.q_lora + c + r))
        found.append(linear("mla.q_b", "attention", block.q_lora, h * (n + r), split="heads", heads=h))
    else:
        found.append(linear("mla.q", "attention", hidden, h * (n + r), split="heads", heads=h))
        found.append(linear("mla.down", "attention", hidden, c + r))
    found.append(linear("mla.kv_b", "attention", c, h * (n + v), split="heads", heads=h))
    if block.gate:
        width = h * v if block.gate == "elementwise" else h
        found.append(linear("mla.gate", "attention", hidden, width, split="heads", heads=h))
    out = linear("mla.out", "attention", h * v, hidden, split="heads", heads=h)
    index = _index(block, block.indexer, hidden) if block.indexer and block.indexer.owns else ()
    return (*found, *_cores(block), *index, out, _stream(block))


def _cores(block: Mla) -> tuple[Operator, ...]:
    h, c, n, r, v = block.heads, block.kv_lora, block.qk_nope, block.qk_rope, block.v_dim
    absorbed = 2 * h * (2 * c + r)
    expanded = 2 * h * (n + r + v)
    name = "dsa" if block.indexer else "mla.window" if block.window else "mla"
    decode, prefill = cores(
        f"{name}.core",
        absorbed,
        latent_bytes(block),
        prefill_pair_flops=absorbed if block.indexer else expanded,
        prefix_flops=0 if block.indexer or block.window else 2 * c * h * (n + v),
        cap=float(block.indexer.topk if block.indexer else block.window or inf),
        split="heads",
        heads=h,
        kv_heads=1,
        row_in=h * (c + r) + c + r,
        row_out=h * c,
    )
    if not block.indexer:
        prefill = replace(prefill, row_in=float(h * (2 * n + 2 * r + v)), row_out=float(h * v))
    return decode, prefill


def _index(block: Mla, index: Indexer, hidden: int) -> tuple[Operator, ...]:
    """Return the indexer: query and key projections, then scores over every position.

    Parameters `q*nI*dI + d*dI + d*nI + 2*dI` (queries from the hidden state: `d*nI*dI`); with keys pooled
    by P also `d*dI + P*dI`. Score FLOPs `2*nI*dI` per (query, position / P). Not sharded by TP.
    """
    n, dim = index.heads, index.dim
    inner = hidden if index.q_from_hidden else block.q_lora or hidden
    pool = block.index_kpool
    keys = linear("dsa.index.k", "index", hidden, dim + n + (dim if pool else 0))
    size = elements(dim)
    size["fp8"] += KEY_SCALE
    score = cores(
        "dsa.index.score",
        2 * n * dim,
        {kind: value + LOGITS for kind, value in size.items()},
        row_in=n * dim + dim,
        compute="fp8",
        heads=n,
    )
    queries = linear("dsa.index.q", "index", inner, n * dim)
    return queries, keys, *(replace(part, stride=float(max(pool, 1))) for part in score)


def _stream(block: Mla) -> Operator:
    """Return the latent norms, rotary, gate and cache write, with all small vectors of the layer."""
    small = (block.q_lora or 0) + block.kv_lora + block.small_extra + (block.heads if block.sinks else 0)
    index = block.indexer
    if index and index.owns:
        small += 2 * index.dim + index.small_extra + block.index_kpool * index.dim
    latents = (block.q_lora or 0) + block.kv_lora + block.qk_rope
    gate = block.heads * block.v_dim if block.gate == "elementwise" else 0
    return stream("mla.latents", latents + 2 * gate, latents + gate, weights=small)


def latent_bytes(block: Mla) -> dict[str, float]:
    """Return bytes of one cached latent by KV format.

    `(c+r)*b`; the fp8 layout of sparse attention keeps the rotary part in bf16 and adds scales:
    512 + 16 + 128 = 656 B for c = 512, r = 64.
    """
    size = elements(block.kv_lora + block.qk_rope)
    if block.indexer:
        size["fp8"] = block.kv_lora * (1 + SPARSE_SCALES / 512) + 2 * block.qk_rope
    return size


def caches(block: Mla) -> tuple[Cache, ...]:
    """Return the latent cache, and the index keys of a layer that owns an indexer."""
    name = "mla.window" if block.window else "mla.latent"
    found = [Cache(name, 1, latent_bytes(block), window=float(block.window or inf))]
    if block.indexer and block.indexer.owns:
        keys = elements(block.indexer.dim)
        keys["fp8"] += KEY_SCALE
        found.append(Cache("dsa.index", 1, keys, stride=float(max(block.index_kpool, 1))))
    return tuple(found)
