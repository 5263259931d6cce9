"""Steady state of one aggregated replica: TPOT, TTFT with queueing, throughput.

Continuous batching keeps B sequences decoding. Every step finishes B / OSL of them on average, and as many
new prompts enter, so steps are of two kinds: decode only, and decode with a prompt chunk (or, in engines
that put prompts first, a prompt step between decode steps). With phi the share of steps with a chunk,

    TPOT = (1 - phi) t_decode + phi t_mixed        X = B / (OSL TPOT)

and the time to first token is a queueing result, never a constant factor:

    TTFT = residual of the running step + wait for earlier prompts + chunks x t_mixed

The wait is that of a single server (the chunk slot of one attention-DP group) with utilisation phi, service
S = chunks x t_mixed and the coefficient of variation of arrivals and service (Kingman's formula; M/D/1 for
Poisson arrivals). In a closed loop of C users, Little's law ties all of it: C = B + X TTFT.
All arrays are (L, N): L layouts, N operating points; everything is per replica.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.engine.overheads import Engine
from assay.engine.prompts import settled
from assay.engine.step import Batch, Step, seconds

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Utilisation of the prompt server above which a deployment is called saturated.
SATURATED = 0.98


@dataclass(frozen=True, slots=True)
class Steady:
    """Steady state of one replica; arrays (L, N), SI units.

    Attributes:
        batch: sequences decoding at once, over all attention-DP groups and pipeline microbatches.
        concurrency: requests in flight, waiting ones included.
        decode_step: one decode-only step, s. `mixed_step`: one step with a prompt chunk, s.
        tpot: mean time per output token, s.
        ttft: mean time to first token, s; `queue`: the part of it spent behind other prompts.
        throughput: requests/s.
        utilisation: share of the prompt server's time in use; 1 = saturated.
    """

    batch: Array
    concurrency: Array
    decode_step: Array
    mixed_step: Array
    tpot: Array
    ttft: Array
    queue: Array
    throughput: Array
    utilisation: Array

    def e2e(self, osl: ArrayLike) -> Array:
        """Return the mean time from arrival to last token, s."""
        return self.ttft + self.tpot * (np.asarray(osl, dtype=np.float64) - 1.0)


def at_batch(step: Step, engine: Engine, batch: ArrayLike, variation: float = 1.0) -> Steady:
    """Return the steady state that keeps `batch` sequences decoding.

    Args:
        step: the compiled step.
        engine: scheduler policy, token budget and host costs.
        batch: decoding sequences of the replica, broadcastable to (L, N); clipped where prompts cannot
            enter fast enough to keep so many (saturation).
        variation: squared coefficient of variation of arrivals (1 = Poisson, 0 = evenly spaced).
    """
    osl, fresh, yields = _lengths(step)
    decoding, each, room, chunk, busy = _mixture(step, engine, batch)
    any_busy = 1.0 - (1.0 - busy) ** step.table.degrees.dp[:, None]
    decode_step, mixed_step = _steps(step, engine, each, chunk, busy, any_busy)
    mean_step = (1.0 - any_busy) * decode_step + any_busy * mixed_step
    tpot = mean_step / yields
    throughput = decoding / (osl * tpot)
    chunks = np.ceil(fresh / np.minimum(chunk, room))
    service = chunks * mixed_step
    # Kingman: rho / (1 - rho) * (c_a^2 + c_s^2) / 2 * S, with equal service times
    load = np.minimum(busy, SATURATED)
    queue = load / (1.0 - load) * variation / 2.0 * service
    ttft = engine.request + step.workload.fetch + mean_step / 2.0 + queue + service
    return Steady(
        batch=decoding,
        concurrency=decoding + throughput * ttft,
        decode_step=decode_step,
        mixed_step=mixed_step,
        tpot=tpot,
        ttft=ttft,
        queue=queue,
        throughput=throughput,
        utilisation=busy,
    )


def _lengths(step: Step) -> tuple[Array, Array | float, Array | float]:
    """Return output tokens of a request, at least one; input tokens to compute; tokens a step yields."""
    osl = np.maximum(np.asarray(step.workload.osl, dtype=np.float64), 1.0)
    return osl, step.workload.fresh, step.workload.yields


def _mixture(step: Step, engine: Engine, batch: ArrayLike) -> tuple[Array, Array, Array, Array, Array]:
    """Return sequences of the replica and of a group, room for prompts, chunk, share of busy steps."""
    degrees = step.table.degrees
    groups = (degrees.dp * degrees.pp)[:, None]
    osl, fresh, yields = _lengths(step)
    # the budget bounds what can enter; beyond it the batch shrinks until entry and exit balance
    ceiling = groups * osl / yields * engine.budget / (fresh + osl / yields)
    decoding = np.minimum(np.asarray(batch, dtype=np.float64), np.maximum(ceiling, 1.0))
    each = decoding / groups
    entering = each * yields / osl
    room = np.maximum(engine.budget - each, engine.budget / 64)
    chunk = np.minimum(room, fresh * np.maximum(entering, 1.0))
    return decoding, each, room, chunk, np.minimum(entering * fresh / chunk, 1.0)


@dataclass(frozen=True, slots=True)
class Passes:
    """The two steps of a replica.

    Attributes:
        decode: decodes alone. `mixed`: with prompts; these alone where the engine does not mix.
        busy: share of the steps that carry prompts, (L, N).
    """

    decode: Batch
    mixed: Batch
    busy: Array


def passes(step: Step, engine: Engine, batch: ArrayLike) -> Passes:
    """Return the steps that keep `batch` sequences decoding."""
    _, each, _, chunk, busy = _mixture(step, engine, batch)
    return _passes(step, engine, each, chunk, busy, 1.0 - (1.0 - busy) ** step.table.degrees.dp[:, None])


def _passes(step: Step, engine: Engine, each: Array, chunk: Array, busy: Array, any_busy: Array) -> Passes:
    groups = step.table.degrees.dp[:, None]
    # a balanced router leaves whole sequences: the busiest group has the next integer
    local = np.ceil(each - 1e-9)
    others = np.maximum(each * groups, 1.0)
    fresh = step.workload.fresh
    chunks_stage = chunk * np.maximum(busy * groups / np.maximum(any_busy, 1e-12), 1.0)
    first = (local, others) if engine.mixes else (np.zeros_like(local), np.zeros_like(local))
    mixed = Batch(*first, chunk, chunks_stage, chunk / fresh, chunks_stage / fresh)
    return Passes(Batch(local, others), mixed, any_busy)


def _steps(
    step: Step, engine: Engine, each: Array, chunk: Array, busy: Array, any_busy: Array
) -> tuple[Array, Array]:
    """Return the time of a decode step and of a step with a prompt chunk, host included, s."""
    found = _passes(step, engine, each, chunk, busy, any_busy)
    # one scheduler serves the microbatches of all stages in turn; each stage adds its own gap
    stages = step.table.degrees.pp[:, None]
    gap, host = (
        engine.gap * stages,
        (engine.host + engine.host_sequence * np.asarray(found.decode.decode)) * stages,
    )
    decode = np.maximum(seconds(step, found.decode) + gap, host)
    spent = seconds(step, found.mixed) + gap
    return decode, np.maximum(spent, host) if engine.mixes else decode + spent


def closed(
    step: Step, engine: Engine, concurrency: ArrayLike, capacity: ArrayLike = np.inf, rounds: int = 8
) -> Steady:
    """Return the steady state of `concurrency` users that ask again as soon as they are answered.

    Solves C = B + X TTFT by damped iteration on B. Users beyond what memory holds (`capacity` sequences) or
    the prompt budget admits wait: their wait is part of TTFT (Little's law).
    """
    users = np.asarray(concurrency, dtype=np.float64)
    batch = np.minimum(users, capacity)
    state = at_batch(step, engine, batch, variation=closed_variation(users))
    for _ in range(rounds):
        target = np.minimum(users * state.batch / state.concurrency, capacity)
        batch = np.maximum(np.sqrt(state.batch * target), 1e-3)
        state = at_batch(step, engine, batch, variation=closed_variation(users))
    waiting = np.maximum(users / state.throughput - state.concurrency / state.throughput, 0.0)
    held = users > state.concurrency * 1.001
    extra = np.where(held, waiting, 0.0)
    return Steady(
        batch=state.batch,
        concurrency=np.broadcast_to(users, state.batch.shape).astype(np.float64),
        decode_step=state.decode_step,
        mixed_step=state.mixed_step,
        tpot=state.tpot,
        ttft=state.ttft + extra,
        queue=state.queue + extra,
        throughput=state.throughput,
        utilisation=np.where(held, 1.0, state.utilisation),
    )


def closed_variation(users: ArrayLike) -> float:
    """Return the squared variation of arrivals in a closed loop: near-even, since departures are steps."""
    del users
    return 0.5


def open_loop(step: Step, engine: Engine, rate: ArrayLike, capacity: ArrayLike = np.inf) -> Steady:
    """Return the steady state at `rate` requests/s with Poisson arrivals.

    The batch B solves X(B) = rate; X grows with B, so bisection in log B finds it. Where even the largest
    batch does not carry the rate the result is saturated: utilisation 1 and TTFT infinite. From there the
    steps of a replica without PP are followed one by one (`assay.engine.prompts`).
    """
    wanted = np.asarray(rate, dtype=np.float64)
    top = np.minimum(np.asarray(capacity, dtype=np.float64), 1e6)
    shape = np.broadcast_shapes((len(step.table.layouts), 1), wanted.shape, top.shape)
    low, high = np.full(shape, np.log(1e-3)), np.broadcast_to(np.log(top), shape).copy()
    for _ in range(30):
        middle = (low + high) / 2
        enough = at_batch(step, engine, np.exp(middle)).throughput >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    state = at_batch(step, engine, np.exp(high))
    lost = state.throughput < wanted * 0.995
    state = _followed(step, engine, state, wanted, top, lost)
    return Steady(
        batch=state.batch,
        concurrency=np.where(lost, np.inf, state.concurrency),
        decode_step=state.decode_step,
        mixed_step=state.mixed_step,
        tpot=state.tpot,
        ttft=np.where(lost, np.inf, state.ttft),
        queue=np.where(lost, np.inf, state.queue),
        throughput=np.minimum(state.throughput, wanted),
        utilisation=np.where(lost, 1.0, state.utilisation),
    )


def _followed(step: Step, engine: Engine, state: Steady, rate: Array, top: Array, lost: Flags) -> Steady:
    """Return the state with steps as random arrivals make them, where there is one pipeline stage."""
    degrees = step.table.degrees
    rows = np.flatnonzero((degrees.pp == 1) & ~lost.all(axis=1))
    if not rows.size:
        return state
    shape = state.batch.shape
    asked, most = (np.broadcast_to(item, shape)[rows] for item in (rate, top))
    batch, found = settled(step.take(rows), engine, state.batch[rows], asked, most)
    start = engine.request + np.broadcast_to(np.asarray(step.workload.fetch, dtype=np.float64), shape)[rows]
    ttft = start + found.prefill
    better = {
        "batch": batch,
        "concurrency": batch + asked * ttft,
        "decode_step": found.decode,
        "mixed_step": found.mixed,
        "tpot": found.tpot,
        "ttft": ttft,
        "queue": np.maximum(found.prefill - found.mixed, 0.0),
    }
    # a batch that fills the memory waits for it, which random arrivals alone do not tell
    kept = found.known & ~lost[rows] & (batch < most * 0.999)
    columns = {}
    for name, values in better.items():
        columns[name] = getattr(state, name).copy()
        columns[name][rows] = np.where(kept, values, columns[name][rows])
    return replace(state, **columns)


def static(step: Step, engine: Engine, batch: ArrayLike) -> Steady:
    """Return the figures of a static batch: all prompts prefilled together, then lock-step decode.

    This is how `vllm bench latency`, llama-bench and many papers load an engine. TTFT is the time of the
    whole prefill, throughput counts prefill and decode.
    """
    degrees = step.table.degrees
    groups = (degrees.dp * degrees.pp)[:, None]
    osl = np.maximum(np.asarray(step.workload.osl, dtype=np.float64), 1.0)
    sequences = np.asarray(batch, dtype=np.float64)
    local = np.ceil(sequences / groups)
    fresh = step.workload.fresh
    tokens = local * fresh
    passes = np.maximum(np.ceil(tokens / engine.budget), 1.0)
    size = tokens / passes
    stage = size * degrees.dp[:, None]
    zero = np.zeros_like(local)
    prompt = Batch(zero, zero, size, stage, size / fresh, stage / fresh)
    # microbatches fill the pipeline: pp of them cost one full pass and pp - 1 stage times
    fill = (degrees.pp[:, None] * passes + degrees.pp[:, None] - 1) / degrees.pp[:, None]
    prefill = engine.request + fill * (seconds(step, prompt) + engine.gap)
    stages = degrees.pp[:, None]
    host = (engine.host + engine.host_sequence * local) * stages
    busy = seconds(step, Batch(local, local * degrees.dp[:, None])) + engine.gap * stages
    decode = np.maximum(busy, host)
    tpot = decode / step.workload.yields
    whole = prefill + tpot * (osl - 1.0)
    return Steady(
        batch=np.broadcast_to(sequences, tpot.shape).astype(np.float64),
        concurrency=np.broadcast_to(sequences, tpot.shape).astype(np.float64),
        decode_step=decode,
        mixed_step=decode,
        tpot=tpot,
        ttft=prefill,
        queue=np.zeros_like(tpot),
        throughput=sequences / whole,
        utilisation=prefill / whole,
    )
