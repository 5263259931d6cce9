"""Models that mix recurrent and attention layers: Qwen 3-Next to 4, Kimi Linear, Nemotron-H, MiniMax 01."""

from __future__ import annotations

from collections.abc import Mapping

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.fields import Fields, runs
from assay.llm.huggingface.latent import indexer, owners, sparse_mla
from assay.llm.huggingface.sparse import assemble, qwen_sparse

LINEAR = {"linear_attention": "linear", "full_attention": "full", "indexed_attention": "full"}


def _qwen(fields: Fields) -> tuple[Arch, Arch, list[str]]:
    """Return skeleton, both mixers, and the mixer of every layer of a gated DeltaNet Qwen."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    period = fields.whole("full_attention_interval", default=4)
    mixers = blocks.layer_kinds(fields, layers, LINEAR, blocks.every(layers, period, "linear", "full"))
    fields.known("attn_output_gate", "use_sliding_window", "sliding_window", "mtp_use_dedicated_embeddings")
    linear = {
        "type": "gdn",
        "k_heads": fields.whole("linear_num_key_heads", default=16),
        "v_heads": fields.whole("linear_num_value_heads", default=32),
        "k_dim": fields.whole("linear_key_head_dim", default=128),
        "v_dim": fields.whole("linear_value_head_dim", default=128),
        "conv": fields.whole("linear_conv_kernel_dim", default=4),
    }
    full = blocks.gqa(fields, arch, head_dim=256) | {"qk_norm": "head", "gate": "elementwise"}
    if fields.flag("attention_bias"):
        full |= {"qkv_bias": True, "o_bias": True}
    return arch, {"linear": linear, "full": full}, mixers


def _qwen_experts(fields: Fields) -> Arch:
    experts = blocks.moe(fields)
    width = fields.maybe("shared_expert_intermediate_size")
    if width:
        experts |= {"n_shared": 1, "shared_intermediate": width, "shared_gate": True}
    return experts


def qwen_next(fields: Fields) -> Arch:
    """Qwen 3-Next and Qwen 3.5 MoE: gated DeltaNet but in every fourth layer; one gated shared expert."""
    arch, attn, mixers = _qwen(fields)
    sparse = qwen_sparse(fields, arch["num_layers"])
    ffn = {"moe": _qwen_experts(fields)} | ({} if all(sparse) else {"dense": blocks.dense(fields)})
    return blocks.mtp(fields, assemble(arch, attn, ffn, mixers, sparse), "full", "moe")


def qwen35(fields: Fields) -> Arch:
    """Qwen 3.5, 3.6, 3.8 dense."""
    arch, attn, mixers = _qwen(fields)
    fields.known("mlp_only_layers")
    arch = assemble(arch, attn, {"dense": blocks.dense(fields)}, mixers, [False] * arch["num_layers"])
    return blocks.mtp(fields, arch, "full", "dense")


def qwen4(fields: Fields) -> Arch:
    """Qwen 4 experimental: QSA in the attention layers, low-rank hyper-connections, n-gram memory."""
    arch, attn, mixers = _qwen(fields)
    d, layers = arch["hidden"], arch["num_layers"]
    heads = fields.maybe("indexer_n_heads")
    if heads:
        dim = fields.whole("indexer_head_dim")
        attn["full"]["qsa"] = {
            "heads": heads,
            "kv_heads": fields.whole("indexer_kv_heads"),
            "dim": dim,
            "topk": fields.whole("indexer_budget"),
            "ratio": fields.whole("indexer_compress_ratio"),
            "small": 2 * dim,
        }
    arch = assemble(arch, attn, {"moe": _qwen_experts(fields)}, mixers, [True] * layers)
    n, rank = fields.whole("hc_count", default=4), fields.whole("hc_lowrank", default=320)
    mixer = n * d + 2 * n * d * rank
    total = (2 * layers + 1) * mixer + 2 * layers * n * n * d
    arch["residual"] = {"kind": "raw", "mult": n, "lowrank": rank, "params": total}
    _ngram(fields, arch, n)
    return blocks.mtp(fields, arch, "full", "moe")


def _ngram(fields: Fields, arch: Arch, streams: int) -> None:
    """Add the n-gram memory: (ngram_size - 1) * heads hash tables, rows of hidden size / heads elements."""
    fields.known("ple_embed_dim")
    listed = fields.items("ple_layer_ids")
    count = 1 if listed is None else len(listed)
    if not count:
        return
    d = arch["hidden"]
    reads = (fields.whole("ngram_size", default=3) - 1) * fields.whole("heads_per_ngram", default=8)
    if not reads:
        raise BadInput(f"{fields.where}: ngram_size must be at least 2.")
    rows = reads * fields.whole("ngram_vocab_size_base", default=20_000_000)
    width = fields.whole("ple_embed_dim", default=d) // reads
    kernel = fields.whole("ple_conv_kernel_size", default=4)
    arch["extra_memory"] = {
        "kind": "ple_ngram",
        "layers": count,
        "rows": rows * count,
        "row_dim": width,
        "rows_read_per_token": reads * count,
        "table_params": rows * width * count,
    }
    arch["extra_params"] = count * (reads * width * (streams + 1) * d + (kernel + 3) * streams * d)


def kimi_linear(fields: Fields) -> Arch:
    """Kimi Linear and K3: KDA, MLA without positions in the listed layers; K3 has latent experts."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    linear = fields.inner("linear_attn_config")
    full = linear.items("full_attn_layers")
    default = ["full" if i and i % 4 == 0 else "linear" for i in range(layers)]
    if full is not None:
        default = ["full" if i + 1 in full else "linear" for i in range(layers)]
    mixers = blocks.layer_kinds(fields, layers, LINEAR, default)
    kda = {
        "type": "kda",
        "heads": linear.whole("num_heads", default=fields.whole("linear_num_heads", default=32)),
        "dim": linear.whole("head_dim", default=fields.whole("linear_head_dim", default=128)),
        "conv": linear.whole(
            "short_conv_kernel_size", default=fields.whole("linear_conv_kernel_dim", default=4)
        ),
    }
    if linear.flag("use_full_rank_gate"):
        kda["full_rank_g"] = True
    mla = blocks.mla(fields, arch, q_lora=None) | {"nope": fields.flag("mla_use_nope", default=True)}
    if fields.flag("mla_use_output_gate"):
        mla["gate"] = "elementwise"
    experts = blocks.shared(fields, blocks.moe(fields, topk=8), default=1)
    latent = fields.maybe("routed_expert_hidden_size")
    if latent:
        experts |= {"latent": latent, "latent_norms": int(fields.flag("latent_moe_use_norm"))}
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    arch = assemble(
        arch, {"linear": kda, "full": mla}, ffn, mixers, blocks.sparse_layers(fields, layers, first=1)
    )
    block = fields.maybe("attn_res_block_size")
    if block:
        arch["residual"] = {"kind": "attn_res", "block": block}
    return blocks.mtp(fields, arch, "full", "moe")


