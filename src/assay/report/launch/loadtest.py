"""The load test that would confirm a row: three load generators, with the predicted figures beside them.

The lengths are exact, the prefix that the cache is assumed to hold is shared by all requests, and the load is
the row's. `vllm bench serve` counts tokens as the server does, `aiperf` and `guidellm` as they are told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from assay.estimate import Estimate
from assay.report.figures import interval, number
from assay.report.launch import support
from assay.report.launch.arguments import Argument, argument, comment, listed, program, rule, version
from assay.report.launch.setting import Setting
from assay.workload.traces import read

#: Figure -> (words, unit, factor to the unit, name in the result of `vllm bench serve`).
_FIGURES = {
    "ttft_s": ("mean TTFT", "ms", 1e3, "mean_ttft_ms"),
    "tpot_s": ("mean TPOT", "ms", 1e3, "mean_tpot_ms"),
    "output_tokens_per_s_per_user": ("output tokens/s/user", "tok/s", 1.0, "1000 / mean_tpot_ms"),
    "output_tokens_per_s_per_chip": ("output tokens/s/chip", "tok/s", 1.0, "output_throughput / chips"),
}


def streams(setting: Setting) -> int:
    """Return the requests in flight over all replicas."""
    return setting.row.streams(setting.question.osl)


def requests(setting: Setting) -> int:
    """Return the requests of one test."""
    return max(int(rule("requests_per_stream")) * streams(setting), 100)


def prefix(setting: Setting) -> int:
    """Return the input tokens that all requests share, so that the cache holds the question's share."""
    return round(setting.question.isl * setting.question.cached)


def predicted(setting: Setting) -> list[str]:
    """Return the predicted figures as sentences, each with its interval and its name in the result."""
    row = setting.row
    lines = [f"Predicted ({row.basis}; 80 % interval), to be confirmed:"]
    for key, (words, unit, factor, measured) in _FIGURES.items():
        if key in row.figures:
            item: Estimate = row.figures[key].apply(lambda value, by=factor: value * by)  # type: ignore[misc]
            around = interval(item)
            span = f" ({around})" if around else ""
            lines.append(f"  {words:<22} {number(float(item.value))} {unit}{span}   {measured}")
    rate = row.figures.get("output_tokens_per_s_per_chip")
    if rate is not None:
        total = number(float(rate.value) * row.chips)
        lines.append(f"  output tokens/s, all    {total} tok/s over {row.chips} chips   output_throughput")
    return lines


def vllm_bench(setting: Setting) -> list[Argument]:
    """Return the flags of `vllm bench serve`."""
    tool, question = "vllm bench serve", setting.question
    shared = prefix(setting)
    found = [
        argument(tool, "backend", "openai"),
        argument(tool, "base-url", "${TARGET}", raw=True),
        argument(tool, "model", setting.served),
        argument(tool, "dataset-name", "random", "exact lengths"),
        argument(tool, "random-input-len", question.isl - shared),
        argument(tool, "random-output-len", question.osl),
    ]
    if shared:
        found.append(
            argument(tool, "random-prefix-len", shared, f"{question.cached:.0%} of the input is cached")
        )
    found += [
        argument(tool, "ignore-eos"),
        *_load(tool, setting),
        argument(tool, "num-prompts", requests(setting)),
        argument(tool, "num-warmups", streams(setting), "fills the caches and the batch"),
        argument(tool, "percentile-metrics", "ttft,tpot,itl,e2el"),
        argument(tool, "metric-percentiles", "50,90,99"),
    ]
    if any(row[0] == "trust-remote-code" for row in support.serve_arguments("vllm", setting.model)[0]):
        found.append(argument(tool, "trust-remote-code", "", "its tokenizer brings code of its own: read it"))
    found += _goodput(tool, setting, "ttft", "tpot")
    found.append(argument(tool, "save-result"))
    return found


def replayed(setting: Setting) -> str:
    """Return the trace whose prefix blocks AIPerf can replay, "" without one."""
    caches = setting.question.caches
    trace = caches.trace if caches is not None else ""
    return trace if trace and _format(trace) == "mooncake" else ""


@lru_cache(maxsize=4)
def _format(trace: str) -> str:
    return read(trace).format


def _prompts(setting: Setting) -> list[Argument]:
    """Return what AIPerf sends: the trace's own prompts, or equal ones with one shared prefix."""
    tool, question, trace = "aiperf", setting.question, replayed(setting)
    if trace:
        plain = trace.removesuffix(".gz")
        why = "lengths and prefix blocks of the trace" + ("" if plain == trace else ": unpack it first")
        return [
            argument(tool, "input-file", plain, why),
            argument(tool, "custom-dataset-type", "mooncake_trace"),
            argument(tool, "no-fixed-schedule", "", "at the row's load, not at the trace's times"),
        ]
    shared = prefix(setting)
    found = [argument(tool, "isl", question.isl - shared), argument(tool, "osl", question.osl)]
    if shared:
        found.append(argument(tool, "num-prefix-prompts", 1, f"{question.cached:.0%} of the input is cached"))
        found.append(argument(tool, "prefix-prompt-length", shared))
    return found


