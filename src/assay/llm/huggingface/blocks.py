"""Blocks and layer patterns that many classes of configuration share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.huggingface.fields import Fields

Arch = dict[str, Any]

ROUTED = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
TOPK = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_k", "moe_top_k")
SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
MTP = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")
CONTEXT = ("max_position_embeddings", "n_positions", "model_max_length", "max_sequence_length", "seq_length")
#: More layers than any model has.
MOST_LAYERS = 10_000


def skeleton(fields: Fields, *, tie: bool = False) -> Arch:
    """Return the part every architecture has: width, vocabulary, layers, tying, trained context."""
    layers = fields.whole("num_hidden_layers", "n_layer", "num_layers")
    if layers > MOST_LAYERS:
        raise BadInput(f"{fields.where}: num_hidden_layers is {layers}.", "No model has that many layers.")
    return {
        "hidden": fields.whole("hidden_size", "n_embd"),
        "vocab": fields.whole("vocab_size"),
        "num_layers": layers,
        "tie": fields.flag("tie_word_embeddings", default=tie),
        "max_context": fields.whole(*CONTEXT, default=0, zero=True),
    }


def gqa(fields: Fields, arch: Arch, *, head_dim: int | None = None, prefix: str = "") -> Arch:
    """Return the shapes of grouped-query attention.

    Args:
        fields: the configuration.
        arch: its skeleton.
        head_dim: class default where the field is absent; None = hidden size / heads.
        prefix: reads `swa_num_attention_heads` ... first, the plain names otherwise.
    """
    plain = fields.whole("num_attention_heads", "n_head")
    heads = fields.whole(f"{prefix}num_attention_heads", default=plain) if prefix else plain
    kv = fields.whole("num_key_value_heads", "num_attention_groups", default=plain)
    kv = fields.whole(f"{prefix}num_key_value_heads", default=kv) if prefix else kv
    width = fields.maybe("head_dim", "attention_head_dim") or head_dim
    width = (fields.maybe(f"{prefix}head_dim") or width) if prefix else width
    if width is None:
        if arch["hidden"] % heads:
            raise BadInput(
                f"{fields.where}: hidden_size {arch['hidden']} is not a multiple of {heads} heads.",
                "Give head_dim.",
            )
        width = arch["hidden"] // heads
    if heads % kv:
        raise BadInput(f"{fields.where}: {heads} attention heads do not share {kv} KV heads evenly.")
    return {"type": "gqa", "heads": heads, "kv_heads": kv, "head_dim": width}


def mla(fields: Fields, arch: Arch, *, q_lora: int | None = 1536, prefix: str = "") -> Arch:
    """Return the shapes of multi-head latent attention; an explicit null `q_lora_rank` means none."""

    def read(name: str, default: int | None = None) -> int:
        if prefix and fields.get(prefix + name) is not None:
            return fields.whole(prefix + name)
        return fields.whole(name, default=default, zero=name == "qk_rope_head_dim")

    fields.known("num_key_value_heads", "head_dim", "qk_head_dim", f"{prefix}num_key_value_heads")
    rank = fields.maybe(f"{prefix}q_lora_rank", "q_lora_rank") if prefix else fields.maybe("q_lora_rank")
    block: Arch = {
        "type": "mla",
        "heads": read("num_attention_heads"),
        "q_lora": rank if rank or fields.has("q_lora_rank") else q_lora,
        "kv_lora": read("kv_lora_rank", 512),
        "qk_nope": read("qk_nope_head_dim", 128),
        "qk_rope": read("qk_rope_head_dim", 64),
        "v_dim": read("v_head_dim", 128),
    }
    if fields.flag("attention_bias"):
        block["small_extra"] = (block["q_lora"] or 0) + block["kv_lora"] + block["qk_rope"] + arch["hidden"]
    return block


def moe(
    fields: Fields, *, width: Sequence[str] = ("moe_intermediate_size",), topk: int | None = None
) -> Arch:
    """Return the shapes of a mixture of experts whose shared experts are as wide as the routed ones."""
    routed = fields.whole(*ROUTED)
    chosen = fields.whole(*TOPK, default=topk)
    if chosen > routed:
        raise BadInput(f"{fields.where}: {chosen} experts per token of {routed}.")
    return {"type": "moe", "n_routed": routed, "topk": chosen, "intermediate": fields.whole(*width)}


def shared(fields: Fields, block: Arch, *, default: int = 0, width: Sequence[str] = ()) -> Arch:
    """Add shared experts to a mixture: a count of expert-wide ones, or one of a stated width."""
    count = fields.whole(*SHARED, default=default, zero=True)
    stated = fields.maybe(*width) if width else None
    if stated and not fields.has(*SHARED):
        count = 1
    if count:
        block |= {"n_shared": count, "shared_intermediate": stated or block["intermediate"]}
    return block


def dense(fields: Fields, *names: str) -> Arch:
    """Return the shapes of a dense feed-forward."""
    return {"type": "dense", "intermediate": fields.whole(*(names or ("intermediate_size",)))}


def sparse_layers(fields: Fields, layers: int, *, first: int = 0) -> list[bool]:
    """Return, layer by layer, whether the feed-forward is a mixture of experts.

    Reads, in this order: `mlp_layer_types`, `is_moe_layer`, `moe_layers`, `moe_layers_enum`, a list
    `moe_layer_freq`, else `first_k_dense_replace` and an integer `moe_layer_freq`.
    """
    start = fields.whole("first_k_dense_replace", "num_dense_layers", default=first, zero=True)
    freq = fields.get("moe_layer_freq")
    kinds = fields.items("mlp_layer_types")
    if kinds is not None:
        return [
            _word(kind, {"sparse": True, "dense": False}, fields, "mlp_layer_types")
            for kind in _fit(kinds, layers)
        ]
    flags = fields.items("is_moe_layer")
    if flags is not None:
        return [bool(flag) for flag in _fit(flags, layers)]
    listed = fields.get("moe_layers", "moe_layers_enum")
    if listed is not None:
        numbers = indices(listed, fields, "moe_layers")
        return [layer in numbers for layer in range(layers)]
    if isinstance(freq, list):
        return [bool(flag) for flag in _fit(freq, layers)]
    step = fields.whole("moe_layer_freq", default=1)
    return [layer >= start and layer % step == 0 for layer in range(layers)]


def indices(value: Any, fields: Fields, name: str) -> set[int]:
    """Return layer numbers written as a list or as `4,5,6`."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return {int(part) for part in parts if str(part).strip()}
    except (TypeError, ValueError):
        raise BadInput(f"{fields.where}: {name} is {value!r}.", "It must list layer numbers.") from None


