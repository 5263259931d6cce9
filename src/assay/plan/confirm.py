"""Confirm rows of a plan: each runs through the simulator at its load, request by request.

A plan predicts means of a steady state. Here the same deployment meets requests that arrive at random, with
the published distribution of their lengths where the workload has one, and queues form as in a server. A plan
of a trace meets the trace: its order, bursts, lengths and prefix blocks, at the rate the plan was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.engine.models import model
from assay.errors import AssayError, BadInput
from assay.plan.caches import tiers
from assay.plan.caches import traffic as recorded
from assay.plan.pace import mean, paced
from assay.plan.serving import chip_hour, cluster
from assay.simulate.deployment import Stated, of_row
from assay.simulate.outcome import outcome
from assay.simulate.run import Limits, execute
from assay.simulate.tiers import Tier
from assay.study.answer import Answer, Row
from assay.study.question import Caches, Question
from assay.workload.arrivals import Requests
from assay.workload.generate import arrivals, like, open_loop

#: Requests of a run at least, and of each request in flight: the start must not weigh.
REQUESTS, ROUNDS = 2000, 20
#: Requests of a trace that are replayed at most.
MOST = 50_000
_OBJECTIVES = ("ttft_s", "tpot_s")


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the simulator says of a row.

    Attributes:
        row: its place in the answer, 0 = best.
        deployment, platform: what runs where.
        rate: requests/s offered; None = users ask again as soon as they are answered.
        users: how many of those; 0 = none.
        requests: how many were simulated.
        figures: `ttft_s`, `tpot_s`: `predicted`, `low`, `high` of the plan beside `mean`, `p50`, `p90`,
            `p99` of the run; `output_tokens_per_s_per_chip`: without percentiles; `hit_rate` where a trace is
            replayed: `predicted` and `mean`; empty if it cannot be simulated.
        goodput_per_s, good_share: requests within the limits, each judged alone; per s and of all.
        holds: whether the means of the run hold the limits that the plan was asked for.
        pace: of its steps, `value`, `low`, `high`, `basis`, `concurrency`; empty without a calibration.
        notes: what a reader must know; the reason, where it cannot be simulated.
    """

    row: int
    deployment: str
    platform: str
    rate: float | None = None
    users: int = 0
    requests: int = 0
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    goodput_per_s: float = 0.0
    good_share: float = 0.0
    holds: bool | None = None
    pace: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: getattr(self, name) for name in self.__slots__} | {
            "figures": {name: dict(item) for name, item in self.figures.items()},
            "pace": dict(self.pace) or None,
            "notes": list(self.notes),
        }


def confirm(
    answer: Answer,
    count: int = 1,
    *,
    facts: Sequence[Path] = (),
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Confirmation, ...]:
    """Simulate the best rows of an answer.

    Args:
        answer: of `assay.plan.answer`.
        count: how many rows, from the best on.
        facts: folders of the user's own facts.
        seed: of arrivals and lengths.
        progress: told what is done and the share done.
    """
    rows = answer.rows[:count]
    found = []
    for place, row in enumerate(rows):
        if progress:
            progress(f"simulates {row.deployment.short()}", place / len(rows))
        try:
            found.append(simulated(place, row, answer.question, facts, seed))
        except AssayError as error:
            label, system = row.deployment.label(), row.deployment.system
            found.append(Confirmation(place, label, system, notes=(f"not simulated: {error}",)))
    return tuple(found)


