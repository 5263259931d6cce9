"""Every format by hand-made inputs: definitions normalised, the source's own kept, traps avoided."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.errors import BadInput
from assay.measure.importers import points
from assay.measure.read import read
from assay.measure.records import Record, Records

STATED = {"accelerator": "H200", "n_accelerators": "8", "tp": "8", "model": "deepseek-r1"}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write text or JSON into a file of this name."""

    def put(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return put


def only(records: Records) -> Record:
    assert len(records) == 1
    return records.rows[0]


def table(*rows: dict[str, str]) -> str:
    columns = dict.fromkeys((*points.COLUMNS, *(name for row in rows for name in row)))
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


POINT = {
    "id": "a",
    "model": "DeepSeek-R1",
    "accelerator": "H200",
    "n_accelerators": "8",
    "tp": "8",
    "framework": "SGLang",
    "quant": "FP8",
    "input_len": "1024",
    "output_len": "1024",
    "concurrency": "64",
    "phase": "e2e",
    "tpot_ms_mean": "20",
    "ttft_ms_p50": "300",
    "tok_s_per_gpu": "800",
    "tok_s_per_gpu_basis": "total",
}


def test_a_table_of_points(write: Callable[[str, Any], Path]) -> None:
    row = only(read(write("serving.csv", table(POINT))))
    assert row.setting is not None
    assert (row.setting.model, row.setting.label(), row.setting.weights) == ("deepseek-r1", "TP8", "fp8")
    assert row.setting.load == "closed"
    assert row.values["tpot"] == pytest.approx(0.020)
    assert row.values["ttft_median"] == pytest.approx(0.300)
    assert row.values["throughput"] == pytest.approx(400)  # output tokens: half of the total
    assert row.published["tok_s_per_gpu"] == "800"
    assert row.published["tok_s_per_gpu_basis"] == "total"


def test_nominal_lengths_become_means(write: Callable[[str, Any], Path]) -> None:
    point = POINT | {"workload": "InferenceX fixed-length (range ratio 0.8)"}
    row = only(read(write("x.csv", table(point))))
    assert row.conditions["isl"] == pytest.approx(0.9 * 1024)
    assert row.conditions["spread"] == pytest.approx(1 / 9)
    assert row.conditions["requests"] == 640


@pytest.mark.parametrize(
    ("change", "load", "conditions"),
    [
        ({"workload": "static batch, fixed lengths"}, "static", {"concurrency": 64}),
        (
            {"concurrency": "", "request_rate": "inf", "workload": "1000 requests; all sent at once"},
            "offline",
            {"rate": float("inf"), "requests": 1000},
        ),
        ({"concurrency": "", "request_rate": "2.5"}, "open", {"rate": 2.5}),
        ({"phase": "prefill", "concurrency": "1"}, "static", {"concurrency": 1}),
    ],
)
def test_loads(
    write: Callable[[str, Any], Path], change: dict[str, str], load: str, conditions: dict[str, float]
) -> None:
    row = only(read(write("x.csv", table(POINT | change))))
    assert row.setting is not None
    assert row.setting.load == load
    assert conditions.items() <= dict(row.conditions).items()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"accelerator": "undisclosed GPU"}, "hardware not disclosed"),
        ({"model": "acme/secret"}, "model not in catalogue"),
        ({"input_len": ""}, "lengths not stated"),
        ({"concurrency": ""}, "load not stated"),
        ({"n_accelerators": "", "tp": ""}, "number of chips not stated"),
        ({"framework": "hosted API: Acme"}, "hardware not disclosed"),
    ],
)
def test_what_cannot_be_predicted_says_why(
    write: Callable[[str, Any], Path], change: dict[str, str], problem: str
) -> None:
    row = only(read(write("x.csv", table(POINT | change))))
    assert row.setting is None
    assert row.problem == problem
    assert row.values["tpot"] == pytest.approx(0.020)


def test_a_second_row_of_one_measurement_is_set_apart(write: Callable[[str, Any], Path]) -> None:
    rows = read(write("x.csv", table(POINT, POINT | {"id": "b"}, POINT | {"id": "c", "tpot_ms_mean": "21"})))
    assert [row.flags for row in rows.rows] == [(), ("duplicate",), ()]


