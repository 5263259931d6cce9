"""Mixture-of-experts models over grouped-query attention.

Defaults of absent fields are those of the configuration classes of Transformers 5.23.
"""

from __future__ import annotations

from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.dense import WINDOWS
from assay.llm.huggingface.fields import Fields, runs


def assemble(arch: Arch, attn: Arch, ffn: Arch, mixers: list[str], sparse: list[bool]) -> Arch:
    """Return the architecture from its blocks and the per-layer choices, without unused blocks."""
    ffns = ["moe" if flag else "dense" for flag in sparse]
    arch["attn"] = {name: block for name, block in attn.items() if name in mixers}
    arch["ffn"] = {name: block for name, block in ffn.items() if name in ffns}
    arch["schedule"] = runs(mixers, ffns)
    return arch


def _uniform(fields: Fields, arch: Arch, attn: Arch, experts: Arch, sparse: list[bool]) -> Arch:
    """Return a model of one attention and one mixture, with dense feed-forwards where not sparse."""
    ffn = {"moe": experts}
    if not all(sparse):
        ffn["dense"] = blocks.dense(fields)
    return assemble(arch, {"full": attn}, ffn, ["full"] * arch["num_layers"], sparse)


def _bias(fields: Fields, block: Arch, *, default: bool = False, out: bool = False) -> Arch:
    if fields.flag("attention_bias", "qkv_bias", "use_qkv_bias", default=default):
        block["qkv_bias"] = True
        if out:
            block["o_bias"] = True
    return block


def mixtral(fields: Fields) -> Arch:
    """Mixtral: the experts have the width of `intermediate_size`."""
    arch = blocks.skeleton(fields)
    size = blocks.window(fields, arch)
    attn = blocks.gqa(fields, arch) | ({"window": size} if size else {})
    experts = blocks.moe(fields, width=("intermediate_size",), topk=2)
    return _uniform(fields, arch, attn, experts, [True] * arch["num_layers"])


def qwen_sparse(fields: Fields, layers: int) -> list[bool]:
    """Return which layers of a Qwen are sparse: every `decoder_sparse_step`-th but `mlp_only_layers`."""
    only = blocks.indices(fields.items("mlp_only_layers") or [], fields, "mlp_only_layers")
    step = fields.whole("decoder_sparse_step", default=1)
    return [layer not in only and (layer + 1) % step == 0 for layer in range(layers)]


def qwen2_moe(fields: Fields) -> Arch:
    """Qwen 1.5/2 MoE: biases on q, k, v; one gated shared expert."""
    fields.known("use_sliding_window", "sliding_window", "layer_types")
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch), default=True)
    experts = blocks.moe(fields, topk=4)
    experts |= {
        "n_shared": 1,
        "shared_intermediate": fields.whole("shared_expert_intermediate_size", default=5632),
        "shared_gate": True,
    }
    return _uniform(fields, arch, attn, experts, qwen_sparse(fields, arch["num_layers"]))


def qwen3_moe(fields: Fields) -> Arch:
    """Qwen 3 MoE, Qwen 3 Coder, Qwen 3-VL MoE: norms on q and k, no shared expert."""
    fields.known("use_sliding_window", "sliding_window", "use_qk_norm", "shared_expert_intermediate_size")
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch), out=True) | {"qk_norm": "head"}
    return _uniform(fields, arch, attn, blocks.moe(fields), qwen_sparse(fields, arch["num_layers"]))


def glm4_moe(fields: Fields) -> Arch:
    """GLM-4.5, 4.6, 4.7: biases by `attention_bias`, norms by `use_qk_norm`, one MoE module for MTP."""
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch))
    if fields.flag("use_qk_norm"):
        attn["qk_norm"] = "head"
    experts = blocks.shared(fields, blocks.moe(fields, topk=8), default=1)
    sparse = blocks.sparse_layers(fields, arch["num_layers"], first=1)
    return blocks.mtp(fields, _uniform(fields, arch, attn, experts, sparse), "full", "moe")


def solar_open(fields: Fields) -> Arch:
    """Solar Open: GLM-4.5 blocks without dense layers and without norms on q and k."""
    fields.known("intermediate_size")
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch, head_dim=128))
    if fields.flag("use_qk_norm"):
        attn["qk_norm"] = "head"
    experts = blocks.shared(fields, blocks.moe(fields, topk=8), default=1)
    return _uniform(fields, arch, attn, experts, blocks.sparse_layers(fields, arch["num_layers"]))


