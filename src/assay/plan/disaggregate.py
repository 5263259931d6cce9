"""Disaggregated deployments of one platform, or of two: every prefill layout with every decode layout.

What is expensive is computed once a layout: the time of one prompt for P prefill layouts, the decode steps
of D decode layouts at N batches. Pairs are then arrays of shape (P, D, R, N), R ways to match the pools: at
a batch, a decode replica finishes x requests/s, and a prefill replica carries m / S of them (m servers, S
seconds a prompt in full steps), so that one decode replica needs

    q = x S / m        prefill replicas at full load.

Whole counts are chosen around q for a few loads; the queue (`assay.engine.split.matched`) says what first
tokens wait. Throughput counts all chips of both pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.engine.overheads import Engine
from assay.engine.points import decode_only
from assay.engine.split import Crossing, Prompting, crossing, matched, prompting
from assay.engine.steady import SATURATED, Steady
from assay.plan.pareto import front, thinned
from assay.plan.sweep import BATCHES, LATE, MOST_SEQUENCES, Sweep

Floats = NDArray[np.float64]

#: Loads of the prefill pool that counts are chosen for, and decode replicas they are chosen beside.
LOADS = (0.9, 0.6)
DECODERS = (1, 2, 4)
#: Prefill to decode replicas tried where the load is given as requests in flight.
RATIOS = (
    (1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2), (1, 4), (4, 1), (1, 6), (6, 1), (1, 8), (8, 1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sides:
    """Both pools by layout: what pairs are combined from.

    Attributes:
        first, last: sweeps of the prefill and of the decode system, all layouts.
        rows: which of their layouts are combined, (P,) and (D,).
        state: decode-only steps of the D layouts at N batches.
        steps: how long prefill steps take, arrays (P, 1).
        chips: of one replica, (P,) and (D,).
        handover: how a cache crosses, for all pairs.
    """

    first: Sweep
    last: Sweep
    rows: tuple[NDArray[np.intp], NDArray[np.intp]]
    state: Steady
    steps: Prompting
    chips: tuple[Floats, Floats]
    handover: Crossing

    @property
    def domain(self) -> int:
        """Chips within which a cache need not cross the NICs: none for two systems."""
        same = self.first.copy.system.id == self.last.copy.system.id
        return self.last.copy.system.domain if same else 0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Operating points of pairs, arrays broadcast to (P, D, R, N).

    Attributes:
        prefill, decode: replicas of each side.
        tpot: s. `batch`: sequences of one decode replica. `rate`: requests/s of all.
        ttft, queue: s, mean. `load`: of the prefill pool or the link. `users`: requests in flight.
        chips: of both pools.
        transfer: s to hand over one cache with nobody waiting.
        valid: both sides fit, the prefill pool and the link carry the rate, and the chips are there.
    """

    prefill: Floats
    decode: Floats
    tpot: Floats
    batch: Floats
    rate: Floats
    ttft: Floats
    queue: Floats
    load: Floats
    users: Floats
    chips: Floats
    transfer: Floats
    valid: NDArray[np.bool_]


