"""Prefix reuse: what share of the input tokens a cache of any size would hold, from one pass over a trace.

A request reuses its leading run of cached blocks. Under LRU a block is still in a cache of C blocks exactly
if fewer than C different blocks were used since its last use (its stack distance: Mattson et al., IBM Systems
Journal 9(2), 1970), so distances give the hit rate of every capacity at once. They are counted in O(n log n)
by splitting the accesses bit by bit, without a loop over requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.workload.arrivals import Ints, Requests

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class HitCurve:
    """Hit rate of an LRU prefix cache as a function of its capacity, for one replica that sees all requests.

    Attributes:
        block_tokens: tokens a block.
        blocks: block uses in the trace.
        unique: different blocks.
        input_tokens: input tokens of all requests, cached or not.
        needed: capacities at which the hit rate rises, blocks, ascending.
        hit_tokens: tokens found in a cache of at least that capacity.
        requests_hit: share of requests with at least one block found in an infinite cache. One system prompt
            that all requests share makes it 1: judge by tokens.
    """

    block_tokens: int
    blocks: int
    unique: int
    input_tokens: int
    needed: Ints
    hit_tokens: Ints
    requests_hit: float

    @property
    def infinite(self) -> float:
        """Share of the input tokens found if nothing is ever evicted, 0 to 1."""
        return float(self.hit_tokens[-1] / self.input_tokens) if self.needed.size else 0.0

    def at(self, capacity: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of the input tokens found in a cache of `capacity` blocks, 0 to 1."""
        index = np.searchsorted(self.needed, np.asarray(capacity), side="right")
        return np.concatenate([[0], self.hit_tokens])[index] / max(self.input_tokens, 1)

    def capacity_for(self, share: float) -> float:
        """Return the least capacity, blocks, with `share` of the infinite hit rate; inf if none has."""
        if not self.needed.size:
            return float("inf")
        index = int(np.searchsorted(self.hit_tokens, share * self.hit_tokens[-1]))
        return float(self.needed[index]) if index < self.needed.size else float("inf")


def hit_curve(requests: Requests) -> HitCurve | None:
    """Return the hit rate of an LRU prefix cache of any capacity; None where the trace has no blocks.

    The cache is looked up when a request arrives and holds its whole input from then on; the last block of a
    prompt is touched first, so that it is evicted first, as in vLLM.
    """
    if requests.blocks is None:
        return None
    offsets, ids = requests.blocks
    owner = np.repeat(np.arange(len(requests)), np.diff(offsets))
    runs = _runs(_dense(ids), owner)
    size = requests.block_tokens
    needed = _needed(runs)
    worth = np.clip(requests.isl[owner] - (np.arange(ids.size) - offsets[owner]) * size, 0, size)
    found = needed < _NEVER
    gained = np.bincount(needed[found], weights=worth[found])
    steps = np.flatnonzero(gained)
    return HitCurve(
        block_tokens=size,
        blocks=int(ids.size),
        unique=runs.unique,
        input_tokens=int(requests.isl.sum()),
        needed=steps + 1,
        hit_tokens=np.cumsum(gained[steps]).astype(np.int64),
        requests_hit=float(np.unique(owner[found]).size / max(len(requests), 1)),
    )


def split_curves(requests: Requests, caches: int, most: int = 8) -> tuple[HitCurve, ...]:
    """Return the hit curves of caches that each see every `caches`-th request, as round robin deals them.

    Args:
        requests: a trace with blocks.
        caches: caches that the requests are dealt to.
        most: caches that are looked at; the others are taken to be like these.

    Raises:
        BadInput: the trace has no prefix blocks.
    """
    if requests.blocks is None:
        raise BadInput(
            "The trace has no prefix blocks (hash_ids): nothing says what its prompts share.",
            "Give the share of input tokens found with --hit-rate.",
        )
    dealt = (requests.take(np.arange(first, len(requests), caches)) for first in range(min(caches, most)))
    return tuple(curve for part in dealt if (curve := hit_curve(part)) is not None and len(part))


