"""Gemma 4: wide global heads, keys as values, experts beside a dense FFN, per-layer embeddings."""

from __future__ import annotations

from assay.errors import BadInput
from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.dense import WINDOWS
from assay.llm.huggingface.fields import Fields, runs


def gemma4(fields: Fields) -> Arch:
    """Gemma 4: five sliding layers to one global layer with wider heads whose keys are the values."""
    fields.default({"num_key_value_heads": 4, "hidden_size_per_layer_input": 256})
    arch = blocks.skeleton(fields, tie=True)
    layers = arch["num_layers"]
    sliding = blocks.gqa(fields, arch, head_dim=256)
    if fields.flag("attention_bias"):
        sliding |= {"qkv_bias": True, "o_bias": True}
    sliding |= {"qk_norm": "head", "window": fields.whole("sliding_window", default=512)}
    equal = fields.flag("attention_k_eq_v")
    kv = fields.maybe("num_global_key_value_heads") if equal else None
    full = {key: value for key, value in sliding.items() if key != "window"}
    full |= {"head_dim": fields.whole("global_head_dim", default=512), "kv_heads": kv or sliding["kv_heads"]}
    if equal:
        full["k_eq_v"] = True
    mixers = blocks.layer_kinds(fields, layers, WINDOWS, blocks.every(layers, 6, "sliding", "full"))
    mixers[-1] = "full"
    shared = fields.whole("num_kv_shared_layers", default=0, zero=True)
    if shared >= layers:
        raise BadInput(f"{fields.where}: num_kv_shared_layers is {shared} of {layers} layers.")
    attn = {"full": full, "sliding": sliding}
    attn |= {f"{name}_shared": block | {"kv_shared": True} for name, block in attn.items()}
    mixers = [f"{name}_shared" if i >= layers - shared else name for i, name in enumerate(mixers)]
    ffn, ffns = _feed_forward(fields, arch, shared)
    arch["attn"] = {name: block for name, block in attn.items() if name in mixers}
    arch["ffn"] = {name: block for name, block in ffn.items() if name in ffns}
    arch["schedule"] = runs(mixers, ffns)
    arch["norms_per_layer"] = 7 if "moe" in arch["ffn"] else 4
    return _per_layer(fields, arch)


def _feed_forward(fields: Fields, arch: Arch, shared: int) -> tuple[Arch, list[str]]:
    """Return the feed-forward blocks and every layer's; layers with shared caches may be twice as wide."""
    layers, width = arch["num_layers"], fields.whole("intermediate_size")
    wide = fields.flag("use_double_wide_mlp") and shared > 0
    if not fields.flag("enable_moe_block"):
        fields.known(*blocks.ROUTED, *blocks.TOPK, "top_k_experts", "moe_intermediate_size")
        ffn = {"dense": {"type": "dense", "intermediate": width}}
        ffn["wide"] = {"type": "dense", "intermediate": 2 * width}
        return ffn, ["wide" if wide and i >= layers - shared else "dense" for i in range(layers)]
    routed = fields.whole(*blocks.ROUTED)
    experts = {
        "type": "moe",
        "n_routed": routed,
        "topk": fields.whole("top_k_experts", *blocks.TOPK),
        "intermediate": fields.whole("moe_intermediate_size"),
        "parallel_dense": width,
        # scale of the router's input and of every expert
        "small_extra": arch["hidden"] + routed,
    }
    return {"moe": experts}, ["moe"] * layers


def _per_layer(fields: Fields, arch: Arch) -> Arch:
    """Add per-layer embeddings: a table of L*p elements a token, projections d x p, norms."""
    width = fields.maybe("hidden_size_per_layer_input")
    if not width:
        return arch
    layers, d = arch["num_layers"], arch["hidden"]
    rows = fields.whole("vocab_size_per_layer_input", default=arch["vocab"])
    arch["extra_memory"] = {
        "kind": "ple",
        "layers": 1,
        "rows": rows,
        "row_dim": layers * width,
        "rows_read_per_token": 1,
        "table_params": rows * layers * width,
    }
    return arch | {"extra_params": 3 * layers * width * d + layers * d + width}