def hy3(fields: Fields) -> Arch:
    """Hunyuan 3: norms on q and k, first layer dense, one MoE module for MTP."""
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch, head_dim=128), out=True) | {"qk_norm": "head"}
    experts = blocks.shared(fields, blocks.moe(fields, topk=8), default=1)
    sparse = blocks.sparse_layers(fields, arch["num_layers"], first=1)
    return blocks.mtp(fields, _uniform(fields, arch, attn, experts, sparse), "full", "moe")


def dots1(fields: Fields) -> Arch:
    """dots.llm1: norms on q and k, leading dense layers, shared experts."""
    arch = blocks.skeleton(fields)
    fields.known("sliding_window", "layer_types")
    attn = _bias(fields, blocks.gqa(fields, arch), out=True) | {"qk_norm": "head"}
    experts = blocks.shared(fields, blocks.moe(fields))
    return _uniform(fields, arch, attn, experts, blocks.sparse_layers(fields, arch["num_layers"]))


def hunyuan_moe(fields: Fields) -> Arch:
    """Hunyuan A13B: norms on q and k, shared experts as wide as the routed ones, no dense layer."""
    fields.known("use_qk_norm", "use_cla", "cla_share_factor", "moe_layer_num_skipped", "use_mixed_mlp_moe")
    fields.known("attention_head_dim", "moe_drop_tokens")
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch), out=True) | {"qk_norm": "head"}
    experts = blocks.moe(fields, width=("moe_intermediate_size", "intermediate_size"))
    experts = blocks.shared(fields, experts, default=1)
    return _uniform(fields, arch, attn, experts, [True] * arch["num_layers"])


def ernie45_moe(fields: Fields) -> Arch:
    """ERNIE 4.5 MoE: sparse between two layer numbers; the MTP module is dense."""
    arch = blocks.skeleton(fields, tie=True)
    attn = blocks.gqa(fields, arch)
    if fields.flag("use_bias"):
        attn |= {"qkv_bias": True, "o_bias": True}
    experts = blocks.shared(fields, blocks.moe(fields, topk=6), default=2)
    layers = arch["num_layers"]
    start = fields.whole("moe_layer_start_index", default=1, zero=True)
    last = fields.get("moe_layer_end_index")
    last = layers - 1 if last in (None, -1) else fields.whole("moe_layer_end_index", zero=True)
    step = fields.whole("moe_layer_interval", default=1)
    sparse = [(i + 1) % step == 0 and start <= i <= last for i in range(layers)]
    return blocks.mtp(fields, _uniform(fields, arch, attn, experts, sparse), "full", "dense")


def bailing_moe(fields: Fields) -> Arch:
    """Ling 2: norms on q and k, leading dense layers, shared experts."""
    arch = blocks.skeleton(fields)
    attn = _bias(fields, blocks.gqa(fields, arch, head_dim=None))
    if fields.flag("use_qk_norm", default=True):
        attn["qk_norm"] = "head"
    experts = blocks.shared(fields, blocks.moe(fields), width=("moe_shared_expert_intermediate_size",))
    sparse = blocks.sparse_layers(fields, arch["num_layers"])
    return blocks.mtp(fields, _uniform(fields, arch, attn, experts, sparse), "full", "moe")


def minimax_m2(fields: Fields) -> Arch:
    """MiniMax M2: norms over the whole width of q and k; published checkpoints leave the MTP modules out."""
    fields.known("use_mtp", "num_mtp_modules", "mtp_transformer_layers", "attn_type_list", "layer_types")
    fields.known("use_qk_norm", "shared_intermediate_size")
    arch = blocks.skeleton(fields)
    attn = blocks.gqa(fields, arch, head_dim=128) | {"qk_norm": "full"}
    experts = blocks.moe(fields, width=("intermediate_size",), topk=8)
    return _uniform(fields, arch, attn, experts, [True] * arch["num_layers"])


