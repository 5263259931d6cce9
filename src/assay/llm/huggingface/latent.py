"""Models with multi-head latent attention: DeepSeek V2 to V3.2, Kimi K2, GLM 5, Mistral, LongCat, Hy4."""

from __future__ import annotations

from typing import Any

from assay.errors import BadInput
from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.fields import Fields, runs
from assay.llm.huggingface.sparse import assemble


def _model(fields: Fields, attn: Arch, arch: Arch, mixers: list[str], *, first: int, n_shared: int) -> Arch:
    """Return a model of latent attention layers with leading dense feed-forwards."""
    layers = arch["num_layers"]
    if fields.get(*blocks.ROUTED) is None:
        fields.known(
            *blocks.TOPK, *blocks.SHARED, "moe_intermediate_size", "moe_layer_freq", "first_k_dense_replace"
        )
        return assemble(arch, attn, {"dense": blocks.dense(fields)}, mixers, [False] * layers)
    experts = blocks.shared(
        fields,
        blocks.moe(fields, topk=8),
        default=n_shared,
        width=("moe_shared_expert_intermediate_size", "shared_experts_intermediate_size"),
    )
    sparse = blocks.sparse_layers(fields, layers, first=first)
    ffn: Arch = {"moe": experts}
    if not all(sparse):
        ffn["dense"] = blocks.dense(fields)
    else:
        fields.known("intermediate_size")
    return assemble(arch, attn, ffn, mixers, sparse)


def deepseek(fields: Fields, *, first: int = 3, n_shared: int = 1, q_lora: int | None = 1536) -> Arch:
    """DeepSeek V3, R1, V3.1, Kimi K2, Mistral Large 3: MLA and shared experts, MoE modules for MTP."""
    arch = blocks.skeleton(fields)
    attn = {"mla": blocks.mla(fields, arch, q_lora=q_lora)}
    arch = _model(fields, attn, arch, ["mla"] * arch["num_layers"], first=first, n_shared=n_shared)
    return blocks.mtp(fields, arch, "mla", "moe" if "moe" in arch["ffn"] else "dense")


def deepseek_v2(fields: Fields) -> Arch:
    """DeepSeek V2 and V2 Lite; a filtered configuration without q_lora_rank means none."""
    return deepseek(fields, first=0, n_shared=2, q_lora=None)


def glm4_lite(fields: Fields) -> Arch:
    """GLM-4.7 Flash."""
    return deepseek(fields, first=1, q_lora=768)


def mistral4(fields: Fields) -> Arch:
    """Mistral Small 4: no dense layer."""
    return deepseek(fields, first=0, q_lora=1024)


def axk1(fields: Fields) -> Arch:
    """A.X-K1: DeepSeek V3 blocks with a norm after the mixture."""
    arch = deepseek(fields, first=1)
    for block in arch["ffn"].values():
        if block["type"] == "moe":
            block["small_extra"] = arch["hidden"]
    arch.pop("mtp", None)
    return arch


def indexer(fields: Fields, *, heads: int, owns: bool = True) -> Arch:
    """Return the lightning indexer."""
    return {
        "heads": fields.whole("index_n_heads", default=heads),
        "dim": fields.whole("index_head_dim", default=128),
        "topk": fields.whole("index_topk", default=2048),
        "owns": owns,
    }


def owners(fields: Fields, layers: int, default: list[bool] | None = None) -> list[bool]:
    """Return which layers own an indexer: `indexer_types`, a pattern `FSSF`, or a frequency and an offset."""
    kinds = fields.items("indexer_types")
    pattern = fields.get("index_topk_pattern")
    step = fields.whole("index_topk_freq", default=1)
    offset = fields.whole("index_skip_topk_offset", default=2, zero=True)
    if kinds is None and pattern is not None:
        kinds = [{"F": "full", "S": "shared"}.get(mark, mark) for mark in pattern]
    if kinds is not None:
        if len(kinds) < layers:
            raise BadInput(f"{fields.where}: indexer_types has {len(kinds)} entries for {layers} layers.")
        return [kind == "full" for kind in kinds[:layers]]
    if default is not None:
        return default
    return [max(layer - offset + 1, 0) % step == 0 for layer in range(layers)]


def sparse_mla(fields: Fields, block: Arch, index: Arch) -> Arch:
    """Return the two kinds of sparse latent attention: owning its selection, or sharing it."""
    dsa = block | {"type": "dsa"}
    return {"dsa": dsa | {"indexer": index}, "dsa_shared": dsa | {"indexer": index | {"owns": False}}}


