"""What a correction may depend on: numbers of each point that exist for unseen chips and models, and keys.

Numbers are ratios and logarithms of physical quantities (arithmetic intensity, rows, message bytes, shares
of a step), so that a chip or model nobody measured lands among those that were. Keys (chip, model, engine
...) name the groups that measurements share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip, System
from assay.errors import AssayError
from assay.study.conditions import LOADS, Conditions, Predictions, Setting

Floats = NDArray[np.float64]

#: Groups that measured points share, coarse to fine. Each names parts of `identity`, joined by "|".
LEVELS = (
    ("engine",),
    ("engine", "vendor"),
    ("engine", "generation"),
    ("load",),
    ("load", "engine"),
    ("load", "engine", "vendor"),
    ("load", "engine", "chip"),
    ("family",),
    ("model",),
    ("chip",),
    ("chip", "engine"),
    ("family", "engine"),
    ("chip", "family"),
    ("chip", "model"),
    ("chip", "model", "engine"),
    ("chip", "model", "engine", "recipe"),
    ("chip", "model", "engine", "recipe", "layout"),
)

_PARTS = ("engine", "vendor", "generation", "chip", "model", "family", "load", "recipe", "layout")

_BITS = {"bf16": 16.0, "fp16": 16.0, "fp8": 8.0, "int8": 8.0, "mxfp8": 8.0, "fp6": 6.0, "int4": 4.0}
_SETTING = (
    "log chips", "log tp", "log ep", "log dp", "log pp", "log replicas", "split", "log prefill ratio",
    "share", "weight bits", "activation bits", "kv bits", "speculation", "drafts", "decode only",
    "prefill only",
    *(f"load {name}" for name in LOADS), "log bandwidth", "log peak", "log balance", "log link",
    "log memory", "log domain", "sram", "layout unknown",
)  # fmt: skip
_TERMS = (
    "log decode step", "memory share", "compute share", "link share", "overhead share", "log intensity",
    "log rows", "log expert rows", "log messages", "log weights", "cache share", "log prompt",
    "prompt compute", "prompt link", "prompt overhead", "prompt share", "queue share", "utilisation",
    "kv fill", "log batch", "log tpot", "log ttft", "log burst", "log pressure",
)  # fmt: skip
_POINT = (
    "log isl",
    "log osl",
    "log isl/osl",
    "cached",
    "spread",
    "log concurrency",
    "log load",
    "date",
    "undated",
)

_MODEL = (
    "log layers",
    "log hidden",
    "log experts",
    "log topk",
    "experts share",
    "latent share",
    "recurrent share",
    "sparse share",
    "window share",
)
_LATENT, _RECURRENT = ("mla", "dsa", "v4"), ("gdn", "kda", "mamba2", "lightning")
_STEP_PARTS = ("memory", "compute", "link", "overhead")
_PROMPT_PARTS = ("compute", "link", "overhead")

#: Names of the columns of `numbers`.
NAMES = (*_POINT, *_SETTING, *_MODEL, *_TERMS)


@cache
def family(model: str) -> str:
    """Return the family of a model, the unit of "unseen model"; the model itself where none is listed."""
    families: Mapping[str, str] = catalogue().table("measurements/names")["families"]
    found = max((prefix for prefix in families if model.startswith(prefix)), key=len, default="")
    return str(families[found]) if found else model


@dataclass(frozen=True, slots=True)
class Known:
    """Systems and models of the user's own, by the names that settings carry; they come before ours.

    Attributes:
        systems: name -> system.
        shapes: name -> the normalised architecture.
    """

    systems: Mapping[str, System] = field(default_factory=dict)
    shapes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


NOTHING = Known()


@lru_cache(maxsize=4096)
def identity(setting: Setting) -> Mapping[str, str]:
    """Return the parts of `LEVELS` for one setting of the catalogue."""
    return _identity(setting, _chip(setting.system))


def _identity(setting: Setting, chip: Chip | None) -> Mapping[str, str]:
    spec = f"{setting.speculation}{setting.draft_tokens or ''}"
    return {
        "engine": setting.engine,
        "vendor": chip.vendor if chip else "",
        "generation": chip.generation if chip else "",
        "chip": chip.id if chip else setting.system,
        "model": setting.model,
        "family": family(setting.model),
        "load": f"{setting.load} {setting.phase}",
        "recipe": "/".join(
            (
                setting.weights,
                setting.kv,
                spec,
                "split" if setting.prefill else "",
                setting.load,
                setting.phase,
            )
        ),
        "layout": setting.label(),
    }


def keys(setting: Setting, known: Known = NOTHING) -> tuple[str, ...]:
    """Return the group of a setting at each of `LEVELS`."""
    own = known.systems.get(setting.system)
    parts = _identity(setting, own.chip) if own else identity(setting)
    *shared, layout = [parts[name] for name in _PARTS]
    coarse = _coarse(tuple(shared))
    # only the last of the levels tells layouts apart
    return (*coarse, f"{coarse[-1]}|{layout}")


@lru_cache(maxsize=4096)
def _coarse(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups at all of `LEVELS` but the last, from all of `_PARTS` but the last."""
    named = dict(zip(_PARTS, parts, strict=False))
    return tuple("|".join(named[name] for name in level) for level in LEVELS[:-1])


