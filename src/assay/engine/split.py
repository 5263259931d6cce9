"""Disaggregated serving in steady state: prompts in one pool of replicas, decoding in another.

The prefill pool is a queue with one server a replica and attention-DP group, the decode pool runs decode-only
steps, and the cache of a finished prompt crosses a link between them. Rates are matched by queueing, not by
factors: at a request rate X the prefill pool waits by Sakasegawa's formula for many servers (Queueing
Systems, 1977), the link by that of a single one, and

    TTFT = request + W(X) + S + transfer + t_decode        C = X TTFT + X (OSL - 1) TPOT

`matched` evaluates it at given decode batches for any broadcast of pairs; `closed_split` closes the loop for
stated users of one pair. Everything expensive (steps of a layout) is computed once a layout, outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.overheads import Engine
from assay.engine.steady import SATURATED, Steady
from assay.engine.step import Batch, Step, seconds
from assay.errors import NoEvidence
from assay.llm.shard import Table, cache_bytes
from assay.timing.collectives import kv_block_share, link

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Handing one request's cache from a prefill to a decode replica, for P x D pairs of layouts.

    Attributes:
        size: bytes that the busier chip of either end moves, (P, D, N).
        near, far: s before the first byte and B/s of a chip, within a scale-up domain (scalars) and over
            the NICs ((D, 1), by the size of the blocks); a rate of 0 = there is no such way.
        lanes: requests that one prefill replica can send, and one decode replica receive, at once.
    """

    size: Array
    near: tuple[float, float]
    far: tuple[float, Array]
    lanes: tuple[Array, Array]

    def take(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Crossing:
        """Return the crossings of the prefill layouts at `rows` and the decode layouts at `columns`."""
        return Crossing(
            self.size[np.ix_(rows, columns)],
            self.near,
            (self.far[0], self.far[1][columns]),
            (self.lanes[0][rows], self.lanes[1][columns]),
        )

    def over(self, inside: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return latency and busy seconds, (P, D, R, N), for R ways to deploy each pair.

        Args:
            inside: whether both pools stand in one scale-up domain, broadcastable to (P, D, R, N).
        """
        size = self.size[:, :, None, :]
        with np.errstate(divide="ignore"):
            near, far = size / self.near[1], size / self.far[1][None, :, None, :]
        return np.where(inside, self.near[0], self.far[0]), np.where(inside, near, far)


@dataclass(frozen=True, slots=True)
class Matched:
    """Two matched pools; arrays broadcast over the pairs, figures of the whole deployment.

    Attributes:
        rate: requests/s.
        ttft: mean time to first token, s; `queue` the part spent behind other prompts.
        load: share of the prefill pool's time in use; 1 or more = it cannot carry the rate.
        users: requests in flight, waiting ones included.
    """

    rate: Array
    ttft: Array
    queue: Array
    load: Array
    users: Array


@dataclass(frozen=True, slots=True)
class Prompting:
    """How long steps of a prefill replica take, by the prompts they carry; arrays broadcast to the pairs.

    A step with k prompts a group takes `once + k more` between one prompt and `most`, what the token budget
    admits; prompts longer than the budget take several steps (`most` is 1).

    A pipeline of p stages works on p steps at once. The n chunks of one prompt follow one another through the
    stages, so that it takes (n + p - 1) / n p of its steps in series, and fills n of the p places: a replica
    then has (n + p - 1) / n servers a group. Stages with nothing in store between them lose time where their
    steps differ: with N = p steps under way, 1 + c^2 (p - 1) / N. A closed line of equal stations loses that
    with exponential times, c^2 = 1, and nothing with equal ones, c^2 = 0 (Reiser and Lavenberg, Journal of
    the ACM 27, 1980); between the two it is an interpolation, and c^2 is fitted (`bubbles`).

    Attributes:
        single, full: s of a step with one and with `most` prompts on every group.
        most: prompts of one group in a full step.
        servers: prompts or steps under way at once in a replica.
        bubbles: time per step of a full pipeline over that of one without variation.
    """

    single: Array
    full: Array
    most: Array
    servers: Array
    bubbles: Array

    @property
    def each(self) -> Array:
        """Seconds of a group per prompt at full steps: its inverse is what it can carry."""
        return self.full / self.most * self.bubbles

    def take(self, rows: Any) -> Prompting:
        """Return the steps at an index of their arrays: some of the layouts, or with more axes."""
        parts = (self.single, self.full, self.most, self.servers, self.bubbles)
        return Prompting(*(part[rows] for part in parts))

    def step(self, rate: ArrayLike) -> Array:
        """Return the step that `rate` prompts/s on one group lead to, s.

        Those that arrive during a step form the next one: `k = rate (once + k more)`.
        """
        wanted = np.asarray(rate, dtype=np.float64)
        span = np.maximum(self.most - 1.0, 1e-9)
        more = np.where(self.most > 1.0, (self.full - self.single) / span, 0.0)
        once = self.single - more
        free = np.maximum(1.0 - wanted * more, 1e-9)
        count = np.clip(wanted * once / free, 1.0, self.most)
        return np.asarray(once + count * more)


def prompting(step: Step, engine: Engine) -> Prompting:
    """Time the steps of every layout of a prefill pool, arrays (L, N)."""
    degrees = step.table.degrees
    fresh = step.workload.fresh
    most = np.maximum(np.floor(engine.budget / fresh), 1.0)
    single = prompt_seconds(step, engine)
    full = prompt_seconds(step, engine, most) if np.any(most > 1.0) else single
    stages = degrees.pp[:, None]
    chunks = np.ceil(fresh / engine.budget)
    places = (chunks + stages - 1.0) / chunks
    bubbles = 1.0 + stage_variation() * (stages - 1.0) / stages
    parts = (single * places / stages, full * places / stages, most, degrees.dp[:, None] * places, bubbles)
    shape = np.broadcast_shapes(single.shape, np.shape(most))
    return Prompting(*(np.broadcast_to(item, shape) for item in parts))


def stage_variation() -> float:
    """Return the squared coefficient of variation of a pipeline stage's steps."""
    return float(catalogue().table("engines/pipeline")["stage_variation"]["value"])


def prompt_seconds(step: Step, engine: Engine, prompts: ArrayLike = 1.0) -> Array:
    """Return the time one attention-DP group takes for `prompts` prompts, other groups alike, s, (L, N).

    Prompts longer than the token budget are taken one at a time, in equal chunks; every stage of a pipeline
    starts its own steps.
    """
    chunks, batch = prompt_batch(step, engine, prompts)
    return np.asarray(chunks * (seconds(step, batch) + engine.gap * step.table.degrees.pp[:, None]))


def prompt_batch(step: Step, engine: Engine, prompts: ArrayLike) -> tuple[Array, Batch]:
    """Return the chunks of `prompts` prompts on every attention-DP group, and the step of one chunk."""
    fresh = step.workload.fresh
    chunks = np.ceil(fresh / engine.budget)
    size = fresh / chunks * np.asarray(prompts, dtype=np.float64)
    groups = step.table.degrees.dp[:, None]
    zero = np.zeros_like(groups)
    ended = np.asarray(prompts, dtype=np.float64) / chunks
    return chunks, Batch(zero, zero, size, size * groups, ended, ended * groups)


def alone(step: Step) -> Batch:
    """Return the step in which every attention-DP group has one whole prompt and decodes nothing."""
    groups, fresh = step.table.degrees.dp[:, None], step.workload.fresh
    zero = np.zeros_like(groups)
    return Batch(zero, zero, fresh + zero, fresh * groups, 1.0 + zero, groups)


def decode_seconds(step: Step, engine: Engine, batch: ArrayLike) -> Array:
    """Return one decode step of a replica holding `batch` sequences, s, (L, N)."""
    degrees = step.table.degrees
    each = np.asarray(batch, dtype=np.float64) / (degrees.dp * degrees.pp)[:, None]
    local = np.ceil(each - 1e-9)
    stage = np.maximum(each * degrees.dp[:, None], 1.0)
    stages = degrees.pp[:, None]
    host = (engine.host + engine.host_sequence * local) * stages
    return np.asarray(np.maximum(seconds(step, Batch(local, stage)) + engine.gap * stages, host))


def wait(service: ArrayLike, servers: ArrayLike, load: ArrayLike, variation: float = 1.0) -> Array:
    """Return the mean wait for one of many servers with equal service times, s (Sakasegawa 1977).

    `(c_a^2 + c_s^2) / 2 x rho^(sqrt(2 (m + 1)) - 1) / (m (1 - rho)) x S`; infinite from a load of one on.

    Args:
        service: S, s.
        servers: m.
        load: rho, share of the servers' time in use.
        variation: c_a^2 of the arrivals (1 = Poisson); service times are equal.
    """
    many = np.asarray(servers, dtype=np.float64)
    used = np.asarray(load, dtype=np.float64)
    power = np.sqrt(2.0 * (many + 1.0)) - 1.0
    with np.errstate(divide="ignore"):
        queue = np.exp(power * np.log(used)) / np.maximum(1.0 - used, 1e-12)
    return np.where(
        used < 1.0, queue * (np.asarray(service, dtype=np.float64) * (variation / 2.0) / many), np.inf
    )


def crossing(prefill: Table, decode: Table, systems: tuple[System, System], context: ArrayLike) -> Crossing:
    """Return how the cache of a prompt of `context` tokens crosses, for P x D pairs of layouts.

    A receiving chip needs its own share of the cache (every TP rank a copy of a latent); the sending chips
    share the work. The busier chip decides, at the rate the fabric reaches with blocks of that size.

    Args:
        prefill, decode: sharded models of P and D layouts.
        systems: where prefill and decode stand; two different systems always cross the NICs.
        context: tokens in cache, (1, N).
    """
    tokens = np.asarray(context, dtype=np.float64)
    received = cache_bytes(decode, tokens)[None, :, :]
    sender, receiver = prefill.degrees, decode.degrees
    ends = (receiver.tp * receiver.cp * receiver.pp)[None, :, None]
    sent = received * ends / (sender.tp * sender.cp * sender.pp)[:, None, None]
    share = kv_block_share(block_bytes(decode))[:, None]
    start, rate = way(systems, inside=False)
    same = systems[0].id == systems[1].id
    return Crossing(
        size=np.maximum(sent, received),
        near=way(systems, inside=True) if same else (start, 0.0),
        far=(start, rate * share),
        lanes=(sender.dp * sender.pp, receiver.dp),
    )


def block_bytes(table: Table) -> Array:
    """Return the bytes of one block on a receiving chip: neighbouring pages of one layer, (L,)."""
    run = float(catalogue().table("engines/transfer")["block_tokens"]["value"])
    size = np.ones_like(table.degrees.tp)
    for cache in table.caches:
        width = cache.position_bytes.get(table.kv_format, cache.position_bytes.get("bf16", 0.0))
        part = np.ceil(cache.kv_heads / table.degrees.tp) / cache.kv_heads
        size = np.maximum(size, width * part * min(run / cache.stride, cache.window))
    return np.asarray(size)


def networked(systems: tuple[System, System]) -> None:
    """Check that caches can cross between two systems.

    Raises:
        NoEvidence: one of them has no published network rate.
    """
    for item in systems:
        if not item.nic_bandwidth:
            raise NoEvidence(
                f"{item.name} has no published network rate (nic_bandwidth): caches cannot cross between "
                f"{systems[0].name} and {systems[1].name}.",
                "Give nic_bandwidth in a facts file.",
            )


def way(systems: tuple[System, System], *, inside: bool) -> tuple[float, float]:
    """Return latency and B/s of one chip's end of a transfer; the slower of two systems."""
    if any(not (item.link_bandwidth if inside else item.nic_bandwidth) for item in systems):
        return 0.0, 0.0
    found = [
        link(item, "kv_transfer", np.array([2 if inside else item.domain + 1], dtype=np.int64))
        for item in systems
    ]
    # protocol 1 is the one for large messages
    return max(float(item.latency[-1, 0]) for item in found), min(float(item.rate[-1, 0]) for item in found)


def matched(
    engine: Engine,
    steps: Prompting,
    prefill_replicas: ArrayLike,
    tpot: ArrayLike,
    batch: ArrayLike,
    osl: ArrayLike,
    handover: tuple[ArrayLike, ArrayLike, ArrayLike],
    variation: float = 1.0,
) -> Matched:
    """Return the state of two pools while the decode pool holds `batch` sequences; arrays broadcast.

    Args:
        engine: time of a request before the scheduler.
        steps: of the prefill pool.
        prefill_replicas: copies of the prefill replica.
        tpot: time per output token at that batch, s.
        batch: sequences decoding in all decode replicas.
        osl: output tokens of a request.
        handover: latency, busy seconds and lanes of all replicas (see `Crossing`).
        variation: squared coefficient of variation of arrivals.
    """
    latency, busy, lanes = (np.asarray(item, dtype=np.float64) for item in handover)
    step_time = np.asarray(tpot, dtype=np.float64)
    length = np.asarray(osl, dtype=np.float64)
    rate = np.asarray(batch, dtype=np.float64) / (length * step_time)
    servers = np.asarray(prefill_replicas, dtype=np.float64) * steps.servers
    load = rate * steps.each / servers
    service = steps.step(rate / servers)
    queue = wait(steps.each, servers, load, variation)
    link_load = rate * busy / lanes
    # one lane at a time is in use: the wait of a single server
    crowd = np.where(link_load < 1.0, link_load / np.maximum(1.0 - link_load, 1e-12), np.inf)
    transfer = latency + busy * (1.0 + variation / 2.0 * crowd / lanes)
    ttft = engine.request + queue + service + transfer + step_time
    return Matched(
        rate=rate,
        ttft=ttft,
        queue=queue,
        load=np.maximum(load, link_load),
        users=rate * (ttft + step_time * np.maximum(length - 1.0, 0.0)),
    )


def closed_split(  # noqa: PLR0913 - two pools, each with its counts
    prefill: Step,
    decode: Step,
    engine: Engine,
    users: ArrayLike,
    *,
    prefill_replicas: int,
    decode_replicas: int,
    transfer: ArrayLike,
    capacity: ArrayLike = np.inf,
    requests: ArrayLike = np.inf,
    rounds: int = 30,
) -> Steady:
    """Return the steady state of `users` in a closed loop over two pools; figures of the whole deployment.

    A finite run that starts with all users at once adds their first wave: they are `users / requests` of
    the run, and wait for half of the wave's prompts on average. At its end the deployment drains: the last
    users leave one by one, with half of them there on average.

    Args:
        prefill, decode: compiled steps of one replica of each pool (L = 1).
        engine: scheduler policy, budgets and host costs.
        users: requests in flight, (1, N).
        prefill_replicas, decode_replicas: copies of each.
        transfer: s to hand one request's cache over.
        capacity: sequences all decode replicas can hold.
        requests: requests of a finite run; inf = long enough.
        rounds: damped iterations on the decoding batch.
    """
    osl = np.maximum(np.asarray(decode.workload.osl, dtype=np.float64), 1.0)
    total = np.asarray(users, dtype=np.float64)
    steps = prompting(prefill, engine)
    servers = prefill_replicas * steps.servers
    fastest = servers / steps.each
    most = np.asarray(capacity, dtype=np.float64)
    crossing_time = np.asarray(transfer, dtype=np.float64)
    batch = np.minimum(total, most)
    yields = np.asarray(decode.workload.yields, dtype=np.float64)
    for _ in range(rounds):
        step_time = decode_seconds(decode, engine, batch / decode_replicas)
        tpot = step_time / yields
        rate = np.minimum(batch / (osl * tpot), fastest * SATURATED)
        load = rate / fastest
        service = steps.step(rate / servers)
        queue = wait(steps.each, servers, load)
        first = engine.request + queue + service + crossing_time + step_time
        target = np.minimum(np.minimum(total - rate * first, most), fastest * SATURATED * osl * tpot)
        batch = np.sqrt(batch * np.maximum(target, 1e-3))
    held = np.maximum(total / rate - first - osl * tpot, 0.0)
    ttft = first + held
    wave = np.minimum(total / np.asarray(requests, dtype=np.float64), 1.0)
    extra = wave * np.maximum(total / servers * steps.each / 2.0 - queue - held, 0.0)
    return Steady(
        batch=batch,
        concurrency=np.broadcast_to(total, batch.shape).astype(np.float64),
        decode_step=step_time,
        mixed_step=service,
        tpot=tpot,
        ttft=ttft + extra,
        queue=queue + held + extra,
        throughput=rate / (1.0 + extra / (ttft + osl * tpot) + wave / 2.0),
        utilisation=load,
    )
