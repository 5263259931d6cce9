"""`assay simulate`: traffic through a deployment, request by request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from assay.catalogue.load import catalogue
from assay.cli.flags import Count, Facts, Lengths, Limit, Name, Rate
from assay.cli.progress import progress
from assay.cli.question import ask
from assay.cli.trace import Speed, Whole
from assay.errors import BadInput
from assay.study.question import Question

if TYPE_CHECKING:
    from assay.simulate.cluster import Cluster
    from assay.simulate.faults import Event
    from assay.simulate.outcome import Outcome
    from assay.simulate.run import Run
    from assay.workload.arrivals import Requests

_USUAL = Lengths()
_REQUESTS = 1000
_SHARE = 0.99
_INTERRUPTED = 130


@Parameter(name="*")
@dataclass(frozen=True)
class Load:
    """What arrives.

    Attributes:
        trace: file of requests (`assay trace FILE` shows what is in it).
        speed: play the trace so many times faster.
        rate: requests per second, as a Poisson process.
        concurrency: users that ask again as soon as they are answered.
        requests: how many requests.
        seed: of the random numbers.
    """

    trace: Path | None = None
    speed: Speed = 1.0
    rate: Rate | None = None
    concurrency: Count | None = None
    requests: Count | None = None
    seed: Whole = 0


@Parameter(name="*")
@dataclass(frozen=True)
class Serving:
    """What serves.

    Attributes:
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
        router: how requests find a replica.
        faults: YAML file of failures: `faults: [{at: 60s, replica: 0, for: 5min}]`, or mtbf and mttr.
        most_waiting: waiting requests of a replica beyond which new ones are refused.
    """

    layout: Name
    replicas: Count = 1
    prefill: Name | None = None
    prefill_replicas: Count = 1
    engine: Name | None = None
    weights: Name | None = None
    kv: Name | None = None
    budget: Count = 0
    sequences: Count = 0
    drafts: Count = 0
    router: Literal["round-robin", "least-load", "prefix", "session"] = "least-load"
    faults: Path | None = None
    most_waiting: Count = 0


@Parameter(name="*")
@dataclass(frozen=True)
class Objective:
    """What counts as good.

    Attributes:
        ttft: greatest time to first token of a request: 2s, 500ms, none.
        tpot: greatest time per output token of a request: 30ms, none.
        e2e: greatest time to the last token.
        saturation: search for the greatest load at which 99 % of the requests are good.
    """

    ttft: Limit | None = None
    tpot: Limit | None = None
    e2e: Limit | None = None
    saturation: bool = False


@dataclass(frozen=True)
class Job:
    """Everything a run needs, read from the flags."""

    question: Question
    cluster: Cluster
    traffic: Requests
    events: tuple[Event, ...]
    load: Load
    objective: Objective


def simulate(  # noqa: PLR0913 - one argument a flag
    model: Name,
    /,
    *,
    lengths: Lengths = _USUAL,
    load: Load = Load(),
    on: Name,
    serving: Serving,
    objective: Objective = Objective(),
    price: Literal["own", "contract", "list", "spot"] = "list",
    facts: Facts = (),
    log: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    perfetto: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    json: bool = False,
) -> int:
    """Replay traffic through a deployment, request by request.

    Args:
        model: name, Hugging Face id, or path of a config.json.
        lengths: what a request looks like, where there is no trace.
        load: what arrives.
        on: system.
        serving: what serves.
        objective: what counts as good.
        price: which prices count.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        log: write every request into a .parquet or .csv file.
        perfetto: write a trace for Perfetto or chrome://tracing.
        json: write the figures as JSON.
    """
    from assay.plan.place import price_of
    from assay.simulate.export import check_log
    from assay.simulate.outcome import outcome

    if log:
        check_log(log)
    known = catalogue(facts)
    job = prepare(model, lengths, load, serving, objective, on=on, facts=facts, price=price)
    with progress() as report:
        run = execute(job, keep=bool(log or perfetto), report=report)
        data: dict[str, Any] = {}
        if objective.saturation and run.whole:
            data["saturation"] = search(job, report)
    cost, note = price_of(known, known.system(on), price)
    found = outcome(job.cluster, run, cost)
    if note:
        found = replace(found, notes=(*found.notes, note))
    write_files(run, found, log, perfetto)
    show(found.json() | data, job, json=json)
    return 0 if run.whole else _INTERRUPTED


def prepare(
    name: str,
    lengths: Lengths,
    load: Load,
    serving: Serving,
    objective: Objective,
    *,
    on: str,
    facts: tuple[Path, ...],
    price: str,
) -> Job:
    """Read the flags.

    Raises:
        AssayError: what they ask for cannot be done.
    """
    from assay.engine.models import model
    from assay.plan.answer import check

    traffic, lengths = arriving(load, lengths)
    question = ask(
        name,
        lengths,
        ttft=objective.ttft,
        tpot=objective.tpot,
        facts=facts,
        platforms=(on,),
        rate=load.rate,
        concurrency=load.concurrency,
        weights=serving.weights,
        kv=serving.kv,
        engine=serving.engine,
        price=price,
    )
    if traffic is None:
        check(question, model(question.model, facts)[0])
        traffic = drawn(load, question)
    cluster = deployed(question, serving, facts)
    return Job(question, cluster, traffic, failing(serving, cluster, load, traffic), load, objective)


def arriving(load: Load, lengths: Lengths) -> tuple[Requests | None, Lengths]:
    """Return the requests of a trace, if there is one, and the lengths that stand for its mean.

    Raises:
        BadInput: no load, or more than one.
    """
    stated = [load.trace is not None, load.rate is not None, load.concurrency is not None]
    if sum(stated) != 1:
        what = "No load is given." if not any(stated) else "More than one load is given."
        raise BadInput(what, "Give one of --trace FILE, --rate R or --concurrency N.")
    if load.trace is None:
        if load.speed != 1.0:
            raise BadInput("--speed goes with --trace.", "Give a higher --rate instead.")
        return None, lengths
    from assay.workload.traces import read

    if not load.trace.exists():
        raise BadInput(f"--trace {str(load.trace)!r} does not exist.", "Give a file.")
    found = read(load.trace, most=load.requests, seed=load.seed)
    for note in found.notes:
        print(f"assay: {note}", file=sys.stderr)
    if found.dropped:
        first = found.bad[0]
        print(
            f"assay: {found.dropped:,} of {found.rows:,} rows were left out; the first is line {first.line}: "
            f"{first.reason} (`assay trace {load.trace}` names them).",
            file=sys.stderr,
        )
    traffic = found.requests.scaled(rate=load.speed)
    mean = Lengths(isl=max(round(float(traffic.isl.mean())), 1), osl=max(round(float(traffic.osl.mean())), 1))
    return traffic, replace(mean, cached=lengths.cached or 0.0)


def drawn(load: Load, question: Question, rate: float | None = None) -> Requests:
    """Return requests of the asked lengths: a Poisson process, or as a closed loop's users ask for them."""
    from assay.workload.generate import open_loop

    users = load.concurrency or 0
    count = load.requests or max(_REQUESTS, 10 * users)
    return open_loop(rate or load.rate or 1.0, count, question.isl, question.osl, seed=load.seed)


