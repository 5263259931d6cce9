"""Operators of every block form: counts by hand, invariants over all configurations."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from assay.llm import attention, compressed, experts, latent, recurrent
from assay.llm.architecture import Architecture
from assay.llm.blocks import (
    V4,
    BlockIndex,
    Dense,
    Dsa,
    Gdn,
    Gqa,
    Indexer,
    Kda,
    Lightning,
    Mamba2,
    Mla,
    Moe,
    Qsa,
    Relative,
)
from assay.llm.forward import draft_operators, mtp_operators, operators
from assay.llm.huggingface import load_config
from assay.llm.operators import KINDS, Operator
from assay.llm.parameters import counts

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "data" / "configs").glob("*.json"))
MODELS = {path.stem: load_config(path) for path in CONFIGS}
D = 1024


def weights(found: tuple[Operator, ...]) -> float:
    return sum(o.count * o.weights for o in found)


def named(found: tuple[Operator, ...], name: str) -> Operator:
    return next(o for o in found if o.name == name)


def test_gqa_by_hand() -> None:
    found = attention.operators(Gqa(heads=8, kv_heads=2, head_dim=128), D)
    assert weights(found) == D * 8 * 128 + 2 * D * 2 * 128 + 8 * 128 * D
    assert sum(o.flops for o in found) == 2 * weights(found)
    decode, prefill = named(found, "gqa.core.decode"), named(found, "gqa.core.prefill")
    assert decode.pair_flops == prefill.pair_flops == 4 * 8 * 128
    assert decode.cache_bytes == {"bf16": 1024.0, "fp8": 512.0}
    assert (decode.heads, decode.kv_heads, decode.cap) == (8, 2, inf)
    assert (decode.decode_rows, decode.prefill_rows) == (1, 0)
    assert (prefill.decode_rows, prefill.prefill_rows) == (0, 1)


@pytest.mark.parametrize(
    ("extra", "added"),
    [
        ({"qkv_bias": True}, 8 * 128 + 2 * 2 * 128),
        ({"o_bias": True}, D),
        ({"qk_norm": "head"}, 2 * 128),
        ({"qk_norm": "full"}, (8 + 2) * 128),
        ({"gate": "elementwise"}, D * 8 * 128),
        ({"gate": "head"}, D * 8),
        ({"sinks": True}, 8),
        ({"sink_proj": True}, D * 8),
        ({"k_eq_v": True}, -D * 2 * 128),
        ({"v_head_dim": 64}, -D * 2 * 64 - 8 * 64 * D),
        ({"q_lora": 256}, D * 256 + 256 + 256 * 8 * 128 - D * 8 * 128),
        ({"rel": Relative(16, 512)}, D * 8 * 16 + 16 * 512),
        ({"kv_sconv": 4}, 4 * 2 * 2 * 128),
        ({"window": 512}, 0),
        ({"kv_shared": True}, -2 * D * 2 * 128),
        ({"block_index": BlockIndex(4, 128, 128, 16, 1)}, D * 5 * 128 + 256),
        ({"qsa": Qsa(4, 1, 128, 2048, 4, 256)}, D * 5 * 128 + 256),
    ],
)
def test_gqa_variants_add(extra: dict[str, Any], added: int) -> None:
    plain = Gqa(heads=8, kv_heads=2, head_dim=128)
    assert (
        weights(attention.operators(replace(plain, **extra), D))
        == weights(attention.operators(plain, D)) + added
    )


def test_windows_and_selections_cap_what_is_read() -> None:
    window = attention.operators(Gqa(8, 2, 128, window=512), D)
    assert named(window, "swa.core.decode").cap == 512
    blocks = attention.operators(Gqa(8, 2, 128, block_index=BlockIndex(4, 128, 128, 16, 1)), D)
    assert named(blocks, "msa.core.decode").cap == 17 * 128
    assert named(blocks, "msa.index.score.decode").cap == inf
    qsa = attention.operators(Gqa(8, 2, 128, qsa=Qsa(4, 1, 128, 2048, 4)), D)
    assert named(qsa, "qsa.core.prefill").cap == 2048
    assert named(qsa, "qsa.index.score.prefill").stride == 4


def test_mla_by_hand() -> None:
    h, c, n, r, v, q = 128, 512, 128, 64, 128, 1536
    found = latent.operators(Mla(h, c, n, r, v, q_lora=q), 7168)
    formula = 7168 * q + q * h * (n + r) + 7168 * (c + r) + c * h * (n + v) + h * v * 7168 + q + c
    assert weights(found) == formula
    decode, prefill = named(found, "mla.core.decode"), named(found, "mla.core.prefill")
    assert decode.pair_flops == 278_528
    assert prefill.pair_flops == 81_920
    assert prefill.prefix_flops == 2 * c * h * (n + v)
    assert decode.prefix_flops == 0
    assert decode.cache_bytes == {"bf16": 1152.0, "fp8": 576.0}
    assert decode.kv_heads == 1
    without = latent.operators(Mla(h, c, n, r, v), 7168)
    assert weights(without) == formula - 7168 * q - q * h * (n + r) - q + 7168 * h * (n + r)


def test_dsa_reads_selected_positions_and_scores_all() -> None:
    index = Indexer(64, 128, 2048)
    plain = Mla(128, 512, 128, 64, 128, q_lora=1536)
    found = latent.operators(Dsa(128, 512, 128, 64, 128, q_lora=1536, indexer=index), 7168)
    added = 1536 * 64 * 128 + 7168 * 128 + 7168 * 64 + 2 * 128
    assert weights(found) == weights(latent.operators(plain, 7168)) + added
    for phase in ("decode", "prefill"):
        core, score = named(found, f"dsa.core.{phase}"), named(found, f"dsa.index.score.{phase}")
        assert (core.cap, core.pair_flops, core.prefix_flops) == (2048, 278_528, 0)
        assert (score.cap, score.pair_flops, score.compute) == (inf, 2 * 64 * 128, "fp8")
    assert named(found, "dsa.core.decode").cache_bytes["fp8"] == 656
    # a key with its scale, and one fp32 logit written and read by the selection
    assert named(found, "dsa.index.score.decode").cache_bytes["fp8"] == 132 + 8
    reused = replace(index, owns=False)
    shared = latent.operators(Dsa(128, 512, 128, 64, 128, q_lora=1536, indexer=reused), 7168)
    assert weights(shared) == weights(latent.operators(plain, 7168))
    assert not any("index" in o.name for o in shared)


def test_pooled_index_keys() -> None:
    block = Dsa(64, 512, 256, 0, 256, q_lora=1536, indexer=Indexer(32, 128, 2048), index_kpool=16)
    found = latent.operators(block, 4096)
    assert named(found, "dsa.index.score.decode").stride == 16
    pooled = weights(found) - weights(latent.operators(replace(block, index_kpool=0), 4096))
    assert pooled == 4096 * 128 + 16 * 128
    assert [c.stride for c in latent.caches(block)] == [1, 16]


def test_compressed_attention_by_hand() -> None:
    d, h, dim, q, g, o = 4096, 64, 512, 1024, 8, 1024
    base = d * q + q + q * h * dim + d * dim + dim + h + (h * dim // g) * (g * o) + g * o * d
    swa = V4(h, dim, q, g, o, 128, 64, "swa")
    assert weights(compressed.operators(swa, d)) == base
    csa = replace(swa, mode="csa", ratio=4, indexer=Indexer(64, 128, 512))
    compressor = 2 * d * 2 * dim + 4 * 2 * dim + dim
    index = 2 * d * 2 * 128 + q * 64 * 128 + d * 64 + 4 * 2 * 128 + 128
    assert weights(compressed.operators(csa, d)) == base + compressor + index
    hca = replace(swa, mode="hca", ratio=128)
    assert weights(compressed.operators(hca, d)) == base + 2 * d * dim + 128 * dim + dim
    found = compressed.operators(csa, d)
    window, entries = named(found, "v4.window.decode"), named(found, "v4.csa.decode")
    assert (window.cap, window.stride, entries.cap, entries.stride) == (128, 1, 512, 4)
    assert window.pair_flops == entries.pair_flops == 4 * h * dim
    assert (entries.cache_bytes["fp8"], entries.cache_bytes["bf16"]) == (584, 1024)
    assert named(compressed.operators(hca, d), "v4.hca.decode").cap == inf


def test_shared_entries_are_stored_once() -> None:
    owner = V4(64, 512, 1280, 8, 1024, 128, 64, "csa2", ratio=2, indexer=Indexer(32, 128, 512))
    reuse = replace(owner, owns_kv=False, owns_index=False)
    assert [c.name for c in compressed.caches(owner)] == ["v4.window", "v4.csa2", "v4.index"]
    assert [c.name for c in compressed.caches(reuse)] == ["v4.window"]
    stored = sum(c.position_bytes["fp8"] for c in compressed.caches(owner)[1:])
    assert stored == 356
    # reuse reads what the owner stored
    assert named(compressed.operators(reuse, 5120), "v4.csa2.decode").cap == 512
    rerank = replace(owner, owns_kv=False, indexer=Indexer(32, 128, 512, candidates=16_384))
    assert named(compressed.operators(rerank, 5120), "v4.index.score.decode").cap == 16_384


def test_recurrent_by_hand() -> None:
    d, nk, nv = 2048, 16, 32
    gdn = recurrent.gated_delta(Gdn(nk, nv, 128, 128, 4), d)
    channels = 2 * nk * 128 + nv * 128
    assert (
        weights(gdn)
        == d * (2 * nk * 128 + 2 * nv * 128) + d * 2 * nv + nv * 128 * d + 4 * channels + 2 * nv + 128
    )
    decode, prefill = named(gdn, "gdn.state.decode"), named(gdn, "gdn.state.prefill")
    assert decode.flops == 7 * nv * 128 * 128
    state = nv * 128 * 128 * 4 + 3 * channels * 2
    assert decode.state_bytes == {"bf16": 2.0 * state, "fp8": 2.0 * state}
    assert prefill.flops == pytest.approx(nv * (6 * 128 * 128 + 128 * 5 * 128 + 2 / 3 * 64**2))
    p = 32 * 128
    kda = recurrent.kimi_delta(Kda(32, 128, 4), d)
    gates = 2 * (d * 128 + 128 * p)
    assert weights(kda) == 3 * d * p + 3 * p * 4 + gates + p + 32 + d * 32 + 128 + p * d
    full = recurrent.kimi_delta(Kda(32, 128, 4, full_rank_f=True, full_rank_g=True), d)
    assert weights(full) == weights(kda) - gates + 2 * d * p
    lightning = recurrent.lightning(Lightning(64, 128), 6144)
    assert weights(lightning) == 5 * 6144 * 8192 + 8192
    mamba = recurrent.mamba2(Mamba2(64, 64, 8, 128, 4, conv_bias=True), 2688)
    inner, wide = 4096, 4096 + 2 * 8 * 128
    assert weights(mamba) == 2688 * (inner + wide + 64) + wide * 4 + wide + 3 * 64 + inner + inner * 2688
    assert named(mamba, "mamba.state.decode").flops == 5 * inner * 128


def test_experts_by_hand() -> None:
    block = Moe(64, 6, 1408, n_shared=2, shared_intermediate=1408, router_bias=True, shared_gate=True)
    found = experts.moe(block, 2048)
    routed = [o for o in found if o.kind == "experts"]
    assert weights(tuple(routed)) == 64 * 3 * 2048 * 1408
    assert sum(o.flops for o in routed) == 6 * 2 * 3 * 2048 * 1408
    assert weights(found) == 64 * 3 * 2048 * 1408 + 2 * 3 * 2048 * 1408 + 2048 * 65 + 64
    assert {(o.experts, o.topk, o.split) for o in routed} == {(64, 6, "experts")}
    wide = experts.moe(replace(block, latent=512, latent_norms=1), 2048)
    assert weights(tuple(o for o in wide if o.kind == "experts")) == 64 * 3 * 512 * 1408
    assert weights(wide) == weights(found) - 64 * 3 * (2048 - 512) * 1408 + 2 * 2048 * 512 + 512
    plain = experts.moe(Moe(8, 2, 512, ungated=True), D)
    assert weights(plain) == 8 * 2 * D * 512 + D * 8
    biased = experts.moe(Moe(8, 2, 512, bias=True), D)
    assert weights(biased) == 8 * (3 * D * 512 + 2 * 512 + D) + D * 8
    assert (
        weights(experts.dense("dense", "dense", D, Dense(512, ungated=True, bias=True)))
        == 2 * D * 512 + 512 + D
    )


def test_identity_experts_lower_the_work_not_the_choice() -> None:
    found = experts.moe(Moe(512, 12, 2048, n_zero=256, avg_real_topk=8), 6144)
    assert named(found, "moe.router").outer == 768
    assert named(found, "moe.experts.up").topk == 8


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_is_sane(name: str) -> None:
    arch = MODELS[name]
    found = operators(arch)
    assert operators(arch) == found
    keys = [replace(o, count=1, cache_bytes={}, state_bytes={}) for o in found]
    assert all(o.kind in KINDS for o in found)
    for o in keys:
        numbers = (o.weights, o.flops, o.pair_flops, o.prefix_flops, o.row_in, o.row_out, o.inner, o.outer)
        assert all(0 <= value < inf for value in numbers), o.name
        assert o.cap > 0, o.name
        assert o.stride >= 1, o.name
    # cores run in exactly one phase
    for o in found:
        if o.kind.endswith(("_decode", "_prefill")):
            assert (o.decode_rows > 0) == o.kind.endswith("_decode"), o.name
            assert (o.prefill_rows + o.prompt_rows > 0) == o.kind.endswith("_prefill"), o.name


@pytest.mark.parametrize("name", MODELS)
def test_linear_flops_are_twice_the_active_weights(name: str) -> None:
    """Decode linears cost 2 FLOPs a matmul weight; what is left over are norms, biases, convolutions."""
    arch = MODELS[name]
    linear = sum(o.count * o.flops for o in operators(arch) if o.kind in ("gemm", "experts"))
    assert linear == pytest.approx(2 * counts(arch).active, rel=2e-3 if name != "deepseek-v4-flash" else 6e-3)


@pytest.mark.parametrize("name", MODELS)
def test_exchanges_stand_behind_every_split_block(name: str) -> None:
    arch = MODELS[name]
    exchanges = {o.name: o for o in operators(arch) if o.kind == "exchange"}
    mixers = sum(count for count, mixer, _ in arch.schedule if mixer != "none")
    sparse = sum(count for count, _, ffn in arch.schedule if ffn != "none" and isinstance(arch.ffn[ffn], Moe))
    assert exchanges["attention.out"].count == mixers
    assert (exchanges["moe.exchange"].count if sparse else 0) == sparse
    for o in exchanges.values():
        assert o.row_out == arch.hidden
        assert o.weights == o.flops == 0


def test_kimi_k2_has_few_operators() -> None:
    assert 18 <= len(operators(MODELS["kimi-k2.5"])) <= 25


def test_head_and_embedding_rows() -> None:
    found = operators(MODELS["llama-3.1-8b"])
    head, table = named(found, "head"), named(found, "embedding")
    assert (head.decode_rows, head.prefill_rows, head.prompt_rows) == (1, 0, 1)
    assert (table.kind, table.weights) == ("gather", 128_256 * 4096)
    tied = operators(MODELS["gemma-3-4b"])
    assert named(tied, "embedding").weights == 0
    assert named(tied, "head").weights == 262_208 * 2560


def test_draft_pass_reads_the_head_but_does_not_own_it() -> None:
    arch = MODELS["deepseek-v3"]
    draft, module = draft_operators(arch), mtp_operators(arch)
    assert weights(module) == counts(arch).mtp
    assert weights(draft) == weights(module) + arch.vocab * arch.hidden
    assert named(draft, "mtp.join").inner == 2 * arch.hidden
    assert named(draft, "mla.core.decode").count == 1
    assert draft_operators(MODELS["llama-3.1-8b"]) == ()


def test_late_layers_run_only_the_last_window_of_a_prompt() -> None:
    base = {"type": "v4", "heads": 64, "head_dim": 512, "q_lora": 256, "o_groups": 8, "o_lora": 64}
    base |= {"window": 128, "qk_rope": 64, "mode": "csa2", "ratio": 1}
    base["indexer"] = {"heads": 32, "dim": 128, "topk": 512}
    arch = Architecture.from_dict(
        {
            "hidden": D,
            "vocab": 1000,
            "num_layers": 4,
            "attn": {"own": base, "reuse": base | {"owns_kv": False, "owns_index": False}},
            "ffn": {"dense": {"type": "dense", "intermediate": 512}},
            "schedule": [
                [1, "own", "dense"],
                [1, "reuse", "dense"],
                [1, "own", "dense"],
                [1, "reuse", "dense"],
            ],
            "prefill_layers": 2,
        }
    )
    found = operators(arch)
    dense = [o for o in found if o.name == "dense.up"]
    assert [(o.count, o.prefill_rows, o.prompt_rows) for o in dense] == [(2, 1, 0), (2, 0, 128)]
    # what the later layers read is written for every row, in both owners
    assert [(o.count, o.prefill_rows) for o in found if o.name == "v4.compress"] == [(2, 1)]
    decode = [o for o in found if o.name == "v4.window.decode"]
    assert [o.count for o in decode] == [4]
    whole = operators(replace(arch, prefill_layers=0))
    assert weights(whole) == weights(found)
    assert sum(o.count * o.flops * o.decode_rows for o in whole) == sum(
        o.count * o.flops * o.decode_rows for o in found
    )