def test_flags_of_the_source_are_kept(write: Callable[[str, Any], Path]) -> None:
    rows = read(write("x.csv", table(POINT | {"qa_flag": "above_roofline"})))
    assert rows.rows[0].flags == ("above_roofline",)
    assert rows.apart().tolist() == [True]


@pytest.mark.parametrize(
    ("text", "kind", "drafts", "accepted"),
    [
        ("none", "", 0, 0.0),
        ("MTP3", "mtp", 3, 0.0),
        ("deepseek_mtp 1", "mtp", 1, 0.0),
        ("EAGLE-MTP 3 (accept length 2.69)", "eagle", 3, 2.69),
        ("EAGLE3 synthetic acceptance 2.72", "eagle", 0, 2.72),
        ("yes (draft per post)", "draft", 0, 0.0),
    ],
)
def test_speculation(text: str, kind: str, drafts: int, accepted: float) -> None:
    assert points.speculative(text) == (kind, drafts, accepted)


SINGLE = {
    "hw": "h200",
    "conc": 8,
    "image": "x",
    "model": "m",
    "infmax_model_prefix": "dsr1",
    "framework": "vllm",
    "precision": "fp8",
    "spec_decoding": "none",
    "disagg": False,
    "isl": 1000,
    "osl": 1000,
    "is_multinode": False,
    "tp": 8,
    "pp": 1,
    "ep": 1,
    "dp_attention": "false",
    "tput_per_gpu": 20.0,
    "output_tput_per_gpu": 10.0,
    "input_tput_per_gpu": 10.0,
    "mean_ttft": 0.1,
    "median_ttft": 0.09,
    "mean_tpot": 0.01,
    "median_tpot": 0.011,
    "median_e2el": 10.0,
}
MULTI = {key: value for key, value in SINGLE.items() if key not in ("tp", "pp", "ep", "dp_attention")} | {
    "hw": "gb200",
    "disagg": True,
    "is_multinode": True,
    "prefill_tp": 4,
    "prefill_ep": 4,
    "prefill_dp_attention": "true",
    "prefill_num_workers": 2,
    "decode_tp": 16,
    "decode_ep": 16,
    "decode_dp_attention": "true",
    "decode_num_workers": 1,
    "num_prefill_gpu": 8,
    "num_decode_gpu": 16,
    "output_tput_per_gpu": 30.0,
}


def test_inferencex_single_node_divides_by_all_chips(write: Callable[[str, Any], Path]) -> None:
    row = only(read(write("agg.json", SINGLE)))
    assert row.setting is not None
    assert row.setting.label() == "TP8"
    assert row.values["throughput"] == pytest.approx(10.0)
    assert row.values["tpot"] == pytest.approx(0.01)
    assert row.values["tpot_median"] == pytest.approx(0.011)


def test_inferencex_multi_node_divides_output_by_decode_chips(write: Callable[[str, Any], Path]) -> None:
    row = only(read(write("agg.json", MULTI)))
    assert row.setting is not None
    assert row.setting.label() == "2xDEP4 prefill + DEP16 decode"
    assert row.values["throughput"] == pytest.approx(30.0 * 16 / 24)  # over all 24 chips


def test_inferencex_export_joins_its_configurations(write: Callable[[str, Any], Path]) -> None:
    config = {
        "id": 7,
        "hardware": "h200",
        "framework": "vllm",
        "model": "dsr1",
        "precision": "fp8",
        "spec_method": "none",
        "disagg": False,
        "is_multinode": False,
        "decode_tp": 8,
        "decode_ep": 1,
        "decode_dp_attention": False,
    }
    write("configs.json", [config])
    item = {
        "id": 1,
        "config_id": 7,
        "date": "2026-05-01",
        "isl": 1024,
        "osl": 1024,
        "conc": 16,
        "error": None,
        "metrics": {"tput_per_gpu": 50.0, "median_tpot": 0.02},
    }
    row = only(read(write("benchmark_results.json", [item, item | {"id": 2, "error": "oom"}])))
    assert row.setting is not None
    assert row.setting.label() == "TP8"
    assert row.values["throughput"] == pytest.approx(25.0)
    with pytest.raises(BadInput, match="configs"):
        read(write("results.json", [item | {"config_id": 9}]))


