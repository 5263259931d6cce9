"""Cache bytes and FLOPs against published statements; each row says who published what.

Without ../shared, the configurations in tests/data/configs prove the statements they cover.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.llm.architecture import Architecture
from assay.llm.forward import operators
from assay.llm.huggingface import load_config
from assay.llm.memory import cache_bytes, caches, kv_bytes_per_token, state_bytes_per_sequence
from assay.llm.parameters import counts

CONFIGS = Path(__file__).resolve().parents[1] / "data" / "configs"
MILLION = 1e6
MEBI, GIBI = 2.0**20, 2.0**30


def fp8_equivalent_flops(arch: Architecture, context: float, index_weight: float) -> float:
    """Decode FLOPs of one token as the V4 report weighs them: linear x1, bf16 core x2, index as given."""
    total = 0.0
    for o in operators(arch):
        if not o.decode_rows:
            continue
        visible = min(context / o.stride, o.cap)
        weight = index_weight if "index.score" in o.name else 2.0
        total += o.count * (o.flops + weight * o.pair_flops * visible)
    return total


def as_if_global(arch: Architecture, kind: str) -> float:
    """Cache bytes a token if every layer had the cache of `kind`, over those it has."""
    one = next(c for c in caches(arch) if c.name == kind)
    return one.position_bytes["bf16"] * sum(c.count for c in caches(arch)) / kv_bytes_per_token(arch)


def gib_at_a_million(arch: Architecture) -> float:
    """Cache of a million-token context with bf16 entries and fp8 index keys (128 + 4 B), windows aside."""
    total = 0.0
    for c in caches(arch):
        size = 132.0 if c.name == "v4.index" else c.position_bytes["bf16"]
        total += c.count * size * MEBI / c.stride if c.window == float("inf") else 0.0
    return total / GIBI


Load = Callable[[str], Architecture]


@pytest.fixture
def facts(shared: Path) -> Load:
    """Read the architecture of a model of the facts."""

    def load(name: str) -> Architecture:
        path = shared / "facts" / "models" / f"{name}.json"
        return Architecture.from_dict(json.loads(path.read_text())["arch"])

    return load


#: statement -> (ours, published, half a unit of the last published digit; more where a note says so)
def statements(load: Load) -> dict[str, tuple[float, float, float]]:
    v32, pro, flash = load("deepseek-v3.2"), load("deepseek-v4-pro"), load("deepseek-v4-flash")
    v41, k3, linear = load("deepseek-v4.1-flash"), load("kimi-k3"), load("kimi-linear-48b-a3b")
    base, full = fp8_equivalent_flops(v32, MILLION, 1.0), kv_bytes_per_token(v32, "fp8")
    read = sum(o.row_in * 264 / 256 for o in operators(v41) if o.name == "memory.rows")
    mla = next(c for c in caches(linear) if c.name == "mla.latent")
    experts = counts(k3).routed * 16 / 896
    return {
        "DeepSeek-V3 KV cache per token, bf16": (kv_bytes_per_token(load("deepseek-v3")), 70_272, 0.5),
        "Qwen2.5-72B KV cache per token, bf16": (kv_bytes_per_token(load("qwen2.5-72b")), 327_680, 0.5),
        "Llama-3.1-405B KV cache per token, bf16": (kv_bytes_per_token(load("llama-3.1-405b")), 516_096, 0.5),
        "DeepSeek-V4-Pro decode FLOPs at 1M context / V3.2": (
            100 * fp8_equivalent_flops(pro, MILLION, 0.5) / base,
            27,
            0.5,
        ),
        "DeepSeek-V4-Flash decode FLOPs at 1M context / V3.2": (
            100 * fp8_equivalent_flops(flash, MILLION, 0.5) / base,
            10,
            0.5,
        ),
        "DeepSeek-V4-Pro KV bytes per token / V3.2": (100 * kv_bytes_per_token(pro, "fp8") / full, 10, 0.5),
        "DeepSeek-V4-Flash KV bytes per token / V3.2": (
            100 * kv_bytes_per_token(flash, "fp8") / full,
            7,
            0.5,
        ),
        "DeepSeek-V4-Pro KV cache at 1M tokens": (gib_at_a_million(pro), 8.7, 0.05),
        "DeepSeek-V4.1-Flash global KV per token": (kv_bytes_per_token(v41, "fp8"), 890, 0.5),
        "DeepSeek-V4.1-Flash active parameters per prefill token": (counts(v41).active_prefill / 1e9, 8, 0.5),
        "DeepSeek-V4.1-Flash active parameters per decode token": (counts(v41).active / 1e9, 16, 0.5),
        "DeepSeek-V4.1-Flash Engram rows read per token and table": (read / 264 / 2, 24, 0.5),
        # published to two digits; 4.51 GB rounds to 4.5
        "DeepSeek-V4.1-Flash routed expert bytes per token": (
            counts(v41).routed * 6 / 384 * 0.53125 / 1e9,
            4.5,
            0.05,
        ),
        "Kimi-K3 KDA recurrent state per sequence (fp32)": (
            sum(c.count * 96 * 128 * 128 * 4 for c in caches(k3) if c.name == "kda.state") / MEBI,
            414,
            0.5,
        ),
        "Kimi-K3 routed expert read per token at 4.25 bits": (experts * 4.25 / 8 / GIBI, 24.1, 0.05),
        # published as "up to 75 %": the last layer is full too, so 20 of 27 layers save
        "Kimi-Linear KV reduction vs all-MLA stack": (
            100 * (1 - kv_bytes_per_token(linear) / (27 * mla.position_bytes["bf16"])),
            75,
            1.0,
        ),
        "MiMo-V2.5-Pro KV reduction vs all-global stack (long context)": (
            as_if_global(load("mimo-v2.5-pro"), "gqa.kv"),
            7,
            0.5,
        ),
        # "nearly 6x": 48 layers over the 9 global ones of the stored pattern
        "MiMo-V2-Flash KV reduction vs all-global stack (long context)": (
            as_if_global(load("mimo-v2-flash"), "gqa.kv"),
            6,
            0.7,
        ),
    }


def test_every_published_statement(shared: Path, facts: Load) -> None:
    found = statements(facts)
    for name, (ours, published, rounding) in found.items():
        assert abs(ours - published) <= rounding, name
    with (shared / "facts" / "kv_flops_check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["check"] for row in rows} == set(found)
    for row in rows:
        # where the file states the same quantity in other units, it is the published figure that binds
        if row["unit"] not in ("GB", "GiB"):
            assert found[row["check"]][0] == pytest.approx(float(row["computed"]), rel=2e-3), row["check"]


def test_caches_of_all_facts(shared: Path) -> None:
    for path in sorted((shared / "facts" / "models").glob("*.json")):
        model = json.loads(path.read_text())
        arch, said = Architecture.from_dict(model["arch"]), model["memory"]
        assert kv_bytes_per_token(arch, "bf16") == said["kv_bytes_per_token_bf16"], path.stem
        assert kv_bytes_per_token(arch, "fp8") == said["kv_bytes_per_token_8bit_layouts"], path.stem
        assert state_bytes_per_sequence(arch, "bf16") == said["fixed_bytes_per_sequence_bf16"], path.stem


#: configuration -> bytes per token bf16, fp8, and fixed bytes per sequence bf16
CACHES = {
    "deepseek-v3": (61 * 576 * 2, 61 * 576, 0),
    "deepseek-v3.2": (61 * (576 + 128) * 2, 61 * (656 + 132), 0),
    "deepseek-v4-flash": (
        21 * 1280 / 4 + 20 * 1024 / 128,
        21 * (584 + 68) / 4 + 20 * 584 / 128,
        43 * 128 * 1024,
    ),
    "gpt-oss-20b": (12 * 2 * 8 * 64 * 2, 12 * 2 * 8 * 64, 12 * 128 * 2 * 8 * 64 * 2),
    "qwen3-next-80b-a3b": (
        12 * 2 * 2 * 256 * 2,
        12 * 2 * 2 * 256,
        36 * (32 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 32 * 128) * 2),
    ),
    "minimax-text-01": (10 * 2 * 8 * 128 * 2, 10 * 2 * 8 * 128, 70 * 64 * 128 * 128 * 4),
    "nemotron-3-nano-30b-a3b": (
        6 * 2 * 2 * 128 * 2,
        6 * 2 * 2 * 128,
        23 * (64 * 64 * 128 * 4 + (64 * 64 + 2 * 8 * 128) * 3 * 2),
    ),
    "kimi-linear-48b-a3b": (7 * 576 * 2, 7 * 576, 20 * (32 * 128 * 128 * 4 + 3 * 32 * 128 * 3 * 2)),
    "llama-4-scout": (12 * 2 * 8 * 128 * 2, 12 * 2 * 8 * 128, 36 * 8192 * 2 * 8 * 128 * 2),
}


@pytest.mark.parametrize("name", CACHES)
def test_caches_by_hand(name: str) -> None:
    arch = load_config(CONFIGS / f"{name}.json")
    bf16, fp8, fixed = CACHES[name]
    assert kv_bytes_per_token(arch, "bf16") == bf16
    assert kv_bytes_per_token(arch, "fp8") == fp8
    assert state_bytes_per_sequence(arch, "bf16") == fixed
    # beyond every window the cache grows by exactly this much a token
    far = 1_000_000.0
    grown = cache_bytes(arch, "fp8", far + 128) - cache_bytes(arch, "fp8", far)
    assert grown == pytest.approx(128 * fp8)


def test_decode_flops_of_v4_against_v32_without_the_facts() -> None:
    v32 = load_config(CONFIGS / "deepseek-v3.2.json")
    flash = load_config(CONFIGS / "deepseek-v4-flash.json")
    ratio = fp8_equivalent_flops(flash, MILLION, 0.5) / fp8_equivalent_flops(v32, MILLION, 1.0)
    assert 100 * ratio == pytest.approx(10, abs=0.5)


def test_sparse_attention_of_v32_at_a_million_tokens() -> None:
    """The index dominates: 1.0 of 1.11 TFLOP per token (operators.md, DSA)."""
    arch = load_config(CONFIGS / "deepseek-v3.2.json")
    index = core = linear = 0.0
    for o in operators(arch):
        if o.decode_rows:
            pairs = o.count * o.pair_flops * min(MILLION, o.cap)
            index += pairs if "index.score" in o.name else 0.0
            core += pairs if ".core." in o.name else 0.0
            linear += o.count * o.flops
    assert index / 1e12 == pytest.approx(1.0, abs=0.05)
    assert (index + core + linear) / 1e12 == pytest.approx(1.11, abs=0.01)