def deepseek_v32(fields: Fields, *, heads: int = 64, n_shared: int = 1) -> Arch:
    """DeepSeek V3.2 and GLM-5: MLA over selected positions; GLM-5.2 shares selections between layers."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.known("layer_types")
    attn = sparse_mla(fields, blocks.mla(fields, arch), indexer(fields, heads=heads))
    mixers = ["dsa" if owns else "dsa_shared" for owns in owners(fields, layers)]
    arch = _model(fields, attn, arch, mixers, first=3, n_shared=n_shared)
    return blocks.mtp(fields, arch, "dsa", "moe")


def glm_dsa(fields: Fields) -> Arch:
    """GLM-5, 5.1, 5.2, 5.3."""
    fields.known("index_share_for_mtp_iteration")
    return deepseek_v32(fields, heads=32)


def hy4(fields: Fields) -> Arch:
    """Hunyuan 4: gated sparse MLA with sinks, shared selections, independent hyper-connections."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.known("layer_types")
    block = blocks.mla(fields, arch) | {"gate": "elementwise", "sinks": True}
    default = [layer == 0 or (layer - 1) % 4 == 0 for layer in range(layers)]
    mixers = ["dsa" if owns else "dsa_shared" for owns in owners(fields, layers, default)]
    attn = sparse_mla(fields, block, indexer(fields, heads=16))
    arch = _model(fields, attn, arch, mixers, first=1, n_shared=1)
    arch["residual"] = {"kind": "ihc", "mult": fields.whole("hc_mult", default=4)}
    return blocks.mtp(fields, arch, "dsa", "moe")


def mistral_large4(fields: Fields) -> Arch:
    """Mistral Large 4: queries without a latent, an indexer on the hidden state, scaled softmax."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.known("layer_types", "no_rope_layers", "no_rope_layer_interval")
    sources = fields.items("kv_source_layers")
    if sources is not None and sources != list(range(layers)):
        raise BadInput(
            f"{fields.where}: kv_source_layers shares caches between layers.",
            "assay counts one cache a layer here.",
        )
    block = blocks.mla(fields, arch, q_lora=None)
    block["small_extra"] = block.get("small_extra", 0) + 2 * block["heads"]
    index = indexer(fields, heads=32)
    index |= {"q_from_hidden": True, "small_extra": 2 * arch["hidden"] + 2 * index["heads"]}
    mixers = ["dsa" if owns else "dsa_shared" for owns in owners(fields, layers)]
    return _model(fields, sparse_mla(fields, block, index), arch, mixers, first=1, n_shared=1)


def dots3(fields: Fields) -> Arch:
    """dots3-note: every fourth layer and the first two are sparse MLA, the others slide over latents."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    fields.known("use_dsa", "use_sliding_window", "swa_head_dim")
    block = blocks.mla(fields, arch, q_lora=1024)
    sliding = blocks.mla(fields, arch, q_lora=1024, prefix="swa_")
    for one in (block, sliding):
        one |= {"gate": "head", "small_extra": one.get("small_extra", 0) + one["qk_rope"]}
    sliding["window"] = fields.whole("sliding_window", "sliding_window_size", default=512)
    words = {"full_attention": "dsa", "indexed_attention": "dsa", "sliding_attention": "swa_mla"}
    default = ["dsa" if i < 2 or i % 4 == 1 else "swa_mla" for i in range(layers)]
    mixers = blocks.layer_kinds(fields, layers, words, default)
    attn = sparse_mla(fields, block, indexer(fields, heads=64)) | {"swa_mla": sliding}
    return _model(fields, attn, arch, mixers, first=1, n_shared=1)


def longcat(fields: Fields) -> Arch:
    """LongCat Flash: two MLA and two dense FFN a layer with one mixture beside them; identity experts."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    if fields.get("num_layers") is None:
        layers = arch["num_layers"] = layers // 2
    routed, zero = fields.whole("n_routed_experts"), fields.whole("zero_expert_num", default=0, zero=True)
    chosen = fields.whole("moe_topk", "num_experts_per_tok")
    experts: dict[str, Any] = {
        "type": "moe",
        "n_routed": routed,
        "topk": chosen,
        "intermediate": fields.whole("expert_ffn_hidden_size", "moe_intermediate_size"),
    }
    if zero:
        experts |= {"n_zero": zero, "avg_real_topk": chosen * routed / (routed + zero)}
    arch["attn"] = {"mla": blocks.mla(fields, arch)}
    arch["ffn"] = {"dense": blocks.dense(fields, "ffn_hidden_size", "intermediate_size"), "moe": experts}
    arch["schedule"] = runs(["mla", "none", "mla"] * layers, ["dense", "moe", "dense"] * layers)
    arch["no_norm_blocks"] = True
    return arch
