"""KServe: an LLMInferenceService, which starts vLLM from the degrees of parallelism and further flags."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from assay.report.launch import support, tiers, vllm
from assay.report.launch.arguments import Argument, listed
from assay.report.launch.files import LaunchFile
from assay.report.launch.manifests import dump, ident, image, variables
from assay.report.launch.setting import Pool, Setting

#: Flags that KServe sets itself.
_OWN = frozenset(
    {
        "tensor-parallel-size",
        "pipeline-parallel-size",
        "data-parallel-size",
        "enable-expert-parallel",
        "served-model-name",
        "host",
        "port",
    }
)


def files(setting: Setting, head: Sequence[str]) -> list[LaunchFile]:
    """Return the manifest.

    Raises:
        Unsupported: a group of chips over several nodes.
    """
    own, lines = setting.pools[-1], list(head)
    for pool in setting.pools:
        role = "" if pool.role == "serve" else f" of {pool.role}"
        lines += [f"VLLM_ADDITIONAL_ARGS{role}:", *listed(_flags(setting, pool))]
    spec: dict[str, Any] = {"model": {"uri": _uri(setting), "name": setting.served}}
    spec |= workload(setting, own)
    spec["router"] = {"scheduler": {}, "route": {}, "gateway": {}}
    if setting.disaggregated:
        spec["prefill"] = workload(setting, setting.pools[0])
    made = {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": {"name": ident(setting)},
        "spec": spec,
    }
    return [LaunchFile("llminferenceservice.yaml", dump([made], lines))]


def workload(setting: Setting, pool: Pool) -> dict[str, Any]:
    """Return replicas, parallelism and pods of one pool.

    Raises:
        Unsupported: a group of chips over several nodes.
    """
    layout = pool.layout
    if pool.nodes > 1 and not vllm.apart(pool):
        raise support.shape("kserve-nodes")
    parallelism: dict[str, Any] = {"tensor": layout.tp * pool.ranks}
    if layout.pp > 1:
        parallelism["pipeline"] = layout.pp
    if layout.dp > 1:
        parallelism |= {"data": layout.dp, "dataLocal": pool.groups_on_node}
    if layout.ep > 1:
        parallelism["expert"] = True
    limits = support.limits(pool.system.chip, pool.node_chips)
    words = " ".join(_words(item) for item in _flags(setting, pool))
    main = {
        "name": "main",
        "image": image(setting, pool),
        "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": words}, *variables(setting, pool)],
        "resources": {"limits": limits},
    }
    found: dict[str, Any] = {
        "replicas": pool.replicas,
        "parallelism": parallelism,
        "template": {"containers": [main]},
    }
    if pool.nodes > 1:
        found["worker"] = {"containers": [main]}
    tier = tiers.offloading(setting, pool) if pool.role == "serve" else None
    if tier:
        extra = tier["kv_connector_extra_config"]
        found["kvCacheOffloading"] = {"cpuBytesToUse": extra["cpu_bytes_to_use"]}
        if "secondary_tiers" in extra:
            found["kvCacheOffloading"]["secondaryTiers"] = extra["secondary_tiers"]
    return found


def _flags(setting: Setting, pool: Pool) -> list[Argument]:
    """Return the flags that KServe has no field for; it has one for the tiers of a pool that does both."""
    own = _OWN | ({"kv-offloading-size", "kv-transfer-config"} if pool.role == "serve" else set())
    return [item for item in vllm.arguments(setting, pool) if item.name not in own]


def _words(item: Argument) -> str:
    return f"--{item.name} {shlex.quote(item.value)}" if item.value else f"--{item.name}"


def _uri(setting: Setting) -> str:
    path = setting.checkpoint.path
    return f"pvc://models/{path[2:]}" if path.startswith("./") else f"hf://{path}"
