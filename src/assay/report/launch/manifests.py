"""Kubernetes objects as YAML: names, pods, and scripts as readable blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from assay.report.launch import support, tiers
from assay.report.launch.arguments import comment
from assay.report.launch.fields import verify
from assay.report.launch.setting import Pool, Setting

_LONGEST_NAME = 40
_COMPUTE_DOMAIN = "compute-domain-channel"
#: Where the ranks of a node exchange tensors; the default of a container is 64 MB.
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount point in a pod


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and everything in full."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: a manifest repeats what it says twice."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(objects: Sequence[Mapping[str, Any]], head: Sequence[str] = ()) -> str:
    """Return objects as YAML documents, with comment lines on top.

    Raises:
        BadFact: a field that the object's makers do not know.
    """
    for item in objects:
        verify(str(item["kind"]), item)
    texts = [
        yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=1000, default_flow_style=False)
        for item in objects
    ]
    return "\n".join(comment(head)) + "\n---\n" + "---\n".join(texts)


def ident(setting: Setting) -> str:
    """Return the model's name as Kubernetes takes it."""
    words = re.sub(r"[^a-z0-9]+", "-", setting.served.rsplit("/", maxsplit=1)[-1].lower()).strip("-")
    return words[:_LONGEST_NAME].strip("-")


def name(setting: Setting, pool: Pool) -> str:
    """Return the name of a pool's object."""
    return ident(setting) if pool.role == "serve" else f"{ident(setting)}-{pool.role}"


def image(setting: Setting, pool: Pool) -> str:
    """Return the container image of the engine for a chip; a placeholder where none is published."""
    subject = support.Subject(setting.model, setting.checkpoint.formats, pool.system.chip, pool.layout)
    found = support.verdict(setting.engine, subject).image
    return found or f"IMAGE-OF-{setting.engine}-FOR-{pool.system.chip.id}"


def pod(
    setting: Setting, pool: Pool, container: Mapping[str, Any], *, probe: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the specification of a pod with one engine container.

    Args:
        setting: what is launched.
        pool: the pool it belongs to.
        container: name, image, command, args and the like.
        probe: readiness of the API, None for a node without one.
    """
    resources: dict[str, Any] = {"limits": support.limits(pool.system.chip, pool.node_chips)}
    main = {
        **container,
        "env": [*container.get("env", ()), *variables(setting, pool), *_secret()],
        "resources": resources,
        "volumeMounts": [{"name": "shm", "mountPath": _SHARED_MEMORY}, *container.get("volumeMounts", ())],
    }
    if probe:
        main["readinessProbe"] = {**probe, "periodSeconds": 10, "failureThreshold": 3}
        main["startupProbe"] = {**probe, "periodSeconds": 10, "failureThreshold": 360}
    spec: dict[str, Any] = {"containers": [main]}
    if multi_node_nvlink(pool):
        resources["claims"] = [{"name": _COMPUTE_DOMAIN}]
        template = f"{name(setting, pool)}-channel"
        spec["resourceClaims"] = [{"name": _COMPUTE_DOMAIN, "resourceClaimTemplateName": template}]
    label = support.product(pool.system.chip)
    if label:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": label}
    spec["volumes"] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}, *container.get("volumes", ())]
    if tiers.ssd(setting, pool):
        place = {"path": tiers.STORE, "type": "DirectoryOrCreate"}
        spec["volumes"].append({"name": "kv-cache", "hostPath": place})
        main["volumeMounts"].append({"name": "kv-cache", "mountPath": tiers.STORE})
        if setting.engine == "sglang":
            main["env"].append({"name": tiers.STORE_VARIABLE, "value": tiers.STORE})
    main.pop("volumes", None)
    return spec


def variables(setting: Setting, pool: Pool) -> list[dict[str, str]]:
    """Return the variables of an engine on a chip, as a container has them."""
    needed = support.environment(setting.engine, pool.system.chip)
    return [{"name": item["name"], "value": item["value"]} for item in needed]


def multi_node_nvlink(pool: Pool) -> bool:
    """Return whether a replica uses NVLink between nodes, which Kubernetes calls a compute domain."""
    system = pool.system
    return system.chip.vendor == "nvidia" and pool.nodes > 1 and system.domain > system.node


def compute_domain(setting: Setting, pool: Pool) -> list[dict[str, Any]]:
    """Return the compute domain of a pool, if it needs one."""
    if not multi_node_nvlink(pool):
        return []
    made = name(setting, pool)
    channel = {"allocationMode": "Single", "resourceClaimTemplate": {"name": f"{made}-channel"}}
    return [
        {
            "apiVersion": "resource.nvidia.com/v1beta1",
            "kind": "ComputeDomain",
            "metadata": {"name": f"{made}-domain"},
            "spec": {"numNodes": 0, "channel": channel},
        }
    ]


def service(made: str, selector: Mapping[str, str], port: int) -> dict[str, Any]:
    """Return a Service on port 8000 for the pods that a selector chooses."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": made},
        "spec": {
            "selector": dict(selector),
            "ports": [{"name": "http", "port": 8000, "targetPort": port}],
        },
    }


def _secret() -> list[dict[str, Any]]:
    """Return the token for downloads from Hugging Face, from a secret."""
    key = {"name": "hf-token-secret", "key": "HF_TOKEN", "optional": True}
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}}]
