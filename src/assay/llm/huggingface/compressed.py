"""DeepSeek V4 and V4.1: compressed attention, hash-routed layers, hyper-connections, Engram."""

from __future__ import annotations

from assay.errors import BadInput
from assay.llm.huggingface import blocks
from assay.llm.huggingface.blocks import Arch
from assay.llm.huggingface.fields import Fields, runs
from assay.llm.records import number

#: A compression ratio from here on averages entries without an index (HCA); below it selects (CSA).
HEAVY = 32
WORDS = {
    "sliding_attention": 0,
    "full_attention": 0,
    "compressed_sparse_attention": 4,
    "heavily_compressed_attention": 128,
}


def _attention(fields: Fields) -> Arch:
    return {
        "type": "v4",
        "heads": fields.whole("num_attention_heads"),
        "head_dim": fields.whole("head_dim", default=512),
        "q_lora": fields.whole("q_lora_rank", default=1024),
        "o_groups": fields.whole("o_groups", default=8),
        "o_lora": fields.whole("o_lora_rank", default=1024),
        "window": fields.whole("sliding_window", default=128),
        "qk_rope": fields.whole("qk_rope_head_dim", default=64),
    }


def _index(fields: Fields, heads: int) -> Arch:
    return {
        "heads": fields.whole("index_n_heads", default=heads),
        "dim": fields.whole("index_head_dim", default=128),
        "topk": fields.whole("index_topk", default=512),
    }


def _ratios(fields: Fields, layers: int) -> list[int]:
    listed = fields.items("compress_ratios")
    kinds = fields.items("layer_types")
    if listed is None and kinds is not None:
        listed = [WORDS.get(kind) for kind in kinds]
    if listed is None or len(listed) < layers or not all(isinstance(ratio, int) for ratio in listed):
        raise BadInput(
            f"{fields.where}: compress_ratios must give one ratio for each of {layers} layers.",
            "0 is a window only, 4 CSA, 128 HCA.",
        )
    return listed


def deepseek_v4(fields: Fields) -> Arch:
    """DeepSeek V4: window, CSA and HCA layers by `compress_ratios`, mHC, hash routing in the first layers."""
    fields.known("num_key_value_heads", "compress_rates", "compress_rope_theta")
    arch = blocks.skeleton(fields)
    layers, d = arch["num_layers"], arch["hidden"]
    ratios = _ratios(fields, layers)
    base, index = _attention(fields), _index(fields, 64)
    attn: Arch = {}
    names = []
    for ratio in ratios[:layers]:
        mode = "swa" if ratio == 0 else "csa" if ratio < HEAVY else "hca"
        name = f"{mode}{ratio or ''}"
        attn[name] = base | {"mode": mode} | ({"ratio": ratio} if ratio else {})
        if mode == "csa":
            attn[name]["indexer"] = index
        names.append(name)
    experts = blocks.shared(fields, blocks.moe(fields, topk=6), default=1)
    hashed = fields.whole("num_hash_layers", default=3, zero=True)
    kinds = fields.items("mlp_layer_types")
    if kinds is not None:
        hashed = sum(1 for kind in kinds[:layers] if kind == "hash_moe")
    arch["attn"] = attn
    arch["ffn"] = {"moe": experts} | ({"hash_moe": experts | {"hash_routing": True}} if hashed else {})
    arch["schedule"] = runs(names, ["hash_moe" if i < hashed else "moe" for i in range(layers)])
    n = fields.whole("hc_mult", default=4)
    arch["residual"] = {
        "kind": "mhc",
        "mult": n,
        "sinkhorn_iters": fields.whole("hc_sinkhorn_iters", default=20),
    }
    arch = blocks.mtp(fields, arch, "swa", "moe")
    if "mtp" in arch:
        attn.setdefault("swa", base | {"mode": "swa"})
        mixers = 2 * ((2 + n) * n * n * d + (2 + n) * n + 3) + n * n * d + n + 1
        arch["mtp"] |= {"extra": arch["mtp"]["extra"] + mixers, "norms": 2}
    return arch


def deepseek_v41(fields: Fields) -> Arch:
    """DeepSeek V4.1: entries and selections owned by source layers, Engram memory, causal encoder-decoder.

    Layers from the last entry source on read only its entries, so prefill runs them on the last window of
    a prompt. The DSpark draft module is not counted.
    """
    fields.known(
        "num_key_value_heads", "candidate_source_layer_id", "engram_vocab_size", "num_nextn_predict_layers"
    )
    fields.known(
        "dspark_block_size", "dspark_target_layer_ids", "dspark_markov_rank", "dspark_n_routed_experts"
    )
    fields.known("dspark_num_experts_per_tok", "compress_rope_theta")
    arch = blocks.skeleton(fields)
    layers = arch["num_layers"]
    sources = blocks.indices(fields.items("kv_source_layer_ids") or [], fields, "kv_source_layer_ids")
    selectors = blocks.indices(fields.items("index_source_layer_ids") or [], fields, "index_source_layer_ids")
    base, index = _attention(fields), _index(fields, 32)
    candidates = fields.whole("candidate_topk_blocks", default=0, zero=True)
    candidates *= fields.whole("candidate_block_size", default=1)
    attn: Arch = {}
    names = []
    for layer, ratio in enumerate(_ratios(fields, layers)[:layers]):
        if ratio == 0:
            names.append("swa")
            attn["swa"] = base | {"mode": "swa"}
            continue
        owns, selects = layer in sources, layer in selectors
        name = f"csa2_r{ratio}_{'full' if owns else 'reindex' if selects else 'reuse'}"
        limit = {"candidates": candidates} if selects and not owns and candidates else {}
        attn[name] = base | {"mode": "csa2", "ratio": ratio, "owns_kv": owns, "owns_index": selects}
        attn[name]["indexer"] = index | limit
        names.append(name)
    arch["attn"] = attn
    arch["ffn"] = {"moe": blocks.shared(fields, blocks.moe(fields, topk=6), default=1)}
    arch["schedule"] = runs(names, ["moe"] * layers)
    arch["residual"] = {"kind": "mhc_nohead", "mult": fields.whole("hc_mult", default=4)}
    fields.known("hc_sinkhorn_iters")
    if sources:
        arch["prefill_layers"] = max(sources)
    return _engram(fields, arch)


def _engram(fields: Fields, arch: Arch) -> Arch:
    """Add the Engram tables: (n-gram sizes - 1) * heads rows a token and table, projected to 5d; norms."""
    listed = fields.items("engram_layer_ids")
    rows = fields.items("engram_num_embeddings")
    if not listed or not rows:
        return arch
    if len(rows) != len(listed):
        raise BadInput(
            f"{fields.where}: engram_num_embeddings has {len(rows)} tables for {len(listed)} layers."
        )
    rows = [number(row, f"{fields.where}: engram_num_embeddings") for row in rows]
    reads = (fields.whole("engram_max_ngram_size") - 1) * fields.whole("engram_n_heads")
    width, d, n = fields.whole("engram_head_dim"), arch["hidden"], arch["residual"]["mult"]
    arch["extra_memory"] = {
        "kind": "engram",
        "layers": listed,
        "rows": rows,
        "row_dim": width,
        "rows_read_per_token": reads * len(listed),
        "table_params": sum(rows) * width,
    }
    return arch | {"extra_params": len(listed) * (reads * width * (n + 1) * d + 2 * n * d)}