def joint_hit(curves: Sequence[HitCurve], capacity: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of all input tokens found where each cache holds `capacity` tokens, 0 to 1."""
    held = np.asarray(capacity, dtype=np.float64)
    found = sum((curve.at(held / curve.block_tokens) * curve.input_tokens for curve in curves), 0.0 * held)
    return np.asarray(found / max(sum(curve.input_tokens for curve in curves), 1))


def reuse_delay(requests: Requests) -> NDArray[np.float64]:
    """Return the times from one use of a block to its next, s, in no particular order."""
    if requests.blocks is None:
        return np.empty(0)
    offsets, ids = requests.blocks
    time = np.repeat(requests.arrival, np.diff(offsets))
    previous = _previous(ids)
    again = previous >= 0
    return np.asarray(time[again] - time[previous[again]])


def _previous(ids: Ints) -> Ints:
    """Return the index of the last use of the same id, -1 for a first use."""
    order = np.argsort(ids, kind="stable")
    previous = np.full(ids.size, -1, np.int64)
    same = ids[order[1:]] == ids[order[:-1]]
    previous[order[1:][same]] = order[:-1][same]
    return previous


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Uses of runs: blocks that are only ever used together, one behind the other, count as one.

    Attributes:
        name: run of each use, in order of use, shape (m,).
        owner: its request.
        size: its blocks.
        unique: different blocks in all.
    """

    name: Ints
    owner: Ints
    size: Ints
    unique: int


def _dense(ids: Ints) -> Ints:
    """Return numbers from 0 up in place of ids, not much larger than there are uses."""
    if ids.size and int(ids.min()) >= 0 and int(ids.max()) < 4 * ids.size:
        return ids
    return np.unique(ids, return_inverse=True)[1].ravel().astype(np.int64)


def _runs(ids: Ints, owner: Ints) -> _Runs:
    """Return the uses of all blocks as uses of runs."""
    if not ids.size:
        return _Runs(ids, owner, ids, 0)
    inner = owner[1:] == owner[:-1]
    before = np.concatenate([[-1], np.where(inner, ids[:-1], -1)])
    after = np.concatenate([np.where(inner, ids[1:], -1), [-1]])
    count = int(ids.max()) + 1
    parent, parent_same = _always(ids, before, count)
    child, child_same = _always(ids, after, count)
    used = np.zeros(count, np.bool_)
    used[ids] = True
    known = np.flatnonzero(used & parent_same & (parent >= 0))
    known = known[child_same[parent[known]] & (child[parent[known]] == known)]
    head = np.ones(count, np.bool_)
    head[known] = False
    starts = np.flatnonzero(head[ids] | (before < 0))
    return _Runs(ids[starts], owner[starts], np.diff(starts, append=ids.size), int(used.sum()))


def _always(ids: Ints, neighbour: Ints, count: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Return a neighbour of each id, and whether it is the same at every use."""
    one = np.full(count, -1, np.int64)
    one[ids] = neighbour
    same = np.ones(count, np.bool_)
    same[ids[neighbour != one[ids]]] = False
    return one, same


def _needed(runs: _Runs) -> Ints:
    """Return for each block use the cached blocks that must not be younger: hit if a cache holds more.

    Within a run the deeper block is the older one; a block is of use only if all before it are found.
    """
    size = runs.name.size
    starts = np.searchsorted(runs.owner, runs.owner, side="left")
    ends = np.searchsorted(runs.owner, runs.owner, side="right")
    mirrored = starts + ends - 1 - np.arange(size)
    distance = np.empty(size, np.int64)
    distance[mirrored] = _distances(runs.name[mirrored], runs.size[mirrored], starts)
    inside = np.arange(int(runs.size.sum())) - np.repeat(np.cumsum(runs.size) - runs.size, runs.size)
    deepest = np.where(distance < _NEVER, distance + runs.size - 1, _NEVER)
    before = _running_max(deepest, runs.owner)
    before = np.where(starts < np.arange(size), np.roll(before, 1), -1)
    own = np.repeat(distance, runs.size)
    own = np.where(own < _NEVER, own + inside, _NEVER)
    return np.maximum(own, np.repeat(before, runs.size))


def _distances(name: Ints, size: Ints, start: Ints) -> Ints:
    """Return how many different blocks were used between the last use of each run and its request.

    Of the uses in between, those whose own last use is in between too are repeats. Counting repeats is
    counting earlier uses with a later last use, up to the start of the request.

    Args:
        name, size: runs in order of use.
        start: place of the first use of the same request.
    """
    previous = _previous(name)
    distance = np.full(name.size, _NEVER, np.int64)
    again = np.flatnonzero(previous >= 0)
    if not again.size:
        return distance
    last, request, weight = previous[again], start[again], size[again]
    repeats = _greater_before(_rank(last), weight)
    passed = np.cumsum(weight) - weight
    before = passed[np.searchsorted(request, request, side="left")]  # repeats in earlier requests
    inside = _greater_before(_rank_pairs(request, last), weight) - before
    used = np.concatenate([[0], np.cumsum(size)])
    distance[again] = used[request] - used[last + 1] - (repeats - inside)
    distance[again[last >= request]] = 0  # the same block twice in one prompt
    return distance


def _rank(values: Ints) -> Ints:
    ranks = np.empty(values.size, np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(values.size)
    return ranks


def _rank_pairs(request: Ints, last: Ints) -> Ints:
    """Return ranks that fall from request to request and rise with `last` within one."""
    ranks = np.empty(last.size, np.int64)
    ranks[np.lexsort((last, -request))] = np.arange(last.size)
    return ranks


def _greater_before(ranks: Ints, weight: Ints) -> Ints:
    """Return the weight of all earlier entries that are greater, for ranks 0..n-1 each once.

    From the highest bit down, entries that agree in the bits above stand together in their order; an entry
    with bit 0 is preceded by the greater ones with bit 1 in its group.
    """
    size = ranks.size
    found = np.zeros(size, np.int64)
    values, index, weights = ranks, np.arange(size), weight
    for bit in reversed(range(max(size - 1, 1).bit_length())):
        ones = (values >> bit) & 1
        start = (values >> (bit + 1)) << (bit + 1)  # ranks are dense: a group starts at its least value
        total = np.cumsum(ones) - ones
        ones_before = total - total[start]
        heavy = np.cumsum(ones * weights) - ones * weights
        found[index] += np.where(ones == 0, heavy - heavy[start], 0)
        rank = np.arange(size) - start
        target = np.where(ones == 1, start + (1 << bit) + ones_before, start + rank - ones_before)
        moved = np.empty((3, size), np.int64)
        moved[:, target] = values, index, weights
        values, index, weights = moved
    return found


def _running_max(values: Ints, owner: Ints) -> Ints:
    """Return the greatest value so far within each owner; owners are ascending."""
    dense = np.unique(values, return_inverse=True)[1].ravel()
    width = int(dense.max(initial=0)) + 1
    running = np.maximum.accumulate(owner * width + dense)
    return np.asarray(np.unique(values)[running - owner * width]) if values.size else values
