"""SGLang: `sglang serve` for one replica; every node of a replica runs the same command with its number.

Attention data parallelism is written as `--attn-dp-size` (0.5.23); `--dp-size N --enable-dp-attention` means
the same in older versions and is refused after 2026-12-31. Batch and chunk are stated for all attention
groups together: SGLang divides them.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.report.launch import support, tiers
from assay.report.launch.arguments import Argument, argument, ports, program, script, tools
from assay.report.launch.setting import Pool, Setting, model_arguments

PORT = 30000
#: Ports between the nodes of one engine, and where decode finds prefill.
DIST_PORT, BOOTSTRAP_PORT = 20000, 8998
#: What is added to the port where prefill and decode may share a node.
SHIFT = {"serve": 0, "prefill": 1, "decode": 2}
#: Least chips of an expert group for which the all-to-all kernels are asked for.
_WIDE = 16


def check(pool: Pool) -> None:
    """Refuse a layout that SGLang cannot be told.

    Raises:
        Unsupported: experts over a number of chips that does not divide the stage, context parallelism in a
            pool that only decodes.
    """
    if pool.layout.stage % pool.layout.ep:
        raise support.shape("sglang-experts")
    if pool.layout.cp > 1 and pool.role == "decode":
        raise support.shape("sglang-context")


def arguments(setting: Setting, pool: Pool, *, port: int | str = PORT) -> list[Argument]:
    """Return the flags that are the same on every node of a replica; a port of words is a variable."""
    return [
        argument("sglang", "model-path", setting.checkpoint.path, "weights in the row's format"),
        *layout_arguments(setting, pool),
        *size_arguments(setting, pool),
        *format_arguments(setting, pool),
        *model_arguments("sglang", setting),
        *draft_arguments(pool),
        *tiers.sglang(setting, pool),
        *transfer_arguments(pool, variable=isinstance(port, str)),
        argument("sglang", "enable-metrics", "", "counters for `assay calibrate`"),
        argument("sglang", "served-model-name", setting.served, "the name that clients ask for"),
        argument("sglang", "host", "0.0.0.0", "reachable from other machines"),  # noqa: S104 - a server's address
        argument("sglang", "port", port, raw=isinstance(port, str)),
    ]


def layout_arguments(setting: Setting, pool: Pool) -> list[Argument]:
    """Return the parallel degrees."""
    layout = pool.layout
    label = layout.label()
    whole = "" if layout.stage == layout.tp else ", all attention groups together"
    each, words = support.ranks(pool.system.chip)
    whole += f", {words}" if words else ""
    why = f"{label}: {layout.stage} chips a stage{whole}"
    found = [argument("sglang", "tp-size", layout.stage * each, why)]
    if layout.pp > 1:
        found.append(argument("sglang", "pp-size", layout.pp, f"{label}: {layout.pp} stages"))
    if layout.dp > 1:
        old = str(tools()["sglang"]["old"]["attn-dp-size"])
        why = f"{label}: {layout.dp} attention groups; before 0.5.23: {old}"
        found.append(argument("sglang", "attn-dp-size", layout.dp, why))
    if layout.cp > 1:
        strategy, source = support.prompt_split(setting.model)
        found += [
            argument("sglang", "attn-cp-size", layout.cp, f"{label}: CP{layout.cp}"),
            argument("sglang", "enable-prefill-cp", "", "prompts are cut"),
            argument("sglang", "cp-strategy", strategy, f"how ({source})"),
        ]
    if layout.ep > 1:
        why = f"{label}: experts over {layout.ep} chips"
        found.append(argument("sglang", "ep-size", layout.ep * each, why))
    found += _exchange(pool)
    if pool.redundant:
        why = f"{pool.redundant} copies of experts a layer"
        found += [
            argument("sglang", "enable-eplb", "", "ranks are kept even, as in the row"),
            argument("sglang", "ep-num-redundant-experts", pool.redundant, why),
        ]
    return found


def _exchange(pool: Pool) -> list[Argument]:
    """Return how tokens reach the experts of many chips, and whether two batches take turns."""
    layout = pool.layout
    if layout.ep < _WIDE or layout.dp == 1 or pool.system.chip.vendor != "nvidia":
        return []
    if pool.system.chip.generation != "hopper" and not pool.far:
        return []  # one NVLink domain: the engine chooses
    found = [
        argument("sglang", "moe-a2a-backend", "deepep", "tokens to experts, wide EP"),
        argument("sglang", "deepep-mode", "auto", "high throughput for prompts, low latency for decodes"),
    ]
    if pool.far and layout.pp == 1 and layout.cp == 1:
        found.append(
            argument("sglang", "enable-two-batch-overlap", "", "two batches take turns, as in the row")
        )
    return found


def size_arguments(setting: Setting, pool: Pool) -> list[Argument]:
    """Return context, batch and memory, as the row has them."""
    groups = pool.layout.dp
    found = [argument("sglang", "context-length", setting.context, setting.longest.why)]
    if pool.sequences:
        why = f"{pool.sequences_reason}; stated for all of them together"
        found.append(argument("sglang", "max-running-requests", pool.sequences * groups, why))
    if pool.role != "decode":
        why = f"step the row was predicted with, over all {groups} attention group(s)"
        found.append(argument("sglang", "chunked-prefill-size", setting.tokens(pool) * groups, why))
    if pool.memory:
        why = "weights and cache: what the row leaves after activations and reserve"
        found.append(argument("sglang", "mem-fraction-static", setting.static_share(pool), why))
    return found


def format_arguments(setting: Setting, pool: Pool) -> list[Argument]:
    """Return number formats that the checkpoint does not fix."""
    found = []
    if pool.kv == "fp8":
        found.append(argument("sglang", "kv-cache-dtype", "fp8_e4m3", "cache format of the row"))
    if setting.checkpoint.quantise:
        why = "weights of the row, from a bf16 checkpoint"
        found.append(argument("sglang", "quantization", setting.checkpoint.quantise, why))
    elif setting.checkpoint.formats[0] == "nvfp4" and setting.checkpoint.path.startswith("nvidia/"):
        why = "a ModelOpt checkpoint (SGLANG_QUANTIZATION)"
        found.append(argument("sglang", "quantization", "modelopt_fp4", why))
    return found


def draft_arguments(pool: Pool) -> list[Argument]:
    """Return speculative decoding: a chain of drafts, all verified at once."""
    drafts = pool.drafting
    if drafts is None:
        return []
    why = f"{drafts.tokens} drafts a step, as in the row"
    found = [argument("sglang", "speculative-algorithm", "EAGLE3" if drafts.model else "EAGLE", why)]
    if drafts.model:
        found.append(argument("sglang", "speculative-draft-model-path", drafts.model, drafts.source))
    return [
        *found,
        argument("sglang", "speculative-num-steps", drafts.tokens),
        argument("sglang", "speculative-eagle-topk", 1),
        argument("sglang", "speculative-num-draft-tokens", drafts.tokens + 1),
    ]


def transfer_arguments(pool: Pool, *, variable: bool = False) -> list[Argument]:
    """Return how caches are handed over, in a pool of prefill or decode.

    Args:
        pool: the replicas.
        variable: whether a variable may replace the port on which decode finds prefill.
    """
    if pool.role == "serve":
        return []
    found = [
        argument("sglang", "disaggregation-mode", pool.role, "prefill and decode are apart"),
        argument("sglang", "disaggregation-transfer-backend", "nixl", "caches travel over NIXL"),
    ]
    if pool.role == "prefill":
        port = f"${{BOOTSTRAP_PORT:-{BOOTSTRAP_PORT}}}" if variable else BOOTSTRAP_PORT
        found.append(argument("sglang", "disaggregation-bootstrap-port", port, raw=variable))
    return found


def node_lines(pool: Pool, *, rank: str, head: str) -> list[str]:
    """Return the lines of a script that add what depends on the node; none on a single node."""
    if pool.nodes == 1:
        return []
    nnodes = argument("sglang", "nnodes", pool.nodes)
    number = argument("sglang", "node-rank", f"${{{rank}}}", raw=True)
    address = argument("sglang", "dist-init-addr", f"${{{head}}}:{DIST_PORT}", raw=True)
    return [
        f"# One engine over {pool.nodes} nodes: every node runs this script, the first one answers requests.",
        f"args+=({nnodes.words()} {number.words()} {address.words()})",
    ]


def command(_: Setting) -> str:
    """Return the words that start the server, ahead of its flags."""
    return program("sglang")


def bash(setting: Setting, pool: Pool, head: Sequence[str], *, port: int = PORT) -> str:
    """Return the script of one replica; over several nodes it is run on each."""
    before, after = [], []
    if pool.nodes > 1:
        before = [
            ': "${NODE_RANK:?number of this node, 0 to ' + f"{pool.nodes - 1}" + '}"',
            ': "${HEAD_ADDRESS:?address of node 0}"',
        ]
        after = node_lines(pool, rank="NODE_RANK", head="HEAD_ADDRESS")
    if tiers.ssd(setting, pool):
        before += [f"export {tiers.STORE_VARIABLE}={tiers.STORE}", f"mkdir -p {tiers.STORE}"]
    old = f"In older versions the command is `{tools()['sglang']['old']['command']}`."
    flags = arguments(setting, pool, port=ports(port + SHIFT[pool.role]))
    return script(flags, command(setting), head=[*head, old], before=before, after=after)


def router(setting: Setting, head: Sequence[str], at: tuple[int, int] = (PORT + 1, PORT + 2)) -> str:
    """Return the script of the router between prefill and decode, which listen at these ports."""
    prefill, decode = setting.pools
    servers = [
        Argument(
            "prefill", f'http://${{PREFILL_{k}}}:{at[0]}" "{BOOTSTRAP_PORT}', "a prefill server", raw=True
        )
        for k in range(prefill.replicas)
    ]
    flags = [
        argument("sglang-router", "pd-disaggregation", "", "prefill and decode are apart"),
        *(argument("sglang-router", item.name, item.value, item.why, raw=True) for item in servers),
        *(
            argument("sglang-router", "decode", f"http://${{DECODE_{k}}}:{at[1]}", raw=True)
            for k in range(decode.replicas)
        ),
        argument("sglang-router", "host", "0.0.0.0"),  # noqa: S104 - a server's address
        argument("sglang-router", "port", 8000),
    ]
    return script(flags, program("sglang-router"), head=head)
