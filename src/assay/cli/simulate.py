"""`assay simulate`: traffic through a deployment, request by request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from assay.catalogue.load import catalogue
from assay.cli.flags import Count, Facts, Lengths, Name
from assay.cli.progress import progress
from assay.cli.question import ask
from assay.cli.simulate_flags import Load, Objective, Routing, Serving, Talk, stated
from assay.errors import BadInput
from assay.study.question import Question

if TYPE_CHECKING:
    from assay.simulate.cluster import Cluster
    from assay.simulate.deployment import Stated
    from assay.simulate.faults import Event
    from assay.simulate.outcome import Outcome
    from assay.simulate.run import Run
    from assay.workload.arrivals import Requests
    from assay.workload.sessions import Sessions, SessionShape

_USUAL = Lengths()
_LOAD, _TALK, _SERVING, _ROUTING, _OBJECTIVE = Load(), Talk(), Serving(), Routing(), Objective()
_SHARE = 0.99
#: Exit code of a run that was stopped and kept what it had.
INTERRUPTED = 130


@dataclass(frozen=True)
class Asked:
    """Every flag that shapes a run; the same for all seeds.

    Attributes:
        model, lengths, load, talk, on, serving, routing, objective, price, facts: as `simulate` takes them.
    """

    model: str
    lengths: Lengths
    load: Load
    talk: Talk
    on: str | None
    serving: Serving
    routing: Routing
    objective: Objective
    price: str
    facts: tuple[Path, ...]


@dataclass(frozen=True)
class Job:
    """Everything a run needs, read from the flags.

    Attributes:
        question, stated, cluster, traffic, events, load, objective: what is run.
        shape: of the sessions, where the load is sessions.
    """

    question: Question
    stated: Stated
    cluster: Cluster
    traffic: Requests | Sessions
    events: tuple[Event, ...]
    load: Load
    objective: Objective
    shape: SessionShape | None = None


def simulate(  # noqa: PLR0913 - one argument a flag
    model: Name,
    /,
    *,
    lengths: Lengths = _USUAL,
    load: Load = _LOAD,
    talk: Talk = _TALK,
    on: Name | None = None,
    serving: Serving = _SERVING,
    routing: Routing = _ROUTING,
    objective: Objective = _OBJECTIVE,
    price: Literal["own", "contract", "list", "spot"] = "list",
    facts: Facts = (),
    seeds: Count = 1,
    workers: Count | None = None,
    log: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    perfetto: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    json: bool = False,
) -> int:
    """Replay traffic through a deployment, request by request.

    Args:
        model: name, Hugging Face id, or path of a config.json.
        lengths: what a request looks like, where there is no trace.
        load: what arrives.
        talk: what a session looks like.
        on: system.
        serving: what serves.
        routing: how requests find a replica.
        objective: what counts as good.
        price: which prices count.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        seeds: run so many seeds, in parallel; figures are means, with their 90 % interval.
        workers: processes at most; without it as many as there are processors.
        log: write every request into a .parquet or .csv file.
        perfetto: write a trace for Perfetto or chrome://tracing.
        json: write the figures as JSON.
    """
    from assay.simulate.export import check_log

    asked = Asked(model, lengths, load, talk, on, serving, routing, objective, price, facts)
    if seeds > 1:
        if log or perfetto or objective.saturation:
            raise BadInput("--log, --perfetto and --saturation are of one run.", "Leave --seeds out.")
        from assay.cli.simulate_seeds import run_seeds

        return run_seeds(asked, seeds, workers or 0, json=json)
    if log:
        check_log(log)
    job = prepare(asked)
    with progress() as report:
        run = execute(job, keep=bool(log or perfetto), report=report)
        data: dict[str, Any] = {}
        if objective.saturation and run.whole:
            data["saturation"] = search(job, report)
    found = concluded(asked, job, run)
    write_files(run, found, log, perfetto)
    show(found.json() | data, job, json=json)
    return 0 if run.whole else INTERRUPTED


def prepare(asked: Asked) -> Job:
    """Read the flags.

    Raises:
        AssayError: what they ask for cannot be done.
    """
    from assay.cli.simulate_load import arriving, drawn, session_shape, talking
    from assay.engine.models import model
    from assay.plan.answer import check
    from assay.plan.serving import cluster

    load, serving, facts = asked.load, asked.serving, asked.facts
    traffic, lengths = arriving(load, asked.talk, asked.lengths)
    known = catalogue(facts)
    serves = stated(asked.on, serving, asked.routing)
    question = ask(
        asked.model,
        lengths,
        ttft=asked.objective.ttft,
        tpot=asked.objective.tpot,
        facts=facts,
        platforms=(serves.pools[-1].system,),
        rate=load.rate,
        concurrency=load.concurrency,
        weights=serving.weights,
        kv=serving.kv,
        engine=serving.engine,
        price=asked.price,
    )
    architecture = model(asked.model, facts)[0]
    shape: SessionShape | None = None
    arrives: Requests | Sessions
    if load.session_rate is not None:
        longest = architecture.architecture.max_context or None
        shape = session_shape(asked.talk, lengths, longest, facts)
        arrives = talking(load, shape, question)
    elif traffic is not None:
        arrives = traffic
    else:
        check(question, architecture)
        arrives = drawn(load, question)
    context = float(requests_of(arrives).isl.mean())
    runs = cluster(serves, asked.model, known, context=context, facts=facts)
    events = failing(asked.routing, runs, load, requests_of(arrives).span)
    return Job(question, serves, runs, arrives, events, load, asked.objective, shape)


def requests_of(traffic: Requests | Sessions) -> Requests:
    """Return the requests of a load."""
    from assay.workload.sessions import Sessions

    return traffic.requests if isinstance(traffic, Sessions) else traffic


def failing(routing: Routing, cluster: Cluster, load: Load, span: float) -> tuple[Event, ...]:
    """Return the failures of the first pool, for arrivals over `span` s."""
    if routing.faults is None:
        return ()
    from assay.simulate.faults import read

    pool = cluster.pools[0]
    horizon = span * 1.5 + 3600.0
    return tuple(read(routing.faults).events(pool.replicas, pool.stages, horizon, load.seed))


def execute(
    job: Job, *, keep: bool, report: Callable[[str, float], None], traffic: Requests | Sessions | None = None
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


def concluded(asked: Asked, job: Job, run: Run) -> Outcome:
    """Return what a run says, with what it costs."""
    from assay.plan.serving import chip_hour
    from assay.simulate.outcome import outcome

    cost, note = chip_hour(job.stated, catalogue(asked.facts), asked.price)
    found = outcome(job.cluster, run, cost)
    return replace(found, notes=(*found.notes, note)) if note else found


def search(job: Job, report: Callable[[str, float], None]) -> dict[str, Any]:
    """Return the greatest load at which most requests are good.

    Raises:
        BadInput: a closed loop, which cannot be overloaded.
    """
    from assay.cli.simulate_load import drawn, talking
    from assay.simulate.saturation import saturation

    if job.load.concurrency:
        raise BadInput("--saturation searches over request rates.", "Give --rate or --trace.")
    base = 1.0 if job.load.trace else job.load.rate or job.load.session_rate or 1.0

    def good(load: float) -> float:
        if job.load.trace:
            traffic: Requests | Sessions = requests_of(job.traffic).scaled(rate=load)
        elif job.shape is not None:
            traffic = talking(job.load, job.shape, job.question, load)
        else:
            traffic = drawn(job.load, job.question, load)
        tally = execute(job, keep=False, report=report, traffic=traffic).tally
        return tally.good / max(int(tally.ended.sum()), 1)

    found = saturation(good, base, _SHARE)
    unit = " sessions/s" if job.shape is not None else " requests/s"
    return {
        "load": found.load,
        "beyond": found.beyond,
        "unit": " x the speed of the trace" if job.load.trace else unit,
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
    question, pools = job.question, job.cluster.pools
    about = {
        "model": question.model,
        "platform": question.platforms[0],
        "deployment": job.stated.label(),
        "engine": pools[0].copy.engine.name,
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