def sides(
    first: Sweep, last: Sweep, engine: Engine, limit: float, *, batches: int = BATCHES, thin: bool = True
) -> Sides | None:
    """Time both pools of a model by layout; None where nothing fits.

    Args:
        first: sweep of the prefill system, without drafts: its replica and compiled step are used.
        last: sweep of the decode system.
        engine: scheduler and host parameters.
        limit: greatest number of chips of a deployment.
        batches: batches N of each decode layout.
        thin: drop layouts that others beat; False keeps every one that fits.
    """
    chips = [item.copy.table.degrees.chips for item in (first, last)]
    room = limit - np.array([other.min() for other in chips[::-1]])
    fits = (last.capacity[:, 0] >= 1) & (chips[1] <= room[1])
    if not np.any(fits):
        return None
    isl = np.array([[float(first.load.isl[0, 0])]])
    steps = prompting(first.step, engine)
    # every stage and group has a prompt in hand
    holds = (first.copy.capacity(isl)[:, 0] >= steps.servers[:, 0]) & (chips[0] <= room[0])
    kept = useful(steps, chips[0], holds) if thin else np.flatnonzero(holds)
    if not len(kept):
        return None
    state = grid_of(last, engine, batches)
    near = promising(state, chips[1], fits) if thin else np.flatnonzero(fits)
    if not len(near):
        return None
    systems = (first.copy.system, last.copy.system)
    return Sides(
        first=first,
        last=last,
        rows=(kept, near),
        state=Steady(**{name: getattr(state, name)[near] for name in Steady.__slots__}),
        steps=steps.take(kept),
        chips=(chips[0][kept], chips[1][near]),
        handover=crossing(first.copy.table, last.copy.table, systems, isl).take(kept, near),
    )


def grid_of(found: Sweep, engine: Engine, batches: int) -> Steady:
    """Return decode-only steps of every layout at batches between one sequence and what memory holds."""
    most = np.minimum(np.maximum(found.capacity, 1.0), MOST_SEQUENCES * found.copy.table.degrees.dp[:, None])
    grid = np.exp(np.linspace(0.0, 1.0, batches)[None, :] * np.log(most))
    return decode_only(found.step, engine, grid)


