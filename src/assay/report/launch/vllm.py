"""vLLM: `vllm serve` for one replica, on one node or over several.

Over several nodes an engine is laid out in one of two ways: attention groups that each fit a node are spread
over the nodes (`--data-parallel-*`), a group that does not fit is cut over them (`--nnodes`). Either way the
first node answers requests and the others are headless, unless every node shall answer (`hybrid`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.report.launch import support, tiers
from assay.report.launch.arguments import Argument, argument, json_argument, ports, program, rule, script
from assay.report.launch.setting import Pool, Setting, model_arguments

PORT = 8000
#: Port between the nodes of one engine.
RPC_PORT = 13345
#: First port of the handshake of caches, by role; every attention group of a node takes one more.
_SIDE_PORTS = {"prefill": 5600, "decode": 5700}
#: Role of a pool -> role of its connector.
_ROLES = {"prefill": "kv_producer", "decode": "kv_consumer"}


def check(pool: Pool) -> None:
    """Refuse a layout that vLLM cannot be told.

    Raises:
        Unsupported: experts over a part of the stage, drafts over stages, ranks that do not fill nodes.
    """
    layout = pool.layout
    if layout.ep not in (1, layout.stage):
        raise support.shape("vllm-experts")
    if layout.pp > 1 and pool.drafting:
        raise support.shape("vllm-drafts")
    if layout.chips % pool.nodes:
        raise support.shape("vllm-nodes")


def apart(pool: Pool) -> bool:
    """Return whether the nodes hold whole attention groups, rather than parts of one."""
    groups = pool.groups_on_node
    return pool.nodes > 1 and pool.layout.dp > 1 and groups > 0 and pool.layout.dp % groups == 0


def arguments(setting: Setting, pool: Pool, *, port: int | str = PORT) -> list[Argument]:
    """Return the flags that are the same on every node of a replica; a port of words is a variable."""
    return [
        *layout_arguments(pool),
        *size_arguments(setting, pool),
        *format_arguments(setting, pool),
        *model_arguments("vllm", setting),
        *draft_arguments(pool),
        *cache_arguments(setting, pool),
        argument("vllm", "served-model-name", setting.served, "the name that clients ask for"),
        argument("vllm", "host", "0.0.0.0", "reachable from other machines"),  # noqa: S104 - a server's address
        argument("vllm", "port", port, raw=isinstance(port, str)),
    ]


def layout_arguments(pool: Pool) -> list[Argument]:
    """Return the parallel degrees."""
    layout = pool.layout
    label = layout.label()
    shared = f"{label}: {layout.tp} chip(s) share a layer"
    if pool.ranks > 1:
        shared += f", {support.ranks(pool.system.chip)[1]}"
    found = [argument("vllm", "tensor-parallel-size", layout.tp * pool.ranks, shared)]
    if layout.pp > 1:
        found.append(argument("vllm", "pipeline-parallel-size", layout.pp, f"{label}: {layout.pp} stages"))
    if layout.cp > 1:
        found.append(argument("vllm", "prefill-context-parallel-size", layout.cp, f"{label}: CP{layout.cp}"))
    if layout.dp > 1:
        why = f"{label}: {layout.dp} attention groups"
        found.append(argument("vllm", "data-parallel-size", layout.dp, why))
    if layout.ep > 1:
        why = f"{label}: experts over all {layout.stage} chips"
        found.append(argument("vllm", "enable-expert-parallel", "", why))
    found += _exchange(pool)
    if pool.redundant:
        found += [
            argument("vllm", "enable-eplb", "", "ranks are kept even, as in the row"),
            json_argument(
                "vllm",
                "eplb-config",
                {"num_redundant_experts": pool.redundant},
                f"{pool.redundant} copies of experts a layer",
            ),
        ]
    return found


def overlapped(pool: Pool) -> bool:
    """Return whether two batches take turns, as the row counts it and vLLM can: not with drafts or stages."""
    layout = pool.layout
    plain = layout.dp > 1 and layout.pp == 1 and layout.cp == 1 and pool.drafting is None
    return pool.far and plain and pool.system.chip.vendor == "nvidia"


def _exchange(pool: Pool) -> list[Argument]:
    """Return how tokens reach experts on other nodes; two batches take turns over DeepEP's first kernels."""
    layout = pool.layout
    if layout.ep == 1 or layout.dp == 1 or pool.nodes == 1 or pool.system.chip.vendor != "nvidia":
        return []
    if overlapped(pool):
        kernel = "deepep_low_latency" if pool.role == "decode" else "deepep_high_throughput"
        return [
            argument("vllm", "all2all-backend", kernel, "tokens to experts over the NICs, for two batches"),
            argument("vllm", "enable-dbo", "", "two batches take turns, as in the row"),
        ]
    inside = layout.chips <= pool.system.domain
    kernel = "flashinfer_nvlink_one_sided" if inside else "deepep_v2"
    why = "tokens to experts over NVLink" if inside else "tokens to experts over the NICs"
    return [argument("vllm", "all2all-backend", kernel, f"{why} (RECIPE_K3)")]


