"""Operating points under a stated load: closed loop, open loop, static batch, offline, goodput.

The figures of L layouts at n points; where a layout is not given, the best of them at each point is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.engine.breakdown import Breakdown, breakdown
from assay.engine.overheads import Engine
from assay.engine.replica import Replica
from assay.engine.speculation import Speculation
from assay.engine.split import decode_seconds, prompt_seconds
from assay.engine.steady import Steady, at_batch, closed, open_loop, static
from assay.engine.step import Batch, Step, Workload
from assay.study.conditions import Conditions

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Load:
    """How n points are loaded, per replica; arrays (1, n), NaN = not stated.

    Attributes:
        kind: closed, open, static, offline or goodput.
        phase: e2e, decode or prefill.
        isl, osl, cached: lengths, and share of the input found in a prefix cache.
        users: requests in flight. `rate`: requests/s. `requests`: requests of a finite run.
        ttft_limit, tpot_limit, e2e_limit: limits of `goodput`, s.
        beams: sequences decoded for each request.
    """

    kind: str
    phase: str
    isl: Floats
    osl: Floats
    cached: Floats
    users: Floats
    rate: Floats
    requests: Floats
    ttft_limit: Floats
    tpot_limit: Floats
    e2e_limit: Floats
    beams: int = 1

    @classmethod
    def of(cls, kind: str, phase: str, points: Conditions, replicas: int, beams: int = 1) -> Load:
        """Spread the load of `points` evenly over `replicas`."""

        def row(values: Floats) -> Floats:
            return np.asarray(values, dtype=np.float64)[None, :]

        return cls(
            kind=kind,
            phase=phase,
            isl=np.nan_to_num(row(points.isl), nan=0.0),
            osl=np.nan_to_num(row(points.osl), nan=1.0),
            cached=row(points.cached),
            users=row(points.concurrency) / replicas,
            rate=row(points.rate) / replicas,
            requests=row(points.requests) / replicas,
            ttft_limit=row(points.ttft_limit),
            tpot_limit=row(points.tpot_limit),
            e2e_limit=row(points.e2e_limit),
            beams=beams,
        )

    def workload(self, budget: float, drafting: Speculation) -> Workload:
        """Return the workload that the compiled step needs."""
        return Workload(
            isl=self.isl,
            osl=self.osl,
            cached=self.cached,
            chunk=budget,
            drafts=float(drafting.drafts),
            yields=drafting.yields[None, :],
            beams=float(self.beams),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of L layouts at n points; arrays (L, n), per replica.

    Attributes:
        state: the steady state.
        ttft_median: median time to first token, s.
        step: the compiled step the state came from.
        capacity: sequences that fit beside the weights; 0 = the model does not fit.
        decode, prompt: breakdown of one decode step and of one prompt on one group.
    """

    state: Steady
    ttft_median: Floats
    step: Step
    capacity: Floats
    decode: Breakdown
    prompt: Breakdown


def evaluate(copy: Replica, load: Load, drafting: Speculation, skew: float) -> Outcome:
    """Return the figures of every layout of a replica under a load."""
    engine = copy.engine
    workload = load.workload(engine.budget, drafting)
    step = copy.step(workload, skew)
    context = load.isl + load.beams * load.osl / 2
    capacity = copy.capacity(context)
    state = steady(step, engine, load, capacity)
    median = state.ttft
    if load.kind == "closed":
        state, median = finite(step, engine, load, state)
    elif load.kind == "offline":
        state, median = together(step, engine, load, state)
    degrees = step.table.degrees
    local = np.ceil(np.maximum(state.batch, 1.0) / (degrees.dp * degrees.pp)[:, None])
    decode = Batch(local, np.maximum(state.batch / degrees.pp[:, None], 1.0))
    zero, groups = np.zeros_like(local), degrees.dp[:, None]
    fresh = workload.fresh
    prompt = Batch(zero, zero, fresh, fresh * groups, 1.0, groups)
    return Outcome(state, median, step, capacity, breakdown(step, decode), breakdown(step, prompt))


def steady(step: Step, engine: Engine, load: Load, capacity: Floats) -> Steady:
    """Return the steady state of a load, by its kind."""
    limit = np.maximum(capacity, 1e-3)
    if load.phase == "decode":
        return decode_only(step, engine, np.minimum(load.users, limit))
    if load.phase == "prefill":
        return prompts_only(step, engine, load)
    if load.kind == "static":
        return static(step, engine, load.users)
    if load.kind == "open" and np.all(np.isfinite(load.rate)):
        return open_loop(step, engine, load.rate, limit)
    if load.kind == "goodput":
        return goodput(step, engine, load, limit)
    users = np.where(np.isfinite(load.users), load.users, limit)
    if load.kind == "offline":
        users = np.fmin(np.fmin(users, load.requests), limit)
    return closed(step, engine, users, limit)


def decode_only(step: Step, engine: Engine, batch: Floats) -> Steady:
    """Return decode steps of a fixed batch, with no prompts entering."""
    spent = decode_seconds(step, engine, batch)
    tpot = spent / step.workload.yields
    zero = np.zeros_like(tpot)
    full = np.broadcast_to(batch, tpot.shape).astype(np.float64)
    rate = full / (np.asarray(step.workload.osl) * tpot)
    return Steady(full, full, spent, spent, tpot, zero + np.nan, zero, rate, zero)