def deployed(question: Question, serving: Serving, facts: tuple[Path, ...]) -> Cluster:
    """Return the cluster that the flags describe."""
    from assay.engine.models import model
    from assay.engine.overheads import engine
    from assay.engine.replica import default_kv
    from assay.plan.estimate import legal
    from assay.simulate.cluster import Cluster
    from assay.simulate.deploy import deploy, handover

    system = catalogue(facts).system(question.platforms[0])
    if system.chip.kind == "dataflow":
        raise BadInput(
            f"{system.name} pipelines its layers over chips; the simulator knows batching engines only.",
            "`assay estimate` answers for it.",
        )
    prepared, _ = model(question.model, facts)
    common: dict[str, Any] = {
        "weights": question.weights or "native",
        "kv": default_kv(system, question.kv),
        "budget": serving.budget,
        "sequences": serving.sequences,
        "drafts": serving.drafts,
    }
    settings = engine(question.engine)
    main = deploy(
        prepared,
        system,
        legal(serving.layout, prepared, system),
        settings,
        replicas=serving.replicas,
        role="decode" if serving.prefill else "both",
        **common,
    )
    options: dict[str, Any] = {"router": serving.router, "most_waiting": serving.most_waiting}
    if not serving.prefill:
        return Cluster((main,), **options)
    layout = legal(serving.prefill, prepared, system)
    front = deploy(
        prepared, system, layout, settings, replicas=serving.prefill_replicas, role="prefill", **common
    )
    return Cluster((front, main), transfer=handover(front, main, float(question.isl)), **options)