def ling3(fields: Fields) -> Arch:
    """Ling 3: KDA with full-rank gates but in every sixth layer, which is head-gated MLA."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    period = fields.whole("layer_group_size", default=6)
    mixers = blocks.layer_kinds(fields, layers, LINEAR, blocks.every(layers, period, "linear", "full"))
    kda = {
        "type": "kda",
        "heads": fields.whole("num_attention_heads"),
        "dim": fields.whole("head_dim", default=128),
        "conv": fields.whole("short_conv_kernel_size", default=4),
        "full_rank_g": fields.flag("kda_full_rank_g", default=True),
        "full_rank_f": fields.flag("kda_full_rank_f", default=True),
    }
    gate = fields.get("mla_gate")
    mla = blocks.mla(fields, arch, q_lora=None) | {"gate": gate if isinstance(gate, str) else "head"}
    experts = blocks.shared(fields, blocks.moe(fields, topk=8), default=1)
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    fields.known(
        "kda_safe_gate", "kda_lower_bound", "linear_head_dim", "linear_num_heads", "linear_conv_kernel_dim"
    )
    arch = assemble(
        arch, {"linear": kda, "full": mla}, ffn, mixers, blocks.sparse_layers(fields, layers, first=2)
    )
    return blocks.mtp(fields, arch, "full", "moe")


def glm5_next(fields: Fields) -> Arch:
    """GLM-5.3 Flash: KDA but in every fourth layer, sparse MLA with pooled index keys there, mHC."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.default({"qk_rope_head_dim": 0, "qk_nope_head_dim": 256, "v_head_dim": 256})
    linear = fields.inner("linear_attn_config")
    mixers = blocks.layer_kinds(fields, layers, LINEAR, blocks.every(layers, 4, "linear", "full"))
    kda = {
        "type": "kda",
        "heads": linear.whole("num_heads", default=fields.whole("linear_num_heads", default=64)),
        "dim": linear.whole("head_dim", default=fields.whole("linear_head_dim", default=128)),
        "conv": linear.whole(
            "short_conv_kernel_size", default=fields.whole("linear_conv_kernel_dim", default=4)
        ),
    }
    block = blocks.mla(fields, arch) | {"index_kpool": fields.whole("index_kpool", default=16)}
    fields.known("index_share_for_mtp_iteration")
    attn = sparse_mla(fields, block, indexer(fields, heads=32)) | {"linear": kda}
    owned = owners(fields, layers)
    mixers = [
        m if m == "linear" else "dsa" if own else "dsa_shared" for m, own in zip(mixers, owned, strict=True)
    ]
    experts = blocks.shared(fields, blocks.moe(fields, topk=8), default=1)
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    arch = assemble(arch, attn, ffn, mixers, blocks.sparse_layers(fields, layers, first=3))
    arch["residual"] = {"kind": "mhc_nohead", "mult": fields.whole("hc_mult", default=4)}
    return blocks.mtp(fields, arch, "dsa" if "dsa" in arch["attn"] else "linear", "moe")