def numbers(conditions: Conditions, raw: Predictions, known: Known = NOTHING) -> Floats:
    """Return the numeric features, (n, len(NAMES)); what is unknown is NaN.

    Args:
        conditions: n points.
        raw: their uncorrected predictions, with `terms`.
        known: systems and models of the user's own.
    """
    width = len(_SETTING) + len(_MODEL)
    shapes = {name: _shaped(shape) for name, shape in known.shapes.items() if shape}
    settings = np.array([_described(item, known, shapes) for item in conditions.settings])
    settings = settings.reshape(-1, width)
    return np.hstack([_point(conditions), settings[conditions.setting], _terms(conditions, raw)])


def _point(conditions: Conditions) -> Floats:
    isl, osl = np.maximum(conditions.isl, 1.0), np.maximum(conditions.osl, 1.0)
    chips = np.array([item.chips for item in conditions.settings], dtype=np.float64)[conditions.setting]
    concurrency = np.maximum(conditions.concurrency, 1.0)
    dated = np.isfinite(conditions.date)
    return np.column_stack(
        [
            np.log(isl),
            np.log(osl),
            np.log(isl / osl),
            conditions.cached,
            conditions.spread,
            np.log(concurrency),
            np.log(concurrency / np.maximum(chips, 1.0)),
            conditions.date,
            (~dated).astype(np.float64),
        ]
    )