def size_arguments(setting: Setting, pool: Pool) -> list[Argument]:
    """Return context, batch and memory, as the row has them."""
    found = [argument("vllm", "max-model-len", setting.context, setting.longest.why)]
    if pool.sequences:
        found.append(argument("vllm", "max-num-seqs", pool.sequences, pool.sequences_reason))
    tokens, why = setting.tokens(pool), "step the row was predicted with"
    if pool.role == "decode":
        tokens = max(tokens, int(rule("decode_step_least")))
        why = "decodes: a token of each sequence, its drafts, and what did not arrive of a prompt"
    found.append(argument("vllm", "max-num-batched-tokens", tokens, why))
    why = "share of memory the row was predicted with"
    found.append(argument("vllm", "gpu-memory-utilization", setting.share(pool), why))
    return found


def format_arguments(setting: Setting, pool: Pool) -> list[Argument]:
    """Return number formats that the checkpoint does not fix."""
    found = []
    if pool.kv == "fp8":
        found.append(argument("vllm", "kv-cache-dtype", "fp8", "cache format of the row"))
    if setting.checkpoint.quantise:
        why = "weights of the row, from a bf16 checkpoint"
        found.append(argument("vllm", "quantization", setting.checkpoint.quantise, why))
    return found


def draft_arguments(pool: Pool) -> list[Argument]:
    """Return speculative decoding."""
    drafts = pool.drafting
    if drafts is None:
        return []
    config: dict[str, Any] = {"method": "mtp", "num_speculative_tokens": drafts.tokens}
    if drafts.model:
        config = {"method": "eagle3", "model": drafts.model, "num_speculative_tokens": drafts.tokens}
    why = f"{drafts.tokens} drafts a step, as in the row" + (f" ({drafts.source})" if drafts.source else "")
    return [json_argument("vllm", "speculative-config", config, why)]


def connector(pool: Pool) -> dict[str, Any]:
    """Return the connector that hands caches over, in a pool of prefill or decode."""
    role = _ROLES[pool.role]
    return {"kv_connector": "NixlConnector", "kv_role": role, "kv_load_failure_policy": "fail"}


def cache_arguments(setting: Setting, pool: Pool, *, role: str = "") -> list[Argument]:
    """Return where caches go: to the other pool, to host memory, to SSD.

    Args:
        setting: what is launched.
        pool: the replicas.
        role: role of the connector between pools, "" = by the pool.
    """
    tier = tiers.offloading(setting, pool)
    moved = connector(pool) | ({"kv_role": role} if role else {}) if pool.role in _ROLES else None
    if tier and moved:
        both = {"connectors": [moved, tier]}
        value = {"kv_connector": "MultiConnector", "kv_role": "kv_both", "kv_connector_extra_config": both}
        why = f"caches travel over NIXL; {tiers.reason(setting, pool)}"
    elif tier and "spec_name" not in tier["kv_connector_extra_config"]:
        size = tier["kv_connector_extra_config"]["cpu_bytes_to_use"] / 2**30
        return [argument("vllm", "kv-offloading-size", f"{size:.4g}", f"GiB, {tiers.reason(setting, pool)}")]
    elif tier:
        value, why = tier, f"bytes, {tiers.reason(setting, pool)}"
    elif moved:
        value, why = moved, "caches travel over NIXL"
    else:
        return []
    return [json_argument("vllm", "kv-transfer-config", value, why)]


