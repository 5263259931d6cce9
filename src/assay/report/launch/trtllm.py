"""TensorRT-LLM: `trtllm-serve` with its settings in a YAML file.

Attention data parallelism gives every chip of a stage requests of its own: the degree is the TP size. An
engine over several nodes is one MPI job. Flags are those of the engine's own list of them, settings those of
its published classes (`fields.py` checks their types); the package itself was not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import yaml

from assay.report.launch import support, tiers
from assay.report.launch.arguments import Argument, argument, comment, listed, ports, program, script
from assay.report.launch.fields import verify
from assay.report.launch.setting import Pool, Setting

PORT = 8000


def check(pool: Pool) -> None:
    """Refuse a layout that TensorRT-LLM cannot be told.

    Raises:
        Unsupported: attention groups of several chips, or context parallelism.
    """
    if pool.layout.dp > 1 and pool.layout.tp > 1:
        raise support.shape("trtllm-attention")
    if pool.layout.cp > 1:
        raise support.shape("trtllm-context")


def settings(setting: Setting, pool: Pool) -> list[Argument]:
    """Return the settings of a pool, `section.key` where they are nested."""
    layout, tool = pool.layout, "trtllm-yaml"
    label = layout.label()
    found = [argument(tool, "tensor_parallel_size", layout.stage, f"{label}: {layout.stage} chips a stage")]
    if layout.pp > 1:
        found.append(argument(tool, "pipeline_parallel_size", layout.pp, f"{label}: {layout.pp} stages"))
    if layout.ep > 1:
        why = f"{label}: experts over {layout.ep} chips"
        found.append(argument(tool, "moe_expert_parallel_size", layout.ep, why))
    if layout.dp > 1:
        why = f"{label}: every chip has requests of its own"
        found.append(argument(tool, "enable_attention_dp", "true", why))
    found += _sizes(setting, pool)
    found += _balance(setting, pool)
    cache = "fp8" if pool.kv == "fp8" else "auto"
    found += [
        argument(tool, "kv_cache_config.dtype", cache, "cache format of the row"),
        argument(tool, "cuda_graph_config.enable_padding", "true"),
    ]
    found += tiers.trtllm(setting, pool)
    if setting.question.cached > 0:
        why = f"{setting.question.cached:.0%} of the input is found in the cache"
        found.append(argument(tool, "kv_cache_config.enable_block_reuse", "true", why))
    if pool.memory:
        why = "cache, over what the weights leave"
        share = setting.free_share(pool)
        found.append(argument(tool, "kv_cache_config.free_gpu_memory_fraction", share, why))
    if pool.sequences:
        found.append(
            argument(tool, "cuda_graph_config.max_batch_size", pool.sequences, "every batch captured")
        )
    if setting.disaggregated:
        found += _transfer(setting, pool)
    if pool.drafting:
        found += _drafts(pool)
    if any(row[0] == "trust-remote-code" for row in support.serve_arguments("vllm", setting.model)[0]):
        why = "the checkpoint brings code of its own: read it first"
        found.append(argument(tool, "trust_remote_code", "true", why))
    return found


def _sizes(setting: Setting, pool: Pool) -> list[Argument]:
    tool = "trtllm-yaml"
    found = []
    if pool.sequences:
        found.append(argument(tool, "max_batch_size", pool.sequences, pool.sequences_reason))
    why = "decodes: a token of each sequence, and its drafts"
    if pool.role != "decode":
        why = "step the row was predicted with"
    found.append(argument(tool, "max_num_tokens", setting.tokens(pool), why))
    found.append(argument(tool, "max_seq_len", setting.context, setting.longest.why))
    if pool.role != "decode":
        found.append(argument(tool, "enable_chunked_prefill", "true", "the row mixes prompts and decodes"))
    return found


def _transfer(setting: Setting, pool: Pool) -> list[Argument]:
    tool = "trtllm-yaml"
    found = [
        argument(tool, "cache_transceiver_config.backend", "DEFAULT"),
        argument(tool, "cache_transceiver_config.max_tokens_in_buffer", setting.context),
    ]
    if pool.role == "prefill":
        found.append(argument(tool, "disable_overlap_scheduler", "true"))
    return found


def _balance(setting: Setting, pool: Pool) -> list[Argument]:
    """Return redundant experts: slots for all of a layer's experts and their copies, moved while serving."""
    if not pool.redundant:
        return []
    slots = setting.experts + pool.redundant
    tool, why = "trtllm-yaml", f"{setting.experts} experts a layer and {pool.redundant} copies"
    return [
        argument(tool, "moe_config.load_balancer.num_slots", slots, why),
        argument(
            tool, "moe_config.load_balancer.layer_updates_per_iter", 1, "ranks are kept even, as in the row"
        ),
    ]


