"""Lengths, tiers, redundant experts, drafts: what a row says stands in the files, in each engine's words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from assay.catalogue.load import catalogue
from assay.errors import BadFact
from assay.llm.layout import Layout
from assay.report.launch.arguments import known
from assay.report.launch.emit import emit
from assay.report.launch.fields import table, verify
from assay.report.launch.files import Files
from assay.report.launch.lengths import longest, room
from assay.report.launch.support import Unsupported, ranks
from assay.study.answer import Row
from assay.study.conditions import Pool
from assay.study.question import Caches, Question

Make = Callable[..., Row]
BOTH = Caches(hit_rate=0.5, host=2e12, ssd=30e12, ssd_bandwidth=2e10)
HOST = Caches(hit_rate=0.5, host=2e12)
SSD = Caches(hit_rate=0.5, ssd=30e12, ssd_bandwidth=2e10)


def asked(model: str, **more: Any) -> Question:
    return Question(model=model, isl=4096, osl=1024, **more)


def text(files: Files, name: str = "serve.sh") -> str:
    return next(file.text for file in files.files if file.name == name)


def flag(files: Files, name: str, where: str = "serve.sh") -> str:
    found = re.search(rf"^  --{name} (.*?)\s*(  # .*)?$", text(files, where), re.MULTILINE)
    assert found, name
    return found[1].strip("'")


def settings(files: Files, name: str = "trtllm.yaml") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(text(files, name))
    return content


# Lengths.


def test_a_stated_length_wins_and_is_not_rounded() -> None:
    found = longest(asked("x", workload="chat"), 131072, stated=5000)
    assert (found.tokens, found.wanted) == (5000, 0)
    assert "--longest" in found.why


def test_a_workload_says_how_long_its_requests_get() -> None:
    found = longest(Question(model="x", isl=1155, osl=211, workload="chat"), 131072)
    assert found.tokens == 15360  # 14,050 + 1,000 tokens in steps of 1,024
    assert "workload chat" in found.why
    other = longest(Question(model="x", isl=1024, osl=1024, workload="1k1k"), 131072)
    assert other.tokens == 4096  # its longest is unpublished: twice the mean


def test_a_trace_says_how_long_its_requests_get(trace: str) -> None:
    found = longest(asked("x", caches=Caches(trace=trace)), 131072)
    assert found.tokens == 8192  # 7,500
    assert "longest of the 3 requests of trace.jsonl" in found.why


def test_the_load_test_replays_a_trace(launched: Make, trace: str) -> None:
    row = launched("h200", "tp8")
    replay = text(emit(row, asked("llama-3.3-70b", caches=Caches(trace=trace)), "vllm"), "loadtest.sh")
    assert f"--input-file {trace} " in replay
    assert "--custom-dataset-type mooncake_trace" in replay
    assert "but by aiperf, which replays the trace" in replay
    other = text(emit(row, asked("llama-3.3-70b", caches=HOST), "vllm"), "loadtest.sh")
    assert "--isl" in other
    assert "below are not tried." in other


def test_a_length_is_cut_to_the_model_and_to_the_cache() -> None:
    question = asked("x")
    assert longest(question, 8192).tokens == 8192
    assert longest(question, 8192).wanted == 10240
    cut = longest(question, 131072, room=7000.0)
    assert (cut.tokens, cut.wanted) == (6144, 10240)
    assert "cache of a group" in cut.why
    assert longest(question, 131072, room=20000.0).wanted == 0


def test_room_of_a_group() -> None:
    memory = {"capacity": 100e9, "weights": 60e9, "activations": 5e9, "reserved": 10e9, "cache": 10e9}
    # 10 GB for 4 x 5,000 positions: 0.5 MB each; 25 GB are left.
    assert room(memory, 4, 5000) == pytest.approx(50_000)
    assert room({}, 4, 5000) is None
    assert room(memory, 0, 5000) is None


def test_a_cut_length_is_a_warning(launched: Make) -> None:
    files = emit(launched("h200", "tp8"), Question(model="qwen3-8b", isl=60_000, osl=1000), "vllm")
    assert any(
        "Requests of up to 122,000 tokens were expected; 40,960 fit." in said for said in files.warnings
    )


def test_a_rate_admits_more_than_the_mean(launched: Make) -> None:
    row = launched("h200", "tp8", concurrency=100)
    closed, opened = (
        flag(emit(row, asked("llama-3.3-70b", **more), "vllm"), "max-num-seqs")
        for more in ({}, {"rate": 5.0})
    )
    assert (closed, opened) == ("104", "136")  # 100, and 100 + 3 sqrt(100), in steps of 8


# Tiers of the cache.


def test_vllm_tiers(launched: Make) -> None:
    row = launched("h200", "dep8")
    # A group is one chip: an eighth of the host.
    size = flag(emit(row, asked("deepseek-r1", caches=HOST), "vllm"), "kv-offloading-size")
    assert float(size) == pytest.approx(2e12 / 8 / 2**30, rel=1e-3)
    files = emit(row, asked("deepseek-r1", caches=BOTH), "vllm")
    config = json.loads(flag(files, "kv-transfer-config"))
    extra = config["kv_connector_extra_config"]
    assert (config["kv_connector"], extra["cpu_bytes_to_use"]) == ("OffloadingConnector", 250_000_000_000)
    assert extra["secondary_tiers"] == [{"type": "fs", "root_dir": "/mnt/kv-cache"}]
    assert "mkdir -p /mnt/kv-cache" in text(files)
    assert any("30 TB a host" in said for said in files.warnings)


def test_vllm_prefill_has_tiers_beside_its_transfer_and_decode_has_none(launched: Make) -> None:
    row = launched("h200", "dep8", prefill="2xtp8")
    files = emit(row, asked("deepseek-r1", caches=HOST), "vllm")
    config = json.loads(flag(files, "kv-transfer-config", "serve-prefill.sh"))
    inner = [item["kv_connector"] for item in config["kv_connector_extra_config"]["connectors"]]
    assert (config["kv_connector"], inner) == ("MultiConnector", ["NixlConnector", "OffloadingConnector"])
    decode = json.loads(flag(files, "kv-transfer-config", "serve-decode.sh"))
    assert decode["kv_connector"] == "NixlConnector"


def test_sglang_tiers_are_counted_a_chip(launched: Make) -> None:
    row = launched("h200", "tp8")
    host = emit(row, asked("llama-3.3-70b", caches=HOST), "sglang")
    assert flag(host, "hicache-size") == "250"
    assert "hicache-storage-backend" not in text(host)
    both = emit(row, asked("llama-3.3-70b", caches=BOTH), "sglang")
    assert flag(both, "hicache-storage-backend") == "file"
    assert "export SGLANG_HICACHE_FILE_BACKEND_STORAGE_DIR=/mnt/kv-cache" in text(both)
    alone = emit(row, asked("llama-3.3-70b", caches=SSD), "sglang")
    assert (flag(alone, "hicache-host-memory-mode"), flag(alone, "hicache-size")) == ("buffer_only", "4")


def test_trtllm_tiers_are_bytes_a_chip(launched: Make) -> None:
    cache = settings(emit(launched("b200", "dep8"), asked("deepseek-r1", caches=BOTH), "trtllm"))[
        "kv_cache_config"
    ]
    assert (cache["host_cache_size"], cache["disk_cache_size"]) == (250_000_000_000, 3_750_000_000_000)
    assert cache["use_kv_cache_manager_v2"] is True


def test_kserve_has_a_field_for_tiers(launched: Make) -> None:
    files = emit(launched("h200", "tp8"), asked("llama-3.3-70b", caches=BOTH), "kserve")
    (service,) = (item for item in yaml.safe_load_all(files.files[0].text) if item)
    found = service["spec"]["kvCacheOffloading"]
    assert found["cpuBytesToUse"] == 2_000_000_000_000  # one group of the whole node
    assert found["secondaryTiers"] == [{"type": "fs", "root_dir": "/mnt/kv-cache"}]
    assert "kv-transfer-config" not in files.files[0].text


@pytest.mark.parametrize("target", ["lws", "dynamo", "llm-d"])
def test_pods_mount_the_ssds(launched: Make, target: str) -> None:
    files = emit(launched("h200", "tp8"), asked("llama-3.3-70b", caches=BOTH), target, engine="sglang")
    content = files.files[0].text
    assert "hostPath" in content
    assert "mountPath: /mnt/kv-cache" in content
    assert "SGLANG_HICACHE_FILE_BACKEND_STORAGE_DIR" in content


# Experts, drafts, batches.


def test_redundant_experts_in_every_engine(launched: Make) -> None:
    row = launched("b200", "dep8", redundant=32)
    vllm, sglang, trtllm = (emit(row, asked("deepseek-r1"), name) for name in ("vllm", "sglang", "trtllm"))
    assert json.loads(flag(vllm, "eplb-config")) == {"num_redundant_experts": 32}
    assert flag(sglang, "ep-num-redundant-experts") == "32"
    assert settings(trtllm)["moe_config"]["load_balancer"] == {"num_slots": 288, "layer_updates_per_iter": 1}


def test_trtllm_drafts_with_heads_and_with_a_model(launched: Make) -> None:
    own = emit(launched("b200", "dep8", speculation="MTP3"), asked("deepseek-r1"), "trtllm")
    assert settings(own)["speculative_config"] == {"decoding_type": "MTP", "max_draft_len": 3}
    other = emit(launched("h100", "tp2", speculation="EAGLE2"), asked("gpt-oss-120b"), "trtllm")
    assert settings(other)["speculative_config"] == {
        "decoding_type": "Eagle3",
        "max_draft_len": 2,
        "speculative_model": "nvidia/gpt-oss-120b-Eagle3-v3",
    }


@pytest.mark.parametrize(
    ("engine", "sign"),
    [
        ("vllm", "--speculative-config"),
        ("sglang", "--speculative-algorithm"),
        ("trtllm", "speculative_config:"),
    ],
)
def test_prefill_has_the_drafter_whose_cache_it_hands_over(launched: Make, engine: str, sign: str) -> None:
    row = launched("b200", "dep8", prefill="2xtep8", speculation="MTP2")
    files = emit(row, asked("deepseek-r1"), engine)
    content = "".join(file.text for file in files.files if "prefill" in file.name)
    assert sign in content


def test_two_batches_take_turns_where_the_row_counts_it(launched: Make) -> None:
    far = emit(launched("h200", "dep16"), asked("deepseek-r1"), "vllm")
    assert flag(far, "all2all-backend") == "deepep_high_throughput"
    assert "--enable-dbo" in text(far)
    near = emit(launched("gb200-nvl72", "dep16"), asked("deepseek-r1"), "vllm")
    assert "--enable-dbo" not in text(near)
    drafting = emit(launched("h200", "dep16", speculation="MTP1"), asked("deepseek-r1"), "vllm")
    assert "--enable-dbo" not in text(drafting)
    assert any("take turns" in said for said in drafting.warnings)
    assert "--enable-two-batch-overlap" in text(
        emit(launched("h200", "dep16"), asked("deepseek-r1"), "sglang")
    )


def test_prompts_over_several_chips(launched: Make) -> None:
    sglang = emit(launched("h200", "tp4cp2"), asked("glm-5.2"), "sglang")
    assert (flag(sglang, "attn-cp-size"), flag(sglang, "cp-strategy")) == ("2", "interleave")
    assert "--enable-prefill-cp" in text(sglang)
    other = emit(launched("h200", "tp4cp2"), asked("mimo-v2-flash"), "sglang")
    assert flag(other, "cp-strategy") == "zigzag"
    with pytest.raises(Unsupported, match="not in a pool that only decodes"):
        emit(launched("h200", "tp4cp2", prefill="2xtp4"), asked("glm-5.2"), "sglang")
    assert (
        flag(emit(launched("h200", "tp4cp2"), asked("glm-5.2"), "vllm"), "prefill-context-parallel-size")
        == "2"
    )


def test_kernels_that_are_off_unless_asked_for(launched: Make) -> None:
    row, model = launched("mi355x", "tp8"), asked("deepseek-r1")
    assert 'export VLLM_ROCM_USE_AITER="${VLLM_ROCM_USE_AITER:-1}"' in text(emit(row, model, "vllm"))
    for target in ("lws", "kserve", "llm-d"):
        content = emit(row, model, target, engine="vllm").files[0].text
        assert re.search(r"name: VLLM_ROCM_USE_AITER\n\s+value: '1'", content), target
    assert "AITER" not in text(emit(launched("h200", "tp8"), model, "vllm"))


def test_pods_that_talk_over_the_network_need_its_device(launched: Make) -> None:
    def warned(system: str, layout: str, target: str) -> bool:
        files = emit(launched(system, layout), asked("deepseek-r1"), target, engine="vllm")
        return any("RDMA" in said for said in files.warnings)

    assert warned("h200", "dep16", "lws")
    assert not warned("h200", "dep8", "lws")
    assert not warned("gb200-nvl72", "dep16", "lws")
    assert not warned("h200", "dep16", "vllm")
    tpu = emit(launched("tpu-v6e", "tp8"), asked("llama-3.3-70b"), "lws", engine="vllm")
    assert any("kind and topology" in said for said in tpu.warnings)


def test_devices_of_a_chip_are_counted(launched: Make) -> None:
    assert ranks(catalogue().chip("trainium2"))[0] == 4
    assert ranks(catalogue().chip("h200-sxm")) == (1, "")
    trainium = emit(launched("trn2-instance", "tp8"), asked("gpt-oss-120b"), "vllm")
    assert flag(trainium, "tensor-parallel-size") == "32"
    ascend = emit(launched("cloudmatrix384", "dep16"), asked("llama-3.3-70b"), "sglang")
    assert (flag(ascend, "tp-size"), flag(ascend, "attn-dp-size")) == ("32", "16")
    pods = emit(launched("cloudmatrix384", "tp8"), asked("llama-3.3-70b"), "lws", engine="sglang")
    assert "huawei.com/Ascend910: '16'" in pods.files[0].text


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vllm", "experimental plugin"),
        ("sglang", "no released version"),
        ("trtllm", "does not put attention"),
    ],
)
def test_attention_and_experts_apart_is_refused_by_each_engine(
    launched: Make, engine: str, words: str
) -> None:
    row = launched("h200", "dep8", prefill="2xtp8")
    apart = Row(
        row.deployment.__class__(
            **{name: getattr(row.deployment, name) for name in row.deployment.__slots__}
            | {"experts": Pool(Layout.parse("tp8"))}
        ),
        row.concurrency,
        row.chips,
        row.figures,
    )
    with pytest.raises(Unsupported, match=words) as error:
        emit(apart, asked("deepseek-r1"), engine)
    assert "--serving disaggregated" in error.value.hint


def test_decode_on_a_dataflow_machine_is_refused(launched: Make) -> None:
    row = launched("groq3-lpx-rack", "tp8", prefill="2xtp8", prefill_system="b200")
    with pytest.raises(Unsupported, match="no published engine decodes on these chips"):
        emit(row, asked("llama-3.3-70b"), "dynamo")


# The table of fields.


def leaves(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path


def test_every_document_has_a_source_and_a_version() -> None:
    content = table()
    for name, entry in content["documents"].items():
        assert entry["source"] in content["sources"], name
        assert entry["version"], name
        assert entry["fields"], name
    for name, entry in content["sources"].items():
        assert {"where", "date", "dated"} <= set(entry), name


def test_settings_of_trtllm_are_the_same_in_both_tables() -> None:
    assert set(leaves(table()["documents"]["trtllm-yaml"]["fields"])) == set(known("trtllm-yaml"))


@pytest.mark.parametrize(
    ("document", "value", "words"),
    [
        ("trtllm-yaml", {"max_batch": 8}, "no field max_batch"),
        ("trtllm-yaml", {"max_batch_size": "8"}, "not of type int"),
        ("trtllm-yaml", {"max_batch_size": True}, "not of type int"),
        ("trtllm-yaml", {"kv_cache_config": {"dtype": "int8"}}, "not one of auto"),
        ("trtllm-yaml", {"moe_config": 8}, "not a mapping"),
        ("trtllm-disaggregated", {"context_servers": {"urls": "a:1"}}, "not a list"),
        ("vllm kv-transfer-config", {"kv_role": "both"}, "not one of kv_producer"),
        ("Service", {"kind": "Service", "apiVersion": "v2"}, "is v1 here, not v2"),
        ("Job", {"kind": "Job"}, "Nothing is known about Job"),
    ],
)
def test_what_the_table_does_not_have_is_refused(document: str, value: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFact, match=words):
        verify(document, value)


def test_what_the_table_has_is_taken() -> None:
    verify("trtllm-yaml", {"max_batch_size": 8, "kv_cache_config": {"free_gpu_memory_fraction": 0.8}})
    labels = {"metadata": {"name": "a", "labels": {"x/y": "z"}}, "data": {"file.yaml": "a: 1"}}
    verify("ConfigMap", {"apiVersion": "v1", "kind": "ConfigMap", **labels})