def layer_kinds(
    fields: Fields, layers: int, words: Mapping[str, str], default: Sequence[str], name: str = "layer_types"
) -> list[str]:
    """Return the mixer of every layer from `layer_types`, or the class default.

    Args:
        fields: the configuration.
        layers: number of layers; longer lists (trailing MTP entries) are cut.
        words: word of the file -> mixer name.
        default: mixers where the field is absent.
        name: the field.

    Raises:
        UnknownArchitecture: a word that is not in `words`.
        BadInput: too few entries.
    """
    kinds = fields.items(name)
    if kinds is None:
        return list(default)
    return [_word(kind, words, fields, name) for kind in _fit(kinds, layers, fields, name)]


def _fit(items: list[Any], layers: int, fields: Fields | None = None, name: str = "layer list") -> list[Any]:
    if len(items) < layers:
        where = fields.where if fields else "config.json"
        raise BadInput(f"{where}: {name} has {len(items)} entries for {layers} layers.")
    return items[:layers]


def _word(word: Any, words: Mapping[Any, Any], fields: Fields, name: str) -> Any:
    try:
        return words[word]
    except (KeyError, TypeError):
        known = ", ".join(str(key) for key in words)
        raise UnknownArchitecture(f"{fields.where}: {name} has {word!r}.", f"Known: {known}.") from None


def every(layers: int, period: int, common: str, nth: str) -> list[str]:
    """Return a pattern whose every `period`-th layer is `nth`."""
    return [nth if (layer + 1) % period == 0 else common for layer in range(layers)]


def window(fields: Fields, arch: Arch) -> int | None:
    """Return the sliding window, or None where there is none or the context never exceeds it."""
    size = fields.maybe("sliding_window")
    return None if size is None or 0 < arch["max_context"] <= size else size


def mtp(fields: Fields, arch: Arch, mixer: str, ffn: str, *, names: Sequence[str] = MTP) -> Arch:
    """Add multi-token prediction modules: `2*d*d + 3*d` and one block each."""
    count = fields.maybe(*names)
    if count:
        d = arch["hidden"]
        arch["mtp"] = {"count": count, "block": [[mixer, ffn]], "extra": 2 * d * d + 3 * d}
    return arch
