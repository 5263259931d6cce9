"""The operators of one forward pass: exact counts from the architecture, before sharding.

One `Operator` stands for all identical instances of a kernel in the model (`count` of them). All sizes are
of one instance, unsharded; elements become bytes only when formats are known. Formulas and their
derivations: docs/concepts/operators.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

#: What an operator does; each kind has its own efficiency curve.
KINDS = (
    "gemm",  # dense linear
    "experts",  # grouped GEMM over routed experts
    "attention_decode",  # core of a decode step: reads the cache once per sequence
    "attention_prefill",  # core over a prompt chunk
    "state_decode",  # recurrent update: reads and writes the state of each sequence
    "state_prefill",  # chunked scan over a prompt
    "stream",  # element-wise traffic: norms, residual streams, top-k selection
    "gather",  # random row reads: embeddings, n-gram tables
    "exchange",  # a point where ranks must exchange activations; sharding turns it into collectives
)


@dataclass(frozen=True, slots=True)
class Operator:
    """One kind of kernel in the forward pass.

    A *row* is a token passing through the operator. Rows of one step are
    `decode_rows * decode tokens + prefill_rows * prompt tokens + prompt_rows * prompts finished`.

    Attributes:
        name: dotted name, block first: `mla.q_b`, `moe.experts`, `gqa.core.decode`, `head`.
        kind: one of `KINDS`.
        group: weight group that a format is chosen for: attention, dense, experts, shared, router,
            index, head, embedding, norm, memory.
        count: instances in one forward pass of the whole model (layers that share it are merged).
        weights: weight elements of one instance (all experts together for `experts`).
        flops: FLOPs per row, independent of context (for `experts`: over the row's top-k experts).
        pair_flops: FLOPs per (row, visible position).
        prefix_flops: FLOPs per position of an already cached prefix, once per prompt chunk (MLA
            re-expansion).
        cap, stride: visible positions of a row at context T are min(T / stride, cap).
        inner, outer: GEMM dims K and N of one instance (of one expert for `experts`).
        row_in, row_out: activation elements read and written per row. For `exchange`: row_out is the
            width exchanged per row (d, or the latent width).
        stream_bytes: format-independent bytes moved per row (fp32 state, logits, tables).
        cache_bytes: bytes read per (sequence, visible position) in decode, by KV format.
        state_bytes: bytes read and written per sequence and step, by KV format.
        split: how it shards: `heads` (weights, FLOPs over query heads), `kv_heads` (over KV heads,
            replicated beyond), `columns`, `rows` (any TP degree), `experts` (EP and TP),
            `vocab` (TP), or `none` (replicated).
        heads, kv_heads: head counts that bound the split; 0 = not bounded. The cache of one latent
            head (MLA) has kv_heads=1: replicated under TP.
        experts, topk: routed experts, and mean real experts a row visits.
        launches: kernels started per instance.
        decode_rows, prefill_rows, prompt_rows: see above.
        compute: number format the maths runs in when it does not follow the weights (`bf16` for
            attention cores; "" = follows the weight format of `group`).
    """

    name: str
    kind: str
    group: str
    count: float = 1.0
    weights: float = 0.0
    flops: float = 0.0
    pair_flops: float = 0.0
    prefix_flops: float = 0.0
    cap: float = inf
    stride: float = 1.0
    inner: float = 0.0
    outer: float = 0.0
    row_in: float = 0.0
    row_out: float = 0.0
    stream_bytes: float = 0.0
    cache_bytes: Mapping[str, float] = field(default_factory=dict)
    state_bytes: Mapping[str, float] = field(default_factory=dict)
    split: str = "none"
    heads: int = 0
    kv_heads: int = 0
    experts: int = 0
    topk: float = 0.0
    launches: float = 1.0
    decode_rows: float = 1.0
    prefill_rows: float = 1.0
    prompt_rows: float = 0.0
    compute: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """Memory that `count` identical layers keep for every sequence.

    Attributes:
        name: `mla.latent`, `gqa.kv`, `dsa.index`, `gdn.state` ...
        count: layers that own one.
        position_bytes: bytes per stored position, by KV format (`bf16`, `fp8`).
        stride: positions of context per stored position (4 = compressed 4:1).
        window: positions kept at most (a ring), inf = grows with the context.
        state_bytes: fixed bytes per sequence (recurrent state, convolution tail), by KV format.
        kv_heads: heads that TP can divide it by; 1 = replicated on every TP rank.
    """

    name: str
    count: float
    position_bytes: Mapping[str, float] = field(default_factory=dict)
    stride: float = 1.0
    window: float = inf
    state_bytes: Mapping[str, float] = field(default_factory=dict)
    kv_heads: int = 1
