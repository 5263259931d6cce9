"""Dense models: Llama and its relatives, Qwen 2/3, Phi, Gemma, GLM 4, EXAONE, OLMo, Cohere, GPT-J.

Defaults of absent fields are those of the configuration classes of Transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.errors import UnknownArchitecture
from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.fields import Fields, runs

WINDOWS = {"full_attention": "full", "sliding_attention": "sliding"}


@dataclass(frozen=True, slots=True)
class Traits:
    """What a class does that its configuration need not say.

    Attributes:
        qkv_bias: biases of q, k, v: always, never, or by `attention_bias` with this default.
        out_bias: whether the output projection follows `attention_bias` too.
        qk_norm: `head`, `full` or none.
        head_dim: default head width; None = hidden size / heads.
        norms: normalisations of the model's width in a layer.
        tie: default of `tie_word_embeddings`.
        bias_field: the field that switches biases on.
        ungated: two-matrix feed-forward.
    """

    qkv_bias: bool = False
    out_bias: bool = True
    qk_norm: str | None = None
    head_dim: int | None = None
    norms: int = 2
    tie: bool = False
    bias_field: str = "attention_bias"
    ungated: bool = False


TRAITS: Mapping[str, Traits] = {
    "llama": Traits(),
    "mistral": Traits(out_bias=False),
    "ministral3": Traits(out_bias=False, head_dim=128),
    "qwen2": Traits(qkv_bias=True, out_bias=False),
    "qwen3": Traits(qk_norm="head", head_dim=128),
    "phi3": Traits(),
    "mimo": Traits(out_bias=False),
    "seed_oss": Traits(qkv_bias=True, out_bias=False, head_dim=128),
    "glm": Traits(qkv_bias=True, out_bias=False, head_dim=128),
    "glm4": Traits(qkv_bias=True, out_bias=False, head_dim=128, norms=4),
    "gemma": Traits(head_dim=256, tie=True),
    "gemma2": Traits(head_dim=256, norms=4, tie=True),
    "gemma3": Traits(head_dim=256, norms=4, tie=True, qk_norm="head"),
    "olmo": Traits(norms=0),
    "olmo2": Traits(qk_norm="full"),
    "exaone4": Traits(qk_norm="head"),
    "ernie4_5": Traits(head_dim=128, tie=True, bias_field="use_bias"),
    "hunyuan_v1_dense": Traits(qk_norm="head"),
    "cohere": Traits(norms=1, tie=True),
    "smollm3": Traits(tie=True),
    "muse_glimmer": Traits(head_dim=128, norms=4),
    "nemotron": Traits(norms=4, ungated=True),
}


def attention(fields: Fields, arch: Arch, traits: Traits) -> Arch:
    """Return the attention of a layer with the class's biases and norms."""
    block = blocks.gqa(fields, arch, head_dim=traits.head_dim)
    biased = fields.flag(traits.bias_field, "qkv_bias", default=traits.qkv_bias)
    if biased:
        block["qkv_bias"] = True
    if fields.flag("attention_out_bias", default=biased and traits.out_bias):
        block["o_bias"] = True
    if traits.qk_norm:
        block["qk_norm"] = traits.qk_norm
    return block


def model(fields: Fields, traits: Traits, mixers: list[str] | None = None, window: int | None = None) -> Arch:
    """Return a dense model of one kind of attention, some layers of it windowed.

    Args:
        fields: the configuration.
        traits: habits of the class.
        mixers: `full` or `sliding` by layer; None = all full, or all sliding if there is a window.
        window: positions a sliding layer sees.
    """
    arch = blocks.skeleton(fields, tie=traits.tie)
    full = attention(fields, arch, traits)
    ffn = blocks.dense(fields, "intermediate_size")
    if traits.ungated:
        ffn["ungated"] = True
    if fields.flag("mlp_bias", default=False) or (traits.bias_field == "use_bias" and "qkv_bias" in full):
        ffn["bias"] = True
    layers = arch["num_layers"]
    if mixers is None:
        mixers = ["sliding" if window else "full"] * layers
    arch["attn"] = {"full": full}
    if window and "sliding" in mixers:
        arch["attn"]["sliding"] = full | {"window": window}
    else:
        mixers = ["full"] * layers
    arch["ffn"] = {"dense": ffn}
    arch["schedule"] = runs(mixers, ["dense"] * layers)
    if traits.norms != 2:
        arch["norms_per_layer"] = traits.norms
    return arch