VLLM = {
    "date": "20261123-231012",
    "endpoint_type": "openai-chat",
    "backend": "vllm",
    "model_id": "local",
    "num_prompts": 10,
    "request_rate": "inf",
    "max_concurrency": 4,
    "duration": 5.0,
    "completed": 10,
    "failed": 0,
    "total_input_tokens": 1000,
    "total_output_tokens": 500,
    "request_throughput": 2.0,
    "output_throughput": 100.0,
    "total_token_throughput": 300.0,
    "mean_ttft_ms": 50.0,
    "mean_tpot_ms": 9.0,
    "mean_e2el_ms": 2000.0,
}


def test_vllm_bench(write: Callable[[str, Any], Path]) -> None:
    row = only(read(write("v.json", VLLM), STATED))
    assert row.setting is not None
    assert (row.setting.engine, row.setting.load) == ("vllm", "closed")
    assert row.conditions["isl"] == 100
    assert row.conditions["osl"] == 50
    assert row.values["throughput"] == pytest.approx(100.0 / 8)
    assert row.flags == ()


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"completed": 0, "failed": 10}, "no_requests"),
        ({"failed": 1}, "failed"),
        ({"output_throughput": 800.0}, "littles"),
    ],
)
def test_runs_that_went_wrong_are_set_apart(
    write: Callable[[str, Any], Path], change: dict[str, Any], flag: str
) -> None:
    rows = read(write("v.json", VLLM | change), STATED)
    assert flag in rows.rows[0].flags
    assert rows.apart().all()


def test_sglang_counts_requested_tokens_and_writes_bare_infinity(write: Callable[[str, Any], Path]) -> None:
    run = {
        "backend": "sglang",
        "request_rate": float("inf"),
        "max_concurrency": 4,
        "completed": 4,
        "total_input_tokens": 400,
        "total_output_tokens": 200,
        "total_output_tokens_retokenized": 202,
        "request_throughput": 2.0,
        "output_throughput": 100.0,
        "mean_e2e_latency_ms": 2000.0,
        "mean_ttft_ms": 30.0,
        "mean_tpot_ms": 9.5,
        "server_info": {
            "model_path": "deepseek-ai/DeepSeek-R1",
            "tp_size": 8,
            "speculative_algorithm": "EAGLE",
        },
        "accept_length": 2.4,
    }
    path = write(
        "s.jsonl", json.dumps(run) + "\n" + json.dumps(run | {"total_output_tokens_retokenized": 400}) + "\n"
    )
    assert "Infinity" in path.read_text()
    rows = read(path, {key: value for key, value in STATED.items() if key != "model"})
    assert [row.flags for row in rows.rows] == [(), ("tokens_mismatch", "duplicate")]
    assert rows.rows[0].setting is not None
    assert rows.rows[0].setting.model == "deepseek-r1"
    assert rows.rows[0].setting.speculation == "eagle"
    assert rows.rows[0].conditions["acceptance"] == 2.4


def test_aiperf_prefers_the_servers_tokens(write: Callable[[str, Any], Path]) -> None:
    summary = {
        "aiperf_version": "0.13.0",
        "request_count": {"avg": 4.0},
        "request_latency": {"avg": 1000.0, "p50": 990.0},
        "time_to_first_token": {"avg": 100.0},
        "inter_token_latency": {"avg": 3.0},
        "output_sequence_length": {"avg": 300.0},
        "usage_completion_tokens": {"avg": 100.0},
        "input_sequence_length": {"avg": 64.0},
        "output_token_throughput": {"avg": 1200.0},
        "input_config": {"phases": [{"kind": "profiling", "concurrency": 4}]},
        "was_cancelled": True,
    }
    row = only(read(write("a.json", summary), STATED))
    assert row.conditions["osl"] == 100
    assert row.values["tpot"] == pytest.approx(0.009)  # 3 ms a client token, three client tokens a real one
    assert row.values["throughput"] == pytest.approx(1200 / 3 / 8)
    assert {"tokens_mismatch", "cancelled"} <= set(row.flags)


