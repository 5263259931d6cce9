"""LeaderWorkerSets: one group of pods a replica, one pod a node, the leader answers requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.report.launch import sglang, support, trtllm, vllm
from assay.report.launch.arguments import body, script
from assay.report.launch.files import LaunchFile
from assay.report.launch.manifests import compute_domain, dump, ident, image, name, pod, service
from assay.report.launch.setting import Pool, Setting

#: Variables that LeaderWorkerSet sets in every pod.
_NODE = ("NODE_RANK=${LWS_WORKER_INDEX:-0}", "HEAD_ADDRESS=${LWS_LEADER_ADDRESS:-localhost}")
_CONFIG = "/config"


def files(setting: Setting, head: Sequence[str]) -> list[LaunchFile]:
    """Return the manifests of all pools, and of the router where there are two."""
    objects: list[Mapping[str, Any]] = []
    for pool in setting.pools:
        objects += pool_objects(setting, pool)
    if setting.disaggregated:
        objects += _router(setting)
    return [LaunchFile("lws.yaml", dump(objects, [*head, "kubectl apply -f lws.yaml"]))]


def pool_objects(setting: Setting, pool: Pool) -> list[Mapping[str, Any]]:
    """Return the objects of one pool: compute domain, settings, group, service.

    Raises:
        Unsupported: TensorRT-LLM over several nodes.
    """
    if setting.engine == "trtllm" and pool.nodes > 1:
        raise support.shape("trtllm-nodes")
    made = name(setting, pool)
    labels = {"app.kubernetes.io/name": ident(setting), "assay/pool": pool.role}
    found: list[Mapping[str, Any]] = [*compute_domain(setting, pool), *config_map(setting, pool)]
    found.append(group(made, pool.replicas, specification(setting, pool, labels)))
    if not setting.disaggregated:
        found.append(service(made, {**labels, "assay/part": "leader"}, port(setting)))
    return found


def group(made: str, replicas: int, template: Mapping[str, Any]) -> dict[str, Any]:
    """Return a LeaderWorkerSet."""
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": made},
        "spec": {"replicas": replicas, "leaderWorkerTemplate": dict(template)},
    }


def specification(
    setting: Setting, pool: Pool, labels: Mapping[str, str], *, hybrid: bool = False
) -> dict[str, Any]:
    """Return the template of a group: its size, and the pods of leader and workers.

    Args:
        setting: what is launched.
        pool: whose replica a group is.
        labels: of every pod.
        hybrid: whether every node of a group answers requests.
    """
    main = container(setting, pool, hybrid=hybrid)
    probe = {"httpGet": {"path": "/health", "port": port(setting)}}
    leader = {
        "metadata": {"labels": {**labels, "assay/part": "leader"}},
        "spec": pod(setting, pool, main, probe=probe),
    }
    if pool.nodes == 1 or hybrid:
        return {"size": pool.nodes, "workerTemplate": leader}
    worker = {
        "metadata": {"labels": {**labels, "assay/part": "worker"}},
        "spec": pod(setting, pool, main),
    }
    return {"size": pool.nodes, "leaderTemplate": leader, "workerTemplate": worker}


def container(setting: Setting, pool: Pool, *, hybrid: bool = False) -> dict[str, Any]:
    """Return the engine's container, its script in `args`."""
    found: dict[str, Any] = {
        "name": setting.engine,
        "image": image(setting, pool),
        "command": ["/bin/bash", "-c"],
        "args": [body(_script(setting, pool, hybrid=hybrid))],
        "ports": [{"name": "http", "containerPort": port(setting)}],
    }
    if setting.disaggregated and setting.engine == "vllm":
        address = {"fieldRef": {"fieldPath": "status.podIP"}}
        found["env"] = [{"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": address}]
    if setting.engine == "trtllm":
        found["volumeMounts"] = [{"name": "config", "mountPath": _CONFIG}]
        found["volumes"] = [{"name": "config", "configMap": {"name": f"{name(setting, pool)}-config"}}]
    return found


def config_map(setting: Setting, pool: Pool) -> list[dict[str, Any]]:
    """Return the settings of TensorRT-LLM as a ConfigMap; the other engines need none."""
    if setting.engine != "trtllm":
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name(setting, pool)}-config"},
            "data": {f"{pool.role}.yaml": trtllm.yaml_text(trtllm.settings(setting, pool))},
        }
    ]


def port(setting: Setting) -> int:
    """Return the port of the API in a pod."""
    return sglang.PORT if setting.engine == "sglang" else vllm.PORT


def _script(setting: Setting, pool: Pool, *, hybrid: bool) -> str:
    before = list(_NODE) if pool.nodes > 1 else []
    if setting.engine == "vllm":
        after = vllm.node_lines(pool, rank="NODE_RANK", head="HEAD_ADDRESS", hybrid=hybrid)
        flags = vllm.arguments(setting, pool)
        return script(flags, vllm.command(setting), before=before, after=after)
    if setting.engine == "sglang":
        after = sglang.node_lines(pool, rank="NODE_RANK", head="HEAD_ADDRESS")
        flags = sglang.arguments(setting, pool)
        return script(flags, sglang.command(setting), before=before, after=after)
    flags = trtllm.arguments(setting, f"{_CONFIG}/{pool.role}.yaml")
    return script(flags, trtllm.command(setting))


def _router(setting: Setting) -> list[dict[str, Any]]:
    """Return the router between prefill and decode, which knows every replica by its leader's address."""
    made = f"{ident(setting)}-router"
    labels = {"app.kubernetes.io/name": ident(setting), "assay/pool": "router"}
    extra: dict[str, Any] = {}
    if setting.engine == "trtllm":
        text = body(trtllm.router(f"{_CONFIG}/servers.yaml", ()))
        extra["volumeMounts"] = [{"name": "config", "mountPath": _CONFIG}]
    elif setting.engine == "vllm":
        text = body(vllm.router(setting, (), (vllm.PORT, vllm.PORT)))  # every pod has an address of its own
    else:
        text = body(sglang.router(setting, (), (sglang.PORT, sglang.PORT)))
    addresses = [
        {"name": f"{pool.role.upper()}_{k}", "value": f"{name(setting, pool)}-{k}.{name(setting, pool)}"}
        for pool in setting.pools
        for k in range(pool.replicas)
    ]
    main = {
        "name": "router",
        "image": f"IMAGE-OF-{setting.engine}-router",
        "command": ["/bin/bash", "-c"],
        "args": [text],
        "env": addresses,
        "ports": [{"name": "http", "containerPort": 8000}],
        **extra,
    }
    spec: dict[str, Any] = {"containers": [main]}
    objects: list[dict[str, Any]] = []
    if setting.engine == "trtllm":
        spec["volumes"] = [{"name": "config", "configMap": {"name": f"{made}-config"}}]
        data = {"servers.yaml": _servers(setting)}
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{made}-config"}, "data": data}
        )
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": made},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    return [*objects, deployment, service(ident(setting), labels, 8000)]


def _servers(setting: Setting) -> str:
    text = trtllm.servers(setting, ())
    for pool, shift in zip(setting.pools, (1, 2), strict=True):
        made = name(setting, pool)
        for k in range(pool.replicas):
            old = f"{pool.role}-{k}:{trtllm.PORT + shift}"
            text = text.replace(old, f"{made}-{k}.{made}:{trtllm.PORT}")
    return text
