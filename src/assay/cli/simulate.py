"""`assay simulate`: traffic through a deployment, request by request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from assay.cli.flags import Count, Facts, Lengths, Name
from assay.cli.progress import progress
from assay.cli.simulate_flags import Load, Objective, Routing, Serving, Talk
from assay.cli.simulate_job import INTERRUPTED, Asked, Job, concluded, execute, prepare, show
from assay.cli.simulate_seeds import run_seeds
from assay.errors import BadInput

if TYPE_CHECKING:
    from assay.simulate.outcome import Outcome
    from assay.simulate.run import Run
    from assay.workload.arrivals import Requests
    from assay.workload.sessions import Sessions

_USUAL = Lengths()
_LOAD, _TALK, _SERVING, _ROUTING, _OBJECTIVE = Load(), Talk(), Serving(), Routing(), Objective()
_SHARE = 0.99


def simulate(  # noqa: PLR0913 - one argument a flag
    model: Name | None = None,
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
    grid: Name | None = None,
    calibrated: bool = False,
    facts: Facts = (),
    seeds: Count = 1,
    workers: Count | None = None,
    log: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    perfetto: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    json: bool = False,
) -> int:
    """Replay traffic through a deployment, request by request.

    Args:
        model: name, Hugging Face id, or path of a config.json; none with a --deployment of several models.
        lengths: what a request looks like, where there is no trace.
        load: what arrives.
        talk: what a session looks like.
        on: system.
        serving: what serves.
        routing: how requests find a replica.
        objective: what counts as good.
        price: which prices count.
        grid: whose electricity the chips take: us, france, world ... or g CO2 a kWh.
        calibrated: steps at the pace that the calibration of plan gives, not of bare physics.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        seeds: run so many seeds, in parallel; figures are means, with their 90 % interval.
        workers: processes at most; without it as many as there are processors.
        log: write every request into a .parquet or .csv file.
        perfetto: write a trace for Perfetto or chrome://tracing.
        json: write the figures as JSON.
    """
    from assay.cli.simulate_fleet import fleet_in, run_fleet
    from assay.simulate.export import check_log

    several = fleet_in(on, serving)
    if several is not None:
        if model is not None or seeds > 1 or log or perfetto or calibrated:
            what = "A model's name" if model is not None else "--seeds, --log, --perfetto and --calibrated"
            raise BadInput(
                f"{what} cannot go with {serving.deployment}, which names several models.", "Leave it out."
            )
        flags = (lengths, load, talk, serving, routing, objective)
        return run_fleet(several, flags, price=price, grid=grid, facts=facts, json=json)
    if model is None or objective.fewest:
        raise BadInput(
            "No model is given." if model is None else "--fewest goes with several models.",
            "Name a model, or a --deployment FILE with `models`.",
        )
    asked = Asked(model, lengths, load, talk, on, serving, routing, objective, price, grid, facts, calibrated)
    if seeds > 1:
        if log or perfetto or objective.saturation:
            raise BadInput("--log, --perfetto and --saturation are of one run.", "Leave --seeds out.")
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
            traffic: Requests | Sessions = job.traffic.scaled(load)
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
