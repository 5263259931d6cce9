"""Genuine outputs of the load generators, where they lie beside the checkout, and the measured tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.measure.read import read

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[3] / "shared"))
EXAMPLES = SHARED / "reference" / "examples"
STATED = {"accelerator": "H200", "n_accelerators": "8", "tp": "8", "model": "deepseek-r1"}

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="needs the example files beside the checkout")


@pytest.mark.parametrize(
    ("name", "tpot", "flag"),
    [
        ("vllm_bench_serve.json", 0.008343, ""),
        ("vllm_bench_serve_detailed.json", 0.008297, ""),
        ("sglang_serving.jsonl", 0.008264, "tokens_mismatch"),
        ("inferencex_agg_single_node.json", 0.008343, ""),
        ("inferencex_agg_multinode.json", 0.008343, ""),
        ("guidellm_benchmarks_trimmed.json", 0.01142, ""),
        ("aiperf_profile_export_trimmed.json", 0.00835, "tokens_mismatch"),
        ("aiperf_profile_export_first2.jsonl", 0.01283, "tokens_mismatch"),
        ("inference_perf_summary_trimmed.json", 0.00851, "tokens_mismatch"),
        ("inference_perf_per_request_first1.json", 0.00845, "tokens_mismatch"),
    ],
)
def test_one_server_reads_alike_through_every_client(name: str, tpot: float, flag: str) -> None:
    row = read(EXAMPLES / name, STATED).rows[0]
    assert row.values["tpot"] == pytest.approx(tpot, rel=2e-3)
    assert not flag or flag in row.flags


@pytest.mark.parametrize(("name", "least"), [("serving", 0.97), ("inferencex", 0.99), ("mlperf", 0.97)])
def test_nearly_every_measured_point_has_a_setting(name: str, least: float) -> None:
    rows = read(SHARED / "measured" / f"{name}.csv.gz")
    answerable = rows.answerable()
    assert answerable.mean() >= least
    assert all(row.problem for row, good in zip(rows.rows, answerable, strict=True) if not good)
    assert not rows.rejected
