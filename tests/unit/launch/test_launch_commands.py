"""Command lines: every flag is in the table, the numbers are the row's, several nodes fit together."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from assay.catalogue.load import catalogue
from assay.errors import BadFact, BadInput
from assay.report.launch.arguments import Argument, argument, known, tools
from assay.report.launch.emit import TARGETS, emit
from assay.report.launch.files import Files, LaunchFile
from assay.report.launch.support import Unsupported
from assay.study.answer import Row
from assay.study.question import Question

Make = Callable[..., Row]
Every = Callable[..., Iterator[tuple[str, Files]]]


def question(model: str, **more: object) -> Question:
    return Question(model=model, isl=4096, osl=1024, ttft=2.0, tpot=0.05, **more)  # type: ignore[arg-type]


def flags(text: str) -> dict[str, str]:
    """Flags of the first `args=(` block of a script, with their values."""
    block = re.search(r"args=\((.*?)^\s*\)", text, re.DOTALL | re.MULTILINE)
    assert block
    words = shlex.split(block[1], comments=True)
    found: dict[str, str] = {}
    for k, word in enumerate(words):
        if word.startswith("--"):
            follows = words[k + 1] if k + 1 < len(words) else "--"
            found[word[2:]] = "" if follows.startswith("--") else follows
    return found


def script(files: Files, name: str = "serve.sh") -> str:
    return next(file.text for file in files.files if file.name == name)


#: Options of the routing sidecar of llm-d, which is no tool of the table.
SIDECAR = {"vllm-port", "connector"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_emitted_flag_is_in_the_table(every: Every, target: str) -> None:
    everything = {flag for tool in tools() for flag in known(tool)} | SIDECAR
    count = 0
    for name, files in every(target):
        for file in files.files:
            code = re.sub(r"(^|\s)#.*", "", file.text)
            written = set(re.findall(r"(?<=[\s(])--([a-z][\w-]*)", code))
            assert written <= everything, (name, file.name)
            count += len(written)
    assert count >= 100


def test_a_flag_that_the_tool_does_not_have_is_refused() -> None:
    with pytest.raises(BadFact, match="no flag --tp-size"):
        argument("vllm", "tp-size", 8)
    assert argument("sglang", "tp-size", 8).words() == "--tp-size 8"
    # Dynamo hands the flags of its engine on.
    assert argument("dynamo.vllm", "tensor-parallel-size", 8).words() == "--tensor-parallel-size 8"


def test_every_flag_of_the_table_is_emitted_by_some_row(
    every: Every, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[tuple[str, str]] = set()
    made = argument

    def note(tool: str, name: str, *rest: object, **named: object) -> Argument:
        used.add((tool, name))
        return made(tool, name, *rest, **named)  # type: ignore[arg-type]

    for module in ("arguments", "setting", "tiers", "vllm", "sglang", "trtllm", "dynamo", "loadtest"):
        monkeypatch.setattr(f"assay.report.launch.{module}.argument", note)
    for target in TARGETS:
        for more in asked:
            assert list(every(target, **more))
    table = {(tool, flag) for tool, entry in tools().items() for flag in entry["flags"]}
    assert table - used == set()


def test_the_table_says_where_each_tool_was_read() -> None:
    content = catalogue().table("engines/flags")
    for name, entry in content["tools"].items():
        assert entry["source"] in content["sources"], name
        assert entry["command"], name
        assert entry["version"], name
        assert all(entry["flags"].values()), name
    for name, rule in content["rules"].items():
        assert {"value", "unit", "source", "date", "basis", "note"} <= set(rule), name


def test_vllm_on_one_node(launched: Make) -> None:
    files = emit(launched("h200", "tp8", kv="fp8"), question("llama-3.3-70b"), "vllm")
    assert [file.name for file in files.files] == ["serve.sh", "loadtest.sh"]
    assert files.status == "published"
    text = script(files)
    assert "exec vllm serve meta-llama/Llama-3.3-70B-Instruct" in text
    found = flags(text)
    assert found["tensor-parallel-size"] == "8"
    assert found["max-model-len"] == "10240"  # 2 x (4096 + 1024): nobody said how long the longest is
    assert found["max-num-seqs"] == "256"
    assert found["gpu-memory-utilization"] == "0.9"  # 1 - 20 / 200
    assert found["kv-cache-dtype"] == "fp8"
    assert not {"nnodes", "data-parallel-size", "enable-expert-parallel", "kv-transfer-config"} & set(found)


def test_every_flag_of_a_server_has_a_reason(launched: Make) -> None:
    for engine in ("vllm", "sglang", "trtllm"):
        text = script(emit(launched("b200", "dep8", kv="fp8"), question("deepseek-r1"), engine))
        lines = [line for line in text.splitlines() if line.startswith("  --")]
        assert len(lines) >= 4
        assert all("  # " in line for line in lines)


def test_the_context_is_never_longer_than_the_model_has(launched: Make) -> None:
    asked = Question(model="llama-3.3-70b", isl=120_000, osl=8000)
    found = flags(script(emit(launched("h200", "tp8"), asked, "vllm")))
    assert found["max-model-len"] == "131072"


def test_vllm_spreads_attention_groups_over_nodes(launched: Make) -> None:
    text = script(emit(launched("h200", "dep32", concurrency=2000), question("deepseek-v3.2"), "vllm"))
    found = flags(text)
    assert (found["tensor-parallel-size"], found["data-parallel-size"]) == ("1", "32")
    assert found["max-num-seqs"] == "64"  # 2000 / 32 = 62.5, in steps of 8
    assert 'args+=(--data-parallel-size-local 8 --data-parallel-address "${HEAD_ADDRESS}"' in text
    assert '-gt 0 ]; then args+=(--headless --data-parallel-start-rank "$((NODE_RANK * 8))"); fi' in text
    assert "--nnodes" not in text
    assert ': "${NODE_RANK:?number of this node, 0 to 3}"' in text


def test_vllm_cuts_one_group_over_nodes(launched: Make) -> None:
    text = script(emit(launched("h100", "tp16"), question("kimi-k2"), "vllm"))
    assert 'args+=(--nnodes 2 --node-rank "${NODE_RANK}" --master-addr "${HEAD_ADDRESS}")' in text
    assert 'if [ "${NODE_RANK}" -gt 0 ]; then args+=(--headless); fi' in text
    assert "--data-parallel" not in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(("rank", "headless"), [(0, False), (3, True)])
def test_the_node_decides_what_it_runs(launched: Make, rank: int, *, headless: bool) -> None:
    text = script(emit(launched("h200", "dep32"), question("deepseek-v3.2"), "vllm"))
    echoed = text.replace("exec vllm serve", "printf '%s\\n'")
    done = subprocess.run(
        ["bash", "-c", echoed],
        env={"NODE_RANK": str(rank), "HEAD_ADDRESS": "10.0.0.1", "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=True,
    )
    words = done.stdout.split()
    assert words[words.index("--data-parallel-address") + 1] == "10.0.0.1"
    assert ("--headless" in words) is headless
    if headless:
        assert words[words.index("--data-parallel-start-rank") + 1] == "24"


def test_a_script_stops_without_its_node_number(launched: Make) -> None:
    text = script(emit(launched("h100", "tp16"), question("kimi-k2"), "sglang"))
    assert ': "${NODE_RANK:?' in text
    assert text.index("NODE_RANK:?") < text.index("exec ")


def test_sglang_states_the_whole_stage(launched: Make) -> None:
    text = script(emit(launched("h200", "dep32", concurrency=2000), question("deepseek-v3.2"), "sglang"))
    found = flags(text)
    assert (found["tp-size"], found["attn-dp-size"], found["ep-size"]) == ("32", "32", "32")
    assert found["max-running-requests"] == str(64 * 32)  # over all attention groups
    assert found["mem-fraction-static"] == "0.85"  # 1 - (20 + 10) / 200
    assert found["moe-a2a-backend"] == "deepep"
    assert "enable-dp-attention" not in found
    assert "before 0.5.23: --dp-size N --enable-dp-attention" in text
    assert 'args+=(--nnodes 4 --node-rank "${NODE_RANK}" --dist-init-addr "${HEAD_ADDRESS}:20000")' in text
    assert "--headless" not in text
    assert "python3 -m sglang.launch_server" in text  # as the name of older versions


def test_trtllm_has_its_settings_in_a_file(launched: Make) -> None:
    files = emit(launched("b200", "dep8", kv="fp8"), question("deepseek-r1", cached=0.5), "trtllm")
    settings = yaml.safe_load(script(files, "trtllm.yaml"))
    assert settings["tensor_parallel_size"] == 8
    assert settings["moe_expert_parallel_size"] == 8
    assert settings["enable_attention_dp"] is True
    assert settings["max_batch_size"] == 32  # 256 / 8
    # 0.85 of the chip less the weights, over what the weights leave.
    fraction = settings["kv_cache_config"]["free_gpu_memory_fraction"]
    assert fraction == pytest.approx((0.85 * 200 - 100) / (200 - 100), abs=0.01)
    assert settings["kv_cache_config"] == {
        "dtype": "fp8",
        "enable_block_reuse": True,
        "free_gpu_memory_fraction": fraction,
    }
    assert flags(script(files))["config"] == "trtllm.yaml"


def test_trtllm_over_nodes_is_one_job(launched: Make) -> None:
    text = script(emit(launched("b200", "dep16"), question("deepseek-r1"), "trtllm"))
    assert "--nodes 2 " in text
    assert "--ntasks 16 " in text
    assert "--ntasks-per-node 8 " in text
    assert 'exec srun "${job[@]}" trtllm-llmapi-launch trtllm-serve' in text


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("vllm", {"speculative-config": '{"method": "mtp", "num_speculative_tokens": 3}'}),
        ("sglang", {"speculative-algorithm": "EAGLE", "speculative-num-draft-tokens": "4"}),
    ],
)
def test_drafts(launched: Make, engine: str, expected: dict[str, str]) -> None:
    files = emit(launched("b200", "dep8", speculation="MTP3"), question("deepseek-r1"), engine)
    assert expected.items() <= flags(script(files)).items()
    assert any("random tokens" in text for text in files.warnings)


def test_a_draft_model_is_named_or_asked_for(launched: Make) -> None:
    files = emit(launched("h100", "tp2", speculation="EAGLE2"), question("gpt-oss-120b"), "vllm")
    config = json.loads(flags(script(files))["speculative-config"])
    expected = {"method": "eagle3", "model": "nvidia/gpt-oss-120b-Eagle3-v3", "num_speculative_tokens": 2}
    assert config == expected
    other = emit(launched("h100", "tp8", speculation="EAGLE2"), question("llama-3.3-70b"), "vllm")
    assert any("knows no draft model" in text for text in other.warnings)


def test_prefill_and_decode_apart(launched: Make) -> None:
    row = launched("b200", "dep8", prefill="4xtep4", replicas=2, kv="fp8", user=50.0, chip=1000.0)
    files = emit(row, question("deepseek-r1"), "vllm")
    assert [file.name for file in files.files] == [
        "serve-prefill.sh",
        "serve-decode.sh",
        "router.sh",
        "loadtest.sh",
    ]
    first, second = (flags(script(files, f"serve-{role}.sh")) for role in ("prefill", "decode"))
    assert json.loads(first["kv-transfer-config"])["kv_role"] == "kv_producer"
    assert json.loads(second["kv-transfer-config"])["kv_role"] == "kv_consumer"
    assert (first["tensor-parallel-size"], second["data-parallel-size"]) == ("4", "8")
    # 32 chips x 1000 tokens/s over 50 tokens/s of a user = 640 in flight, over 2 replicas and 8 groups.
    assert second["max-num-seqs"] == "40"
    assert "max-num-seqs" not in first  # nobody said how many are in prefill
    router = script(files, "router.sh")
    assert len(re.findall(r"--prefill ", router)) == 4
    assert len(re.findall(r"--decode ", router)) == 2
    assert "intra-node-data-parallel-size" not in router
    for server in (first, second):  # a variable replaces the port beside another server of the node
        usual = re.fullmatch(r"\$\{PORT:-(\d+)\}", server["port"])
        assert usual
        assert f':{usual[1]}"' in router


def test_the_router_is_told_of_attention_groups_where_all_servers_have_as_many(launched: Make) -> None:
    files = emit(launched("b200", "dep8", prefill="2xdep8"), question("deepseek-r1"), "vllm")
    assert flags(script(files, "router.sh"))["intra-node-data-parallel-size"] == "8"


def test_sglang_prefill_and_decode_apart(launched: Make) -> None:
    row = launched("b200", "dep8", prefill="4xtep4", replicas=2, kv="fp8")
    files = emit(row, question("deepseek-r1"), "sglang")
    for role in ("prefill", "decode"):
        assert flags(script(files, f"serve-{role}.sh"))["disaggregation-mode"] == role
    assert '--prefill "http://${PREFILL_3}:30001" "8998"' in script(files, "router.sh")
    assert '--decode "http://${DECODE_1}:30002"' in script(files, "router.sh")
    assert '--port "${PORT:-30001}"' in script(files, "serve-prefill.sh")
    assert '--disaggregation-bootstrap-port "${BOOTSTRAP_PORT:-8998}"' in script(files, "serve-prefill.sh")
    assert "bootstrap-port" not in script(files, "serve-decode.sh")  # it listens at prefill only


def test_different_chips_are_a_warning(launched: Make) -> None:
    row = launched("h200", "tp4", prefill="2xtp2", prefill_system="h100")
    files = emit(row, question("llama-3.3-70b"), "vllm")
    assert any("different chips" in text for text in files.warnings)
    assert "# WARNING: Prefill and decode run on different chips" in script(files, "serve-decode.sh")


@pytest.mark.parametrize(
    ("engine", "model", "layout", "more", "words"),
    [
        ("vllm", "deepseek-r1", "dp4tp2ep4", {}, "EP of TP x DP, or of 1"),
        ("vllm", "deepseek-r1", "tep8pp2", {"speculation": "MTP1"}, "without PP"),
        ("trtllm", "deepseek-r1", "dp4tp2ep8", {}, "every chip of a stage"),
        ("trtllm", "deepseek-r1", "tp4cp2", {}, "context parallelism"),
        ("trtllm", "deepseek-r1", "dep8", {"redundant": 12}, "and their copies together to divide"),
    ],
)
def test_what_an_engine_cannot_be_told_is_refused(
    launched: Make, engine: str, model: str, layout: str, more: dict[str, str], words: str
) -> None:
    with pytest.raises(Unsupported) as error:
        emit(launched("b200", layout, **more), question(model), engine)
    assert words in str(error.value) + error.value.hint
    assert error.value.exit_code == 3


def test_the_load_test_is_the_rows_load(launched: Make) -> None:
    row = launched("h200", "tp8", concurrency=64, replicas=3)
    asked = question("llama-3.3-70b", cached=0.25)
    text = script(emit(row, asked, "vllm"), "loadtest.sh")
    found = flags(text)  # vllm bench serve
    assert found["max-concurrency"] == "192"
    assert (found["random-input-len"], found["random-prefix-len"]) == ("3072", "1024")
    assert found["random-output-len"] == "1024"
    assert found["num-prompts"] == "1920"
    assert "--goodput ttft:2000 tpot:50" in text
    assert re.search(r"mean TTFT +400 ms \(320–500\)", text)
    assert "--isl 3072" in text
    assert "prompt_tokens" in text or "prefix" in text
    rated = script(emit(row, question("llama-3.3-70b", rate=4.5), "vllm"), "loadtest.sh")
    assert flags(rated)["request-rate"] == "4.5"
    assert "max-concurrency" not in flags(rated)


def test_the_load_test_of_sglang_asks_its_port(launched: Make) -> None:
    text = script(emit(launched("h200", "tp8"), question("llama-3.3-70b"), "sglang"), "loadtest.sh")
    assert 'TARGET="${TARGET:-http://localhost:30000}"' in text
    row = launched("b200", "dep8", prefill="4xtep8")
    routed = emit(row, question("deepseek-r1"), "sglang")
    assert flags(script(routed, "router.sh"))["port"] == "8000"
    assert 'TARGET="${TARGET:-http://localhost:8000}"' in script(routed, "loadtest.sh")


def test_targets_and_engines(launched: Make) -> None:
    row = launched("h200", "tp8")
    with pytest.raises(BadInput, match="No target 'slurm'"):
        emit(row, question("llama-3.3-70b"), "slurm")
    with pytest.raises(BadInput, match="No engine 'tgi'"):
        emit(row, question("llama-3.3-70b"), "lws", engine="tgi")
    with pytest.raises(BadInput, match="Target vllm starts vllm, not sglang"):
        emit(row, question("llama-3.3-70b"), "vllm", engine="sglang")
    with pytest.raises(Unsupported, match="starts vLLM"):
        emit(row, question("llama-3.3-70b"), "kserve", engine="sglang")
    assert emit(row, question("llama-3.3-70b"), "lws", engine="sglang").engine == "sglang"
    # The row's own engine is started where the target can.
    own = launched("h200", "tp8", engine="sglang")
    assert emit(own, question("llama-3.3-70b"), "dynamo").engine == "sglang"
    with_other = emit(own, question("llama-3.3-70b"), "vllm")
    assert "The figures were predicted for SGLang, not for vLLM." in with_other.warnings


def test_files_are_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    files = Files("vllm", "vllm", (LaunchFile("a.sh", "x\n"), LaunchFile("b.yaml", "y: 1\n")), "possible")
    paths = files.write(folder)
    assert [path.name for path in paths] == ["a.sh", "b.yaml"]
    assert paths[0].stat().st_mode & 0o111
    assert not paths[1].stat().st_mode & 0o111
    with pytest.raises(BadInput, match=r"already holds a\.sh, b\.yaml"):
        files.write(folder)
    with pytest.raises(BadInput, match="is a file"):
        files.write(paths[1])
    assert files.text() == "==> a.sh <==\nx\n\n==> b.yaml <==\ny: 1\n"