def simulated(
    number: int, row: Row, question: Question, facts: Sequence[Path] = (), seed: int = 0
) -> Confirmation:
    """Return what the simulator says of one row.

    Args:
        number: place of the row in its answer.
        row: deployment and load.
        question: model, lengths and limits.
        facts: folders of the user's own facts.
        seed: of arrivals and lengths.

    Raises:
        AssayError: the deployment cannot be simulated, as dataflow chips.
        KeyboardInterrupt: it was interrupted.
    """
    known = catalogue(tuple(facts))
    stated = of_row(row.deployment.json(), "row")
    if row.drafting:
        yields = float(row.drafting["yields"])
        stated = replace(stated, pools=tuple(replace(pool, acceptance=yields) for pool in stated.pools))
    cached = float(row.cache["hit"]) if row.cache else question.cached
    streams = row.streams(question.osl)
    users = 0 if question.rate is not None else streams
    traffic = offered(question, streams, seed, facts)
    stated = caching(stated, question.caches, known)
    serves = cluster(stated, question.model, known, context=float(traffic.isl.mean()), facts=facts)
    serves, pace = paced(serves, mean(traffic, cached=cached, users=users))
    none = float("inf")
    limits = Limits(question.ttft or none, question.tpot or none)
    run = execute(serves, traffic, users=users, cached=cached, limits=limits)
    if not run.whole:
        raise KeyboardInterrupt
    price, note = chip_hour(stated, known, question.price)
    said = outcome(serves, run, price)
    data = said.figures
    figures = {name: beside(row, name, data[name]) for name in _OBJECTIVES if name in row.figures}
    name = "output_tokens_per_s_per_chip"
    if name in row.figures:
        figures[name] = beside(row, name, {"mean": data[name]})
    if traffic.blocks is not None:
        figures["hit_rate"] = {"predicted": cached, "mean": data["hit_rate"]}
    held = [(data["ttft_s"]["mean"], limits.ttft), (data["tpot_s"]["mean"], limits.tpot)]
    return Confirmation(
        row=number,
        deployment=row.deployment.label(),
        platform=row.deployment.system,
        rate=question.rate,
        users=users,
        requests=len(traffic),
        figures=figures,
        goodput_per_s=data["goodput_per_s"],
        good_share=data["good_share"],
        holds=all(value <= limit for value, limit in held if np.isfinite(value)) and not data["rejected"],
        pace=pace.json() if pace else {},
        notes=(*said.notes, *((note,) if note else ())),
    )


def offered(question: Question, users: int, seed: int = 0, facts: Sequence[Path] = ()) -> Requests:
    """Return the requests of a question: its trace, its workload's lengths, else all equal to its means.

    Args:
        question: rate and lengths.
        users: requests in flight, which their number follows.
        seed: of arrivals and lengths.
        facts: folders of the user's own facts.
    """
    if question.caches is not None and question.caches.trace:
        return traced(question, question.caches.trace, facts)
    count = max(REQUESTS, ROUNDS * users)
    rate = question.rate or 1.0
    if not question.workload:
        return open_loop(rate, count, question.isl, question.osl, seed=seed)
    return like(question.workload, arrivals(rate, count, seed=seed), seed, facts)


def traced(question: Question, trace: str, facts: Sequence[Path] = ()) -> Requests:
    """Return a trace at the rate and mean lengths of a question, without what the model cannot serve.

    Args:
        question: it may state a rate and other mean lengths than the trace has.
        trace: file.
        facts: folders of the user's own facts.

    Raises:
        BadInput: the model can serve none of it.
    """
    found = recorded(trace)
    longest = model(question.model, tuple(facts))[0].architecture.max_context
    if longest:
        found = found.take(np.flatnonzero(found.isl + found.osl <= longest))
    if not len(found):
        raise BadInput(f"No request of {trace!r} fits the context of {question.model}.")
    found = found.take(np.arange(min(len(found), MOST)))
    own = len(found) / found.span if found.span else 1.0
    longer = (_stretch(question.isl, found.isl), _stretch(question.osl, found.osl))
    return found.scaled((question.rate or own) / own, *longer)


def _stretch(stated: float, tokens: NDArray[np.int64]) -> float:
    """Return the factor from the mean of the trace to what is stated; 1 where both are the same number."""
    mean_tokens = float(tokens.mean())
    return 1.0 if round(mean_tokens) == round(stated) else stated / mean_tokens


def caching(stated: Stated, asked: Caches | None, known: Catalogue) -> Stated:
    """Return a deployment with the router and the tiers behind each replica that a question's cache has.

    Args:
        stated: the deployment.
        asked: the cache; without a trace the hits of the plan are taken as they are.
        known: the facts.
    """
    if asked is None or not asked.trace:
        return stated
    first, *rest = stated.pools
    below = tuple(
        Tier(tier.name, tier.size * first.layout.chips, tier.rate * first.layout.chips)
        for tier in tiers(asked, known.system(first.system))
        if np.isfinite(tier.size)
    )
    return replace(stated, router=asked.router, pools=(replace(first, tiers=below), *rest))


def beside(row: Row, name: str, found: Mapping[str, float]) -> dict[str, float]:
    """Return the plan's figure beside the run's."""
    plan = row.figures[name]
    predicted = {"predicted": float(plan.value), "low": float(plan.low), "high": float(plan.high)}
    return predicted | {key: float(found[key]) for key in ("mean", "p50", "p90", "p99") if key in found}