def windowed(fields: Fields, traits: Traits, period: int, *, sliding: int | None = None) -> Arch:
    """Return a dense model whose every `period`-th layer is global and whose others slide."""
    layers = fields.whole("num_hidden_layers")
    pattern = fields.get("sliding_window_pattern", "_sliding_window_pattern")
    if isinstance(pattern, str) and pattern:
        default = [{"L": "sliding"}.get(pattern[i % len(pattern)], "full") for i in range(layers)]
    else:
        step = fields.whole("sliding_window_pattern", "_sliding_window_pattern", default=period)
        default = blocks.every(layers, step, "sliding", "full")
    kinds = blocks.layer_kinds(fields, layers, WINDOWS, default)
    size = fields.maybe("sliding_window") or (None if fields.has("sliding_window") else sliding)
    return model(fields, traits, kinds, size)


def llama(fields: Fields) -> Arch:
    """Llama 2/3 and configurations that Transformers loads with the Llama class (Yi, CodeLlama ...)."""
    return model(fields, TRAITS["llama"])


def mistral(fields: Fields) -> Arch:
    """Mistral: all layers slide if `sliding_window` is set below the trained context."""
    layers = fields.whole("num_hidden_layers")
    kinds = blocks.layer_kinds(fields, layers, WINDOWS, ()) or None
    return model(fields, TRAITS["mistral"], kinds, blocks.window(fields, blocks.skeleton(fields)))


def ministral3(fields: Fields) -> Arch:
    """Ministral 3 and Mistral Medium 3.5."""
    return model(fields, TRAITS["ministral3"], None, blocks.window(fields, blocks.skeleton(fields)))


def qwen2(fields: Fields) -> Arch:
    """Qwen 1.5, 2, 2.5: biases on q, k, v; layers from `max_window_layers` on may slide."""
    return _qwen(fields, TRAITS["qwen2"])


def qwen3(fields: Fields) -> Arch:
    """Qwen 3 dense and Qwen 3-VL: norms on q and k, head width 128 unless stated."""
    return _qwen(fields, TRAITS["qwen3"])


def _qwen(fields: Fields, traits: Traits) -> Arch:
    layers = fields.whole("num_hidden_layers")
    start = fields.whole("max_window_layers", default=28, zero=True)
    slides = fields.flag("use_sliding_window", default=False)
    default = ["sliding" if slides and layer >= start else "full" for layer in range(layers)]
    kinds = blocks.layer_kinds(fields, layers, WINDOWS, default)
    size = fields.maybe("sliding_window")
    return model(fields, traits, kinds, size if slides or "sliding" in kinds else None)


def phi3(fields: Fields) -> Arch:
    """Phi 3, 3.5, 4: all layers slide if `sliding_window` is below the trained context."""
    return model(fields, TRAITS["phi3"], None, blocks.window(fields, blocks.skeleton(fields)))


def mimo(fields: Fields) -> Arch:
    """MiMo 7B: Qwen 2 blocks with a dense multi-token-prediction module."""
    fields.known("sliding_window", "use_sliding_window")
    return blocks.mtp(fields, model(fields, TRAITS["mimo"]), "full", "dense")


def gemma(fields: Fields) -> Arch:
    """Gemma 1."""
    return model(fields, TRAITS["gemma"])


def gemma2(fields: Fields) -> Arch:
    """Gemma 2: every second layer is global; four norms a layer."""
    return windowed(fields, TRAITS["gemma2"], 2, sliding=4096)


def gemma3(fields: Fields) -> Arch:
    """Gemma 3: every sixth layer is global. Published text configurations omit class defaults."""
    fields.default(
        {
            "vocab_size": 262_208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131_072,
            "sliding_window": 4096,
        }
    )
    return windowed(fields, TRAITS["gemma3"], 6)


def glm4(fields: Fields) -> Arch:
    """GLM-4-0414 dense: norms after each sublayer too."""
    return model(fields, TRAITS["glm4"])


