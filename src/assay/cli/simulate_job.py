"""A run of `assay simulate`: read from the flags, executed, shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.catalogue.load import catalogue
from assay.cli.flags import Lengths
from assay.cli.question import ask
from assay.cli.simulate_flags import Load, Objective, Routing, Serving, Talk, stated
from assay.study.question import Question

if TYPE_CHECKING:
    from assay.plan.pace import Pace
    from assay.simulate.carbon import Grid
    from assay.simulate.cluster import Cluster
    from assay.simulate.deployment import Stated
    from assay.simulate.faults import Event
    from assay.simulate.outcome import Outcome
    from assay.simulate.run import Run
    from assay.workload.arrivals import Requests
    from assay.workload.sessions import Sessions, SessionShape

#: Exit code of a run that was stopped and kept what it had.
INTERRUPTED = 130


@dataclass(frozen=True)
class Asked:
    """Every flag that shapes a run; the same for all seeds.

    Attributes:
        model, lengths, load, talk, on, serving, routing, objective, price, grid, facts, calibrated: as
            `simulate` takes them.
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
    grid: str | None
    facts: tuple[Path, ...]
    calibrated: bool


@dataclass(frozen=True)
class Job:
    """Everything a run needs, read from the flags.

    Attributes:
        question, stated, cluster, traffic, events, load, objective: what is run.
        shape: of the sessions, where the load is sessions.
        grid: whose electricity the chips take.
        pace: of the steps; None = bare physics.
    """

    question: Question
    stated: Stated
    cluster: Cluster
    traffic: Requests | Sessions
    events: tuple[Event, ...]
    load: Load
    objective: Objective
    shape: SessionShape | None = None
    grid: Grid | None = None
    pace: Pace | None = None


def prepare(asked: Asked) -> Job:
    """Read the flags.

    Raises:
        AssayError: what they ask for cannot be done.
    """
    from assay.cli.simulate_load import arriving, drawn, session_shape, talking
    from assay.engine.models import model
    from assay.plan.answer import check
    from assay.plan.pace import mean, paced
    from assay.plan.serving import cluster
    from assay.simulate.carbon import grid

    load, serving, facts = asked.load, asked.serving, asked.facts
    prepared, _ = model(asked.model, facts)
    traffic, lengths = arriving(load, asked.talk, asked.lengths, prepared)
    known = catalogue(facts)
    electricity = grid(asked.grid) if asked.grid else None
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
    if serves.over_limit != "serve" and not serves.ttft_limit:
        serves = replace(serves, ttft_limit=question.ttft or 0.0)
    shape: SessionShape | None = None
    arrives: Requests | Sessions
    if load.session_rate is not None:
        longest = prepared.architecture.max_context or None
        shape = session_shape(asked.talk, lengths, longest, facts)
        arrives = talking(load, shape, question)
    elif traffic is not None:
        arrives = traffic
    else:
        check(question, prepared)
        arrives = drawn(load, question)
    every, pace = requests_of(arrives), None
    runs = cluster(serves, asked.model, known, context=float(every.isl.mean()), facts=facts)
    if asked.calibrated:
        runs, pace = paced(runs, mean(every, cached=question.cached, users=load.concurrency or 0))
    events = failing(asked.routing, runs, load, every.span)
    return Job(question, serves, runs, arrives, events, load, asked.objective, shape, electricity, pace)


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
    found = outcome(job.cluster, run, cost, job.grid)
    return replace(found, notes=(*found.notes, note)) if note else found


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
        "pace": None if job.pace is None else job.pace.json(),
    }
    if json:
        from assay.report.export import write_json

        write_json(about | data, sys.stdout)
        return
    from assay.report.simulate import simulate_page
    from assay.report.terminal import put

    headline = f"{question.model} on {question.platforms[0]}, {about['deployment']}, {about['engine']}"
    put(simulate_page(about | data, headline))
