"""Weight formats, weight bytes and cache bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import BadInput
from assay.llm.architecture import Architecture
from assay.llm.formats import BYTES, CHOICES, GROUPS, native_label, weight_formats
from assay.llm.forward import operators
from assay.llm.huggingface import load_config
from assay.llm.memory import (
    cache_bytes,
    caches,
    kv_bytes_per_token,
    state_bytes_per_sequence,
    weight_bytes,
)
from assay.llm.parameters import counts

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "data" / "configs").glob("*.json"))
MODELS = {path.stem: load_config(path) for path in CONFIGS}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("bf16", 2.0),
        ("fp8", 1.0002),
        ("fp8_block32", 1.0039),
        ("mxfp8", 1.03125),
        ("mxfp4", 0.53125),
        ("nvfp4", 0.5625),
        ("int4", 0.5625),
    ],
)
def test_bytes_per_element_hold_the_scales(name: str, size: float) -> None:
    assert BYTES[name] == pytest.approx(size, abs=6e-5)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", MODELS)
def test_every_choice_gives_every_group_a_known_format(name: str, choice: str) -> None:
    found = weight_formats(MODELS[name], choice)
    assert set(found) == set(GROUPS)
    assert set(found.values()) <= set(BYTES)
    assert {o.group for o in operators(MODELS[name]) if o.weights} <= set(GROUPS)
    for group in ("router", "embedding", "norm"):
        assert found[group] == "bf16"
    if choice not in ("native", "bf16"):
        assert found["head"] == "bf16"
        assert BYTES[found["experts"]] < 2


def test_choices_of_a_model() -> None:
    kimi, deepseek, oss = MODELS["kimi-k2.5"], MODELS["deepseek-v3"], MODELS["gpt-oss-20b"]
    assert weight_formats(kimi)["experts"] == "int4"
    assert weight_formats(kimi)["attention"] == "bf16"
    assert weight_formats(kimi, "fp4") | {"memory": ""} == weight_formats(kimi, "int4") | {
        "memory": "",
        "attention": "fp8",
        "shared": "fp8",
        "index": "fp8",
    }
    assert weight_formats(deepseek, "fp4")["experts"] == "nvfp4"
    assert weight_formats(deepseek, "fp4")["attention"] == "fp8"
    assert weight_formats(deepseek, "mxfp4")["dense"] == "mxfp4"
    assert weight_formats(deepseek, "int4")["attention"] == "int4"
    assert weight_formats(oss, "bf16")["experts"] == "bf16"
    assert native_label(kimi) == "int4 experts, bf16 rest"
    assert native_label(deepseek) == "fp8"
    assert native_label(MODELS["llama-3.1-8b"]) == "bf16"
    with pytest.raises(BadInput, match="fp3"):
        weight_formats(kimi, "fp3")


@pytest.mark.parametrize("name", MODELS)
def test_weight_bytes_are_parameters_times_bytes(name: str) -> None:
    arch = MODELS[name]
    bf16 = weight_bytes(arch, weight_formats(arch, "bf16"))
    assert bf16 == 2 * (counts(arch).total + counts(arch).memory)
    with_mtp = weight_bytes(arch, weight_formats(arch, "bf16"), mtp=True)
    assert with_mtp == bf16 + 2 * counts(arch).mtp
    assert (
        weight_bytes(arch, weight_formats(arch, "fp4"))
        < weight_bytes(arch, weight_formats(arch, "fp8"))
        < bf16
    )


@pytest.mark.parametrize("kv", ["bf16", "fp8"])
@pytest.mark.parametrize("name", MODELS)
def test_cache_bytes_reach_windows_and_then_grow_by_the_token(name: str, kv: str) -> None:
    arch = MODELS[name]
    assert cache_bytes(arch, kv, 0) == sum(c.count * c.state_bytes.get(kv, 0.0) for c in caches(arch))
    previous = -1.0
    for context in (0, 1, 100, 1000, 10_000, 100_000, 1_000_000):
        size = cache_bytes(arch, kv, context)
        assert size >= previous
        ceiling = state_bytes_per_sequence(arch, kv) + kv_bytes_per_token(arch, kv) * context
        assert size <= ceiling * (1 + 1e-12)
        previous = size
    assert previous == pytest.approx(ceiling)
    assert kv_bytes_per_token(arch, "fp8") < kv_bytes_per_token(arch, "bf16")


#: native dtype of the facts, by bits per expert weight and per other weight
FORMATS = {16: "bf16", 8.002: "fp8", 8.03: "fp8_block32", 8.25: "mxfp8", 4.25: "mxfp4", 4.5: "int4"}


def with_formats(model: dict[str, Any]) -> Architecture:
    memory = model["memory"]
    formats = {"experts": FORMATS[memory["expert_bits"]], "other": FORMATS[memory["other_bits"]]}
    return Architecture.from_dict(model["arch"] | {"formats": formats})


def test_checkpoint_sizes_of_the_facts(shared: Path) -> None:
    for path in sorted((shared / "facts" / "models").glob("*.json")):
        model = json.loads(path.read_text())
        arch = with_formats(model)
        size = weight_bytes(arch, weight_formats(arch), mtp=True) / 1e9
        assert size == pytest.approx(model["memory"]["checkpoint_gb_estimated"], rel=3e-3, abs=0.06), (
            path.stem
        )


#: published checkpoint sizes, GB: Kimi K3 1.42 TiB (96 shards), V4.1-Flash 510 (with draft and vision),
#: MiMo V2.5 Pro 1030
PUBLISHED = {"kimi-k3": 1561.0, "deepseek-v4.1-flash": 510.0, "mimo-v2.5-pro": 1030.0}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoint_sizes(name: str, shared: Path) -> None:
    arch = with_formats(json.loads((shared / "facts" / "models" / f"{name}.json").read_text()))
    assert weight_bytes(arch, weight_formats(arch), mtp=True) / 1e9 == pytest.approx(
        PUBLISHED[name], rel=0.03
    )


def test_published_checkpoint_sizes_without_the_facts() -> None:
    """gpt-oss-20b 13.8 GB, Kimi K2.5 594 GB, DeepSeek V3 with MTP 685 GB, V4 Flash with MTP 159 GB."""
    for name, size in {
        "gpt-oss-20b": 13.8,
        "kimi-k2.5": 594,
        "deepseek-v3": 685,
        "deepseek-v4-flash": 159,
    }.items():
        arch = MODELS[name]
        assert weight_bytes(arch, weight_formats(arch), mtp=True) / 1e9 == pytest.approx(size, rel=0.03), name