def test_aiperf_requests(write: Callable[[str, Any], Path]) -> None:
    def request(number: int, start: float, first: float, end: float) -> str:
        return json.dumps(
            {
                "metadata": {
                    "request_start_ns": start * 1e9,
                    "request_end_ns": end * 1e9,
                    "session_num": number,
                },
                "metrics": {
                    "time_to_first_token": {"value": (first - start) * 1e3},
                    "request_latency": {"value": (end - start) * 1e3},
                    "output_sequence_length": {"value": 11},
                    "input_sequence_length": {"value": 20},
                },
            }
        )

    row = only(read(write("a.jsonl", request(0, 0, 0.1, 1.1) + "\n" + request(1, 0, 0.1, 2.1)), STATED))
    assert row.values["ttft"] == pytest.approx(0.1)
    assert row.values["tpot"] == pytest.approx(0.15)
    assert row.values["throughput"] == pytest.approx(22 / 2.1 / 8)


def test_guidellm_tpot_excludes_the_first_token(write: Callable[[str, Any], Path]) -> None:
    def good(mean: float) -> dict[str, Any]:
        return {"successful": {"mean": mean, "median": mean}}

    bench = {
        "config": {"strategy": {"type_": "concurrent", "streams": 4}},
        "scheduler_state": {"successful_requests": 12, "errored_requests": 0},
        "metrics": {
            "request_latency": good(2.0),
            "time_to_first_token_ms": good(100.0),
            "inter_token_latency_ms": good(19.0),
            "time_per_output_token_ms": good(20.0),
            "output_tokens_per_second": good(200.0),
            "prompt_token_count": good(50.0),
            "output_token_count": good(101.0),
        },
    }
    row = only(read(write("g.json", {"metadata": {"version": 2}, "benchmarks": [bench]}), STATED))
    assert row.values["tpot"] == pytest.approx(0.019)
    assert row.values["e2e"] == pytest.approx(2.0)
    assert row.conditions["concurrency"] == 4


def test_inference_perf_recomputes_from_the_servers_tokens(write: Callable[[str, Any], Path]) -> None:
    summary = {
        "load_summary": {"requested_rate": 4.0},
        "failures": {"count": 0},
        "successes": {
            "count": 20,
            "latency": {
                "request_latency": {"mean": 1.1},
                "time_to_first_token": {"mean": 0.1},
                "time_per_output_token": {"mean": 0.004},
            },
            "throughput": {"output_tokens_per_sec": 400.0},
            "prompt_tokens": {"mean": 30.0},
            "output_len": {"mean": 404.0},
            "output_tokens": {"mean": 101.0},
        },
    }
    row = only(read(write("i.json", summary), STATED))
    assert row.values["tpot"] == pytest.approx(0.010)
    assert row.values["throughput"] == pytest.approx(100.0 / 8)
    assert row.conditions["rate"] == 4.0
    assert "tokens_mismatch" in row.flags


def test_a_table_of_requests_becomes_a_run(write: Callable[[str, Any], Path]) -> None:
    columns = (
        "hardware,model,vllm_version,request_id,arrival_s,input_tokens,output_tokens,queue_s,ttft_s,e2e_s"
    )
    head = f"{columns},tpot_ms\n"
    rows = "".join(f"H100,Llama-3.1-8B,0.19,r{n},{n},100,11,0,0.1,1.1,100\n" for n in range(5))
    row = only(read(write("requests.csv", head + rows)))
    assert row.setting is not None
    assert (row.setting.load, row.setting.label()) == ("open", "TP1")
    assert row.conditions["rate"] == pytest.approx(1.0)
    assert row.values["tpot"] == pytest.approx(0.1)


