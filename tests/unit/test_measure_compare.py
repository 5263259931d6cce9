"""Two results of benchmark tools side by side: like figures only, and like loads only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.errors import BadInput
from assay.measure.compare import compare, load

VLLM: dict[str, Any] = {
    "backend": "vllm",
    "endpoint_type": "openai",
    "model_id": "deepseek-ai/DeepSeek-R1",
    "num_prompts": 10,
    "completed": 10,
    "failed": 0,
    "request_rate": "inf",
    "max_concurrency": 4,
    "total_input_tokens": 500,
    "total_output_tokens": 1010,
    "request_throughput": 2.0,
    "output_throughput": 202.0,
    "total_token_throughput": 302.0,
    "mean_ttft_ms": 100.0,
    "mean_tpot_ms": 19.0,
    "mean_itl_ms": 38.0,
    "mean_e2el_ms": 2000.0,
}


def guidellm(streams: int = 4) -> dict[str, Any]:
    def good(mean: float) -> dict[str, Any]:
        return {"successful": {"mean": mean, "median": mean}}

    bench = {
        "config": {"strategy": {"type_": "concurrent", "streams": streams}},
        "scheduler_state": {"successful_requests": 12, "errored_requests": 0},
        "metrics": {
            "request_latency": good(2.0),
            "time_to_first_token_ms": good(110.0),
            "inter_token_latency_ms": good(19.0),
            "time_per_output_token_ms": good(20.0),
            "output_tokens_per_second": good(200.0),
            "prompt_token_count": good(50.0),
            "output_token_count": good(101.0),
        },
    }
    return {"metadata": {"version": 2}, "benchmarks": [bench]}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "vllm.json", tmp_path / "guidellm.json"
    first.write_text(json.dumps(VLLM), encoding="utf-8")
    second.write_text(json.dumps(guidellm()), encoding="utf-8")
    return first, second


def test_like_is_set_against_like_under_any_name(files: tuple[Path, Path]) -> None:
    found = compare(*files)
    names = {item.quantity: (item.first.name, item.second.name) for item in found.pairs}
    assert names["tpot"] == ("mean_tpot_ms", "inter_token_latency_ms")
    assert names["ttft"] == ("mean_ttft_ms", "time_to_first_token_ms")
    ratios = {item.quantity: item.ratio for item in found.pairs}
    assert ratios["tpot"] == pytest.approx(1.0)
    assert ratios["ttft"] == pytest.approx(1.1)
    assert found.differs == ()
    assert found.normalised["ttft"] == pytest.approx((0.1, 0.11, 1.1))


def test_throughput_is_that_of_all_chips_whatever_the_file_says_of_them(tmp_path: Path) -> None:
    path = tmp_path / "tp8.json"
    path.write_text(json.dumps(VLLM | {"tp": "8"}), encoding="utf-8")
    assert load(path).values["throughput"] == pytest.approx(202.0)


def test_unlike_figures_are_compared_with_nothing(files: tuple[Path, Path]) -> None:
    first, second = compare(*files).unlike
    assert [item.name for item in first] == ["mean_itl_ms"]
    assert [item.name for item in second] == ["time_per_output_token_ms"]
    assert "first token" in second[0].note


def test_unlike_loads_have_no_ratio(files: tuple[Path, Path]) -> None:
    files[1].write_text(json.dumps(guidellm(streams=16)), encoding="utf-8")
    found = compare(*files)
    assert any("concurrency" in text for text in found.differs)
    assert all(item.ratio is None for item in found.pairs)
    assert all(item[2] is None for item in found.normalised.values())


def test_the_command(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", *map(str, files)]
    assert run(words) == 0
    page = capsys.readouterr().out
    assert "vllm bench serve" in page
    assert "inter_token_latency_ms" in page
    assert "compared with nothing" in page
    assert run([*words, "--json"]) == 0
    assert {"runs", "pairs", "unlike", "normalised", "differs"} == set(json.loads(capsys.readouterr().out))
    files[1].write_text(json.dumps(guidellm(streams=16)), encoding="utf-8")
    assert run(words) == 3
    said = capsys.readouterr()
    assert "no ratios" in said.out
    assert "same load" in said.err


@pytest.mark.parametrize(
    "content", ["{}", "[]", "nonsense", json.dumps([VLLM, VLLM | {"mean_ttft_ms": 50.0}])]
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput):
        load(path)


def test_every_definition_has_a_source_a_quantity_and_a_unit() -> None:
    table = catalogue().table("measurements/tools")
    for tool in table["tools"].values():
        assert tool["source"] in table["sources"]
        for figure in tool["figures"].values():
            assert figure["quantity"] in table["quantities"]
            assert figure["unit"] in ("ms", "s", "tokens/s")
