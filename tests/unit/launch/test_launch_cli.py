"""`assay emit`, and `--emit` of plan and estimate: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from assay.cli import run

ONE = ["emit", "llama-3.3-70b", "--on", "h200", "--layout", "tp8", "--concurrency", "64"]


def test_files_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ONE, "--target", "vllm"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("==> serve.sh <==\n#!/usr/bin/env bash\n")
    assert "==> loadtest.sh <==" in out
    assert "--max-num-seqs 64" in out
    assert err == ""


def test_files_into_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "launch"
    assert run([*ONE, "--target", "lws", "--engine", "vllm", "--out", str(folder)]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "lws.yaml"), str(folder / "loadtest.sh")]
    kinds = [item["kind"] for item in yaml.safe_load_all((folder / "lws.yaml").read_text()) if item]
    assert kinds == ["LeaderWorkerSet", "Service"]
    assert run([*ONE, "--target", "lws", "--out", str(folder)]) == 2
    assert "already holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "engines"),
    [
        ("sglang", {"sglang"}),
        ("dynamo", {"vllm", "sglang", "trtllm"}),
        ("kserve", {"vllm"}),
        ("llm-d", {"vllm", "sglang"}),
    ],
)
def test_without_an_engine_the_best_that_the_target_starts_is_predicted_and_written(
    capsys: pytest.CaptureFixture[str], target: str, engines: set[str]
) -> None:
    """All three engines were measured on H200."""
    rate = {}
    for engine in engines:
        words = ["estimate", *ONE[1:], "--engine", engine, "--json"]
        assert run(words) == 0
        row = json.loads(capsys.readouterr().out)["rows"][0]
        rate[engine] = row["output_tokens_per_s_per_chip"]["value"]
    assert run([*ONE, "--target", target, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["engine"] == max(rate, key=lambda name: rate[name])
    assert "predicted for" not in err


def test_files_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ONE, "--target", "dynamo", "--engine", "sglang", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["target"], data["engine"], data["status"]) == ("dynamo", "sglang", "possible")
    assert [file["name"] for file in data["files"]] == ["dynamo.yaml", "loadtest.sh"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([*ONE, "--target", "slurm"], 2, "No target 'slurm'. Choose one of vllm, sglang, trtllm"),
        ([*ONE, "--target", "vllm", "--engine", "sglang"], 2, "Target vllm starts vllm, not sglang"),
        ([*ONE, "--target", "vllm", "--rate", "3"], 2, "both state the load"),
        ([*ONE, "--target", "vllm", "--json", "--out", "x"], 2, "both say where the files go"),
        ([*ONE, "--target", "kserve", "--engine", "trtllm"], 3, "starts vLLM"),
        (
            ["emit", "llama-3.3-70b", "--on", "mi355x", "--layout", "tp8", "--target", "trtllm"],
            3,
            "it runs on NVIDIA GPUs",
        ),
        (["estimate", *ONE[1:], "--emit", "slurm"], 2, "No target 'slurm'"),
        (["estimate", *ONE[1:], "--emit", "vllm", "--json"], 2, "both write to standard output"),
        (
            ["plan", "llama-3.3-70b", "--on", "h200", "--emit", "vllm", "--csv"],
            2,
            "both write to standard output",
        ),
    ],
)
def test_mistakes_and_refusals(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert run(words) == code
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert "==>" not in out


def test_estimate_writes_the_files_after_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", *ONE[1:], "--emit", "sglang"]) == 0
    out = capsys.readouterr().out
    assert out.index("TTFT") < out.index("==> serve.sh <==")
    assert "sglang serve" in out


def test_plan_writes_the_files_of_its_best_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "llama-3.1-8b", "--on", "h100", "--chips", "2", "--emit", "vllm"]) == 0
    out = capsys.readouterr().out
    assert "==> serve" in out
    assert "Llama-3.1-8B" in out[out.index("==> ") :]
