"""Flags of `assay simulate`: what arrives, what serves, what counts as good."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from assay.cli.flags import Count, Limit, Name, Rate, Time, Tokens
from assay.cli.trace import Columns, Speed, Whole
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.simulate.cluster import Scaling
from assay.simulate.deployment import Stated, StatedPool, read, scaling_of
from assay.simulate.tiers import parse


@Parameter(name="*")
@dataclass(frozen=True)
class Load:
    """What arrives.

    Attributes:
        trace: file of requests (`assay trace FILE` shows what is in it).
        speed: play the trace so many times faster.
        on_bad: leave bad rows of the trace out and name them, or refuse the file.
        columns: of the trace that assay does not know: arrival=ts,isl=prompt,osl=answer.
        time_unit: of its arrivals: s, ms, us, ns, min, h or iso, where the file does not say.
        sessions: closed: a turn of the trace waits for the answer before it and its pause; open: for nothing.
        rate: requests per second, as a Poisson process.
        concurrency: users that ask again as soon as they are answered.
        session_rate: sessions that begin per second; turns follow each answer, the context grows.
        requests: how many requests.
        seed: of the random numbers.
    """

    trace: Path | None = None
    speed: Speed = 1.0
    on_bad: Literal["keep", "refuse"] = "keep"
    columns: Columns | None = None
    time_unit: Name | None = None
    sessions: Literal["closed", "open"] | None = None
    rate: Rate | None = None
    concurrency: Count | None = None
    session_rate: Rate | None = None
    requests: Count | None = None
    seed: Whole = 0


@Parameter(name="*")
@dataclass(frozen=True)
class Talk:
    """What a session looks like, where it is not as published for the workload.

    Attributes:
        turns: mean requests of a session; --isl is then the first request's input.
        growth: tokens that a turn adds to the context: the answer, tool results, the next question.
        think: median time from an answer to the next request: 5s.
        think_p99: its 99th percentile; without it, the pause is always the median.
        shared: tokens that all sessions have in common at the start: system prompt, tools.
    """

    turns: Count | None = None
    growth: Tokens | None = None
    think: Time | None = None
    think_p99: Time | None = None
    shared: Tokens | None = None

    def given(self) -> tuple[str, ...]:
        """Return the flags that are stated."""
        return given(self)


@Parameter(name="*")
@dataclass(frozen=True)
class Serving:
    """What serves.

    Attributes:
        deployment: YAML or JSON file of pools, layouts, router, scaling, or what `assay plan --json` wrote.
        layout: parallel degrees of a replica: tp8, dep16, tp8pp2.
        replicas: copies of it.
        prefill: layout of a prefill pool in front; then --layout is that of the decode pool.
        prefill_replicas: copies of it.
        engine: serving engine and its scheduler: vllm, sglang, trtllm.
        weights: weight format: native, bf16, fp8, fp4, int4.
        kv: KV cache format: bf16, fp8.
        budget: tokens of a step instead of the engine's own.
        sequences: sequences of a rank at most, instead of the engine's own.
        drafts: draft tokens of a decode step.
        kv_tiers: where blocks that leave the cache of a replica are kept: host:512GB:50GB/s,ssd:8TB:12GB/s.
        preempt: compute again what is preempted, or swap it into the first tier.
    """

    deployment: Path | None = None
    layout: Name | None = None
    replicas: Count | None = None
    prefill: Name | None = None
    prefill_replicas: Count | None = None
    engine: Name | None = None
    weights: Name | None = None
    kv: Name | None = None
    budget: Count | None = None
    sequences: Count | None = None
    drafts: Count | None = None
    kv_tiers: Name | None = None
    preempt: Literal["recompute", "swap"] | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Routing:
    """How requests find a replica, and how many replicas there are.

    Attributes:
        router: round-robin, least-load, prefix, session, slo.
        over_limit: serve, reject or defer a request whose predicted time to first token exceeds --ttft.
        most_waiting: waiting requests of a replica beyond which new ones are refused.
        faults: YAML file of failures: `faults: [{at: 60s, replica: 0, for: 5min}]`, or mtbf and mttr.
        scale_max: autoscale up to so many replicas.
        scale_min: and down to so many.
        scale_target: requests in flight that autoscaling wants a replica to have.
        cold_start: time until a started replica serves: 3min.
        scale_every: time between decisions of autoscaling.
        scale_window: replicas stop only if no decision in so long wanted them.
    """

    router: Name | None = None
    over_limit: Literal["serve", "reject", "defer"] | None = None
    most_waiting: Count | None = None
    faults: Path | None = None
    scale_max: Count | None = None
    scale_min: Count | None = None
    scale_target: Count | None = None
    cold_start: Time | None = None
    scale_every: Time | None = None
    scale_window: Time | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Objective:
    """What counts as good.

    Attributes:
        ttft: greatest time to first token of a request: 2s, 500ms, none.
        tpot: greatest time per output token of a request: 30ms, none.
        e2e: greatest time to the last token.
        saturation: search for the greatest load at which 99 % of the requests are good.
        fewest: search for the fewest replicas at which 99 % of each model's requests are good, for models
            in turns on the same chips and for each on its own.
    """

    ttft: Limit | None = None
    tpot: Limit | None = None
    e2e: Limit | None = None
    saturation: bool = False
    fewest: bool = False


def stated(on: str | None, serving: Serving, routing: Routing) -> Stated:
    """Return the deployment that the flags, or a file and the flags, describe.

    Raises:
        BadInput: nothing serves, or flags and file contradict each other.
    """
    if serving.deployment is not None:
        own = [flag for flag in given(serving) if flag != "--deployment"]
        if own:
            raise BadInput(
                f"{own[0]} and --deployment both say what serves.", f"Write it into {serving.deployment}."
            )
        found = read(serving.deployment, **({"system": on} if on else {}))
        if on and all(pool.system != on for pool in found.pools):
            named = ", ".join(dict.fromkeys(pool.system for pool in found.pools))
            raise BadInput(f"--on {on} is not used: {serving.deployment} names {named}.", "Leave --on out.")
        if not all(pool.system for pool in found.pools):
            raise BadInput(
                f"{serving.deployment} names no system.", "Give --on SYSTEM, or `system:` in the file."
            )
    else:
        found = _flags(on, serving, routing)
    scaling = scaled(routing)
    pools = found.pools
    if scaling is not None:
        pools = tuple(replace(pool, replicas=scaling.greatest) for pool in pools)
    return replace(
        found,
        pools=pools,
        router=routing.router or found.router,
        most_waiting=routing.most_waiting or found.most_waiting,
        over_limit=routing.over_limit or found.over_limit,
        scaling=scaling or found.scaling,
    )


def scaled(routing: Routing) -> Scaling | None:
    """Return the autoscaling that the flags ask for.

    Raises:
        BadInput: some of its flags without the others.
    """
    flags = {
        "--scale-max": routing.scale_max,
        "--scale-target": routing.scale_target,
        "--cold-start": routing.cold_start,
    }
    rest = (routing.scale_min, routing.scale_every, routing.scale_window)
    missing = [flag for flag, value in flags.items() if value is None]
    if len(missing) == len(flags) and not any(value is not None for value in rest):
        return None
    if missing or routing.scale_max is None or routing.scale_target is None or routing.cold_start is None:
        raise BadInput(
            f"Autoscaling needs {' and '.join(missing)} too.",
            "Write for example --scale-max 8 --scale-target 32 --cold-start 3min.",
        )
    return scaling_of(
        routing.scale_min or 1,
        routing.scale_max,
        float(routing.scale_target),
        routing.cold_start,
        routing.scale_every or 0.0,
        routing.scale_window,
    )


def _flags(on: str | None, serving: Serving, routing: Routing) -> Stated:
    if serving.layout is None or on is None:
        raise BadInput("Nothing serves.", "Give --on SYSTEM with --layout tp8, or --deployment FILE.")
    if serving.replicas is not None and routing.scale_max is not None:
        raise BadInput("--replicas and --scale-max both count replicas.", "Give one of them.")
    if serving.prefill_replicas is not None and serving.prefill is None:
        raise BadInput("--prefill-replicas goes with --prefill.", "Give the layout of the prefill pool too.")
    last = StatedPool(
        Layout.parse(serving.layout),
        replicas=serving.replicas or 1,
        role="decode" if serving.prefill else "both",
        system=on,
        engine=serving.engine or "",
        weights=serving.weights or "",
        kv=serving.kv or "",
        budget=serving.budget or 0,
        sequences=serving.sequences or 0,
        drafts=serving.drafts or 0,
        tiers=parse(serving.kv_tiers) if serving.kv_tiers else (),
        preempt=serving.preempt or "recompute",
    )
    if not serving.prefill:
        return Stated((last,))
    first = Layout.parse(serving.prefill)
    return Stated((replace(last, layout=first, role="prefill", replicas=serving.prefill_replicas or 1), last))


def given(flags: object) -> tuple[str, ...]:
    """Return the flags of a group that are stated."""
    return tuple(
        f"--{item.name.replace('_', '-')}"
        for item in fields(flags)  # type: ignore[arg-type]
        if getattr(flags, item.name) is not None
    )
