"""Memory of a model: weights, growing caches, windows and recurrent state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from assay.llm import attention, compressed, latent, recurrent
from assay.llm.architecture import Architecture
from assay.llm.blocks import V4, Gdn, Gqa, Kda, Lightning, Mamba2, Mixer, Mla
from assay.llm.formats import BYTES
from assay.llm.forward import mtp_operators, operators
from assay.llm.operators import Cache


def caches(arch: Architecture) -> tuple[Cache, ...]:
    """Return what every sequence keeps in memory, identical layers merged, in forward order."""
    merged: dict[object, Cache] = {}
    for count, mixer, _ in arch.schedule:
        if mixer == "none":
            continue
        for cache in mixer_caches(arch.attn[mixer]):
            key = (
                cache.name,
                cache.stride,
                cache.window,
                cache.kv_heads,
                tuple(sorted(cache.position_bytes.items())),
                tuple(sorted(cache.state_bytes.items())),
            )
            known = merged.get(key, replace(cache, count=0))
            merged[key] = replace(known, count=known.count + cache.count * count)
    return tuple(merged.values())


def mixer_caches(block: Mixer) -> tuple[Cache, ...]:
    """Return the caches of one layer with this mixer."""
    match block:
        case Gqa():
            return attention.caches(block)
        case Mla():
            return latent.caches(block)
        case V4():
            return compressed.caches(block)
        case Gdn() | Kda() | Lightning() | Mamba2():
            return (recurrent.state(block),)


def kv_bytes_per_token(arch: Architecture, kv_format: str = "bf16") -> float:
    """Return bytes that one more token of context adds to a sequence, once all windows are full."""
    return sum(
        c.count * c.position_bytes.get(kv_format, 0.0) / c.stride for c in caches(arch) if c.window == inf
    )


def state_bytes_per_sequence(arch: Architecture, kv_format: str = "bf16") -> float:
    """Return bytes of a sequence that do not grow: full windows, recurrent states, convolution tails."""
    total = 0.0
    for c in caches(arch):
        window = c.position_bytes.get(kv_format, 0.0) * c.window if c.window < inf else 0.0
        total += c.count * (window + c.state_bytes.get(kv_format, 0.0))
    return total


def cache_bytes(arch: Architecture, kv_format: str, context: float) -> float:
    """Return bytes that a sequence of `context` tokens holds: min(T/stride, window) positions and states."""
    total = 0.0
    for c in caches(arch):
        stored = min(context / c.stride, c.window)
        total += c.count * (c.position_bytes.get(kv_format, 0.0) * stored + c.state_bytes.get(kv_format, 0.0))
    return total


def weight_bytes(arch: Architecture, formats: Mapping[str, str], *, mtp: bool = False) -> float:
    """Return bytes of all weights, memory tables included.

    Args:
        arch: the model.
        formats: weight group -> format (`formats.weight_formats`).
        mtp: whether the multi-token prediction modules are loaded too.
    """
    total = sum(o.count * o.weights * BYTES[formats[o.group]] for o in operators(arch))
    if mtp and arch.mtp:
        modules = sum(o.count * o.weights * BYTES[formats[o.group]] for o in mtp_operators(arch))
        total += arch.mtp.count * modules
    return total
