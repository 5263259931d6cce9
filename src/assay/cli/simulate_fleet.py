"""`assay simulate --deployment FILE` of several models."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.catalogue.load import catalogue
from assay.cli.flags import Lengths
from assay.cli.progress import progress
from assay.cli.question import ask
from assay.cli.simulate_flags import Load, Objective, Routing, Serving, Talk, given
from assay.cli.simulate_job import INTERRUPTED
from assay.cli.simulate_load import traced
from assay.errors import BadInput

if TYPE_CHECKING:
    from assay.simulate.cluster import Fleet
    from assay.simulate.fleets import StatedFleet, StatedModel
    from assay.simulate.run import Load as Asking
    from assay.study.question import Question
    from assay.workload.arrivals import Requests

#: Flags of all groups: lengths, load, sessions, what serves, routing, objective.
Flags = tuple[Lengths, Load, Talk, Serving, Routing, Objective]


def fleet_in(on: str | None, serving: Serving) -> StatedFleet | None:
    """Return the fleet of `--deployment`; None if that file states one model's deployment, or there is none.

    Raises:
        BadInput: it cannot be used.
    """
    from assay.simulate.fleets import read

    if serving.deployment is None:
        return None
    try:
        return read(serving.deployment, **({"system": on} if on else {}))
    except BadInput:
        if given(replace(serving, deployment=None)):  # flags that contradict any file are named first
            return None
        raise


def alone(serving: Serving, model: str | None, **stated: object) -> None:
    """Refuse a model or flags, by name, that do not go with a file of several models.

    Raises:
        BadInput: one is stated.
    """
    said = [f"the model {model!r}"] if model is not None else []
    said += [f"--{name}" for name, value in stated.items() if value]
    if said:
        raise BadInput(
            f"{said[0]} does not go with {serving.deployment}, which names several models.", "Leave it out."
        )


def run_fleet(
    stated: StatedFleet, flags: Flags, *, price: str, grid: str | None, facts: tuple[Path, ...], json: bool
) -> int:
    """Run a fleet, print what it says and return the exit code.

    Raises:
        AssayError: what is asked for cannot be done.
    """
    from assay.plan.fleet import fewest
    from assay.plan.serving import chip_hour
    from assay.simulate.carbon import grid as electricity
    from assay.simulate.fleet_outcome import outcomes
    from assay.simulate.run import execute_fleet

    _, load, _, serving, routing, objective = flags
    _refuse(flags)
    for one in stated.models:
        if not all(pool.system for pool in one.serves.pools):
            raise BadInput(
                f"{serving.deployment} names no system for {one.name}.",
                "Give --on SYSTEM, or `system:` in it.",
            )
    known = catalogue(facts)
    power = electricity(grid) if grid else None
    asking = {
        one.name: _asking(one, stated, load.seed + k, objective, facts) for k, one in enumerate(stated.models)
    }
    fleet, loads = _built(stated, asking, facts)
    events = _failing(fleet, loads, routing.faults, load.seed)
    with progress() as report:
        run = execute_fleet(fleet, loads, events=events, progress=report)
        found = (
            fewest(stated, lambda one: _built(one, asking, facts)) if objective.fewest and run.whole else None
        )
    costs = [chip_hour(one.serves, known, price) for one in stated.models]
    whole, each = outcomes(fleet, run, [cost for cost, _ in costs], power)
    notes = dict.fromkeys((*whole.notes, *(note for _, note in costs if note)))
    data: dict[str, Any] = whole.json() | {"notes": list(notes), "seed": load.seed}
    data["models"] = [
        _about(one, fleet, k) | _told(each[one.name].json()) for k, one in enumerate(stated.models)
    ]
    for row, one in zip(data["models"], stated.models, strict=True):
        limits = asking[one.name].limits
        row["limits"] = {f"{name}_s": _finite(getattr(limits, name)) for name in ("ttft", "tpot", "e2e")}
    if found is not None:
        data["fewest"] = asdict(found)
    _show(data, json=json)
    return 0 if run.whole else INTERRUPTED


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _refuse(flags: Flags) -> None:
    """Refuse flags that a file of several models states itself.

    Raises:
        BadInput: there are some.
    """
    lengths, load, talk, serving, routing, objective = flags
    said = [*given(lengths), *given(talk), *given(replace(serving, deployment=None))]
    said += [flag for flag in given(replace(load, seed=0)) if flag not in {"--speed", "--on-bad", "--seed"}]
    said += given(replace(routing, faults=None))
    if objective.saturation:
        said.append("--saturation")
    if said:
        raise BadInput(
            f"{said[0]} is of one model; {serving.deployment} names several.", "Write it at each model there."
        )


def _asking(
    one: StatedModel, stated: StatedFleet, seed: int, objective: Objective, facts: Sequence[Path]
) -> Asking:
    """Return what a model is asked, with its limits: its own, the flags', or the usual ones."""
    from assay.engine.models import model
    from assay.plan.answer import check
    from assay.simulate.run import Limits
    from assay.simulate.run import Load as Asking

    traffic, prepared = one.traffic, model(one.model, tuple(facts))[0]
    if traffic.trace is not None:
        flags = Load(trace=traffic.trace, speed=traffic.speed, requests=traffic.requests or None, seed=seed)
        requests = traced(traffic.trace, flags, prepared).requests.scaled(rate=traffic.speed)
        lengths = Lengths(isl=round(float(requests.isl.mean())), osl=round(float(requests.osl.mean())))
        question = _question(one, lengths, objective, facts)
    else:
        lengths = Lengths(
            traffic.workload or None, traffic.isl or None, traffic.osl or None, traffic.cached or None
        )
        question = _question(one, lengths, objective, facts)
        check(question, prepared)
        requests = _drawn(one, question, stated.duration, seed)
    if stated.duration:
        requests = requests.between(0.0, stated.duration)
    if not len(requests):
        raise BadInput(f"{one.name} is asked nothing in {stated.duration:g} s.", "State a longer `duration`.")
    none = float("inf")
    limits = Limits(question.ttft or none, question.tpot or none, one.e2e or objective.e2e or none)
    return Asking(requests, limits, question.cached)