def glm(fields: Fields) -> Arch:
    """GLM-4-9B."""
    return model(fields, TRAITS["glm"])


def olmo2(fields: Fields) -> Arch:
    """OLMo 2 and 3: norms over the whole width of q and k; OLMo 3 slides in three of four layers."""
    if fields.maybe("sliding_window"):
        return windowed(fields, TRAITS["olmo2"], 4)
    return model(fields, TRAITS["olmo2"])


def olmo(fields: Fields) -> Arch:
    """OLMo 1: norms without parameters, the final one included."""
    fields.known("clip_qkv")
    arch = model(fields, TRAITS["olmo"])
    raise UnknownArchitecture(
        f"OLMo 1 ({arch['num_layers']} layers) normalises without parameters, which assay does not count.",
        "Use OLMo 2 or later.",
    )


def exaone4(fields: Fields) -> Arch:
    """EXAONE 4: every fourth layer is global where a window is set."""
    return windowed(fields, TRAITS["exaone4"], 4)


def seed_oss(fields: Fields) -> Arch:
    """Seed-OSS: biases on q, k, v."""
    return model(fields, TRAITS["seed_oss"])


def ernie45(fields: Fields) -> Arch:
    """ERNIE 4.5 dense."""
    return model(fields, TRAITS["ernie4_5"])


def hunyuan_dense(fields: Fields) -> Arch:
    """Hunyuan V1 dense."""
    fields.known("use_qk_norm", "attention_head_dim", "use_cla")
    return model(fields, TRAITS["hunyuan_v1_dense"])


def cohere(fields: Fields) -> Arch:
    """Command R: one norm a layer, attention and feed-forward in parallel."""
    if fields.flag("use_qk_norm"):
        raise UnknownArchitecture(
            "Cohere models with use_qk_norm keep a norm for every head; assay does not count it."
        )
    return model(fields, TRAITS["cohere"])


def cohere2(fields: Fields) -> Arch:
    """Command R7B and Command A: every fourth layer is global."""
    return windowed(fields, TRAITS["cohere"], 4, sliding=4096)


def smollm3(fields: Fields) -> Arch:
    """SmolLM 3: Llama blocks, some without rotary positions."""
    fields.known(
        "no_rope_layers", "no_rope_layer_interval", "use_sliding_window", "layer_types", "sliding_window"
    )
    return model(fields, TRAITS["smollm3"])


def nemotron(fields: Fields) -> Arch:
    """Nemotron 4 and Minitron: layer norms with bias, squared-ReLU feed-forward."""
    arch = model(fields, TRAITS["nemotron"])
    return arch | {"extra_params": arch["hidden"]}


def muse_glimmer(fields: Fields) -> Arch:
    """Muse Glimmer: elementwise output gate; every fourth layer, counted from the last, is global."""
    fields.known("layer_rope_theta", "out_hidden_size", "projector_hidden_size")
    layers = fields.whole("num_hidden_layers")
    default = ["full" if (layers - 1 - i) % 4 == 0 else "sliding" for i in range(layers)]
    kinds = blocks.layer_kinds(fields, layers, WINDOWS, default)
    arch = model(fields, TRAITS["muse_glimmer"], kinds, fields.whole("sliding_window", default=2048))
    for block in arch["attn"].values():
        block["gate"] = "elementwise"
    return arch


def gptj(fields: Fields) -> Arch:
    """GPT-J: one layer norm with bias a layer, biased two-matrix feed-forward, biased LM head."""
    arch = blocks.skeleton(fields)
    arch["attn"] = {"full": blocks.gqa(fields, arch)}
    inner = fields.maybe("intermediate_size", "n_inner") or 4 * arch["hidden"]
    arch["ffn"] = {"dense": {"type": "dense", "intermediate": inner, "ungated": True, "bias": True}}
    arch["schedule"] = [[arch["num_layers"], "full", "dense"]]
    return arch | {"norms_per_layer": 2, "extra_params": arch["vocab"] + arch["hidden"]}


def exaone3(fields: Fields) -> Arch:
    """EXAONE 3 and 3.5: Llama blocks under other names."""
    return model(fields, TRAITS["llama"])