def test_a_published_run_has_the_layout_that_its_publisher_states(write: Callable[[str, Any], Path]) -> None:
    columns = (
        "hardware,model,vllm_version,request_id,arrival_s,input_tokens,output_tokens,queue_s,ttft_s,e2e_s"
    )
    rows = "".join(f"RTXPRO6000,Qwen3-32B,0.19.0,r{n},{n},100,11,0,0.1,1.1,100\n" for n in range(5))
    row = only(read(write("requests.csv", f"{columns},tpot_ms\n{rows}")))
    assert row.setting is not None
    assert (row.setting.label(), row.setting.weights, row.setting.kv) == ("TP2", "bf16", "bf16")
    assert row.setting.chips == 2


def test_load_tests_without_a_rate_are_refused_but_kept(write: Callable[[str, Any], Path]) -> None:
    columns = "exp_id,experiment,model,workload,hardware,tp,dp,precision,stage_index,ttft_mean_ms,itl_mean_ms"
    head = f"{columns},e2e_mean_ms\n"
    row = only(read(write("loads.csv", head + "1,e,Llama-2-7b-hf,chat,H100,1,,FP16,0,50,10,2000\n")))
    assert row.problem == "lengths not stated"
    assert row.values["tpot"] == pytest.approx((2.0 - 0.05) / 199)


def test_mlperf_table_and_log(write: Callable[[str, Any], Path], tmp_path: Path) -> None:
    columns = "row_id,division,scenario,accelerator_normalised,accelerators_total,model,model_family,value,unit,value_per_accelerator,ttft_limit_ms,tpot_limit_ms,comparable,round,mean_output_tokens_perf"  # noqa: E501
    line = "r,closed,Server,H200-SXM,8,llama2-70b-99,llama2-70b,24000,Tokens/s,3000,2000,200,yes,v5.0,290"
    row = only(read(write("mlperf.csv", f"{columns}\n{line}\n")))
    assert row.setting is not None
    assert (row.setting.load, row.setting.pool) == ("goodput", None)
    assert row.conditions["ttft_limit"] == 2.0
    assert row.values["throughput"] == pytest.approx(3000)
    text = "================\nMLPerf Results Summary\n================\nSUT name : x\nScenario : Offline\nMode : PerformanceOnly\nSamples per second: 80\nTokens per second: 24000\nResult is : VALID\n"  # noqa: E501
    folder = tmp_path / "results" / "H200x8" / "llama2-70b-99" / "Offline"
    folder.mkdir(parents=True)
    (folder / "mlperf_log_summary.txt").write_text(text)
    row = only(read(folder / "mlperf_log_summary.txt", {"accelerator": "H200", "n_accelerators": "8"}))
    assert row.setting is not None
    assert (row.setting.model, row.setting.load) == ("llama-2-70b", "offline")
    assert row.values["throughput"] == pytest.approx(3000)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "x,y\n1,2\n"),
        ("b.json", "{}"),
        ("c.json", '{"a": '),
        ("d.json", "[" * 100_000),
        ("e.csv", ""),
        ("f.json", '[1, 2, "x"]'),
    ],
)
def test_other_files_are_refused_with_a_sentence(
    write: Callable[[str, Any], Path], name: str, content: str
) -> None:
    with pytest.raises(BadInput, match=name[0]):
        read(write(name, content))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        read(tmp_path / "missing.csv")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(b"a,b\n" * 100)[:40])
    with pytest.raises(BadInput):
        read(broken)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BadInput):
        read(binary)


def test_short_lines_are_counted_and_the_rest_is_kept(write: Callable[[str, Any], Path]) -> None:
    text = table(POINT) + "only,three,fields\n"
    rows = read(write("x.csv", text))
    assert len(rows) == 1
    assert len(rows.rejected) == 1
    assert ":3:" in rows.rejected[0]


def test_broken_lines_of_json_are_counted(write: Callable[[str, Any], Path]) -> None:
    rows = read(write("v.jsonl", json.dumps(VLLM) + "\n{broken\n"), STATED)
    assert len(rows) == 1
    assert "v.jsonl:2" in rows.rejected[0]