def _described(setting: Setting, known: Known, shapes: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    own = known.systems.get(setting.system)
    place = _placed(setting, own, own.chip) if own else _setting(setting)
    return place + (shapes.get(setting.model) or _model(setting.model))


@lru_cache(maxsize=4096)
def _setting(setting: Setting) -> tuple[float, ...]:
    return _placed(setting, catalogue().system(setting.system), _chip(setting.system))


def _placed(setting: Setting, system: System, chip: Chip | None) -> tuple[float, ...]:
    layout = setting.pool.layout if setting.pool else None
    degrees = [float(getattr(layout, name)) if layout else np.nan for name in ("tp", "ep", "dp", "pp")]
    prefill = setting.prefill.chips if setting.prefill else 0
    weights = setting.weights or "bf16"
    compute = setting.activations or weights
    peak = _peak(chip, compute) * setting.share if chip else np.nan
    bandwidth = chip.memory_bandwidth * setting.share if chip else np.nan
    sizes = (
        max(setting.chips, 1),
        *degrees,
        setting.pool.replicas if setting.pool else 1.0,
        prefill / setting.pool.chips if prefill and setting.pool else 1.0,
        bandwidth,
        peak,
        peak / bandwidth,
        max(system.link_bandwidth or 0.0, 1e9),
        chip.memory_bytes * setting.share if chip else np.nan,
        max(system.domain, 1),
    )
    *counts, ratio, rate, fastest, balance, links, memory, domain = np.log(sizes).tolist()
    return (
        *counts,
        float(setting.prefill is not None),
        ratio,
        setting.share,
        _BITS.get(weights, 4.0),
        _BITS.get(compute, 4.0),
        _BITS.get(setting.kv, 16.0),
        float(setting.speculation not in ("", "unknown")),
        float(setting.draft_tokens),
        float(setting.phase == "decode"),
        float(setting.phase == "prefill"),
        *(float(setting.load == name) for name in LOADS),
        rate,
        fastest,
        balance,
        links,
        memory,
        domain,
        float(chip is not None and chip.memory_kind == "sram"),
        float(layout is None),
    )


@cache
def _model(name: str) -> tuple[float, ...]:
    return _shaped(catalogue().model(name).architecture)


def _shaped(shape: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the shape of a model: what its layers are, whatever its name."""
    layers = {"latent": 0.0, "recurrent": 0.0, "sparse": 0.0, "window": 0.0, "experts": 0.0}
    experts = topk = 0.0
    for count, mixer, feed in shape["schedule"]:
        attn, ffn = shape["attn"].get(mixer, {}), shape["ffn"].get(feed, {})
        layers["latent"] += count * (attn.get("type") in _LATENT)
        layers["recurrent"] += count * (attn.get("type") in _RECURRENT)
        layers["sparse"] += count * ("indexer" in attn or "block_index" in attn)
        layers["window"] += count * ("window" in attn)
        layers["experts"] += count * (ffn.get("type") == "moe")
        experts, topk = max(experts, ffn.get("n_routed", 0.0)), max(topk, ffn.get("topk", 0.0))
    total = float(shape["num_layers"])
    return (
        np.log(total),
        np.log(shape["hidden"]),
        np.log1p(experts),
        np.log1p(topk),
        *(min(layers[kind] / total, 1.0) for kind in ("experts", "latent", "recurrent", "sparse", "window")),
    )


def _peak(chip: Chip, compute: str) -> float:
    name = {"nvfp4": "fp4", "mxfp4": "fp4", "fp16": "bf16", "int4": "bf16"}.get(compute, compute)
    rates = chip.peak_flops
    return float(
        rates.get(name) or rates.get("bf16") or rates.get("fp16") or max(rates.values(), default=np.nan)
    )


@cache
def _chip(system: str) -> Chip | None:
    try:
        return catalogue().system(system).chip
    except AssayError:
        return None


def _terms(conditions: Conditions, raw: Predictions) -> Floats:
    n = len(conditions)
    missing = np.full(n, np.nan)

    def term(name: str) -> Floats:
        return np.asarray(raw.terms.get(name, missing), dtype=np.float64)

    def log(array: Floats, least: float = 1e-12) -> Floats:
        return np.log(np.maximum(array, least))

    step = np.maximum(term("decode_step"), 1e-9)
    prompt = np.maximum(term("prefill_step"), 1e-9)
    ttft = np.maximum(np.asarray(raw.ttft.value, dtype=np.float64), 1e-9)
    tpot = np.maximum(np.asarray(raw.tpot.value, dtype=np.float64), 1e-9)
    moved = np.maximum(term("decode_bytes"), 1.0)
    burst = _burst(conditions, prompt)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.column_stack(
            [
                log(step),
                *(
                    np.clip(term(f"decode_{part}") / step, 0.0, 2.0)
                    for part in ("memory", "compute", "link", "overhead")
                ),
                log(term("decode_flops") / moved),
                log(term("decode_rows"), 1.0),
                np.log1p(term("expert_rows")),
                log(term("decode_messages"), 1.0),
                log(term("weight_bytes"), 1.0),
                np.clip(term("cache_bytes") / moved, 0.0, 1.0),
                log(prompt),
                *(
                    np.clip(term(f"prefill_{part}") / prompt, 0.0, 2.0)
                    for part in ("compute", "link", "overhead")
                ),
                term("prefill_share"),
                np.clip(term("queue") / ttft, 0.0, 1.0),
                np.clip(term("utilisation"), 0.0, 2.0),
                np.clip(term("kv_fill"), 0.0, 1.0),
                log(term("batch"), 1.0),
                log(tpot),
                log(ttft),
                log(burst / ttft),
                log(burst / (np.fmax(conditions.osl, 1.0) * tpot)),
            ]
        )


def _burst(conditions: Conditions, prompt: Floats) -> Floats:
    """Return the time that the prompts of every user at once keep the prefilling replicas busy, s."""
    pools = [item.prefill or item.pool for item in conditions.settings]
    servers = np.array([pool.replicas * pool.layout.dp if pool else 1.0 for pool in pools])
    out: Floats = np.fmax(conditions.concurrency, 1.0) * prompt / servers[conditions.setting]
    return out