def aiperf(setting: Setting) -> list[Argument]:
    """Return the flags of `aiperf profile`."""
    tool = "aiperf"
    found = [
        argument(tool, "model", setting.served),
        argument(tool, "url", "${TARGET}", raw=True),
        argument(tool, "endpoint-type", "completions"),
        argument(tool, "streaming"),
        *_prompts(setting),
    ]
    return [
        *found,
        argument(tool, "extra-inputs", "ignore_eos:true", "answers have exactly the asked length"),
        *_load(tool, setting),
        argument(tool, "request-count", requests(setting)),
        *_goodput(tool, setting, "time_to_first_token", "inter_token_latency"),
        argument(tool, "use-server-token-count", "", "its own tokenizer may differ from the server's"),
    ]


def guidellm(setting: Setting) -> list[Argument]:
    """Return the flags of `guidellm run`."""
    tool, question = "guidellm", setting.question
    shared = prefix(setting)
    data = f"kind=synthetic_text,prompt_tokens={question.isl - shared},output_tokens={question.osl}"
    if shared:
        data += f",prefix_tokens={shared},prefix_count=1"
    profile = (
        f"kind=poisson,rate={question.rate:g}"
        if question.rate
        else f"kind=concurrent,streams={streams(setting)}"
    )
    return [
        argument(tool, "backend", "kind=openai_http,target=${TARGET}", raw=True),
        argument(tool, "profile", profile),
        argument(tool, "constraint", f"kind=max_requests,count={requests(setting)}"),
        argument(tool, "data", data),
    ]


def _shared(setting: Setting) -> list[str]:
    """Return what a reader must know of the hits that the generators make."""
    if setting.question.caches is None:
        return []
    lines = [
        "",
        "One prefix that all requests share makes the hits; it stays in the chip's memory, so that tiers",
    ]
    lines.append(
        "below are not tried" + (", but by aiperf, which replays the trace." if replayed(setting) else ".")
    )
    return lines


def _goodput(tool: str, setting: Setting, first: str, each: str) -> list[Argument]:
    """Return the limits that a request must meet, by the tool's names of TTFT and TPOT."""
    limits = ((first, setting.question.ttft), (each, setting.question.tpot))
    words = " ".join(f"{name}:{limit * 1e3:g}" for name, limit in limits if limit is not None)
    return [argument(tool, "goodput", words, "the question's limits, ms; for every request")] if words else []


def _load(tool: str, setting: Setting) -> list[Argument]:
    rate, width = setting.question.rate, streams(setting)
    if rate:
        return [argument(tool, "request-rate", f"{rate:g}", "the rate that was asked for")]
    name = "concurrency" if tool == "aiperf" else "max-concurrency"
    return [argument(tool, name, width, "requests in flight over all replicas, as in the row")]


def bash(setting: Setting, head: Sequence[str], target: str) -> str:
    """Return the script: one of three load generators, by the first argument.

    Args:
        setting: what is launched.
        head: comment lines on top.
        target: address of the server, unless TARGET says another.
    """
    lines = ["#!/usr/bin/env bash", *comment([*head, "", *predicted(setting), *_shared(setting)])]
    lines += ["#", "# Usage: loadtest.sh [vllm|aiperf|guidellm]; TARGET is the server.", "set -euo pipefail"]
    lines += [f'TARGET="${{TARGET:-{target}}}"', "", 'case "${1:-vllm}" in']
    for label, tool, flags in (
        ("vllm", "vllm bench serve", vllm_bench(setting)),
        ("aiperf", "aiperf", aiperf(setting)),
        ("guidellm", "guidellm", guidellm(setting)),
    ):
        words = [
            f"    --goodput {item.value}  # {item.why}"
            if (tool, item.name) == ("vllm bench serve", "goodput")  # takes several words
            else text
            for item, text in zip(flags, listed(flags, "    "), strict=True)
        ]
        lines += [f"{label})  # {version(tool)}", "  args=(", *words, "  )"]
        lines += [f'  exec {program(tool)} "${{args[@]}}" ;;']
    lines += ['*) echo "no load generator ${1}; vllm, aiperf or guidellm" >&2; exit 2 ;;', "esac"]
    return "\n".join(lines) + "\n"
