"""Weight formats of a checkpoint from its `quantization_config` and element type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.huggingface.blocks import ROUTED

Layers = Mapping[str, Sequence[int]]

#: Element type of the file -> format.
DTYPES = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float32": "bf16",
    "float": "bf16",
    "float8_e4m3fn": "fp8",
}
#: One module name of every weight group, in the usual spellings, for layer {i}.
MODULES: Mapping[str, tuple[str, ...]] = {
    "attention": (
        "layers.{i}.self_attn.q_proj",
        "layers.{i}.self_attn.o_proj",
        "layers.{i}.self_attn.kv_b_proj",
        "layers.{i}.linear_attn.in_proj_qkv",
        "layers.{i}.mixer.in_proj",
    ),
    "dense": ("layers.{i}.mlp.gate_proj", "layers.{i}.mlp.down_proj"),
    "shared": ("layers.{i}.mlp.shared_experts.gate_proj", "layers.{i}.mlp.shared_expert.gate_proj"),
    "experts": ("layers.{i}.mlp.experts.1.gate_proj", "layers.{i}.mlp.experts"),
    "index": ("layers.{i}.self_attn.indexer.wq_b",),
    "head": ("lm_head",),
}
PREFIXES = ("model.", "model.language_model.", "language_model.model.", "language_model.", "")


def formats(config: Mapping[str, Any], text: Mapping[str, Any], layers: int) -> dict[str, str]:
    """Return weight group -> format, with `experts` and `other`.

    Args:
        config: the whole configuration.
        text: its text part.
        layers: number of layers.

    Raises:
        UnknownArchitecture: a quantisation method or element type that assay does not know.
        BadInput: `quantization_config` is not an object.
    """
    plain = _dtype(config, text)
    stated = text.get("quantization_config") or config.get("quantization_config")
    found = {"experts": plain, "other": plain}
    if stated:
        if not isinstance(stated, Mapping):
            raise BadInput("quantization_config must be an object.")
        found = _collapse(_method(stated, plain, _sample(text, layers)))
    if text.get("expert_dtype") == "fp4":
        found["experts"] = "mxfp4"
    return found


def _sample(text: Mapping[str, Any], layers: int) -> Layers:
    """Return the layers that stand for all: four spread ones; the first for dense layers of a MoE."""
    spread = sorted({layers // 3, layers // 2, layers * 2 // 3, max(layers - 2, 0)})
    routed = any(text.get(name) for name in ROUTED)
    return {"dense": [0] if routed else spread, "other": spread}


def _collapse(found: dict[str, str]) -> dict[str, str]:
    """Return the formats with `other` standing for all linears but the experts where they agree."""
    linears = ("attention", "dense", "shared", "index")
    kinds = {found.get(group, found["other"]) for group in linears}
    if len(kinds) > 1:
        return found
    kept = {group: kind for group, kind in found.items() if group not in linears}
    return kept | {"other": kinds.pop()}


def _dtype(config: Mapping[str, Any], text: Mapping[str, Any]) -> str:
    for source in (text, config):
        name = source.get("torch_dtype") or source.get("dtype")
        if isinstance(name, str):
            key = name.removeprefix("torch.")
            if key not in DTYPES:
                raise UnknownArchitecture(
                    f"Element type {name!r} is unknown.", f"Known: {', '.join(DTYPES)}."
                )
            return DTYPES[key]
    return "bf16"


def _method(stated: Mapping[str, Any], plain: str, layers: Layers) -> dict[str, str]:
    """Return the formats of one `quantization_config` by its method."""
    method = str(stated.get("quant_method") or stated.get("quant_algo") or "").lower()
    if method == "mxfp4":
        return {"experts": "mxfp4", "other": plain}
    if method in ("compressed-tensors", "modelopt", "modelopt_fp4", "nvfp4", "modelopt_mixed"):
        return _groups(stated, plain, layers)
    if method in ("fp8", "fbgemm_fp8", "finegrained_fp8", "deepspeed_fp8", "ptpc_fp8"):
        name = _fp8(stated)
    elif method in ("awq", "gptq", "gptq_marlin", "awq_marlin", "auto-round", "autoround"):
        name = _integer(stated.get("bits", stated.get("w_bit", 4)))
    elif method in ("bitsandbytes", "bnb"):
        name = "int4" if stated.get("load_in_4bit") else "int8"
    elif method in ("mxfp8", "modelopt_mxfp8"):
        name = "mxfp8"
    elif method == "quark":
        name = _quark(stated)
    else:
        raise UnknownArchitecture(
            f"quantization_config has the method {method!r}, which assay does not know.",
            "Known: fp8, mxfp4, mxfp8, compressed-tensors, modelopt, awq, gptq, bitsandbytes, quark.",
        )
    return _except(name, stated, plain, layers)


def _fp8(stated: Mapping[str, Any]) -> str:
    block = stated.get("weight_block_size")
    if isinstance(block, Sequence) and list(block) == [32, 32]:
        return "fp8_block32"
    if isinstance(block, Sequence) and list(block) == [1, 32]:
        return "mxfp8"
    return "fp8"


def _integer(bits: Any) -> str:
    if bits not in (4, 8):
        raise UnknownArchitecture(f"quantization_config has {bits!r} bits.", "assay knows 4 and 8.")
    return f"int{bits}"


def _quark(stated: Mapping[str, Any]) -> str:
    weight = (stated.get("global_quant_config") or {}).get("weight") or {}
    weight = weight[0] if isinstance(weight, list) and weight else weight
    kind = str(weight.get("dtype", "")) if isinstance(weight, Mapping) else ""
    known = {"fp4": "mxfp4", "fp8_e4m3": "fp8", "int8": "int8", "int4": "int4", "uint4": "int4"}
    if kind not in known:
        raise UnknownArchitecture(f"quark weights have dtype {kind!r}.", f"Known: {', '.join(known)}.")
    return known[kind]


def _groups(stated: Mapping[str, Any], plain: str, layers: Layers) -> dict[str, str]:
    """Return the formats of compressed-tensors and ModelOpt: groups of modules, less those ignored."""
    algo = str(stated.get("quant_algo") or "").upper()
    listed = stated.get("config_groups") or {}
    if isinstance(listed, Mapping) and listed:
        targets = [(_weights(group, stated), _targets(group)) for group in listed.values()]
    else:
        targets = [(_algorithm(algo or str(stated.get("format", ""))), ["Linear"])]
    found: dict[str, str] = {}
    for name, modules in targets:
        if "Linear" in modules:
            found |= _except(name, stated, plain, layers)
        else:
            found |= {group: name for group in MODULES if _covers(modules, group, layers)}
    other = found.get("other", found.get("attention", plain))
    return {"experts": found.get("experts", other), "other": other} | {
        group: found.get(group, plain) for group in MODULES if group in found or "other" not in found
    }


def _targets(group: Any) -> list[str]:
    names = group.get("targets") if isinstance(group, Mapping) else None
    return [str(name) for name in names] if isinstance(names, list) and names else ["Linear"]


def _weights(group: Any, stated: Mapping[str, Any]) -> str:
    """Return the format of one group: bits, type and group size of its weights."""
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        return _algorithm(str(stated.get("quant_algo") or ""))
    bits, kind, size = weights.get("num_bits"), weights.get("type"), weights.get("group_size")
    layout = str(group.get("format") or stated.get("format") or "")
    if kind == "int":
        return _integer(bits)
    if bits == 8:
        return "mxfp8" if size == 32 else "fp8"
    if bits == 4:
        return "mxfp4" if "mxfp4" in layout or size == 32 else "nvfp4"
    raise UnknownArchitecture(
        f"quantization_config has {bits!r}-bit {kind} weights.", "assay knows 4 and 8 bits."
    )


def _algorithm(name: str) -> str:
    text = name.lower().replace("-", "_")
    for mark, kind in (
        ("mxfp4", "mxfp4"),
        ("mxfp8", "mxfp8"),
        ("nvfp4", "nvfp4"),
        ("fp8", "fp8"),
        ("float_quantized", "fp8"),
        ("int8", "int8"),
        ("w8a8", "int8"),
        ("int4", "int4"),
        ("w4a16", "int4"),
        ("pack_quantized", "int4"),
    ):
        if mark in text:
            return kind
    raise UnknownArchitecture(f"quantization_config has the algorithm {name!r}, which assay does not know.")


def _except(name: str, stated: Mapping[str, Any], plain: str, layers: Layers) -> dict[str, str]:
    """Return `name` for all linears but the head and the groups that the configuration leaves out."""
    ignored: list[str] = []
    for key in ("ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "exclude"):
        value = stated.get(key)
        if isinstance(value, list):
            ignored += [str(item) for item in value]
    found = {"experts": name, "other": name}
    for group in MODULES:
        if group != "head" and _covers(ignored, group, layers):
            found[group] = plain
    return found


def _covers(patterns: Sequence[str], group: str, layers: Layers) -> bool:
    """Return whether the patterns name a module of `group` in most of the sampled layers."""
    if not patterns:
        return False
    if group == "head":
        return any(_matches(pattern, MODULES["head"][0]) for pattern in patterns)
    sample = layers["dense" if group == "dense" else "other"]
    hits = 0
    for layer in sample:
        names = [prefix + module.format(i=layer) for module in MODULES[group] for prefix in PREFIXES]
        hits += any(_matches(pattern, name) for pattern in patterns for name in names)
    return 2 * hits > len(sample)


def _matches(pattern: str, name: str) -> bool:
    """Return whether one pattern (regular expression, glob, prefix or part of a path) names the module."""
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], name) is not None
        except re.error:
            raise BadInput(
                f"quantization_config ignores {pattern!r}.", "It is no regular expression."
            ) from None
    if "*" in pattern:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
    return f".{pattern}." in f".{name}."
