"""Step times of a replica as tables, from the same compiled step that `assay plan` uses.

A step's time is a sum over kernels, and each kernel depends on few things, so the tables are exact at their
nodes and add up without error:

    base(n, T)        decode step of n sequences a rank at mean context T, without routed experts
    joint(n, p)       what p prompt tokens add to it, without their attention
    prompt(p, c)      attention of a chunk of p tokens behind c tokens already computed
    experts(rows)     routed experts, which see the tokens of all ranks

Nodes are whole numbers up to 16, then eight an octave. Between nodes values are interpolated; contexts
within a batch count by their mean, which is exact but for layers with a window or top-k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.engine.replica import Replica
from assay.engine.step import Batch, Cost, Step, Workload, seconds
from assay.llm.shard import cache_bytes
from assay.simulate.walking import place

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timetable:
    """Tables of one replica, s; flat, row after row.

    Attributes:
        node: positions of the grid.
        base, joint, prompt, experts: see the module; `experts` is empty for dense models.
        contexts, prompts: nodes of a row in context and in prompt tokens.
        sequences: sequences of a rank that `base` has rows for.
        room: tokens of cache that one unit holds over its ranks, fixed parts of sequences included.
        charge: tokens that a sequence takes beyond its own: its fixed state.
        token_bytes: bytes of cache a token takes on all chips of a rank.
    """

    node: Floats
    base: Floats
    joint: Floats
    prompt: Floats
    experts: Floats
    contexts: int
    prompts: int
    sequences: int
    room: float
    charge: float
    token_bytes: float


def grid(end: float) -> Floats:
    """Return the nodes from 0 to the first beyond `end`, and one more."""
    count = place(max(float(end), 1.0)) + 3
    index = np.arange(count)
    octave, part = np.divmod(index - 8, 8)
    return np.where(index < 8, index, (1.0 + part / 8.0) * 2.0 ** (3.0 + octave)).astype(np.float64)


def timetable(copy: Replica, sequences: int, context: float, skew: float, drafts: int = 0) -> Timetable:
    """Return the tables of the only layout of a replica.

    Args:
        copy: the replica, of one layout.
        sequences: most sequences of one rank.
        context: longest context that can occur, tokens.
        skew: excess load of the busiest expert rank beyond chance.
        drafts: draft tokens of a speculative step.
    """
    engine, degrees = copy.engine, copy.table.degrees
    contexts, prompts = grid(context), grid(engine.budget)
    ranks = float(degrees.dp[0])
    rows = grid(sequences)
    gap = engine.gap * float(degrees.pp[0])
    base = _base(copy, rows, contexts, skew, drafts) + gap
    whole = np.arange(sequences + 1)
    full = np.stack([np.interp(whole, rows, column) for column in base.T], axis=1)
    full[0] = gap
    joint = _joint(copy, rows, prompts, skew, drafts)
    attention = _attention(copy, prompts, contexts, skew)
    most = ranks * (engine.budget + sequences * (1 + drafts))
    experts = _experts(copy, grid(most), skew)
    room, charge, each = _memory(copy, context)
    return Timetable(
        node=grid(max(context, engine.budget, most, sequences) * 2.0),
        base=full.ravel(),
        joint=joint.ravel(),
        prompt=attention.ravel(),
        experts=experts,
        contexts=len(contexts),
        prompts=len(prompts),
        sequences=sequences,
        room=room,
        charge=charge,
        token_bytes=each,
    )


def _memory(copy: Replica, context: float) -> tuple[float, float, float]:
    """Return tokens that a unit holds, fixed tokens of a sequence, and bytes of a token on a rank's chips.

    Bytes of a sequence are taken to grow along a line through a quarter of the longest context and all of it.
    """
    table, degrees = copy.table, copy.table.degrees
    points = np.array([[max(context / 4.0, 1.0), max(context, 2.0)]])
    low, high = cache_bytes(table, points)[0]
    slope = (high - low) / (points[0, 1] - points[0, 0])
    fixed = max(low - slope * points[0, 0], 0.0)
    if slope <= 0.0:  # nothing grows: a recurrent state
        slope, fixed = max(high, 1.0), 0.0
        slope = slope / points[0, 1]
        fixed = slope * points[0, 1]
    free = max(float(copy.usable - table.weight_bytes[0] - copy.working[0]), 0.0)
    ranks, stages = float(degrees.dp[0]), float(degrees.pp[0])
    chips = float(degrees.chips[0]) / ranks
    return float(free / slope * ranks / stages), float(fixed / slope), float(slope * chips)


def _part(step: Step, kept: Callable[[Cost], bool]) -> Step:
    """Return the step with some of its kernels alone: no messages, launches or drafts."""
    zero = np.zeros_like(step.overhead)
    joined = tuple(cost for cost in step.joined if kept(cost))
    return replace(step, joined=joined, traffic=(), overhead=zero, linear=(zero,) * 4, drafter=None)


def _prompt_only(cost: Cost) -> bool:
    operator = cost.kernel.operator
    pairs = np.any(cost.kernel.pair_flops > 0) or np.any(cost.kernel.prefix_flops > 0)
    return bool(operator.prefill_rows and not operator.decode_rows and pairs)


def _base(copy: Replica, rows: Floats, contexts: Floats, skew: float, drafts: int) -> Floats:
    """Return decode steps of `rows` sequences a rank at `contexts`, s, without gap and routed experts."""
    n, context = (item.reshape(1, -1) for item in np.meshgrid(np.maximum(rows, 1.0), contexts, indexing="ij"))
    ranks = float(copy.table.degrees.dp[0])
    step = copy.step(Workload(isl=context, osl=0.0, drafts=float(drafts)), skew)
    spent = seconds(step, Batch(n, n * ranks))
    routed = _experts(copy, n.ravel() * ranks * (1.0 + drafts), skew)
    return np.asarray(spent - (routed if routed.size else 0.0)).reshape(len(rows), len(contexts))


def _joint(copy: Replica, rows: Floats, prompts: Floats, skew: float, drafts: int) -> Floats:
    """Return what prompt tokens add to decode steps of `rows` sequences a rank, s.

    Without their attention and the routed experts; ranks are taken to carry the same where it matters, in how
    much of the exchange between experts hides behind the kernels.
    """
    n, tokens = (item.reshape(1, -1) for item in np.meshgrid(rows, prompts, indexing="ij"))
    size = np.maximum(tokens, 1.0)
    ranks, width = float(copy.table.degrees.dp[0]), 1.0 + drafts
    step = copy.step(Workload(isl=size, osl=0.0, chunk=float("inf"), drafts=float(drafts)), skew)
    alone = np.where(n > 0, seconds(step, Batch(np.maximum(n, 1.0), np.maximum(n, 1.0) * ranks)), 0.0)
    one = np.ones_like(n)
    both = seconds(step, Batch(n, n * ranks, size, size * ranks, one, one * ranks))
    added = both - alone - seconds(_part(step, _prompt_only), Batch(0.0 * n, 0.0 * n, size, size, one, one))
    total = _experts(copy, ((n * width + size) * ranks).ravel(), skew)
    if total.size:
        added = added - total + _experts(copy, (n * width * ranks).ravel(), skew)
    return np.where(tokens > 0, added, 0.0).reshape(len(rows), len(prompts))


def _attention(copy: Replica, prompts: Floats, contexts: Floats, skew: float) -> Floats:
    """Return attention of chunks of `prompts` tokens behind `contexts` tokens, s."""
    tokens, before = (item.reshape(1, -1) for item in np.meshgrid(prompts, contexts, indexing="ij"))
    size = np.maximum(tokens, 1.0)
    load = Workload(isl=before + size, osl=0.0, cached=before / (before + size), chunk=float("inf"))
    step = _part(copy.step(load, skew), _prompt_only)
    zero, one = np.zeros_like(size), np.ones_like(size)
    spent = seconds(step, Batch(zero, zero, size, size, one, one))
    return np.where(tokens > 0, np.broadcast_to(spent, tokens.shape), 0.0).reshape(
        len(prompts), len(contexts)
    )


def _experts(copy: Replica, rows: Floats, skew: float) -> Floats:
    """Return routed experts on `rows` tokens of all ranks, s; empty for dense models."""
    step = copy.step(Workload(isl=1024.0, osl=0.0), skew)
    alone = _part(step, lambda cost: cost.kernel.stage_rows)
    if not alone.joined:
        return np.zeros(0)
    spent = seconds(alone, Batch(np.zeros_like(rows)[None, :], rows[None, :]))
    return np.where(rows > 0, np.asarray(spent).ravel(), 0.0)
