"""The page and the JSON of `assay model`: parameters, formats, memory by term with its formula, sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.catalogue.schema import ModelEntry
from assay.llm.architecture import Architecture
from assay.llm.blocks import Moe
from assay.llm.formats import FOUR_BIT, native_formats, native_label, weight_formats
from assay.llm.memory import cache_bytes, caches, kv_bytes_per_token, state_bytes_per_sequence, weight_bytes
from assay.llm.operators import Cache
from assay.llm.parameters import counts
from assay.report.figures import count, number, tokens
from assay.report.panels import grid
from assay.units import show

#: Version of the JSON that `model_json` writes.
SCHEMA = "assay-model-1"
_KV = ("bf16", "fp8")
_CONTEXTS = (1_000, 32_000, 128_000, 1_000_000)


def model_json(name: str, arch: Architecture, entry: ModelEntry | None = None) -> dict[str, Any]:
    """Return everything assay knows about a model; sizes in bytes, KV in bf16 unless a key says otherwise.

    Args:
        name: catalogue name, or the name of the file.
        arch: the architecture.
        entry: catalogue entry; None for a config.json.
    """
    params, formats = counts(arch), native_formats(arch)
    return {
        "schema": SCHEMA,
        "model": name,
        "hf_id": entry.hf_id if entry else None,
        "released": entry.released if entry else None,
        "licence": entry.licence if entry else None,
        "params_total": params.total,
        "params_active": params.active,
        "params_active_definition": params.definition,
        "params_active_with_embedding": params.active_with_embedding,
        "params_active_without_head": params.active_without_head,
        "params_routed_experts": params.routed,
        "params_embedding": params.embedding,
        "params_head": params.head,
        "params_mtp": params.mtp,
        "params_memory_tables": params.memory,
        "native_format": native_label(arch),
        "formats": formats,
        "weight_bytes": weight_bytes(arch, formats),
        "weight_bytes_by_format": {
            choice: weight_bytes(arch, weight_formats(arch, choice)) for choice in ("bf16", "fp8", "fp4")
        },
        "kv_bytes_per_token": kv_bytes_per_token(arch),
        "kv_bytes_per_token_by_format": {kv: kv_bytes_per_token(arch, kv) for kv in _KV},
        "state_bytes_per_sequence": state_bytes_per_sequence(arch),
        "state_bytes_per_sequence_by_format": {kv: state_bytes_per_sequence(arch, kv) for kv in _KV},
        "layers": arch.num_layers,
        "hidden": arch.hidden,
        "vocab": arch.vocab,
        "max_context": arch.max_context or None,
        "attention": _attention(arch),
        "experts": _experts(arch),
        "mtp_modules": arch.mtp.count if arch.mtp else 0,
        "memory": [_term(cache) for cache in caches(arch)],
        "published": dict(entry.published) if entry else {},
        "sources": list(entry.sources) if entry else [],
        "warnings": list(entry.warnings) if entry else [],
    }


def model_page(name: str, arch: Architecture, entry: ModelEntry | None = None) -> Iterator[RenderableType]:
    """Yield the parts of the page of one model."""
    data = model_json(name, arch, entry)
    about = [data["hf_id"], f"released {data['released']}" if data["released"] else "", data["licence"]]
    yield Text.assemble((name, "bold"), f"  {' · '.join(filter(None, about))}")
    yield _summary(data)
    yield Text("\nWeights", style="bold")
    yield _weights(data)
    yield Text("\nMemory of one sequence of T tokens", style="bold")
    yield _caches(data)
    yield _contexts(arch)
    if data["sources"]:
        yield Text(f"\nSources: {'; '.join(data['sources'])}", style="dim")
    for warning in data["warnings"]:
        yield Text(f"! {warning}", style="yellow")


def _summary(data: Mapping[str, Any]) -> RenderableType:
    table = grid("left", "left")
    experts = data["experts"]
    routed = (
        f"{experts['routed']} routed, {number(experts['active'])} a token, {experts['shared']} shared"
        if experts
        else "none, dense"
    )
    mixers = ", ".join(f"{item['layers']} × {_mixer(item)}" for item in data["attention"])
    rows = (
        ("parameters", f"{count(data['params_total'], 4)}   ({data['params_total']:,})"),
        ("active a token", f"{count(data['params_active'], 4)}   {data['params_active_definition']}"),
        ("layers", f"{data['layers']} of width {data['hidden']:,}: {mixers}"),
        ("experts", routed),
        ("context", tokens(data["max_context"]) if data["max_context"] else "not published"),
        ("MTP", f"{data['mtp_modules']} module, {count(data['params_mtp'])} parameters more"),
    )
    for title, value in rows[: 6 if data["mtp_modules"] else 5]:
        table.add_row(Text(title, style="dim"), value)
    return table


def _mixer(item: Mapping[str, Any]) -> str:
    name, kind = item["name"], item["kind"]
    return name if kind in name else f"{name} ({kind})"


def _weights(data: Mapping[str, Any]) -> RenderableType:
    table = grid("left", "right", "left")
    table.add_row("as published", show(data["weight_bytes"], "B"), Text(data["native_format"], style="dim"))
    native = set(data["formats"].values())
    for choice, size in data["weight_bytes_by_format"].items():
        made = choice in native or (choice == "fp4" and native & FOUR_BIT)
        if abs(size - data["weight_bytes"]) > 0.001 * size:
            table.add_row(f"in {choice}", show(size, "B"), Text("" if made else "converted", style="dim"))
    return table


def _caches(data: Mapping[str, Any]) -> RenderableType:
    table = grid("left", "right", "right", "left")
    table.add_row(*(Text(title, style="dim") for title in ("term", "bf16", "fp8", "formula (bf16)")))
    for term in data["memory"]:
        growing = term["window"] is None and not term["state_bytes"]
        sizes = [
            _size(term["bytes_per_token" if growing else "bytes_per_sequence"].get(kv), growing) for kv in _KV
        ]
        table.add_row(term["term"], *sizes, Text(term["formula"], style="dim"))
    return table


def _size(size: float | None, growing: bool) -> str:
    if size is None:
        return "–"
    return f"{size:,.0f} B/token" if growing else f"{show(size, 'B')} fixed"


def _contexts(arch: Architecture) -> RenderableType:
    table = grid("left", "right", "right", "right", "right")
    within = [length for length in _CONTEXTS if not arch.max_context or length <= arch.max_context * 1.05]
    table.add_row(Text("sequence of", style="dim"), *(f"{tokens(length)}" for length in within))
    for kv in _KV:
        table.add_row(
            Text(f"  in {kv}", style="dim"), *(show(cache_bytes(arch, kv, length), "B") for length in within)
        )
    return table


def _term(cache: Cache) -> dict[str, Any]:
    """Return one cache with its formula: layers x bytes of a position x positions kept."""
    position = {kv: cache.count * size / cache.stride for kv, size in cache.position_bytes.items()}
    window = None if cache.window == inf else cache.window
    fixed = {
        kv: cache.count
        * (cache.position_bytes.get(kv, 0.0) * (window or 0.0) + cache.state_bytes.get(kv, 0.0))
        for kv in dict.fromkeys([*cache.position_bytes, *cache.state_bytes])
    }
    kept = "T" if cache.stride == 1 else f"T/{number(cache.stride)}"
    kept = kept if window is None else f"min({kept}, {number(window, 6)})"
    parts = []
    if cache.position_bytes:
        size = cache.position_bytes.get("bf16", next(iter(cache.position_bytes.values())))
        parts.append(f"{number(size, 6)} B × {kept}")
    if cache.state_bytes:
        size = cache.state_bytes.get("bf16", next(iter(cache.state_bytes.values())))
        parts.append(f"{number(size, 9)} B of state")
    return {
        "term": cache.name,
        "layers": cache.count,
        "bytes_per_token": {} if window is not None else position,
        "bytes_per_sequence": fixed,
        "window": window,
        "stride": cache.stride,
        "state_bytes": dict(cache.state_bytes),
        "kv_heads": cache.kv_heads,
        "formula": f"{number(cache.count)} layers × ({' + '.join(parts)})",
    }


def _attention(arch: Architecture) -> list[dict[str, Any]]:
    """Return the mixers in forward order, equal ones merged, with the layers that use each."""
    layers: dict[str, int] = {}
    for repeat, mixer, _ in arch.schedule:
        if mixer != "none":
            layers[mixer] = layers.get(mixer, 0) + repeat
    kinds = {name: getattr(block, "type", type(block).__name__.lower()) for name, block in arch.attn.items()}
    return [{"name": name, "kind": kinds[name], "layers": repeat} for name, repeat in layers.items()]


def _experts(arch: Architecture) -> dict[str, Any] | None:
    for block in arch.ffn.values():
        if isinstance(block, Moe):
            active = block.avg_real_topk or block.topk
            return {"routed": block.n_routed, "active": active, "shared": block.n_shared}
    return None
