"""Prompts that arrive by themselves: how many a step carries, and what that costs those that decode.

Between two steps the only thing that is random is how many prompts arrived. The backlog q at the start of a
step, in units of a prompt or of the part of one that a step can take, is a Markov chain:

    q' = max(q - s, 0) + u a,     a ~ Poisson(rate c(q))

with c(q) the time of a step that takes min(q, s) units, s what the token budgets of all DP ranks hold beside
the decodes, and u the units of a prompt; prompts go to the ranks in turn. From its stationary distribution
pi follow

    mean step      E c = sum pi c
    TTFT           L / rate,  L = sum pi c ceil(q / u) / E c + rate E c^2 / (2 E c)     (Little's law)
    TPOT           E c + x / (OSL - 1),  x = (g - pi) Z (c - E c),  Z = (I - P + 1 pi)^-1

g is where the chain stands when a prompt has just been computed: behind a long step more prompts wait than
usual, so the first steps of a request are longer than its later ones. Without prompts beside decodes (SGLang)
only steps with q = 0 yield tokens, and c - E c becomes c - TPOT [q = 0].

Those that decode share the chip, and each sees the mean batch, itself, and those whose prompts were computed
close to its own: counted in steps, prompts end in clumps, as many arrive during the steps of other prompts.

    B = rate OSL TPOT(B + D),     D = (2 pi w Z w - pi w^2) / m,   w = min(q, s) / u - m

D is the index of dispersion of the prompts that end in a step (m on average; 1 = Poisson): processor sharing
whose rate depends on its number, with arrivals in batches. What is left out: a prompt a little longer than
the budget, whose rest waits for the next step, and requests that wait for memory.

References: Kemeny and Snell, "Finite Markov Chains", 1960 (the matrix Z, and the variance of sums); Kelly,
"Reversibility and Stochastic Networks", 1979 (symmetric queues).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.engine.overheads import Engine
from assay.engine.step import Batch, Step, seconds

Array = NDArray[np.float64]

#: Backlog beyond which the chain is cut, units.
LONGEST = 32
#: Units at which a step is timed; between them its time is interpolated.
NODES = (0, 1, 2, 3, 5, 8, 12, 18, LONGEST)
#: Share of the time that the chain may stand at its end, beyond which it says nothing.
CUT = 0.02
#: Newton steps to the batch at which entry and exit balance.
ROUNDS = 3
#: Factor on the batch over which the slope of TPOT is taken.
_NUDGE = 1.03
#: Times at `NODES` -> times at every backlog, linear between.
_BETWEEN = np.stack([np.interp(np.arange(LONGEST + 1), NODES, row) for row in np.eye(len(NODES))])


@dataclass(frozen=True, slots=True)
class Flow:
    """Steps with prompts that arrive at random; arrays (L, N).

    Attributes:
        tpot: s a token of a request.
        prefill: s from arrival at the scheduler to the first token.
        decode, mixed: s of a step without prompts, and mean of those with them.
        clump: index of dispersion of the prompts that end in a step; 1 = Poisson.
        known: whether the chain was long enough.
    """

    tpot: Array
    prefill: Array
    decode: Array
    mixed: Array
    clump: Array
    known: NDArray[np.bool_]


def flow(step: Step, engine: Engine, batch: Array, rate: Array) -> Flow:
    """Return the steps of a replica without PP that decodes `batch` sequences.

    Args:
        step: the compiled step.
        engine: scheduler policy, budget and host costs.
        batch: decoding sequences, (L, N).
        rate: requests/s, (L, N).
    """
    fresh = np.broadcast_to(step.workload.fresh, batch.shape)
    ranks = step.table.degrees.dp[:, None] + np.zeros(batch.shape)
    room = np.maximum(engine.budget - batch / ranks, engine.budget / 64)
    units = np.clip(np.rint(fresh / room), 1, LONGEST)
    most = np.clip(np.floor(room * units / fresh + 1e-9) * ranks, 1, LONGEST)
    times = _times(step, engine, batch, fresh / units, most)
    yields = np.broadcast_to(np.asarray(step.workload.yields, dtype=np.float64), batch.shape)
    later = np.maximum((np.asarray(step.workload.osl) - 1.0) / yields, 1.0)
    each = tuple(item.reshape(-1) for item in (units, most, rate, later))
    found = _chain(times.reshape(-1, LONGEST + 1), *each, mixes=engine.mixes)
    pace, prefill, mixed, clump, end = (item.reshape(batch.shape) for item in found)
    return Flow(pace / yields, prefill, times[..., 0], mixed, clump, end < CUT)


def settled(step: Step, engine: Engine, batch: Array, rate: Array, capacity: Array) -> tuple[Array, Flow]:
    """Return the mean batch at `rate`, and its steps.

    Args:
        step: the compiled step.
        engine: scheduler policy, budget and host costs.
        batch: decoding sequences to start from, (L, N).
        rate: requests/s, (L, N).
        capacity: sequences that memory holds, (L, N).
    """
    osl = np.maximum(np.asarray(step.workload.osl, dtype=np.float64), 1.0)
    at, clump = np.maximum(batch, 1e-3), np.ones_like(batch)
    for _ in range(ROUNDS):
        seen = at + clump
        here, there = flow(step, engine, seen, rate), flow(step, engine, seen * _NUDGE, rate)
        slope = rate * osl * (there.tpot - here.tpot) / (seen * (_NUDGE - 1.0))
        at = np.clip(at + (rate * osl * here.tpot - at) / (1.0 - np.clip(slope, 0.0, 0.95)), 1e-3, capacity)
        clump = here.clump
    mean = flow(step, engine, at, rate)
    return at, replace(mean, tpot=flow(step, engine, np.minimum(at + clump, capacity), rate).tpot)


def _times(step: Step, engine: Engine, batch: Array, unit: Array, most: Array) -> Array:
    """Return the time of a step that finds a backlog of 0 .. LONGEST units, s, (L, N, LONGEST + 1)."""
    found = []
    ranks = step.table.degrees.dp[:, None]
    # the busiest rank has the next whole sequence
    local, others = batch / ranks + (ranks - 1.0) / (2.0 * ranks), np.maximum(batch, 1.0)
    host = engine.host + engine.host_sequence * np.ceil(local)
    fresh, zero = step.workload.fresh, np.zeros_like(batch)
    for node in NODES:
        taken = np.minimum(node, most)
        size, busiest = taken * unit, np.maximum(taken / ranks, 1.0) * unit
        prompts = (busiest, size, busiest / fresh, size / fresh)
        if not node:
            spent = seconds(step, Batch(local, others))
        elif engine.mixes:
            spent = seconds(step, Batch(local, others, *prompts))
        else:
            spent = seconds(step, Batch(zero, zero, *prompts))
        found.append(np.maximum(spent + engine.gap, host))
    return np.asarray(np.stack(found, axis=-1) @ _BETWEEN)


def _chain(
    times: Array, units: Array, most: Array, rate: Array, later: Array, *, mixes: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Return five columns (M,).

    They are: s a step of a request that decodes for `later` steps, s to its first token, s of a step with
    prompts, dispersion of the prompts that end in a step, and the share of steps at the end of the chain.
    """
    states = np.arange(LONGEST + 1)
    moves = _moves(times, units, most, rate)
    share = _stationary(moves)
    mean = (share * times).sum(axis=1)
    present = np.ceil(states / units[:, None])
    waiting = (share * times * present).sum(axis=1) / mean
    prefill = waiting / np.maximum(rate, 1e-300) + (share * times**2).sum(axis=1) / (2.0 * mean)
    yields = np.ones_like(times) if mixes else np.broadcast_to(states == 0, times.shape).astype(np.float64)
    pace = mean / np.maximum((share * yields).sum(axis=1), 1e-300)
    ended = np.minimum(states, most[:, None]) / units[:, None]
    usual = np.maximum((share * ended).sum(axis=1), 1e-300)
    off = ended - usual[:, None]
    base = np.eye(LONGEST + 1) - moves + share[:, None, :]
    costs = np.stack([times - pace[:, None] * yields, off], axis=-1)
    worth, ahead = np.moveaxis(np.linalg.solve(base, costs), -1, 0)
    start = np.einsum("mq,mqr->mr", share * ended / usual[:, None], moves)
    extra = ((start - share) * worth).sum(axis=1)
    clump = (share * off * (2.0 * ahead - off)).sum(axis=1) / usual
    busy = 1.0 - share[:, 0]
    mixed = np.where(busy > 0, (mean - share[:, 0] * times[:, 0]) / np.maximum(busy, 1e-300), times[:, 1])
    return pace + extra / later, prefill, mixed, np.maximum(clump, 1.0), share[:, -1]


