"""Names and layouts as published become ours, or say why not."""

from __future__ import annotations

import pytest

from assay.llm.layout import Layout
from assay.measure import naming
from assay.measure.layouts import deployed
from assay.study.conditions import Pool


@pytest.mark.parametrize(
    ("name", "chip", "share"),
    [
        ("H100", "h100-sxm", 1.0),
        ("NVIDIA H200-SXM-141GB", "h200-sxm", 1.0),
        ("GB200", "gb200-nvl72-gpu", 1.0),
        ("TPU7x (Ironwood)", "tpu-v7-ironwood", 1.0),
        ("Gaudi 2", "gaudi2", 1.0),
    ],
)
def test_accelerators(name: str, chip: str, share: float) -> None:
    from assay.catalogue.load import catalogue

    device = naming.accelerator(name)
    assert not device.problem
    assert catalogue().system(device.system).chip.id == chip
    assert device.share == share


@pytest.mark.parametrize("name", ["undisclosed GPU", "24GB GPU + Xeon (CPU experts)", "Some Chip 9000", ""])
def test_unknown_accelerators_say_why(name: str) -> None:
    device = naming.accelerator(name)
    assert device.problem
    assert not device.system


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (("deepseek-ai/DeepSeek-R1-0528",), "deepseek-r1"),
        (("DeepSeek-V3/R1",), "deepseek-r1"),
        (("Eco-Tech/GLM-5.1-w8a8c8", "GLM-5"), "glm-5.1"),
        (("Llama 3.1 405B (amd/Llama-3.1-405B-Instruct-FP8-KV)",), "llama-3.1-405b"),
        (("Meta-Llama-3-8B",), "llama-3.1-8b"),
        (("no/such-model", "Mistral-7B"), "mistral-7b-v0.3"),
        (("llama2-70b-99.9",), "llama-2-70b"),
        (("", "dsr1"), "deepseek-r1"),
    ],
)
def test_models(names: tuple[str, ...], model: str) -> None:
    assert naming.model(*names) == (model, "")


def test_models_nobody_knows() -> None:
    assert naming.model("inclusionAI/LLaDA2.1-mini") == ("", "diffusion language model")
    assert naming.model("acme/never-heard-of")[1] == "model not in catalogue"
    assert naming.model("")[1] == "model not stated"


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("TensorRT-LLM (disagg)", "trtllm"),
        ("dynamo-trt", "trtllm"),
        ("mori-sglang", "sglang"),
        ("vLLM (ROCm)", "vllm"),
        ("vLLM-Neuron", "neuron"),
        ("LM Studio", "llama.cpp"),
        ("", ""),
    ],
)
def test_engines(name: str, engine: str) -> None:
    assert naming.engine(name) == engine


def test_formats_keep_weights_activations_and_kv_apart() -> None:
    assert naming.formats("w8a8c8") == naming.Formats("int8", "int8", "int8")
    assert naming.formats("Q4_K_M") == naming.Formats("int4", "bf16", "")
    assert naming.formats("FP8", "fp8_e4m3") == naming.Formats("fp8", "fp8", "fp8")
    assert naming.formats("no such format") == naming.Formats("", "", "")


@pytest.mark.parametrize(
    ("row", "decode", "prefill", "chips"),
    [
        ({"tp": "8", "n_accelerators": "8"}, Pool(Layout(tp=8)), None, 8),
        ({"tp": "4", "ep": "4", "n_accelerators": "8"}, Pool(Layout(tp=4, ep=4), 2), None, 8),
        (
            {"tp": "8", "ep": "8", "dp_attention": "true", "n_accelerators": "8"},
            Pool(Layout(dp=8, ep=8)),
            None,
            8,
        ),
        ({"tp": "8", "dp_attention": "true", "n_accelerators": "8"}, Pool(Layout(dp=8)), None, 8),
        ({"pp": "4.0", "n_accelerators": "4.0"}, Pool(Layout(pp=4)), None, 4),
        (
            {
                "tp": "4P/8D",
                "ep": "1P/8D",
                "dp": "1x4P/4x8D workers",
                "dp_attention": "true P/false D",
                "disaggregated": "True",
                "prefill_gpus": "4.0",
                "decode_gpus": "32.0",
                "n_accelerators": "36",
            },
            Pool(Layout(tp=8, ep=8), 4),
            Pool(Layout(dp=4)),
            36,
        ),
        (  # the decode worker is as wide as its EP, whatever the count of GPUs says
            {
                "tp": "1P/1D",
                "ep": "4P/16D",
                "dp": "1x1P/1x1D workers",
                "dp_attention": "true P/true D",
                "disaggregated": "True",
                "prefill_gpus": "4.0",
                "decode_gpus": "1.0",
                "n_accelerators": "5",
            },
            Pool(Layout(dp=16, ep=16)),
            Pool(Layout(dp=4, ep=4)),
            20,
        ),
        (  # a sample that multiplied TP by EP
            {"tp": "16", "ep": "4", "dp": "1", "n_accelerators": "16", "notes": "moe_tp4 moe_ep4"},
            Pool(Layout(tp=4, ep=4)),
            None,
            4,
        ),
        (  # and one that listed TP again as attention DP
            {
                "tp": "4",
                "ep": "16",
                "dp": "4",
                "dp_attention": "True",
                "n_accelerators": "16",
                "notes": "moe_tp1 moe_ep16",
            },
            Pool(Layout(tp=4, ep=4)),
            None,
            4,
        ),
    ],
)
def test_layouts(row: dict[str, str], decode: Pool, prefill: Pool | None, chips: int) -> None:
    found = deployed(row)
    assert (found.pool, found.prefill, found.chips, found.flags) == (decode, prefill, chips, ())


def test_missing_worker_counts_are_marked() -> None:
    row = {"tp": "72P/72D", "dp": "0x72P/0x72D workers", "disaggregated": "True", "n_accelerators": "72"}
    found = deployed(row)
    assert found.pool is None
    assert found.chips == 72
    assert found.flags == ("workers_assumed",)


def test_tp_in_cores_becomes_tp_in_chips() -> None:
    assert deployed({"tp": "8", "n_accelerators": "4"}, cores=2).pool == Pool(Layout(tp=4))
