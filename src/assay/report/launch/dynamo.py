"""Dynamo: a DynamoGraphDeployment with a frontend and one component a pool.

The operator adds what differs from node to node, so that a component over several nodes states their number
and the flags of the whole engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.report.launch import kubernetes, sglang, support, trtllm, vllm
from assay.report.launch.arguments import Argument, argument, body, program, script, version
from assay.report.launch.files import LaunchFile
from assay.report.launch.manifests import compute_domain, dump, ident, name, pod
from assay.report.launch.setting import Pool, Setting

_RUNTIMES = {"vllm": "vllm-runtime", "sglang": "sglang-runtime", "trtllm": "tensorrtllm-runtime"}
#: Flags of vLLM that belong to its own API server, which Dynamo replaces.
_SERVER = frozenset({"host", "port", "enable-auto-tool-choice", "tool-call-parser", "reasoning-parser"})
_TYPES = {"serve": "worker", "prefill": "prefill", "decode": "decode"}
_CONFIG = "/config"


def files(setting: Setting, head: Sequence[str]) -> list[LaunchFile]:
    """Return the manifest.

    Raises:
        Unsupported: chips that the recipes of Dynamo are not for.
    """
    if any(pool.system.chip.vendor != "nvidia" for pool in setting.pools):
        raise support.shape("dynamo-devices")
    objects: list[dict[str, Any]] = []
    for pool in setting.pools:
        objects += [*compute_domain(setting, pool), *kubernetes.config_map(setting, pool)]
    components = [_frontend(setting), *(component(setting, pool) for pool in setting.pools)]
    objects.append(
        {
            "apiVersion": "nvidia.com/v1beta1",
            "kind": "DynamoGraphDeployment",
            "metadata": {"name": ident(setting)},
            "spec": {"backendFramework": setting.engine, "components": components},
        }
    )
    lines = [*head, f"Dynamo {version('dynamo.frontend')}: kubectl apply -f dynamo.yaml"]
    return [LaunchFile("dynamo.yaml", dump(objects, lines))]


def component(setting: Setting, pool: Pool) -> dict[str, Any]:
    """Return the component of one pool."""
    main: dict[str, Any] = {
        "name": "main",
        "image": runtime(setting),
        "command": ["/bin/bash", "-c"],
        "args": [body(_script(setting, pool))],
    }
    if setting.engine == "trtllm":
        main["volumeMounts"] = [{"name": "config", "mountPath": _CONFIG}]
        main["volumes"] = [{"name": "config", "configMap": {"name": f"{name(setting, pool)}-config"}}]
    found: dict[str, Any] = {
        "name": f"{_TYPES[pool.role].capitalize()}Worker" if pool.role != "serve" else "Worker",
        "type": _TYPES[pool.role],
        "replicas": pool.replicas,
    }
    if pool.nodes > 1:
        found["multinode"] = {"nodeCount": pool.nodes}
    template: dict[str, Any] = {}
    if pool.nodes > 1 and setting.engine == "vllm":
        template["metadata"] = {"annotations": {"nvidia.com/vllm-distributed-executor-backend": "mp"}}
    found["podTemplate"] = {**template, "spec": pod(setting, pool, main)}
    return found


def runtime(setting: Setting) -> str:
    """Return the image with Dynamo and the engine."""
    return f"nvcr.io/nvidia/ai-dynamo/{_RUNTIMES[setting.engine]}:{version('dynamo.frontend')}"


def arguments(setting: Setting, pool: Pool) -> list[Argument]:
    """Return the flags of a worker: the engine's, without those of its own API server."""
    tool = f"dynamo.{setting.engine}"
    mode = [] if pool.role == "serve" else [argument(tool, "disaggregation-mode", pool.role)]
    rows, source = support.serve_arguments("dynamo", setting.model)
    parsers = [argument(tool, flag, value, f"{why} ({source})") for flag, value, why in rows]
    if setting.engine == "vllm":
        flags = [item for item in vllm.arguments(setting, pool) if item.name not in _SERVER]
        if pool.role != "serve":  # Dynamo asks both sides for either role
            flags = [item for item in flags if item.name != "kv-transfer-config"]
            flags += vllm.cache_arguments(setting, pool, role="kv_both")
        model = argument(tool, "model", setting.checkpoint.path, "weights in the row's format")
        return [model, *flags, *mode, *parsers]
    if setting.engine == "sglang":
        flags = [item for item in sglang.arguments(setting, pool) if item.name not in _SERVER]
        return [*flags, *parsers]
    return [
        argument(tool, "model-path", setting.checkpoint.path, "weights in the row's format"),
        argument(tool, "served-model-name", setting.served, "the name that clients ask for"),
        argument(tool, "extra-engine-args", f"{_CONFIG}/{pool.role}.yaml"),
        *mode,
        *parsers,
    ]


def _script(setting: Setting, pool: Pool) -> str:
    return script(arguments(setting, pool), program(f"dynamo.{setting.engine}"))


def _frontend(setting: Setting) -> dict[str, Any]:
    tool = "dynamo.frontend"
    cached = setting.question.cached > 0
    flags = [
        argument(tool, "http-port", trtllm.PORT),
        argument(
            tool,
            "router-mode",
            "kv" if cached else "round-robin",
            "sends a request to where its prefix is cached" if cached else "no prefix is assumed cached",
        ),
    ]
    if cached:
        flags.append(argument(tool, "router-kv-events"))
    main = {
        "name": "main",
        "image": runtime(setting),
        "command": ["/bin/bash", "-c"],
        "args": [body(script(flags, program(tool)))],
    }
    template = {"spec": {"containers": [main]}}
    return {"name": "Frontend", "type": "frontend", "replicas": 1, "podTemplate": template}