def _moves(times: Array, units: Array, most: Array, rate: Array) -> Array:
    """Return the chance to go from one backlog to another, (M, from, to)."""
    count, size = times.shape
    expected = rate[:, None] * times
    left = np.maximum(np.arange(size) - most[:, None], 0.0)
    moves = np.zeros((count, size, size))
    point, origin = np.meshgrid(np.arange(count), np.arange(size), indexing="ij")
    chance, over = np.exp(-expected), np.ones_like(expected)
    for arrived in range(size):
        to = np.minimum(left + arrived * units[:, None], size - 1).astype(np.intp)
        np.add.at(moves, (point, origin, to), chance)
        over = over - chance
        chance = chance * expected / (arrived + 1)
    moves[:, :, -1] += np.maximum(over, 0.0)
    return np.asarray(moves / moves.sum(axis=2, keepdims=True))


def _stationary(moves: Array) -> Array:
    """Return the share of steps at each backlog, (M, Q)."""
    count, size, _ = moves.shape
    base = np.swapaxes(moves, 1, 2) - np.eye(size)
    base[:, -1, :] = 1.0
    wanted = np.zeros((count, size, 1))
    wanted[:, -1] = 1.0
    found = np.maximum(np.linalg.solve(base, wanted)[..., 0], 0.0)
    return np.asarray(found / found.sum(axis=1, keepdims=True))
