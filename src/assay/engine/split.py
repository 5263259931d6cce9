"""Disaggregated serving in steady state: prompts in one pool of replicas, decoding in another.

The prefill pool is a queue with `n` servers (one a replica and attention-DP group); the decode pool runs
decode-only steps. A closed loop of C users ties them: C = (in prefill) + (in transfer) + (decoding).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.engine.overheads import Engine
from assay.engine.steady import SATURATED, Steady
from assay.engine.step import Batch, Step, seconds

Array = NDArray[np.float64]


def prompt_seconds(step: Step, engine: Engine) -> Array:
    """Return the time one attention-DP group takes for one prompt, other groups equally busy, s, (L, N)."""
    fresh = step.workload.fresh
    chunks = np.ceil(fresh / engine.budget)
    size = fresh / chunks
    groups = step.table.degrees.dp[:, None]
    zero = np.zeros_like(groups)
    batch = Batch(zero, zero, size, size * groups, 1.0 / chunks, groups / chunks)
    return np.asarray(chunks * (seconds(step, batch) + engine.gap))


def decode_seconds(step: Step, engine: Engine, batch: ArrayLike) -> Array:
    """Return one decode step of a replica holding `batch` sequences, s, (L, N)."""
    degrees = step.table.degrees
    each = np.asarray(batch, dtype=np.float64) / (degrees.dp * degrees.pp)[:, None]
    local = np.ceil(each - 1e-9)
    stage = np.maximum(each * degrees.dp[:, None], 1.0)
    stages = degrees.pp[:, None]
    host = (engine.host + engine.host_sequence * local) * stages
    return np.asarray(np.maximum(seconds(step, Batch(local, stage)) + engine.gap * stages, host))


def closed_split(
    prefill: Step,
    decode: Step,
    engine: Engine,
    users: ArrayLike,
    *,
    prefill_replicas: int,
    decode_replicas: int,
    transfer: ArrayLike,
    capacity: ArrayLike = np.inf,
    rounds: int = 30,
) -> Steady:
    """Return the steady state of `users` in a closed loop over two pools; figures of the whole deployment.

    Args:
        prefill, decode: compiled steps of one replica of each pool (L = 1).
        engine: scheduler policy, budgets and host costs.
        users: requests in flight, (1, N).
        prefill_replicas, decode_replicas: copies of each.
        transfer: s to hand one request's cache over.
        capacity: sequences all decode replicas can hold.
        rounds: damped iterations on the decoding batch.
    """
    osl = np.maximum(np.asarray(decode.workload.osl, dtype=np.float64), 1.0)
    total = np.asarray(users, dtype=np.float64)
    degrees = prefill.table.degrees
    servers = prefill_replicas * (degrees.dp * degrees.pp)[:, None]
    service = prompt_seconds(prefill, engine)
    fastest = servers / service
    batch = np.minimum(total, capacity)
    yields = decode.workload.yields
    for _ in range(rounds):
        step_time = decode_seconds(decode, engine, batch / decode_replicas)
        tpot = step_time / yields
        rate = np.minimum(batch / (osl * tpot), fastest * SATURATED)
        load = rate / fastest
        # Erlang-like wait of many servers: the queue forms only as load nears one (Sakasegawa 1977)
        queue = service / servers * load ** (np.sqrt(2 * (servers + 1)) - 1) / (1 - load) * 0.5
        first = engine.request + queue + service + transfer + step_time
        target = np.minimum(np.minimum(total - rate * first, capacity), fastest * SATURATED * osl * tpot)
        batch = np.sqrt(batch * np.maximum(target, 1e-3))
    held = np.maximum(total / rate - first - osl * tpot, 0.0)
    return Steady(
        batch=batch,
        concurrency=np.broadcast_to(total, batch.shape).astype(np.float64),
        decode_step=step_time,
        mixed_step=service,
        tpot=tpot,
        ttft=first + held,
        queue=queue + held,
        throughput=rate,
        utilisation=load,
    )
