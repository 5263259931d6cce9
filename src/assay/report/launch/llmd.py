"""llm-d: groups of pods behind an InferencePool, whose endpoint picker chooses the pod.

Every pod answers for its own attention groups (hybrid load balancing), so that the picker sees each. Prefill
and decode are the two roles of a DisaggregatedSet; the decode pods carry the sidecar that asks prefill first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.report.launch import kubernetes, vllm
from assay.report.launch.files import LaunchFile
from assay.report.launch.manifests import compute_domain, dump, ident
from assay.report.launch.setting import Pool, Setting

#: Port of the engine behind the sidecar, and of the endpoint picker.
_BEHIND, _PICKER = 8200, 9002
_SIDECAR = "ghcr.io/llm-d/llm-d-routing-sidecar:v0.7.1"


def files(setting: Setting, head: Sequence[str]) -> list[LaunchFile]:
    """Return the manifests: the model servers, and the pool in front of them."""
    objects: list[Mapping[str, Any]] = []
    for pool in setting.pools:
        objects += compute_domain(setting, pool)
    if setting.disaggregated:
        objects.append(_disaggregated(setting))
    else:
        pool = setting.pools[0]
        objects.append(kubernetes.group(ident(setting), pool.replicas, _template(setting, pool)))
    server = dump(objects, [*head, "kubectl apply -f modelserver.yaml"])
    lines = [
        *head,
        "The endpoint picker itself is installed with llm-d's chart; this is its pool and settings.",
    ]
    pool_text = dump([_inference_pool(setting), _picker_config(setting)], lines)
    return [LaunchFile("modelserver.yaml", server), LaunchFile("inferencepool.yaml", pool_text)]


def labels(setting: Setting, role: str) -> dict[str, str]:
    """Return the labels by which llm-d finds a pod."""
    found = {"llm-d.ai/inference-serving": "true", "llm-d.ai/model": ident(setting)}
    return found if role == "serve" else {**found, "llm-d.ai/role": role}


def _template(setting: Setting, pool: Pool) -> dict[str, Any]:
    hybrid = setting.engine == "vllm" and vllm.apart(pool)
    template = kubernetes.specification(setting, pool, labels(setting, pool.role), hybrid=hybrid)
    if "leaderTemplate" in template:  # the other nodes answer nobody, so no picker may find them
        template["workerTemplate"]["metadata"]["labels"].pop("llm-d.ai/inference-serving")
    if pool.role == "decode" and setting.engine == "vllm":
        for part in ("leaderTemplate", "workerTemplate"):
            if part in template:
                _add_sidecar(template[part]["spec"])
    return template


def _add_sidecar(spec: dict[str, Any]) -> None:
    """Put the sidecar on the API's port and the engine behind it."""
    main = spec["containers"][0]
    main["args"] = [main["args"][0].replace(f"--port {vllm.PORT}", f"--port {_BEHIND}")]
    main["ports"] = [{"name": "engine", "containerPort": _BEHIND}]
    for probe in ("readinessProbe", "startupProbe"):
        if probe in main:
            main[probe] = {**main[probe], "httpGet": {"path": "/health", "port": _BEHIND}}
    spec["initContainers"] = [
        {
            "name": "routing-proxy",
            "image": _SIDECAR,
            "args": [f"--port={vllm.PORT}", f"--vllm-port={_BEHIND}", "--connector=nixlv2"],
            "ports": [{"name": "sidecar", "containerPort": vllm.PORT}],
            "restartPolicy": "Always",
        }
    ]


def _disaggregated(setting: Setting) -> dict[str, Any]:
    roles = [
        {
            "name": pool.role,
            "spec": {"replicas": pool.replicas, "leaderWorkerTemplate": _template(setting, pool)},
        }
        for pool in setting.pools
    ]
    return {
        "apiVersion": "disaggregatedset.x-k8s.io/v1",
        "kind": "DisaggregatedSet",
        "metadata": {"name": ident(setting)},
        "spec": {"roles": roles},
    }


def _inference_pool(setting: Setting) -> dict[str, Any]:
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": ident(setting)},
        "spec": {
            "selector": {"matchLabels": labels(setting, "serve")},
            "targetPorts": [{"number": kubernetes.port(setting)}],
            "endpointPickerRef": {"name": f"{ident(setting)}-epp", "port": {"number": _PICKER}},
        },
    }


def _picker_config(setting: Setting) -> dict[str, Any]:
    if setting.disaggregated:
        plugins = [
            {"type": "disagg-headers-handler"},
            {"type": "always-disagg-pd-decider"},
            {
                "type": "disagg-profile-handler",
                "parameters": {"deciders": {"prefill": "always-disagg-pd-decider"}},
            },
            {"type": "prefill-filter"},
            {"type": "decode-filter"},
            {"type": "active-request-scorer"},
            {"type": "max-score-picker"},
        ]
        profiles = [
            {
                "name": role,
                "plugins": [
                    {"pluginRef": f"{role}-filter"},
                    {"pluginRef": "active-request-scorer"},
                    {"pluginRef": "max-score-picker"},
                ],
            }
            for role in ("prefill", "decode")
        ]
    else:
        plugins = [{"type": "prefix-cache-scorer"}, {"type": "max-score-picker"}]
        refs = [{"pluginRef": "prefix-cache-scorer"}, {"pluginRef": "max-score-picker"}]
        profiles = [{"name": "default", "plugins": refs}]
    config = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": profiles,
    }
    text = dump([config]).removeprefix("\n---\n")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{ident(setting)}-epp"},
        "data": {"plugins.yaml": text},
    }
