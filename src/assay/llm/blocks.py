"""The parameters of every block form: mixers, feed-forwards, residual streams, memory tables.

Field names are those of the normalised `arch` object of a model's facts. All sizes are in elements of one
layer. `records` turns them into plain data and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Indexer:
    """Lightning indexer of DSA and CSA: `heads` queries of `dim` against one key, top `topk` positions.

    `owns` is False where a layer reuses the selection of another; `q_from_hidden` projects the queries from
    the hidden state instead of the query latent; `candidates` bounds the positions it scores (0 = all).
    """

    heads: int
    dim: int
    topk: int
    owns: bool = True
    q_from_hidden: bool = False
    candidates: int = 0
    small_extra: int = 0


@dataclass(frozen=True, slots=True)
class BlockIndex:
    """Index of block-sparse GQA: `topk_blocks` blocks of `block` positions plus `local_blocks`."""

    heads: int
    dim: int
    block: int
    topk_blocks: int
    local_blocks: int = 0


@dataclass(frozen=True, slots=True)
class Qsa:
    """Index of QSA: keys compressed `ratio`:1, a budget of `topk` positions; `small` = its norms."""

    heads: int
    kv_heads: int
    dim: int
    topk: int
    ratio: int
    small: int = 0


@dataclass(frozen=True, slots=True)
class Relative:
    """Projected relative position bias: `d_rel` features a head over `extent` distances."""

    d_rel: int
    extent: int


@dataclass(frozen=True, slots=True)
class Gqa:
    """Grouped-query attention (MHA if kv_heads = heads, MQA if 1; MFA with `q_lora`).

    `kv_shared` layers read the keys and values of an earlier layer: no projections, no cache of their own.
    """

    type: ClassVar[str] = "gqa"
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int | None = None
    q_lora: int | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: str | None = None
    gate: str | None = None
    sinks: bool = False
    sink_proj: bool = False
    window: int | None = None
    window_kind: str = "sliding"
    k_eq_v: bool = False
    rel: Relative | None = None
    kv_sconv: int = 0
    kv_sconv_dyn: int = 0
    block_index: BlockIndex | None = None
    qsa: Qsa | None = None
    kv_shared: bool = False
    small_extra: int = 0

    @property
    def value_dim(self) -> int:
        """Width of one value head."""
        return self.head_dim if self.v_head_dim is None else self.v_head_dim


@dataclass(frozen=True, slots=True)
class Mla:
    """Multi-head latent attention; with an `indexer` it is DSA (sparse, absorbed in decode and prefill)."""

    type: ClassVar[str] = "mla"
    heads: int
    kv_lora: int
    qk_nope: int
    qk_rope: int
    v_dim: int
    q_lora: int | None = None
    nope: bool = False
    gate: str | None = None
    sinks: bool = False
    window: int | None = None
    indexer: Indexer | None = None
    index_kpool: int = 0
    small_extra: int = 0


@dataclass(frozen=True, slots=True)
class Dsa(Mla):
    """MLA with a lightning indexer."""

    type: ClassVar[str] = "dsa"


@dataclass(frozen=True, slots=True)
class V4:
    """Shared-KV MQA of DeepSeek V4: one head used as key and value, a raw window and compressed entries.

    `mode`: `swa` (window only), `csa` (compressed, indexed), `hca` (heavily compressed, no index) or
    `csa2` (V4.1: entries and selections owned by source layers, reused by the others).
    """

    type: ClassVar[str] = "v4"
    heads: int
    head_dim: int
    q_lora: int
    o_groups: int
    o_lora: int
    window: int
    qk_rope: int
    mode: str
    ratio: int = 1
    owns_kv: bool = True
    owns_index: bool = True
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True)
class Gdn:
    """Gated DeltaNet."""

    type: ClassVar[str] = "gdn"
    k_heads: int
    v_heads: int
    k_dim: int
    v_dim: int
    conv: int


@dataclass(frozen=True, slots=True)
class Kda:
    """Kimi delta attention: per-channel decay; `full_rank_f` / `full_rank_g` replace low-rank gates."""

    type: ClassVar[str] = "kda"
    heads: int
    dim: int
    conv: int
    full_rank_f: bool = False
    full_rank_g: bool = False


@dataclass(frozen=True, slots=True)
class Lightning:
    """Lightning (linear) attention with a fixed decay."""

    type: ClassVar[str] = "lightning"
    heads: int
    dim: int


@dataclass(frozen=True, slots=True)
class Mamba2:
    """Mamba-2 state-space mixer."""

    type: ClassVar[str] = "mamba2"
    heads: int
    dim: int
    groups: int
    state: int
    conv: int
    conv_bias: bool = False


@dataclass(frozen=True, slots=True)
class Dense:
    """Feed-forward: SwiGLU (three matrices) or, `ungated`, two."""

    type: ClassVar[str] = "dense"
    intermediate: int
    ungated: bool = False
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Moe:
    """Mixture of experts. `latent`: width the routed experts work in; `n_zero`: identity experts.

    `avg_real_topk` is the mean number of real experts of a token where identity experts exist;
    `parallel_dense` the width of a dense FFN that always runs beside the experts; `router_extra` further
    outputs of the router; `small_extra` scalars and vectors of the block.
    """

    type: ClassVar[str] = "moe"
    n_routed: int
    topk: int
    intermediate: int
    n_shared: int = 0
    shared_intermediate: int = 0
    shared_gate: bool = False
    latent: int = 0
    latent_norms: int = 0
    n_zero: int = 0
    avg_real_topk: float = 0
    parallel_dense: int = 0
    hash_routing: bool = False
    router_bias: bool = False
    router_extra: int = 0
    ungated: bool = False
    bias: bool = False
    small_extra: int = 0

    @property
    def real_topk(self) -> float:
        """Mean number of experts with weights that a row visits."""
        return self.avg_real_topk or self.topk


@dataclass(frozen=True, slots=True)
class Residual:
    """A residual stream wider than one hidden vector: `mhc`, `mhc_nohead`, `ihc`, `attn_res`, `raw`."""

    kind: str
    mult: int = 1
    block: int = 0
    sinkhorn_iters: int = 0
    lowrank: int = 0
    params: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class MemoryTable:
    """Token-indexed memory (Engram, n-gram or plain PLE): rows are gathered, never multiplied as a whole."""

    kind: str
    layers: tuple[int, ...] | int
    rows: tuple[int, ...] | int
    row_dim: int
    rows_read_per_token: int
    table_params: int
    inferred: str = ""


@dataclass(frozen=True, slots=True)
class Mtp:
    """Multi-token prediction: `count` modules of `block` (mixer, ffn) pairs plus `extra` parameters each."""

    count: int
    block: tuple[tuple[str, str], ...]
    extra: int
    norms: int = 2


Mixer = Gqa | Mla | Dsa | V4 | Gdn | Kda | Lightning | Mamba2
Ffn = Dense | Moe
MIXERS: Mapping[str, type[Mixer]] = {c.type: c for c in (Gqa, Mla, Dsa, V4, Gdn, Kda, Lightning, Mamba2)}
FFNS: Mapping[str, type[Ffn]] = {c.type: c for c in (Dense, Moe)}

#: Words a field may hold.
WORDS: Mapping[str, tuple[str, ...]] = {
    "qk_norm": ("head", "full"),
    "gate": ("elementwise", "head"),
    "window_kind": ("sliding", "chunked"),
    "mode": ("swa", "csa", "hca", "csa2"),
    "kind": ("mhc", "mhc_nohead", "ihc", "attn_res", "raw", "engram", "ple_ngram", "ple"),
}
#: Counts that may be zero.
MAY_BE_ZERO = frozenset(
    {
        *("qk_rope", "n_shared", "shared_intermediate", "latent", "latent_norms", "n_zero", "avg_real_topk"),
        *(
            "parallel_dense",
            "router_extra",
            "small_extra",
            "small",
            "local_blocks",
            "kv_sconv",
            "kv_sconv_dyn",
        ),
        *(
            "index_kpool",
            "block",
            "sinkhorn_iters",
            "lowrank",
            "params",
            "extra",
            "norms",
            "layers",
            "candidates",
        ),
    }
)
