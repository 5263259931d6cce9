"""Manifests: what Kubernetes would refuse, and the shapes of published examples."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.report.launch.emit import emit
from assay.report.launch.files import Files
from assay.report.launch.support import Unsupported
from assay.study.answer import Row
from assay.study.question import Question

Make = Callable[..., Row]
CLUSTERS = ("dynamo", "lws", "kserve", "llm-d")

#: Model, system, layout, and what else the row says.
CASES: dict[str, tuple[str, str, str, dict[str, object]]] = {
    "one node": ("llama-3.3-70b", "h200", "tp8", {"replicas": 2}),
    "a part of a node": ("qwen3-8b", "h100", "tp1", {}),
    "groups over nodes": ("deepseek-v3.2", "h200", "dep32", {}),
    "group over nodes": ("kimi-k2", "h100", "tp16", {}),
    "compute domain": ("kimi-k3", "gb200-nvl72", "dep16", {}),
    "amd": ("deepseek-r1", "mi355x", "tp8", {}),
    "apart": ("deepseek-r1", "b200", "dep8", {"prefill": "4xtep4", "replicas": 2}),
    "apart, nodes": ("deepseek-r1", "gb200-nvl72", "dep32", {"prefill": "2xdep8"}),
}

#: Example of ../shared -> kind that it shows.
EXAMPLES = {
    "LeaderWorkerSet": "lws_vllm_wide_ep.yaml",
    "DynamoGraphDeployment": "dynamo_dgd_v1beta1.yaml",
    "LLMInferenceService": "kserve_llminferenceservice.yaml",
    "DisaggregatedSet": "disaggregatedset_sglang.yaml",
}
#: What a pod of Kubernetes has, whether the short examples use it or not.
POD = {
    "containers",
    "initContainers",
    "nodeSelector",
    "volumes",
    "resourceClaims",
}
CONTAINER = {
    "name",
    "image",
    "command",
    "args",
    "env",
    "ports",
    "resources",
    "volumeMounts",
    "readinessProbe",
    "startupProbe",
    "restartPolicy",
}
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def made(launched: Make, name: str, target: str, engine: str = "vllm") -> Files:
    model, system, layout, fields = CASES[name]
    row = launched(system, layout, **fields)
    return emit(row, Question(model=model, isl=4096, osl=1024), target, engine=engine)


def objects(files: Files) -> list[dict[str, Any]]:
    return [
        item
        for file in files.files
        if file.name.endswith(".yaml")
        for item in yaml.safe_load_all(file.text)
        if item
    ]


def every(launched: Make) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for target in CLUSTERS:
        for name in CASES:
            for engine in ("vllm", "sglang", "trtllm"):
                try:
                    yield f"{name}, {target}, {engine}", objects(made(launched, name, target, engine))
                except Unsupported:
                    continue


def pods(value: object) -> Iterator[Mapping[str, Any]]:
    """Every specification of a pod inside an object."""
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield value
        for item in value.values():
            yield from pods(item)
    elif isinstance(value, list):
        for item in value:
            yield from pods(item)


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in found if item["kind"] == kind]


def test_objects_are_complete(launched: Make) -> None:
    count = 0
    for label, found in every(launched):
        names = [(item["kind"], item["metadata"]["name"]) for item in found]
        assert len(names) == len(set(names)), label
        for item in found:
            count += 1
            assert {"apiVersion", "kind", "metadata"} <= set(item), label
            assert "spec" in item or "data" in item, label
            assert NAME.fullmatch(item["metadata"]["name"]), label
        for spec in (spec for item in found for spec in pods(item)):
            check_pod(label, spec)
    assert count >= 60


def check_pod(label: str, spec: Mapping[str, Any]) -> None:
    """What a cluster would refuse, or hang on."""
    assert set(spec) <= POD, label
    volumes = {item["name"] for item in spec.get("volumes", ())}
    claims = {item["name"] for item in spec.get("resourceClaims", ())}
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        assert set(container) <= CONTAINER, label
        assert {"name", "image"} <= set(container), label
        assert {item["name"] for item in container.get("volumeMounts", ())} <= volumes, label
        limits = container.get("resources", {}).get("limits", {})
        assert all(isinstance(value, str) for value in limits.values()), label
        asked = {item["name"] for item in container.get("resources", {}).get("claims", ())}
        assert asked <= claims, label
        assert all(isinstance(item.get("value", ""), str) for item in container.get("env", ())), label
        ports = {item["containerPort"] for item in container.get("ports", ())}
        for probe in ("readinessProbe", "startupProbe"):
            if probe in container and ports:
                assert container[probe]["httpGet"]["port"] in ports, label


def test_services_choose_pods_that_exist(launched: Make) -> None:
    count = 0
    for label, found in every(launched):
        for service in of_kind(found, "Service"):
            wanted = service["spec"]["selector"].items()
            pool = [spec for item in found for spec in labelled(item) if wanted <= spec["labels"].items()]
            assert pool, label
            for spec in pool:
                ports = {port["containerPort"] for port in spec["spec"]["containers"][0]["ports"]}
                assert service["spec"]["ports"][0]["targetPort"] in ports, label
            count += 1
    assert count >= 6


def labelled(value: object) -> Iterator[dict[str, Any]]:
    """Every pod template with labels inside an object."""
    if isinstance(value, dict):
        if "containers" in value.get("spec", {}) and "labels" in value.get("metadata", {}):
            yield {"labels": value["metadata"]["labels"], "spec": value["spec"]}
        for item in value.values():
            yield from labelled(item)
    elif isinstance(value, list):
        for item in value:
            yield from labelled(item)


def test_config_maps_are_mounted_and_settings_parse(launched: Make) -> None:
    count = 0
    for label, found in every(launched):
        there = {item["metadata"]["name"]: item for item in of_kind(found, "ConfigMap")}
        used = {
            volume["configMap"]["name"]
            for item in found
            for spec in pods(item)
            for volume in spec.get("volumes", ())
            if "configMap" in volume
        }
        assert used <= set(there), label
        for item in there.values():
            for text in item["data"].values():
                assert isinstance(yaml.safe_load(text), dict), label
                count += 1
    assert count


def test_a_group_of_nodes(launched: Make) -> None:
    (group,) = of_kind(objects(made(launched, "groups over nodes", "lws")), "LeaderWorkerSet")
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 4
    leader, worker = (
        template[part]["spec"]["containers"][0] for part in ("leaderTemplate", "workerTemplate")
    )
    assert leader["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert "readinessProbe" in leader
    assert "readinessProbe" not in worker  # a headless node answers nobody
    assert "NODE_RANK=${LWS_WORKER_INDEX:-0}" in leader["args"][0]
    assert leader["args"] == worker["args"]


def test_one_node_needs_no_leader(launched: Make) -> None:
    (group,) = of_kind(objects(made(launched, "one node", "lws")), "LeaderWorkerSet")
    assert group["spec"]["replicas"] == 2
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 1
    assert "leaderTemplate" not in template
    assert "LWS_WORKER_INDEX" not in template["workerTemplate"]["spec"]["containers"][0]["args"][0]


def test_nvlink_over_nodes_claims_a_compute_domain(launched: Make) -> None:
    found = objects(made(launched, "compute domain", "dynamo"))
    (domain,) = of_kind(found, "ComputeDomain")
    template = domain["spec"]["channel"]["resourceClaimTemplate"]["name"]
    (graph,) = of_kind(found, "DynamoGraphDeployment")
    worker = next(item for item in graph["spec"]["components"] if item["name"] == "Worker")
    assert worker["multinode"] == {"nodeCount": 4}
    spec = worker["podTemplate"]["spec"]
    assert spec["resourceClaims"][0]["resourceClaimTemplateName"] == template
    assert spec["containers"][0]["resources"]["claims"] == [{"name": spec["resourceClaims"][0]["name"]}]
    assert not of_kind(objects(made(launched, "groups over nodes", "dynamo")), "ComputeDomain")


def test_routers_know_every_server_at_the_port_it_has(launched: Make) -> None:
    for engine in ("vllm", "sglang", "trtllm"):
        found = objects(made(launched, "apart", "lws", engine))
        (router,) = of_kind(found, "Deployment")
        main = router["spec"]["template"]["spec"]["containers"][0]
        addresses = {item["name"]: item["value"] for item in main["env"]}
        assert sorted(addresses) == [*(f"DECODE_{k}" for k in range(2)), *(f"PREFILL_{k}" for k in range(4))]
        text = main["args"][0] + "".join(
            text for item in of_kind(found, "ConfigMap") for text in item["data"].values()
        )
        port = 30000 if engine == "sglang" else 8000
        for name, address in addresses.items():
            written = f"{address}:{port}" if engine == "trtllm" else f"${{{name}}}:{port}"
            assert written in text, (engine, name)
        groups = {item["metadata"]["name"] for item in of_kind(found, "LeaderWorkerSet")}
        for address in addresses.values():
            pod, _, subdomain = address.partition(".")
            assert subdomain in groups
            assert re.fullmatch(rf"{subdomain}-\d", pod)


def test_kserve_states_the_degrees_and_the_rest_as_flags(launched: Make) -> None:
    (service,) = of_kind(objects(made(launched, "groups over nodes", "kserve")), "LLMInferenceService")
    spec = service["spec"]
    assert spec["parallelism"] == {"tensor": 1, "data": 32, "dataLocal": 8, "expert": True}
    assert set(spec) >= {"model", "replicas", "router", "template", "worker"}
    flags = spec["template"]["containers"][0]["env"][0]
    assert flags["name"] == "VLLM_ADDITIONAL_ARGS"
    assert "--max-model-len" in flags["value"]
    assert "--data-parallel-size" not in flags["value"]
    with pytest.raises(Unsupported, match="not the chips of one group") as error:
        made(launched, "group over nodes", "kserve")
    assert "--target lws" in error.value.hint


def test_kserve_has_prefill_beside_decode(launched: Make) -> None:
    (service,) = of_kind(objects(made(launched, "apart", "kserve")), "LLMInferenceService")
    assert service["spec"]["replicas"] == 2
    assert service["spec"]["prefill"]["replicas"] == 4
    assert service["spec"]["prefill"]["parallelism"] == {"tensor": 4, "expert": True}


def test_dynamo_has_a_component_a_pool(launched: Make) -> None:
    (graph,) = of_kind(objects(made(launched, "apart", "dynamo")), "DynamoGraphDeployment")
    components = {item["type"]: item for item in graph["spec"]["components"]}
    assert {kind: item["replicas"] for kind, item in components.items()} == {
        "frontend": 1,
        "prefill": 4,
        "decode": 2,
    }
    for role in ("prefill", "decode"):
        text = components[role]["podTemplate"]["spec"]["containers"][0]["args"][0]
        assert f"--disaggregation-mode {role}" in text
        assert "--port" not in text  # the API is the frontend's
    with pytest.raises(Unsupported, match="NVIDIA GPUs"):
        made(launched, "amd", "dynamo")


def test_llm_d_picks_pods_by_label(launched: Make) -> None:
    found = objects(made(launched, "apart", "llm-d"))
    (pool,) = of_kind(found, "InferencePool")
    (roles,) = of_kind(found, "DisaggregatedSet")
    wanted = pool["spec"]["selector"]["matchLabels"].items()
    assert [item["name"] for item in roles["spec"]["roles"]] == ["prefill", "decode"]
    for role in roles["spec"]["roles"]:
        pod = role["spec"]["leaderWorkerTemplate"]["workerTemplate"]
        assert wanted <= pod["metadata"]["labels"].items()
        assert pod["metadata"]["labels"]["llm-d.ai/role"] == role["name"]
    # The sidecar of decode takes the API's port, the engine the one behind it.
    decode = roles["spec"]["roles"][1]["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]
    assert (
        decode["initContainers"][0]["ports"][0]["containerPort"] == pool["spec"]["targetPorts"][0]["number"]
    )
    behind = decode["containers"][0]["ports"][0]["containerPort"]
    assert f"--port {behind}" in decode["containers"][0]["args"][0]
    assert f"--vllm-port={behind}" in decode["initContainers"][0]["args"]


def test_llm_d_finds_every_node_that_answers_and_no_other(launched: Make) -> None:
    (group,) = of_kind(objects(made(launched, "groups over nodes", "llm-d")), "LeaderWorkerSet")
    template = group["spec"]["leaderWorkerTemplate"]
    assert "leaderTemplate" not in template
    assert "--data-parallel-hybrid-lb" in template["workerTemplate"]["spec"]["containers"][0]["args"][0]
    (group,) = of_kind(objects(made(launched, "group over nodes", "llm-d")), "LeaderWorkerSet")
    template = group["spec"]["leaderWorkerTemplate"]
    key = "llm-d.ai/inference-serving"
    assert key in template["leaderTemplate"]["metadata"]["labels"]
    assert key not in template["workerTemplate"]["metadata"]["labels"]


def keys(value: object, path: str = "") -> Iterator[str]:
    """Dotted names of everything in an object, lists as []."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}"
            yield from keys(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, f"{path}[]")


#: Parts of our objects that the examples leave out: standard in Kubernetes, or named in a comment there.
BESIDE = re.compile(
    r"(\.metadata\b.*|\.nodeSelector.*|\.volumes.*|\.resourceClaims.*|\.leaderTemplate.*|\.multinode.*"
    r"|\.initContainers.*|\[\]\.(env|image|command|args|ports|volumeMounts|readinessProbe|startupProbe|resources).*"
    r"|\.spec\.prefill.*|\.(pipeline))$"
)


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_shapes_are_those_of_published_examples(launched: Make, kind: str) -> None:
    shared = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[3].parent / "shared"))
    path = shared / "reference" / "examples" / EXAMPLES[kind]
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    shown = of_kind([item for item in yaml.safe_load_all(path.read_text(encoding="utf-8")) if item], kind)
    known = {key for item in shown for key in keys(item)}
    versions = {item["apiVersion"] for item in shown}
    count = 0
    for label, found in every(launched):
        for item in of_kind(found, kind):
            other = {key for key in keys(item) if key not in known and not BESIDE.search(key)}
            assert not other, label
            assert item["apiVersion"] in versions, label
            count += 1
    assert count