def _question(one: StatedModel, lengths: Lengths, objective: Objective, facts: Sequence[Path]) -> Question:
    return ask(
        one.model,
        lengths,
        ttft=one.ttft or objective.ttft,
        tpot=one.tpot or objective.tpot,
        facts=facts,
        platforms=(one.serves.pools[-1].system,),
    )


def _drawn(one: StatedModel, question: Question, duration: float, seed: int) -> Requests:
    """Return Poisson arrivals: as many as stated, or enough for the duration."""
    from assay.workload.generate import open_loop

    rate = one.traffic.rate
    mean = rate * duration
    count = one.traffic.requests or round(mean + 6.0 * mean**0.5 + 6.0)
    return open_loop(rate, count, question.isl, question.osl, seed=seed)


def _built(
    stated: StatedFleet, asking: dict[str, Asking], facts: Sequence[Path]
) -> tuple[Fleet, list[Asking]]:
    from assay.plan.fleet import fleet

    return fleet(stated, asking, catalogue(facts), facts), [asking[one.name] for one in stated.models]


def _failing(fleet: Fleet, loads: Sequence[Asking], path: Path | None, seed: int) -> Any:
    """Return the failures that a file states for a fleet."""
    if path is None:
        return ()
    from assay.simulate.faults import in_fleet, read_by_model
    from assay.workload.sessions import Sessions

    spans = [
        load.traffic.requests.span if isinstance(load.traffic, Sessions) else load.traffic.span
        for load in loads
    ]
    return in_fleet(fleet, read_by_model(path), max(spans) * 1.5 + 3600.0, seed)


def _about(one: StatedModel, fleet: Fleet, place: int) -> dict[str, Any]:
    """Return what a row says of a model before its figures."""
    member = fleet.members[place]
    return {
        "name": one.name,
        "model": one.model,
        "platform": one.serves.pools[0].system,
        "deployment": one.serves.label(),
        "shared": one.shared,
        "switch_s": member.switch if one.shared else None,
        "patience_s": _finite(member.patience) if one.shared else None,
    }


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of one model without what only all models together have."""
    left = ("schema", "timeline", "units", "compiled", "most_in_flight", "events", "in_flight")
    return {name: value for name, value in figures.items() if name not in left}


def _show(data: dict[str, Any], *, json: bool) -> None:
    """Print the figures as JSON or as a page."""
    if json:
        from assay.report.export import write_json

        write_json(data, sys.stdout)
        return
    from assay.report.simulate_fleet import fleet_page
    from assay.report.terminal import put

    put(fleet_page(data))