def minimax01(fields: Fields) -> Arch:
    """MiniMax Text-01 and M1: lightning attention but in every eighth layer; experts in all layers."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    listed = fields.items("attn_type_list")
    default = blocks.every(layers, 2, "full", "linear")
    if listed is not None:
        if len(listed) < layers:
            raise BadInput(f"{fields.where}: attn_type_list has {len(listed)} entries for {layers} layers.")
        default = ["full" if kind else "linear" for kind in listed[:layers]]
    mixers = blocks.layer_kinds(fields, layers, LINEAR, default)
    fields.known("shared_intermediate_size", "block_size", "sliding_window")
    full = blocks.gqa(fields, arch)
    linear = {"type": "lightning", "heads": full["heads"], "dim": full["head_dim"]}
    experts = blocks.moe(fields, width=("intermediate_size",), topk=2)
    return assemble(arch, {"full": full, "linear": linear}, {"moe": experts}, mixers, [True] * layers)


#: Marks of a Nemotron-H layer pattern, and the words of its list form.
PATTERN: Mapping[str, str] = {
    "M": "mamba",
    "*": "attention",
    "-": "mlp",
    "E": "moe",
    "mamba": "mamba",
    "linear_attention": "mamba",
    "attention": "attention",
    "full_attention": "attention",
    "mlp": "mlp",
    "moe": "moe",
}


def nemotron_h(fields: Fields) -> Arch:
    """Nemotron-H and Nemotron 3: single-mixer layers of Mamba-2, attention, MLP or latent experts."""
    kinds = _pattern(fields, "layers_block_type", "layer_types", "hybrid_override_pattern")
    if kinds is None:
        raise BadInput(f"{fields.where} lacks 'hybrid_override_pattern' or 'layers_block_type'.")
    fields.default({"num_hidden_layers": len(kinds), "num_key_value_heads": 8})
    arch = blocks.skeleton(fields)
    kinds = kinds[: arch["num_layers"]]
    arch["num_layers"] = len(kinds)
    for name in ("attention_bias", "mlp_bias", "use_bias", "mamba_proj_bias"):
        if fields.flag(name):
            raise UnknownArchitecture(
                f"{fields.where}: {name} is true, which assay does not count for Nemotron-H."
            )
    attn: Arch = {
        "mamba": {
            "type": "mamba2",
            "heads": fields.whole("mamba_num_heads", default=128),
            "dim": fields.whole("mamba_head_dim", default=64),
            "groups": fields.whole("n_groups", "mamba_n_groups", default=8),
            "state": fields.whole("ssm_state_size", default=128),
            "conv": fields.whole("conv_kernel", "mamba_d_conv", default=4),
            "conv_bias": fields.flag("use_conv_bias", "mamba_conv_bias", default=True),
        },
        "attention": blocks.gqa(fields, arch, head_dim=128),
    }
    ffn: Arch = {}
    module = _mtp_pattern(fields)
    if "mlp" in kinds:
        ffn["mlp"] = blocks.dense(fields) | {"ungated": True}
    if "moe" in kinds + module:
        ffn["moe"] = _nemotron_experts(fields)
    fields.known(*blocks.ROUTED, *blocks.TOPK, *blocks.SHARED, "moe_intermediate_size", "intermediate_size")
    fields.known("moe_shared_expert_intermediate_size", "time_step_rank", "sliding_window")
    arch["attn"] = {name: block for name, block in attn.items() if name in kinds}
    arch["ffn"] = ffn
    arch["schedule"] = runs(*_sides(kinds))
    arch["one_norm_per_block"] = True
    arch = blocks.mtp(fields, arch, "attention", "moe")
    if "mtp" in arch:
        arch["mtp"] |= {"block": [list(pair) for pair in zip(*_sides(module), strict=True)], "norms": 1}
    return arch


def _sides(kinds: list[str]) -> tuple[list[str], list[str]]:
    """Return mixer and feed-forward of single-mixer layers, `none` for the absent one."""
    mixers = [kind if kind in ("mamba", "attention") else "none" for kind in kinds]
    return mixers, [kind if kind in ("mlp", "moe") else "none" for kind in kinds]


def _mtp_pattern(fields: Fields) -> list[str]:
    module = _pattern(fields, "mtp_layers_block_type", "mtp_hybrid_override_pattern")
    return (
        module
        if module and fields.maybe(*blocks.MTP)
        else ["attention", "moe"]
        if fields.maybe(*blocks.MTP)
        else []
    )


def _nemotron_experts(fields: Fields) -> Arch:
    experts = blocks.moe(fields, topk=2) | {"ungated": True}
    width = fields.maybe("moe_shared_expert_intermediate_size")
    if fields.whole(*blocks.SHARED, default=1, zero=True) and width:
        experts |= {"n_shared": 1, "shared_intermediate": width}
    latent = fields.maybe("moe_latent_size")
    return experts | ({"latent": latent} if latent else {})


def _pattern(fields: Fields, *names: str) -> list[str] | None:
    """Return the layer kinds of the first pattern present, written as marks or as a list of words."""
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        marks = list(value) if isinstance(value, str | list) else None
        unknown = [mark for mark in marks or [value] if not isinstance(mark, str) or mark not in PATTERN]
        if marks is None or unknown:
            raise UnknownArchitecture(
                f"{fields.where}: {name} has {unknown[0]!r}.", f"Known: {' '.join(PATTERN)}."
            )
        return [PATTERN[mark] for mark in marks]
    return None