def prompts_only(step: Step, engine: Engine, load: Load) -> Steady:
    """Return prompts back to back, with no decoding: throughput in requests/s, TTFT of one batch."""
    degrees = step.table.degrees
    servers = (degrees.dp * degrees.pp)[:, None]
    users = np.where(np.isfinite(load.users), np.maximum(load.users, 1.0), servers)
    service = prompt_seconds(step, engine)
    waves = np.maximum(users / servers, 1.0)
    ttft = engine.request + waves * service
    rate = np.minimum(users, servers) / service
    full = np.broadcast_to(users, ttft.shape).astype(np.float64)
    none = np.full_like(ttft, np.nan)
    return Steady(full, full, none, service, none, ttft, ttft - service, rate, np.ones_like(ttft))


def goodput(step: Step, engine: Engine, load: Load, capacity: Floats) -> Steady:
    """Return the state at the greatest rate whose tail stays within the limits.

    The 99th percentile of a step-bound TPOT is about its mean plus the spread between step kinds; that of
    TTFT is that of an exponential wait: service + ln(100) x mean wait (M/G/1 in heavy traffic). A whole
    request of mean length takes that TTFT and its TPOTs: how long the longest answers are is not known.
    """
    grid = np.exp(np.linspace(0.0, 1.0, 40))[:, None, None] - 1.0
    batches = np.maximum((np.expm1(1.0) ** -1 * grid) ** 2 * capacity, 1.0)
    best: Steady | None = None
    ttft_limit, tpot_limit, e2e_limit = (
        np.where(np.isfinite(limit), limit, np.inf)
        for limit in (load.ttft_limit, load.tpot_limit, load.e2e_limit)
    )
    for batch in batches:
        state = at_batch(step, engine, batch)
        tail = state.ttft + (np.log(100.0) - 1.0) * state.queue
        holds = (tail <= ttft_limit) & (state.tpot <= tpot_limit)
        holds &= tail + state.tpot * (load.osl - 1.0) <= e2e_limit
        best = state if best is None else pick(holds & (state.throughput > best.throughput), state, best)
    if best is None:
        raise AssertionError("the grid has points")
    return best


def pick(mask: NDArray[np.bool_], yes: Steady, no: Steady) -> Steady:
    """Return `yes` where the mask holds, else `no`, field by field."""
    fields = Steady.__slots__
    return Steady(**{name: np.where(mask, getattr(yes, name), getattr(no, name)) for name in fields})


def finite(step: Step, engine: Engine, load: Load, state: Steady) -> tuple[Steady, Floats]:
    """Return the state with mean TTFT of a finite run, and the median TTFT.

    A closed loop starts with all users at once: the first wave waits for C prompts, half of them on
    average, and makes up C / requests of the run.
    """
    degrees = step.table.degrees
    groups = (degrees.dp * degrees.pp)[:, None]
    wave = np.where(np.isfinite(load.requests), state.concurrency / np.maximum(load.requests, 1.0), 0.0)
    wave = np.minimum(wave, 1.0)
    each = np.maximum(state.concurrency / groups, 1.0)
    first = engine.request + prompt_seconds(step, engine) * (each + 1.0) / 2.0
    mean = (1.0 - wave) * state.ttft + wave * np.maximum(first, state.ttft)
    median = np.where(wave >= 0.5, np.maximum(first, state.ttft), state.ttft)
    return replace(state, ttft=mean, queue=state.queue + mean - state.ttft), median


def together(step: Step, engine: Engine, load: Load, state: Steady) -> tuple[Steady, Floats]:
    """Return the state with the mean TTFT of N requests that are all there from the start, and the median.

    The B that run together are admitted as fast as prompts go, p each; the rest one by one as others finish,
    at the throughput X. The mean over the order of admission is

        (B^2 p / 2 + (N - B) (B p + (N - B) / 2 X)) / N
    """
    degrees = step.table.degrees
    service = prompt_seconds(step, engine)
    each = service / (degrees.dp * degrees.pp)[:, None]
    many = np.where(np.isfinite(load.requests), np.maximum(load.requests, 1.0), state.concurrency)
    inside = np.minimum(state.concurrency, many)
    later = many - inside
    first = inside * each
    wait = (inside * first / 2.0 + later * (first + later / 2.0 / state.throughput)) / many
    half = np.minimum(many / 2.0, inside) * each + np.maximum(many / 2.0 - inside, 0.0) / state.throughput
    known = np.isfinite(load.requests)
    mean = np.where(known, np.maximum(engine.request + service + wait, state.ttft), state.ttft)
    median = np.where(known, np.maximum(engine.request + service + half, state.ttft), state.ttft)
    return replace(state, ttft=mean, queue=state.queue + mean - state.ttft), median


def best_layout(outcome: Outcome, replicas: Floats | float = 1.0) -> NDArray[np.intp]:
    """Return the layout of each point, (n,): the greatest throughput of all replicas among those that fit.

    Args:
        outcome: figures of one replica of each layout.
        replicas: copies of each layout that the chips hold, (L, 1).
    """
    score = np.where(outcome.capacity >= 1, outcome.state.throughput * replicas, -1.0)
    return np.asarray(np.argmax(score, axis=0))


def figures(outcome: Outcome, load: Load, chips: int, replicas: Floats | float) -> Mapping[str, Floats]:
    """Return tpot, ttft, throughput per chip and e2e of all layouts, (L, n), in SI units."""
    state = outcome.state
    tokens = load.isl if load.phase == "prefill" else load.osl
    return {
        "tpot": state.tpot,
        "ttft": state.ttft,
        "ttft_median": outcome.ttft_median,
        "throughput": state.throughput * tokens * replicas / chips,
        "e2e": state.e2e(load.osl),
    }
