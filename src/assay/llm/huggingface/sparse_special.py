"""Mixture-of-experts models of mixed attention: MiMo V2, Step, Inkling, Muse Spark, Trinity, Laguna."""

from __future__ import annotations

from assay.errors import BadInput
from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.dense import WINDOWS
from assay.llm.huggingface.fields import Fields
from assay.llm.huggingface.sparse import assemble


def mimo_v2(fields: Fields) -> Arch:
    """MiMo V2: `hybrid_layer_pattern` 1 = sliding, with its own head counts and sinks; values narrower."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.known("attention_chunk_size", "sliding_window_size")
    pattern = fields.items("hybrid_layer_pattern")
    default = ["full" if i == 0 or (i + 1) % 6 == 0 else "sliding" for i in range(layers)]
    if pattern is not None:
        default = ["sliding" if flag else "full" for flag in pattern[:layers]]
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, default)
    full = blocks.gqa(fields, arch, head_dim=192)
    sliding = blocks.gqa(fields, arch, head_dim=192, prefix="swa_")
    if fields.get("swa_num_key_value_heads") is None:
        sliding["kv_heads"] = 2 * full["kv_heads"]
    value = fields.whole("v_head_dim", default=128)
    full["v_head_dim"] = value
    sliding |= {
        "v_head_dim": fields.whole("swa_v_head_dim", default=value),
        "window": fields.whole("sliding_window", default=128),
    }
    if fields.flag("attention_bias"):
        full["qkv_bias"] = sliding["qkv_bias"] = True
    if fields.flag("add_swa_attention_sink_bias", default=True):
        sliding["sinks"] = True
    if fields.flag("add_full_attention_sink_bias"):
        full["sinks"] = True
    experts = blocks.shared(fields, blocks.moe(fields, topk=8))
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    sparse = blocks.sparse_layers(fields, layers, first=1)
    arch = assemble(arch, {"full": full, "sliding": sliding}, ffn, mixers, sparse)
    return blocks.mtp(fields, arch, "sliding", "dense")


def step3(fields: Fields) -> Arch:
    """Step-3: multi-matrix factorisation attention (low-rank shared query, one KV head)."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    attn = {
        "type": "gqa",
        "heads": fields.whole("num_attention_heads"),
        "kv_heads": fields.whole("num_attention_groups", default=1),
        "head_dim": fields.whole("head_dim", default=256),
        "q_lora": fields.whole("share_q_dim", default=2048),
    }
    experts = blocks.moe(fields, width=("moe_intermediate_size",))
    experts |= {"n_shared": 1, "shared_intermediate": fields.whole("share_expert_dim")}
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    return assemble(arch, {"mfa": attn}, ffn, ["mfa"] * layers, blocks.sparse_layers(fields, layers))


def step35(fields: Fields) -> Arch:
    """Step-3.5 and 3.7: head-wise gate, sliding layers with more query heads, dense sliding MTP modules."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.known(
        "gating", "use_head_wise_attn_gate", "layer_types", "use_moe", "moe_every_n_layer", "use_qk_norm"
    )
    full = blocks.gqa(fields, arch, head_dim=128) | {"qk_norm": "head", "gate": "head"}
    other = fields.inner("attention_other_setting")
    heads = other.whole("num_attention_heads", default=full["heads"])
    heads = fields.whole("num_sliding_attention_heads", default=heads)
    kv = other.whole("num_attention_groups", default=full["kv_heads"])
    size = fields.maybe("sliding_window")
    sliding = full | {"heads": heads, "kv_heads": kv} | ({"window": size} if size else {})
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, ["full"] * layers)
    experts = blocks.moe(fields)
    experts |= {
        "n_shared": 1,
        "shared_intermediate": fields.whole("share_expert_dim", "share_expert_dims", default=1280),
    }
    fields.known(*blocks.SHARED)
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    arch = assemble(
        arch, {"full": full, "sliding": sliding}, ffn, mixers, blocks.sparse_layers(fields, layers, first=3)
    )
    return blocks.mtp(fields, arch, "sliding" if "sliding" in arch["attn"] else "full", "dense")


def inkling(fields: Fields) -> Arch:
    """Inkling: relative position bias, short convolutions, 8 global or 16 sliding KV heads, shared sinks."""
    arch, full, sliding, mixers = _inkling(fields)
    full["qk_norm"] = sliding["qk_norm"] = "head"
    width = "moe_intermediate_size"
    dense = ("intermediate_size",)
    if fields.has("dense_intermediate_size"):
        width, dense = "intermediate_size", ("dense_intermediate_size",)
    experts = blocks.shared(fields, blocks.moe(fields, width=(width,), topk=6), default=2)
    if fields.flag("shared_expert_sink", default=True):
        experts |= {"router_extra": experts.get("n_shared", 0), "small_extra": 1}
    first = fields.whole("dense_mlp_idx", default=0, zero=True)
    sparse = blocks.sparse_layers(fields, arch["num_layers"], first=first)
    ffn = {"moe": experts} | ({} if all(sparse) else {"dense": blocks.dense(fields, *dense)})
    return assemble(arch, {"full": full, "sliding": sliding}, ffn, mixers, sparse)


def inkling2(fields: Fields) -> Arch:
    """Inkling 2: adds output gate, projected sinks, scaled norms on q and positions, dynamic convolutions."""
    arch, full, sliding, mixers = _inkling(fields)
    kernel = full.pop("kv_sconv")
    full["kv_sconv_dyn"] = kernel
    for block in (full, sliding):
        scales = block["heads"] * (block["head_dim"] + block["rel"]["d_rel"])
        block |= {"gate": "elementwise", "sink_proj": True, "small_extra": scales}
    fields.known("n_layers_per_attn_res_block", "intermediate_size")
    experts = blocks.shared(fields, blocks.moe(fields, topk=8))
    return assemble(
        arch, {"full": full, "sliding": sliding}, {"moe": experts}, mixers, [True] * arch["num_layers"]
    )


def _inkling(fields: Fields) -> tuple[Arch, Arch, Arch, list[str]]:
    """Return skeleton, global and sliding attention, and the mixer of every layer."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    local = fields.items("local_layer_ids")
    default = blocks.every(layers, 6, "sliding", "full")
    if local is not None:
        default = ["sliding" if i in local else "full" for i in range(layers)]
    words = {"hybrid_sliding": "sliding", "hybrid": "full"} | WINDOWS
    mixers = blocks.layer_kinds(fields, layers, words, default)
    size = fields.whole("sliding_window", "sliding_window_size", default=512)
    kernel = fields.whole("conv_kernel_size", default=4)
    rank, extent = fields.whole("d_rel", default=16), fields.whole("rel_extent", default=1024)
    full = blocks.gqa(fields, arch, head_dim=128)
    full |= {"rel": {"d_rel": rank, "extent": extent}, "kv_sconv": kernel}
    sliding = blocks.gqa(fields, arch, head_dim=128, prefix="swa_")
    sliding |= {"rel": {"d_rel": rank, "extent": min(size, extent)}, "kv_sconv": kernel, "window": size}
    # two short convolutions on the residual width a layer, and the norm of the embedding
    arch["extra_params"] = (2 * kernel * layers + 1) * arch["hidden"]
    return arch, full, sliding, mixers


