"""The configuration loader: classes, defaults, formats, and refusals that name what they do not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, BadInput, UnknownArchitecture
from assay.llm.architecture import Architecture
from assay.llm.blocks import Gqa, Mla, Moe
from assay.llm.huggingface import load_config
from assay.llm.huggingface.classes import CLASSES, MODEL_TYPES
from assay.llm.memory import kv_bytes_per_token, state_bytes_per_sequence
from assay.llm.parameters import counts

CONFIGS = Path(__file__).resolve().parents[1] / "data" / "configs"


def config(name: str, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return {key: value for key, value in (data | changes).items() if value is not ...}


LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "intermediate_size": 8192,
    "vocab_size": 32000,
}


def gqa(arch: Architecture, name: str = "full") -> Gqa:
    block = arch.attn[name]
    assert isinstance(block, Gqa)
    return block


def test_defaults_of_transformers() -> None:
    found = load_config(LLAMA)
    assert gqa(found) == Gqa(32, 32, 64)
    assert not found.tie
    assert load_config(LLAMA | {"num_key_value_heads": 8}).attn["full"] == Gqa(32, 8, 64)
    assert gqa(load_config(LLAMA | {"head_dim": 128})).head_dim == 128
    biased = gqa(load_config(LLAMA | {"attention_bias": True}))
    assert biased.qkv_bias
    assert biased.o_bias
    qwen = gqa(load_config(LLAMA | {"model_type": "qwen2"}))
    assert qwen.qkv_bias
    assert not qwen.o_bias
    assert gqa(load_config(LLAMA | {"model_type": "qwen3"})).head_dim == 128
    assert load_config(LLAMA | {"model_type": "gemma2", "head_dim": 256}).tie
    assert load_config(LLAMA | {"model_type": "cohere"}).tie


#: Counts of Transformers 5.23 for the class defaults of each model type, elements.
META = {
    "llama": (
        LLAMA | {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008},
        6_738_415_616,
    ),
    "phi3": (
        LLAMA | {"model_type": "phi3", "hidden_size": 3072, "num_hidden_layers": 32, "vocab_size": 32064},
        3_821_079_552,
    ),
    "olmo2": (
        LLAMA
        | {"model_type": "olmo2", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008}
        | {"vocab_size": 50304},
        6_888_624_128,
    ),
    "smollm3": (
        LLAMA
        | {
            "model_type": "smollm3",
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
        }
        | {"intermediate_size": 11008, "vocab_size": 128256},
        3_075_098_624,
    ),
    "ernie4_5": (
        {"model_type": "ernie4_5", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18}
        | {"num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 103424},
        360_748_032,
    ),
    "exaone4": (
        LLAMA
        | {"model_type": "exaone4", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 16384}
        | {"vocab_size": 102400, "sliding_window": 4096},
        9_429_069_824,
    ),
    "glm4": (
        LLAMA
        | {"model_type": "glm4", "hidden_size": 4096, "num_hidden_layers": 40, "intermediate_size": 13696}
        | {"num_key_value_heads": 2, "vocab_size": 151552},
        9_400_279_040,
    ),
    "cohere2": (
        LLAMA
        | {"model_type": "cohere2", "hidden_size": 8192, "num_hidden_layers": 40, "intermediate_size": 22528}
        | {"num_attention_heads": 64, "vocab_size": 256000, "sliding_window": 4096},
        34_980_831_232,
    ),
    "afmoe": (
        {"model_type": "afmoe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 1408}
        | {"num_hidden_layers": 32, "num_dense_layers": 1, "num_attention_heads": 16, "num_experts": 64}
        | {"num_experts_per_tok": 6, "num_shared_experts": 2, "vocab_size": 200192, "sliding_window": 1024},
        19_232_600_000,
    ),
    "muse_spark": (
        {
            "model_type": "muse_spark_text",
            "hidden_size": 8192,
            "intermediate_size": 16384,
            "vocab_size": 202048,
        }
        | {"num_hidden_layers": 62, "num_attention_heads": 128, "num_key_value_heads": 16, "head_dim": 64}
        | {"moe_intermediate_size": 4096, "num_local_experts": 256, "moe_hidden_size": 4096},
        819_990_536_192,
    ),
    "glm5_next": (
        {
            "model_type": "glm5_next_text",
            "vocab_size": 154880,
            "hidden_size": 4096,
            "intermediate_size": 12288,
        }
        | {"moe_intermediate_size": 2048, "num_hidden_layers": 45, "num_attention_heads": 64}
        | {"n_routed_experts": 288, "index_topk": 2048, "num_experts_per_tok": 8},
        313_326_816_766,
    ),
    "axk1": (
        {"model_type": "axk1", "vocab_size": 163840, "hidden_size": 7168, "intermediate_size": 18432}
        | {"moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 64}
        | {"n_routed_experts": 192, "num_experts_per_tok": 8},
        518_983_052_288,
    ),
}


@pytest.mark.parametrize("name", META)
def test_classes_without_facts_count_as_transformers_does(name: str) -> None:
    data, total = META[name]
    assert counts(load_config(data)).total == total


def test_llama4_maverick_alternates_dense_and_sparse_layers() -> None:
    data = config("llama-4-scout")
    data["text_config"] |= {"interleave_moe_layer_step": 2, "num_local_experts": 128, "moe_layers": None}
    found = load_config(data)
    assert sum(count for count, _, ffn in found.schedule if ffn == "moe") == 24
    assert found.schedule[0][2] == "dense"
    # 400B published; text model
    assert counts(found).total == pytest.approx(400e9, rel=0.01)


def test_gemma_3_reads_class_defaults_that_its_file_omits() -> None:
    found = load_config(CONFIGS / "gemma-3-4b.json")
    assert (found.vocab, found.max_context, found.tie) == (262_208, 131_072, True)
    assert state_bytes_per_sequence(found) == 29 * 1024 * 4 * 2 * 256 * 2


def test_sliding_windows_of_qwen_and_mistral() -> None:
    qwen = LLAMA | {"model_type": "qwen2", "sliding_window": 4096, "max_window_layers": 12}
    assert "sliding" not in load_config(qwen).attn
    slides = load_config(qwen | {"use_sliding_window": True})
    assert slides.schedule == ((12, "full", "dense"), (4, "sliding", "dense"))
    mistral = LLAMA | {"model_type": "mistral", "max_position_embeddings": 32768}
    assert gqa(load_config(mistral | {"sliding_window": 4096}), "sliding").window == 4096
    # a window that the context never exceeds is none
    assert "sliding" not in load_config(mistral | {"sliding_window": 32768}).attn


def test_deepseek_without_a_query_latent_and_with_dense_layers_only() -> None:
    lite = config(
        "deepseek-v3", model_type="deepseek_v2", architectures=["DeepseekV2ForCausalLM"], q_lora_rank=None
    )
    block = load_config(lite).attn["mla"]
    assert isinstance(block, Mla)
    assert block.q_lora is None
    dense = load_config(config("deepseek-v3", n_routed_experts=None, num_nextn_predict_layers=0))
    assert list(dense.ffn) == ["dense"]


def test_indexer_ownership_by_list_pattern_and_frequency() -> None:
    base = config("deepseek-v3.2", model_type="glm_moe_dsa", num_hidden_layers=8, architectures=...)
    assert load_config(base).schedule == ((3, "dsa", "dense"), (5, "dsa", "moe"))
    kinds = ["full", "shared", "shared", "full", "shared", "shared", "full", "shared"]
    for how in ({"indexer_types": kinds}, {"index_topk_pattern": "FSSFSSFS"}):
        found = load_config(base | how)
        assert [mixer for count, mixer, _ in found.schedule for _ in range(count)] == [
            "dsa" if kind == "full" else "dsa_shared" for kind in kinds
        ]
    every = load_config(base | {"index_topk_freq": 4, "index_skip_topk_offset": 3})
    assert sum(count for count, mixer, _ in every.schedule if mixer == "dsa") == 4


def test_nemotron_patterns_as_text_and_as_list() -> None:
    marks = config("nemotron-3-nano-30b-a3b")
    words = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
    listed = [words[mark] for mark in marks["hybrid_override_pattern"]]
    other = config(
        "nemotron-3-nano-30b-a3b",
        hybrid_override_pattern=...,
        num_hidden_layers=...,
        layers_block_type=listed,
    )
    assert load_config(other) == load_config(marks)
    latent = load_config(config("nemotron-3-nano-30b-a3b", moe_latent_size=1024, num_nextn_predict_layers=1))
    block = latent.ffn["moe"]
    assert isinstance(block, Moe)
    assert block.latent == 1024
    assert latent.mtp is not None
    assert latent.mtp.block == (("attention", "none"), ("none", "moe"))


def test_tying_stands_at_the_top_or_in_the_text_part() -> None:
    data = config("kimi-k2.5")
    assert not load_config(data).tie
    assert load_config(data | {"tie_word_embeddings": True}).tie
    del data["tie_word_embeddings"]
    data["text_config"]["tie_word_embeddings"] = True
    assert load_config(data).tie


@pytest.mark.parametrize(
    ("stated", "experts", "other"),
    [
        (None, "bf16", "bf16"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [32, 32]}, "fp8_block32", "fp8_block32"),
        ({"quant_method": "mxfp4"}, "mxfp4", "bf16"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4", "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8", "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", "int4"),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
            "nvfp4",
            "nvfp4",
        ),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", "fp8"),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "ignore": ["*self_attn*", "*shared_expert*", "*layers.0*"],
            },
            "nvfp4",
            "bf16",
        ),
        (
            {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"]}
            | {
                "config_groups": {
                    "group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}
                }
            },
            "fp8",
            "fp8",
        ),
        (
            {"quant_method": "compressed-tensors", "ignore": ["re:.*self_attn.*", "re:.*shared_expert.*"]}
            | {
                "config_groups": {
                    "g": {"targets": ["re:.*mlp.experts.*"], "weights": {"num_bits": 4, "type": "int"}}
                }
            },
            "int4",
            "bf16",
        ),
        (
            {
                "quant_method": "quark",
                "exclude": ["lm_head", "*self_attn*", "*shared_experts*", "*layers.0.mlp*"],
            }
            | {"global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}},
            "mxfp4",
            "bf16",
        ),
    ],
)
def test_quantisation(stated: dict[str, Any] | None, experts: str, other: str) -> None:
    found = load_config(config("deepseek-v3", quantization_config=stated)).formats
    assert found["experts"] == experts
    assert found.get("attention", found["other"]) == other
    assert found.get("shared", found["other"]) == other


def test_mixed_precision_by_module() -> None:
    layers = range(16)
    stated = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "config_groups": {
            "a": {
                "weights": {"num_bits": 8, "type": "float"},
                "targets": [f"model.layers.{i}.self_attn.q_proj" for i in layers],
            },
            "b": {
                "weights": {"num_bits": 4, "type": "float", "group_size": 16},
                "targets": ["lm_head", *(f"model.layers.{i}.mlp.gate_proj" for i in layers)],
            },
        },
    }
    found = load_config(LLAMA | {"quantization_config": stated}).formats
    assert (found["attention"], found["dense"], found["head"]) == ("fp8", "nvfp4", "nvfp4")


def test_native_formats_of_whole_configurations() -> None:
    assert load_config(CONFIGS / "kimi-k2.5.json").formats == {"experts": "int4", "other": "bf16"}
    assert load_config(CONFIGS / "deepseek-v4-flash.json").formats == {"experts": "mxfp4", "other": "fp8"}
    assert load_config(CONFIGS / "gpt-oss-20b.json").formats == {"experts": "mxfp4", "other": "bf16"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "hyena", "architectures": ["HyenaForCausalLM"]}, "HyenaForCausalLM"),
        ({"num_experts": 64}, "num_experts"),
        ({"index_topk": 2048}, "index_topk"),
        ({"kv_lora_rank": 512}, "kv_lora_rank"),
        ({"ngram_tables": [1, 2]}, "ngram_tables"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "aqlm"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "3"),
        ({"torch_dtype": "float6"}, "float6"),
        ({"model_type": "gemma2", "layer_types": ["spiral"] * 32}, "spiral"),
    ],
)
def test_what_is_unknown_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownArchitecture, match=named):
        load_config(config("llama-3.1-8b", **changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "cohere", "use_qk_norm": True}, "use_qk_norm"),
        ({"model_type": "olmo"}, "OLMo"),
        ({"model_type": "nemotron_h", "layers_block_type": ["mamba", "moe"], "mlp_bias": True}, "mlp_bias"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MX"}, "X"),
    ],
)
def test_features_that_are_not_counted_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownArchitecture, match=named):
        load_config(LLAMA | changes)


def test_per_layer_embeddings_and_shared_caches_of_gemma_4() -> None:
    data = {
        "model_type": "gemma4_text",
        "hidden_size": 2560,
        "num_hidden_layers": 42,
        "num_attention_heads": 8,
    }
    data |= {
        "intermediate_size": 10240,
        "vocab_size": 262144,
        "num_key_value_heads": 2,
        "sliding_window": 512,
    }
    found = load_config(data | {"num_kv_shared_layers": 18})
    # the count of Transformers 5.23 for this configuration
    assert counts(found).total + counts(found).memory == 7_463_013_376
    assert counts(found).memory == 262_144 * 42 * 256
    every = load_config(data)
    # 18 of 42 layers, three of them global, read the caches of earlier ones
    assert kv_bytes_per_token(found) == pytest.approx(kv_bytes_per_token(every) * 4 / 7)
    doubled = load_config(data | {"num_kv_shared_layers": 18, "use_double_wide_mlp": True})
    assert counts(doubled).total - counts(found).total == 18 * 3 * 2560 * 10240
    with pytest.raises(BadInput, match="num_kv_shared_layers"):
        load_config(data | {"num_kv_shared_layers": 42})


def test_harmless_fields_pass() -> None:
    extra = {
        "no_repeat_ngram_size": 0,
        "rope_theta": 1e6,
        "image_token_index": 5,
        "vision_feature_layer": -2,
        "hidden_dropout": 0.1,
        "router_aux_loss_coef": 0.01,
        "max_window_layers": 28,
        "expert_note": "text changes nothing",
        "num_experts": 0,
        "index_topk": None,
        "use_sliding_window": False,
    }
    plain = load_config(config("llama-3.1-8b"))
    assert load_config(config("llama-3.1-8b", **extra)) == plain


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_size": ...}, "hidden_size"),
        ({"hidden_size": "big"}, "hidden_size"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": 4096.5}, "hidden_size"),
        ({"hidden_size": [1, 2]}, "hidden_size"),
        ({"hidden_size": 10**40}, "hidden_size"),
        ({"hidden_size": 4097}, "multiple"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_key_value_heads": 7}, "KV heads"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"attention_bias": 3}, "attention_bias"),
        ({"quantization_config": [1]}, "quantization_config"),
        ({"text_config": [1]}, "text_config"),
        ({"model_type": ..., "architectures": ...}, "model_type"),
        ({"model_type": "gemma2", "layer_types": ["full_attention"]}, "layer_types"),
        ({"model_type": "gemma2", "layer_types": 3}, "layer_types"),
        ({"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 8}, "8 experts"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        load_config(config("llama-3.1-8b", **changes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"llama"',
        '{"model_type": "llama", "hidden_size": NaN}',
        '{"model_type": "llama", "hidden_size": Infinity}',
        '{"model_type": "llama", "hidden_size": 1e999}',
        "[" * 100_000,
        "\x00\x01",
    ],
    ids=range(11),
)
def test_broken_files_give_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_config(path)
    assert str(caught.value)


def test_files_that_are_not_there_or_too_large_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        load_config(tmp_path / "nowhere.json")
    with pytest.raises(BadInput, match=r"config\.json"):
        load_config(tmp_path)
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(21_000_000)
    with pytest.raises(BadInput, match="20 MB"):
        load_config(large)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(BadInput, match="JSON"):
        load_config(binary)


def test_a_folder_is_read_through_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((CONFIGS / "llama-3.1-8b.json").read_text())
    assert load_config(tmp_path) == load_config(CONFIGS / "llama-3.1-8b.json")


def refuses_or_counts(data: dict[str, Any]) -> bool:
    """Load a configuration; anything but an answer or a sentence is an error of ours."""
    try:
        arch = load_config(data)
    except AssayError as problem:
        return bool(str(problem))
    return counts(arch).total > 0


@pytest.mark.parametrize("kind", sorted(MODEL_TYPES))
def test_no_reader_breaks_on_a_bare_or_nonsensical_configuration(kind: str) -> None:
    """Whatever is missing or wrong, the reader says so in words."""
    names = ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"]
    names += ["num_experts", "moe_intermediate_size", "num_experts_per_tok", "layer_types", "sliding_window"]
    names += ["linear_attn_config", "compress_ratios", "hybrid_override_pattern", "quantization_config"]
    for value in (..., 4, "x", -1, [], {}, [None], {"a": 1}, True, 1e300):
        assert refuses_or_counts({"model_type": kind} | ({} if value is ... else dict.fromkeys(names, value)))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_no_single_wrong_field_breaks_a_real_configuration(path: Path) -> None:
    data = json.loads(path.read_text())
    parts = [data, *(part for part in data.values() if isinstance(part, dict))]
    for part in parts:
        for key, good in list(part.items()):
            for bad in (None, 0, -1, 3, "x", [], [[1]], {"a": [None]}, float("nan")):
                part[key] = bad
                assert refuses_or_counts(data), (key, bad)
            part[key] = good


def test_classes_point_to_known_model_types() -> None:
    assert set(CLASSES.values()) <= set(MODEL_TYPES)


def test_class_names_work_without_a_model_type() -> None:
    found = load_config(config("llama-3.1-8b", model_type=...))
    assert found == load_config(config("llama-3.1-8b"))
    remote = load_config(config("deepseek-v3", model_type="my_finetune"))
    assert kv_bytes_per_token(remote) == 70_272