def minimax_m3(fields: Fields) -> Arch:
    """MiniMax M3: block-sparse attention but in the first layers; its MTP modules are not published."""
    fields.known("num_mtp_modules", "num_nextn_predict_layers", "use_qk_norm", "attention_output_gate")
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    full = blocks.gqa(fields, arch, head_dim=128) | {"qk_norm": "head"}
    sparse = fields.inner("sparse_attention_config")
    freq = sparse.items("sparse_attention_freq")
    default = ["msa" if flag else "full" for flag in freq or [0] * layers]
    words = {"full_attention": "full", "minimax_m3_sparse": "msa"}
    mixers = blocks.layer_kinds(fields, layers, words, default)[:layers]

    def index(name: str, legacy: str, default: int) -> int:
        stated = sparse.whole(legacy, default=default, zero=True)
        return fields.whole(name, default=stated, zero=True)

    block = {
        "heads": index("index_n_heads", "sparse_num_index_heads", 4),
        "dim": index("index_head_dim", "sparse_index_dim", 128),
        "block": index("index_block_size", "sparse_block_size", 128),
        "topk_blocks": index("index_topk_blocks", "sparse_topk_blocks", 16),
        "local_blocks": index("index_local_blocks", "sparse_local_block", 1),
    }
    fields.known("moe_intermediate_size")
    experts = blocks.moe(fields, width=("intermediate_size",), topk=4)
    experts = blocks.shared(fields, experts, default=1, width=("shared_intermediate_size",))
    ffn = {"moe": experts, "dense": blocks.dense(fields, "dense_intermediate_size", "intermediate_size")}
    attn = {"full": full, "msa": full | {"block_index": block}}
    return assemble(arch, attn, ffn, mixers, blocks.sparse_layers(fields, layers))


def gpt_oss(fields: Fields) -> Arch:
    """gpt-oss: sinks, biases everywhere, every second layer slides."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, blocks.every(layers, 2, "sliding", "full"))
    full = _bias(fields, blocks.gqa(fields, arch, head_dim=64), default=True, out=True) | {"sinks": True}
    experts = blocks.moe(fields, width=("intermediate_size",), topk=4) | {"bias": True, "router_bias": True}
    attn = {"full": full, "sliding": full | {"window": fields.whole("sliding_window", default=128)}}
    return assemble(arch, attn, {"moe": experts}, mixers, [True] * layers)


def llama4(fields: Fields) -> Arch:
    """Llama 4: chunked attention but in layers without positions; one shared expert; dense layers between."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    rope = fields.items("no_rope_layers") or [
        int((i + 1) % fields.whole("no_rope_layer_interval", default=4) != 0) for i in range(layers)
    ]
    words = {"chunked_attention": "chunked", "full_attention": "full"}
    mixers = blocks.layer_kinds(fields, layers, words, ["chunked" if r else "full" for r in rope][:layers])
    full = _bias(fields, blocks.gqa(fields, arch, head_dim=128), out=True)
    chunk = fields.maybe("attention_chunk_size")
    chunked = full | ({"window": chunk, "window_kind": "chunked"} if chunk else {})
    experts = blocks.moe(fields, width=("intermediate_size",), topk=1)
    experts |= {"n_shared": 1, "shared_intermediate": experts["intermediate"]}
    step = fields.whole("interleave_moe_layer_step", default=1)
    listed = fields.items("moe_layers")
    chosen = (
        set(range(step - 1, layers, step)) if listed is None else blocks.indices(listed, fields, "moe_layers")
    )
    ffn = {"moe": experts, "dense": blocks.dense(fields, "intermediate_size_mlp")}
    fields.known("use_qk_norm", "for_llm_compressor")
    return assemble(
        arch, {"full": full, "chunked": chunked}, ffn, mixers, [i in chosen for i in range(layers)]
    )


def exaone_moe(fields: Fields) -> Arch:
    """K-EXAONE: every fourth layer is global; first layers dense; a dense global MTP module."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    period = fields.get("sliding_window_pattern")
    period = period if isinstance(period, int) and period > 0 else 4
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, blocks.every(layers, period, "sliding", "full"))
    full = blocks.gqa(fields, arch) | {"qk_norm": "head"}
    size = fields.maybe("sliding_window")
    if size is None:
        mixers = ["full"] * layers
    experts = blocks.shared(fields, blocks.moe(fields), default=1)
    ffn = {"moe": experts, "dense": blocks.dense(fields)}
    attn = {"full": full, "sliding": full | {"window": size}}
    sparse = blocks.sparse_layers(fields, layers, first=1)
    return blocks.mtp(fields, assemble(arch, attn, ffn, mixers, sparse), "full", "dense")


def kolibri(fields: Fields) -> Arch:
    """Kolibri 1: every fifth layer is global; one shared expert."""
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, blocks.every(layers, 5, "sliding", "full"))
    full = blocks.gqa(fields, arch, head_dim=128) | {"qk_norm": "head"}
    attn = {"full": full, "sliding": full | {"window": fields.whole("sliding_window", default=513)}}
    experts = blocks.moe(fields, topk=6)
    experts |= {
        "n_shared": 1,
        "shared_intermediate": fields.whole("shared_expert_intermediate_size", default=512),
    }
    return assemble(arch, attn, {"moe": experts}, mixers, [True] * layers)