def node_lines(pool: Pool, *, rank: str, head: str, hybrid: bool = False) -> list[str]:
    """Return the lines of a script that add what depends on the node; none on a single node.

    Args:
        pool: the replicas.
        rank: shell variable of the node's number.
        head: shell variable of the first node's address.
        hybrid: whether every node answers requests.
    """
    if pool.nodes == 1:
        return []
    if apart(pool):
        return _spread(pool, rank, head, hybrid=hybrid)
    nnodes = argument("vllm", "nnodes", pool.nodes)
    number = argument("vllm", "node-rank", f"${{{rank}}}", raw=True)
    address = argument("vllm", "master-addr", f"${{{head}}}", raw=True)
    headless = argument("vllm", "headless")
    return [
        f"# One engine over {pool.nodes} nodes: every node runs this script, the first one answers requests.",
        f"args+=({nnodes.words()} {number.words()} {address.words()})",
        f'if [ "${{{rank}}}" -gt 0 ]; then args+=({headless.words()}); fi',
    ]


def _spread(pool: Pool, rank: str, head: str, *, hybrid: bool) -> list[str]:
    local = pool.groups_on_node
    own = argument("vllm", "data-parallel-size-local", local)
    address = argument("vllm", "data-parallel-address", f"${{{head}}}", raw=True)
    rpc = argument("vllm", "data-parallel-rpc-port", RPC_PORT)
    first = argument("vllm", "data-parallel-start-rank", f"$(({rank} * {local}))", raw=True)
    lines = [
        f"# {pool.layout.dp} attention groups over {pool.nodes} nodes, {local} on each.",
        f"args+=({own.words()} {address.words()} {rpc.words()})",
    ]
    if hybrid:
        balance = argument("vllm", "data-parallel-hybrid-lb")
        return [*lines, f"args+=({balance.words()} {first.words()})  # every node answers for its own groups"]
    headless = argument("vllm", "headless")
    return [*lines, f'if [ "${{{rank}}}" -gt 0 ]; then args+=({headless.words()} {first.words()}); fi']


def command(setting: Setting) -> str:
    """Return the words that start the server, ahead of its flags."""
    return f"{program('vllm')} {setting.checkpoint.path}"


def bash(setting: Setting, pool: Pool, head: Sequence[str], *, port: int = PORT) -> str:
    """Return the script of one replica; over several nodes it is run on each."""
    before, after = [], []
    if pool.nodes > 1:
        before = [
            ': "${NODE_RANK:?number of this node, 0 to ' + f"{pool.nodes - 1}" + '}"',
            ': "${HEAD_ADDRESS:?address of node 0}"',
        ]
        after = node_lines(pool, rank="NODE_RANK", head="HEAD_ADDRESS")
    if setting.disaggregated:
        before += [
            'export VLLM_NIXL_SIDE_CHANNEL_HOST="${VLLM_NIXL_SIDE_CHANNEL_HOST:-$(hostname -i)}"',
            "export VLLM_NIXL_SIDE_CHANNEL_PORT="
            f'"${{VLLM_NIXL_SIDE_CHANNEL_PORT:-{_SIDE_PORTS[pool.role]}}}"',
        ]
    if tiers.ssd(setting, pool):
        before.append(f"mkdir -p {tiers.STORE}")
    before += [
        f'export {item["name"]}="${{{item["name"]}:-{item["value"]}}}"  # {item["why"]}'
        for item in support.environment("vllm", pool.system.chip)
    ]
    flags = arguments(setting, pool, port=ports(port))
    return script(flags, command(setting), head=head, before=before, after=after)


def router(setting: Setting, head: Sequence[str], ports: tuple[int, int] = (PORT + 1, PORT + 2)) -> str:
    """Return the script of the router between prefill and decode, which listen on `ports`."""
    prefill, decode = setting.pools
    flags = [
        argument("vllm-router", "vllm-pd-disaggregation", "", "prefill and decode are apart"),
        argument("vllm-router", "policy", "round_robin"),
        argument("vllm-router", "kv-connector", "nixl", "as the servers"),
        *(
            argument("vllm-router", pool.role, f"http://${{{pool.role.upper()}_{k}}}:{port}", raw=True)
            for pool, port in zip((prefill, decode), ports, strict=True)
            for k in range(pool.replicas)
        ),
        *_ranks(prefill, decode),
        argument("vllm-router", "host", "0.0.0.0"),  # noqa: S104 - a server's address
        argument("vllm-router", "port", PORT),
    ]
    return script(flags, program("vllm-router"), head=head)


def _ranks(prefill: Pool, decode: Pool) -> list[Argument]:
    """Return how many attention groups are behind each server; the router knows one number for all."""
    groups = prefill.layout.dp
    if groups == 1 or decode.layout.dp != groups or prefill.nodes > 1 or decode.nodes > 1:
        return []
    why = f"{groups} attention groups behind each server"
    return [argument("vllm-router", "intra-node-data-parallel-size", groups, why)]