def failing(serving: Serving, cluster: Cluster, load: Load, traffic: Requests) -> tuple[Event, ...]:
    """Return the failures of the first pool."""
    if serving.faults is None:
        return ()
    from assay.simulate.faults import read

    pool = cluster.pools[0]
    horizon = traffic.span * 1.5 + 3600.0
    return tuple(read(serving.faults).events(pool.replicas, pool.stages, horizon, load.seed))


def execute(
    job: Job, *, keep: bool, report: Callable[[str, float], None], traffic: Requests | None = None
) -> Run:
    """Run the job, or the same with other traffic."""
    from assay.simulate.run import Limits
    from assay.simulate.run import execute as run

    question, none = job.question, float("inf")
    return run(
        job.cluster,
        traffic or job.traffic,
        users=job.load.concurrency or 0,
        cached=question.cached,
        events=job.events,
        limits=Limits(question.ttft or none, question.tpot or none, job.objective.e2e or none),
        keep=keep,
        progress=report,
    )


def search(job: Job, report: Callable[[str, float], None]) -> dict[str, Any]:
    """Return the greatest load at which most requests are good.

    Raises:
        BadInput: a closed loop, which cannot be overloaded.
    """
    from assay.simulate.saturation import saturation

    if job.load.concurrency:
        raise BadInput("--saturation searches over request rates.", "Give --rate or --trace.")
    base = 1.0 if job.load.trace else job.load.rate or 1.0

    def good(load: float) -> float:
        traffic = job.traffic.scaled(rate=load) if job.load.trace else drawn(job.load, job.question, load)
        tally = execute(job, keep=False, report=report, traffic=traffic).tally
        return tally.good / max(int(tally.ended.sum()), 1)

    found = saturation(good, base, _SHARE)
    return {
        "load": found.load,
        "beyond": found.beyond,
        "unit": " x the speed of the trace" if job.load.trace else " requests/s",
        "share": _SHARE,
        "runs": [{"load": load, "good_share": share} for load, share in found.runs],
    }


def write_files(run: Run, found: Outcome, log: Path | None, perfetto: Path | None) -> None:
    """Write the files that were asked for."""
    from assay.simulate.export import write_log, write_trace

    if log:
        write_log(run, log)
    if perfetto:
        write_trace(run, found, perfetto)


def show(data: dict[str, Any], job: Job, *, json: bool) -> None:
    """Print the figures as JSON or as a page."""
    labels = [
        (f"{pool.replicas}x" if pool.replicas > 1 else "") + pool.copy.table.layouts[0].label()
        for pool in job.cluster.pools
    ]
    names = " -> ".join(f"{label} {pool.role}" for label, pool in zip(labels, job.cluster.pools, strict=True))
    question = job.question
    about = {
        "model": question.model,
        "platform": question.platforms[0],
        "deployment": names.removesuffix(" both"),
        "engine": job.cluster.pools[0].copy.engine.name,
        "router": job.cluster.router,
        "limits": {"ttft_s": question.ttft, "tpot_s": question.tpot, "e2e_s": job.objective.e2e},
        "seed": job.load.seed,
    }
    if json:
        from assay.report.export import write_json

        write_json(about | data, sys.stdout)
        return
    from assay.report.simulate import simulate_page
    from assay.report.terminal import put

    headline = f"{question.model} on {question.platforms[0]}, {about['deployment']}, {about['engine']}"
    put(simulate_page(data, headline))