def _drafts(pool: Pool) -> list[Argument]:
    """Return speculative decoding with the model's own heads, or with an EAGLE-3 model."""
    if pool.drafting is None:
        return []
    tool, tokens = "trtllm-yaml", pool.drafting.tokens
    kind = "Eagle3" if pool.drafting.model else "MTP"
    found = [
        argument(tool, "speculative_config.decoding_type", kind, f"{tokens} drafts a step, as in the row"),
        argument(tool, "speculative_config.max_draft_len", tokens),
    ]
    if pool.drafting.model:
        model, source = pool.drafting.model, pool.drafting.source
        found.append(argument(tool, "speculative_config.speculative_model", model, source))
    return found


def yaml_text(arguments: Sequence[Argument], head: Sequence[str] = ()) -> str:
    """Return settings as YAML, each with its reason: those outside any section first.

    Raises:
        BadFact: a setting that TensorRT-LLM is not known to have, or of another type.
    """
    sections: dict[str, list[Argument]] = {"": []}
    for item in arguments:
        sections.setdefault(item.name.rpartition(".")[0], []).append(item)
    lines, opened = comment(head), [""]
    for section, members in sections.items():
        depth = section.count(".") + 1 if section else 0
        for level, name in enumerate(section.split(".")):
            path = ".".join(section.split(".")[: level + 1])
            if path not in opened:
                opened.append(path)
                lines.append(f"{'  ' * level}{name}:")
        indent = "  " * depth
        pairs = [(f"{indent}{item.name.rpartition('.')[2]}: {item.value}", item.why) for item in members]
        width = max((len(text) for text, _ in pairs), default=0)
        lines += [f"{text:<{width}}  # {why}" for text, why in pairs]
    text = "\n".join(lines) + "\n"
    verify("trtllm-yaml", yaml.safe_load(text))
    return text


def arguments(setting: Setting, config: str, *, port: int | str = PORT) -> list[Argument]:
    """Return the flags of the server; the rest is in the file `config`. A port of words is a variable."""
    return [
        argument("trtllm", "backend", "pytorch", "the backend that the settings are for"),
        argument("trtllm", "config", config, "the engine's settings; older: --extra_llm_api_options"),
        argument("trtllm", "served_model_name", setting.served, "the name that clients ask for"),
        argument("trtllm", "host", "0.0.0.0", "reachable from other machines"),  # noqa: S104 - a server's address
        argument("trtllm", "port", port, raw=isinstance(port, str)),
    ]


def command(setting: Setting) -> str:
    """Return the words that start the server, ahead of its flags."""
    return f"{program('trtllm')} {setting.checkpoint.path}"


def bash(setting: Setting, pool: Pool, head: Sequence[str], config: str, *, port: int = PORT) -> str:
    """Return the script of one replica; over several nodes it is submitted to Slurm once."""
    flags = arguments(setting, config, port=ports(port))
    start = command(setting)
    before = [f"mkdir -p {tiers.STORE}"] if tiers.ssd(setting, pool) else []
    if pool.nodes == 1:
        return script(flags, start, head=head, before=before)
    job = [
        argument("srun", "nodes", pool.nodes),
        argument("srun", "ntasks", pool.layout.chips, "one process a chip"),
        argument("srun", "ntasks-per-node", ceil(pool.layout.chips / pool.nodes)),
        argument("srun", "mpi", "pmix", "as the containers of TensorRT-LLM"),
    ]
    lines = [
        f"# One engine over {pool.nodes} nodes is one MPI job, submitted once.",
        "job=(",
        *listed(job),
        ")",
    ]
    whole = f'srun "${{job[@]}}" trtllm-llmapi-launch {start}'
    return script(flags, whole, head=head, before=before, after=lines)


def servers(setting: Setting, head: Sequence[str]) -> str:
    """Return the file that tells `trtllm-serve disaggregated` its prefill and decode servers."""
    prefill, decode = setting.pools
    lines = [*comment(head), "hostname: 0.0.0.0", f"port: {PORT}", "backend: pytorch"]
    for section, pool, port in (
        ("context_servers", prefill, PORT + 1),
        ("generation_servers", decode, PORT + 2),
    ):
        urls = [f'    - "{pool.role}-{k}:{port}"  # address of replica {k}' for k in range(pool.replicas)]
        lines += [f"{section}:", f"  num_instances: {pool.replicas}", "  urls:", *urls]
    text = "\n".join(lines) + "\n"
    verify("trtllm-disaggregated", yaml.safe_load(text))
    return text


def router(config: str, head: Sequence[str]) -> str:
    """Return the script of the server in front of prefill and decode."""
    flags = [argument("trtllm-disaggregated", "c", config)]
    return script(flags, program("trtllm-disaggregated"), head=head)