def useful(steps: Prompting, chips: Floats, holds: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return prefill layouts that no other beats in time, prompts/s per chip and chips at once."""
    per_chip = steps.servers[:, 0] / steps.each[:, 0] / chips
    figures = np.stack([-steps.single[:, 0], per_chip, -chips])
    no_worse = np.all(figures[:, :, None] >= figures[:, None, :], axis=0)
    better = np.any(figures[:, :, None] > figures[:, None, :], axis=0)
    beaten = np.any(no_worse & better & holds[:, None], axis=0)
    return np.flatnonzero(holds & ~beaten)


def promising(state: Steady, chips: Floats, fits: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return decode layouts that come near the front of tok/s/user against requests/s per chip.

    The front of all layouts, and those of layouts within a half, a quarter and an eighth of the largest:
    whole replicas of a large layout may not match a small prefill pool.
    """
    per_user = np.where(fits[:, None], 1.0 / state.tpot, np.nan)
    per_chip = state.throughput / chips[:, None]
    kept = np.zeros(len(fits), dtype=np.bool_)
    largest = chips[fits].max(initial=0.0)
    for part in (1.0, 0.5, 0.25, 0.125):
        inside = np.where((chips <= largest * part)[:, None], per_user, np.nan)
        kept[front(inside.ravel(), per_chip.ravel()) // per_user.shape[1]] = True
    return np.flatnonzero(kept)


def pairs(both: Sides, limit: float, *, rate: float | None = None, concurrency: float | None = None) -> Pairs:
    """Evaluate every pair of layouts with whole counts of replicas.

    Args:
        both: the two sides.
        limit: greatest number of chips of a deployment.
        rate: requests/s that the counts are chosen to carry; None = the ratio that fits each batch.
        concurrency: requests in flight in the deployment; the batch follows (N becomes 1).
    """
    state = both.state
    tpot, batch = state.tpot[None, :, None, :], state.batch[None, :, None, :]
    each = state.throughput[None, :, None, :]
    one = (both.steps.each / both.steps.servers)[:, :, None, None]
    if concurrency is not None:
        return fixed(both, limit, RATIOS, concurrency=concurrency)
    if rate is None:
        return _evaluate(both, limit, _around(each * one), tpot, batch)
    decoders = np.ceil(rate / each)
    batch, tpot = _at_rate(both.state, rate / decoders[0, :, 0, :])
    loads = np.array(LOADS)[:, None]
    prefills = np.maximum(np.ceil(rate * one / loads), 1.0)
    return _evaluate(both, limit, (prefills, decoders), tpot[None, :, None, :], batch[None, :, None, :])


def fixed(
    both: Sides,
    limit: float,
    ratios: Sequence[tuple[int, int]],
    *,
    rate: float | None = None,
    concurrency: float | None = None,
) -> Pairs:
    """Evaluate every pair of layouts with stated counts; R is the number of ratios.

    Args:
        both: the two sides.
        limit: greatest number of chips of a deployment.
        ratios: prefill and decode replicas.
        rate: requests/s of the deployment; the batch follows (N becomes 1).
        concurrency: requests in flight in it, instead of a rate; neither = every batch.
    """
    counts = np.array(ratios, dtype=np.float64).T
    tpot, batch = both.state.tpot[None, :, None, :], both.state.batch[None, :, None, :]
    found = _evaluate(both, limit, (counts[0][:, None], counts[1][:, None]), tpot, batch)
    if concurrency is not None:
        return _at_load(found, found.users, concurrency, closed=True)
    return found if rate is None else _at_load(found, found.rate, rate, closed=False)


def _around(need: Floats) -> tuple[Floats, Floats]:
    """Return whole counts near the ratio that a batch needs, (P, D, R, N).

    For each load: prefill replicas beside one, two and four decode replicas, and the decode replicas that
    one prefill replica feeds.
    """
    first, last = [], []
    for load in LOADS:
        for count in DECODERS:
            first.append(np.maximum(np.ceil(count * need / load), 1.0))
            last.append(np.full_like(need, count))
        first.append(np.ones_like(need))
        last.append(np.maximum(np.floor(load / need), 1.0))
    return np.concatenate(first, axis=2), np.concatenate(last, axis=2)


def _evaluate(both: Sides, limit: float, counts: tuple[Floats, Floats], tpot: Floats, batch: Floats) -> Pairs:
    first, last = counts
    chips = first * both.chips[0][:, None, None, None] + last * both.chips[1][:, None, None]
    latency, busy = both.handover.over(chips <= both.domain)
    lanes = np.minimum(
        first * both.handover.lanes[0][:, None, None, None], last * both.handover.lanes[1][:, None, None]
    )
    found = matched(
        both.first.copy.engine,
        both.steps.take((slice(None), slice(None), None, None)),
        first,
        tpot,
        batch * last,
        float(both.last.load.osl[0, 0]),
        (latency, busy, lanes),
    )
    shape = np.broadcast_shapes(found.ttft.shape, chips.shape)
    wide = {
        name: np.broadcast_to(array, shape)
        for name, array in (
            ("prefill", first), ("decode", last), ("tpot", tpot), ("batch", batch), ("rate", found.rate),
            ("ttft", found.ttft), ("queue", found.queue), ("load", found.load), ("users", found.users),
            ("chips", chips), ("transfer", latency + busy),
        )
    }  # fmt: skip
    valid = np.broadcast_to((found.load < SATURATED) & (chips <= limit), shape)
    return Pairs(**wide, valid=valid)


def _at_rate(state: Steady, wanted: Floats) -> tuple[Floats, Floats]:
    """Return batch and time per output token of decode replicas that finish `wanted` requests/s, (D, N)."""
    batch, tpot = np.empty_like(wanted), np.empty_like(wanted)
    for row in range(len(wanted)):
        known = np.maximum.accumulate(state.throughput[row])
        batch[row] = np.interp(wanted[row], known, state.batch[row])
        tpot[row] = np.interp(wanted[row], known, state.tpot[row])
        # below the smallest batch the replica is idle part of the time
        batch[row] = np.where(wanted[row] < known[0], wanted[row] / known[0] * batch[row], batch[row])
    return batch, tpot


def _at_load(found: Pairs, carried: Floats, wanted: float, *, closed: bool) -> Pairs:
    """Return each pair at the batch where it has `wanted` users or requests/s, N = 1.

    Between two batches figures are interpolated. Users beyond the greatest valid batch wait (Little); a rate
    beyond it has no steady state: its first tokens take forever.

    Args:
        found: pairs at all batches.
        carried: users or requests/s there.
        wanted: how many of them.
        closed: whether users ask again as soon as they are answered.
    """
    inside = np.where(found.valid, carried, np.inf)
    most = np.maximum(np.sum(found.valid, axis=-1, keepdims=True) - 1, 0)
    after = np.minimum(np.sum(inside < wanted, axis=-1, keepdims=True), most)
    before = np.minimum(np.maximum(after - 1, 0), after)

    def at(array: Floats, place: NDArray[np.intp]) -> Floats:
        return np.take_along_axis(array, place, axis=-1)

    low, high = at(carried, before), at(carried, after)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.nan_to_num(np.clip(np.where(high > low, (wanted - low) / (high - low), 1.0), 0.0, 1.0))
        made = {
            name: np.where(part < 1.0, (1.0 - part) * at(getattr(found, name), before), 0.0)
            + np.where(part > 0.0, part * at(getattr(found, name), after), 0.0)
            for name in (
                "prefill", "decode", "tpot", "batch", "rate", "ttft", "queue", "load", "chips", "transfer",
                "users",
            )
        }  # fmt: skip
        # fewer than at the smallest batch: the same times, a lower rate
        idle = np.where(before == after, np.minimum(wanted / low, 1.0), 1.0)
        held = np.maximum(wanted - high, 0.0)
        late = held / made["rate"] if closed else np.where(held > 0.005 * wanted, np.inf, 0.0)
        made |= {name: made[name] * idle for name in ("rate", "batch", "users")}
        made |= {name: made[name] + late for name in ("ttft", "queue")}
    if closed:
        made["users"] = np.full_like(made["rate"], wanted)
    return Pairs(**made, valid=np.any(found.valid, axis=-1, keepdims=True))


def shortlist(
    found: Pairs, osl: float, ttft: float | None, tpot: float | None, most: int
) -> tuple[NDArray[np.intp], ...]:
    """Return the places (P, D, R, N) of pairs worth a closer look, at most `most`.

    The fronts of output tokens/s/user against output tokens/s/chip, of all pairs and of those within
    several parts of the limit on first tokens, thinned around the limit on TPOT.
    """
    per_chip = np.where(found.valid, found.rate * osl / found.chips, -1.0)
    keep = [_fastest(found, per_chip)]
    if ttft is not None:
        late = [found.ttft <= ttft * part for part in LATE]
        keep.extend(_fastest(found, np.where(item, per_chip, -1.0)) for item in late)
    flat = np.unique(np.concatenate(keep))
    flat = flat[thinned(found.tpot.ravel()[flat], tpot, most)]
    return tuple(np.unravel_index(flat, found.tpot.shape))


def _fastest(found: Pairs, per_chip: Floats) -> NDArray[np.intp]:
    """Return flat places of the front.

    Where the time per token is that of the decode layout and batch alone, the best prefill side of each is
    taken first, which leaves few points to compare.
    """
    flat = per_chip
    places = np.arange(per_chip.size).reshape(per_chip.shape)
    if found.tpot.strides[0] == found.tpot.strides[2] == 0:
        turned = np.moveaxis(per_chip, (1, 3), (0, 1)).reshape(per_chip.shape[1], per_chip.shape[3], -1)
        best = np.argmax(turned, axis=2)[:, :, None]
        flat = np.take_along_axis(turned, best, axis=2)
        places = np.take_along_axis(np.moveaxis(places, (1, 3), (0, 1)).reshape(turned.shape), best, axis=2)
    at = places.ravel()
    per_user = np.where(flat.ravel() >= 0.0, 1.0 / found.tpot.ravel()[at], np.nan)
    return np.asarray(at[front(per_user, flat.ravel())])