def muse_spark(fields: Fields) -> Arch:
    """Muse Spark: latent experts, elementwise output gate, gated residuals, every fourth layer global."""
    fields.known("layer_rope_theta", "out_hidden_size", "projector_hidden_size", "residual_gate_temperature")
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    default = ["full" if (layers - 1 - i) % 4 == 0 else "sliding" for i in range(layers)]
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, default)
    full = blocks.gqa(fields, arch, head_dim=64) | {"gate": "elementwise"}
    attn = {"full": full, "sliding": full | {"window": fields.whole("sliding_window", default=2048)}}
    latent = fields.whole("moe_hidden_size", default=4096)
    experts = blocks.moe(fields, topk=8) | {"latent": latent, "latent_norms": 2}
    sparse = blocks.sparse_layers(fields, layers)
    ffn = {"moe": experts} | ({} if all(sparse) else {"dense": blocks.dense(fields)})
    # three learned norms and two residual gates
    return assemble(arch, attn, ffn, mixers, sparse) | {"norms_per_layer": 5}


def afmoe(fields: Fields) -> Arch:
    """Trinity: elementwise output gate, norms on q and k, four norms a layer, every fourth layer global."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    period = fields.whole("global_attn_every_n_layers", default=4)
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, blocks.every(layers, period, "sliding", "full"))
    full = blocks.gqa(fields, arch, head_dim=128) | {"qk_norm": "head", "gate": "elementwise"}
    attn = {"full": full, "sliding": full | {"window": fields.whole("sliding_window", default=1024)}}
    experts = blocks.shared(fields, blocks.moe(fields, topk=6), default=2) | {"router_bias": True}
    sparse = blocks.sparse_layers(fields, layers, first=1)
    ffn = {"moe": experts} | ({} if all(sparse) else {"dense": blocks.dense(fields)})
    return assemble(arch, attn, ffn, mixers, sparse) | {"norms_per_layer": 4}


def laguna(fields: Fields) -> Arch:
    """Laguna: head-wise or elementwise gate, norms on q and k, query heads that differ by layer."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    kinds = blocks.layer_kinds(fields, layers, WINDOWS, ["full"] * layers)
    gate = fields.get("gating")
    gate = "elementwise" if gate in ("elementwise", "per_element") else None if gate is False else "head"
    base = blocks.gqa(fields, arch, head_dim=128) | {"qk_norm": "head"} | ({"gate": gate} if gate else {})
    heads = fields.items("num_attention_heads_per_layer") or [base["heads"]] * layers
    if len(heads) < layers:
        raise BadInput(
            f"{fields.where}: num_attention_heads_per_layer has {len(heads)} entries for {layers} layers."
        )
    size = fields.whole("sliding_window", default=512)
    mixers = [f"{kind}{count}" for kind, count in zip(kinds, heads[:layers], strict=True)]
    attn = {
        f"{kind}{count}": base | {"heads": count} | ({"window": size} if kind == "sliding" else {})
        for kind, count in zip(kinds, heads[:layers], strict=True)
    }
    experts = blocks.moe(fields, topk=8) | {"router_bias": True}
    experts |= {
        "n_shared": 1,
        "shared_intermediate": fields.whole("shared_expert_intermediate_size", default=512),
    }
    sparse = blocks.sparse_layers(fields, layers, first=1)
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    return assemble(arch, attn, ffn, mixers, sparse)
