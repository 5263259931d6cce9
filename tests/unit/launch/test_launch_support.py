"""What engines support: the table is sound, a known refusal refuses, the unknown is said to be unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.quality import quality_note
from assay.catalogue.schema import Chip
from assay.errors import NoEvidence, NotMet, UnknownName
from assay.llm.layout import Layout
from assay.report.launch.arguments import known
from assay.report.launch.emit import best, emit
from assay.report.launch.setting import setting
from assay.report.launch.support import ENGINES, Subject, Unsupported, require, table, verdict
from assay.study.answer import Answer, Row
from assay.study.question import Question

Make = Callable[..., Row]
STATUS = {"chips": {"runs", "plugin", "no"}, "formats": {"native", "weight-only", "emulated", "no"}}


def subject(model: str, chip: str, *formats: str, layout: str = "tp8") -> Subject:
    return Subject(model, formats, catalogue().chip(chip), Layout.parse(layout))


def chips() -> Iterator[Chip]:
    """Every chip whose memory and rates are published."""
    for name in catalogue().chips():
        try:
            yield catalogue().chip(name)
        except NoEvidence:
            continue


def test_every_row_of_the_table_has_a_source_and_a_date() -> None:
    content = table()
    count = 0
    for part in (
        "chips",
        "formats",
        "models",
        "limits",
        "checkpoints",
        "drafts",
        "serve",
        "devices",
        "products",
        "ranks",
        "prompt_splits",
        "environment",
    ):
        for row in content[part]:
            assert row["source"] in content["sources"], row
            assert row["date"], row
            count += 1
    for part in ("shapes", "registries"):
        for name, row in content[part].items():
            assert row["source"] in content["sources"], name
            assert row["date"], name
            count += 1
    assert count >= 150
    for name, entry in content["sources"].items():
        assert {"where", "date", "dated"} <= set(entry), name


def test_rows_name_what_the_catalogue_has() -> None:
    content = table()
    models = set(catalogue().models())
    names = set(catalogue().chips())
    unpublished = {"turin", "inferentia1", "granite-rapids"}
    generations = {chip.generation for chip in chips()} | unpublished
    for part in ("chips", "formats", "models"):
        for row in content[part]:
            assert row["engine"] in ENGINES, row
            assert set(row.get("chips", ())) <= generations, row
            assert set(row.get("on", ())) <= names, row
            assert row.get("status", "native") in STATUS.get(part, {"native"}), row
    for part in ("models", "limits", "checkpoints", "drafts"):
        assert {row["model"] for row in content[part]} <= models
    for name, entry in content["classes"].items():
        assert set(entry["models"]) <= models, name
    for row in content["serve"]:
        assert set(row["models"]) <= models, row
        tools = (
            ["dynamo.vllm", "dynamo.sglang", "dynamo.trtllm"]
            if row["engine"] == "dynamo"
            else [row["engine"]]
        )
        for tool in tools:
            assert {item[0] for item in row["arguments"]} <= set(known(tool)), row
    listed = [model for entry in content["classes"].values() for model in entry["models"]]
    assert len(listed) == len(set(listed))


def test_no_row_contradicts_another() -> None:
    content = table()
    known_chips = list(chips())
    for row in content["models"]:
        for chip in known_chips:
            if chip.id in row.get("on", ()) or chip.generation in row.get("chips", ()):
                found = verdict(
                    row["engine"], Subject(row["model"], (row["format"],), chip, Layout.parse("dep8"))
                )
                forbidden = any(
                    limit["model"] == row["model"] and limit["engine"] == row["engine"]
                    for limit in content["limits"]
                )
                assert found.status == "published" or forbidden, (row, chip.id, found)
    for part in ("chips", "formats"):
        seen = [
            (row["engine"], row.get("format"), chip) for row in content[part] for chip in row.get("chips", ())
        ]
        assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("engine", "asked", "status", "words"),
    [
        ("vllm", ("deepseek-r1", "h200-sxm", "fp8"), "published", "RECIPE_R1 (2026-09-18) since 0.12.0"),
        ("vllm", ("kimi-k2-instruct", "b200-sxm", "fp8"), "possible", "no run of kimi-k2-instruct on"),
        ("vllm", ("llama-3.3-70b", "tpu-v5p", "bf16"), "unknown", "nothing is published about vLLM on"),
        ("vllm", ("", "h200-sxm", "bf16"), "unknown", "the model's class in vLLM"),
        ("vllm", ("llama-3.3-70b", "wse3", "bf16"), "no", "compiler"),
        ("sglang", ("kimi-k2.5", "h200-sxm", "nvfp4"), "no", "no nvfp4 on hopper"),
        ("sglang", ("llama-3.3-70b", "tpu-v7-ironwood", "bf16"), "no", "a separate engine"),
        ("trtllm", ("llama-3.3-70b", "mi300x", "bf16"), "no", "it runs on NVIDIA GPUs"),
        ("trtllm", ("llama-3.3-70b", "a100-80gb-sxm", "fp8"), "no", "no fp8 on ampere"),
        ("vllm", ("deepseek-v4-pro", "mi300x", "mxfp4"), "no", "marks it as unsupported"),
    ],
)
def test_verdicts(engine: str, asked: tuple[str, str, str], status: str, words: str) -> None:
    found = verdict(engine, subject(*asked))
    assert found.status == status
    assert words in "; ".join(found.reasons)


def test_trtllm_is_refused_on_every_chip_of_another_maker() -> None:
    # The table says which makers TensorRT-LLM is for, so a chip added later is refused as well.
    for chip in chips():
        if chip.vendor != "nvidia":
            found = verdict("trtllm", Subject("", ("bf16",), chip, Layout.parse("tp1")))
            assert found.status == "no", chip.id


def test_what_works_in_another_way_is_said() -> None:
    found = verdict("vllm", subject("gpt-oss-120b", "h100-sxm", "mxfp4"))
    assert found.status == "published"
    assert any("computed in 16 bits" in text for text in found.reasons)
    found = verdict("vllm", subject("deepseek-r1", "mi355x", "nvfp4"))
    assert any("emulated, and slow" in text for text in found.reasons)


@pytest.mark.parametrize(
    ("engine", "asked", "layout", "hint"),
    [
        ("trtllm", ("llama-3.3-70b", "mi300x", "bf16"), "tp8", "Nearest: vLLM or SGLang (--engine vllm)."),
        ("sglang", ("kimi-k2.5", "h200-sxm", "nvfp4"), "tp8", "Nearest: vLLM (--engine vllm)."),
        ("vllm", ("minimax-m2.5", "h200-sxm", "fp8"), "tp8", "Use tep8 or dep8."),
        ("vllm", ("kimi-k2.6", "mi355x", "int4"), "tep8", "Use tp8."),
    ],
)
def test_a_refusal_says_what_is_nearest(
    engine: str, asked: tuple[str, str, str], layout: str, hint: str
) -> None:
    with pytest.raises(Unsupported) as error:
        require(engine, subject(*asked, layout=layout))
    assert error.value.hint == hint
    assert error.value.exit_code == 3


def test_no_engine_supports_a_dataflow_chip() -> None:
    for chip in ("wse3", "lpu-v1", "groq3-lpu-lp30"):
        with pytest.raises(Unsupported, match=r"No engine supports llama-3\.3-70b in bf16 on"):
            require("vllm", subject("llama-3.3-70b", chip, "bf16"))


def test_an_unknown_combination_is_emitted_with_a_warning(launched: Make) -> None:
    files = emit(launched("tpu-v5p", "tp4"), Question(model="llama-3.3-70b"), "vllm")
    assert files.status == "unknown"
    assert any(text.startswith("Unknown: nothing is published about vLLM on") for text in files.warnings)
    assert "# WARNING: Unknown" in files.files[0].text


@pytest.mark.parametrize(
    ("model", "system", "weights", "path", "formats"),
    [
        ("kimi-k2.5", "b200", "native", "moonshotai/Kimi-K2.5", ("int4", "bf16")),
        ("kimi-k2.5", "b200", "fp4", "nvidia/Kimi-K2.5-NVFP4", ("nvfp4",)),
        ("kimi-k2.5", "mi355x", "fp4", "amd/Kimi-K2.5-MXFP4", ("mxfp4",)),
        ("deepseek-r1", "h200", "native", "deepseek-ai/DeepSeek-R1", ("fp8",)),
        ("llama-3.3-70b", "h200", "fp8", "nvidia/Llama-3.3-70B-Instruct-FP8", ("fp8",)),
    ],
)
def test_checkpoints(
    launched: Make, model: str, system: str, weights: str, path: str, formats: tuple[str, ...]
) -> None:
    made = setting(launched(system, "tp8", weights=weights), Question(model=model), "vllm")
    assert made.checkpoint.path == path
    assert made.checkpoint.formats == formats
    assert made.checkpoint.warning == ""


def test_a_checkpoint_nobody_publishes_must_be_made(launched: Make) -> None:
    made = setting(launched("b200", "tp8", weights="fp4"), Question(model="qwen3-32b"), "vllm")
    assert made.checkpoint.path == "./Qwen3-32B-NVFP4"
    assert "quantise it first" in made.checkpoint.warning
    own = setting(launched("h200", "tp1", weights="fp8"), Question(model="qwen3-8b"), "vllm")
    assert (own.checkpoint.path, own.checkpoint.quantise) == ("Qwen/Qwen3-8B", "fp8")


def test_the_best_row_that_can_be_launched_is_named(launched: Make) -> None:
    rows = (launched("mi355x", "tp8"), launched("h200", "tp8"))
    answer = Answer(Question(model="llama-3.3-70b"), {}, rows, {})
    with pytest.raises(Unsupported) as error:
        best(answer, "trtllm")
    assert "The best row that trtllm can launch: h200 TP8 native." in error.value.hint
    with pytest.raises(NotMet, match="No row meets the limits"):
        best(Answer(Question(model="llama-3.3-70b"), {}, (), {}), "vllm")


def test_quality_rows_are_sourced() -> None:
    content = catalogue().table("quality/formats")
    models = set(catalogue().models())
    assert len(content["rows"]) >= 10
    for row in content["rows"]:
        assert row["model"] in models, row
        assert row["source"] in content["sources"], row
        assert {"format", "against", "benchmark", "date"} <= set(row), row
        if "recovery" in row:
            assert 0.5 < row["recovery"] < 1.2, row
        else:
            assert {"score", "reference", "unit"} <= set(row), row


def test_quality_is_noted_where_weights_are_not_the_checkpoints() -> None:
    assert quality_note("deepseek-r1", "native") is None
    assert quality_note("deepseek-r1", "fp8") is None
    assert quality_note("deepseek-r1", "native: fp8 experts, bf16 rest") is None
    note = quality_note("deepseek-r1", "int4")
    assert note is not None
    assert note.startswith(
        "quality of deepseek-r1 in int4, as published: AIME 2024 in int4 87.33, in fp8 88.66: -1.3 "
    )
    sources = catalogue().table("quality/formats")["sources"]
    assert any(name in note for name in sources)
    unknown = quality_note("mixtral-8x7b", "fp8")
    assert unknown is not None
    assert unknown.startswith("nobody among assay's sources compares the quality of mixtral-8x7b in fp8")
    with pytest.raises(UnknownName):
        quality_note("no-such-model", "fp8")


def test_quality_stands_in_the_files(launched: Make) -> None:
    files = emit(launched("b200", "dep8", weights="fp4"), Question(model="kimi-k2.6"), "vllm")
    assert any(text.startswith("Quality of kimi-k2.6 in fp4, as published") for text in files.warnings)
