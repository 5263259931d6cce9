"""The prefix cache of a deployment: what its tiers hold, what is found there, and what loading it takes.

Hits depend on the room that weights and running sequences leave, and what runs depends on the hits: both
are solved together. Of `isl` input tokens a share h_t is found in tier t; each takes l_t s to load, against
c s to compute again. A tier slower than that is passed over, and a link that cannot carry all its hits at
the deployment's own rate X carries what it can:

    h_t = 0 where l_t >= c        sum_t X isl h_t l_t <= SATURATED        fetch = isl sum_t h_t l_t + wait

with the wait of a server with equal service times (M/D/1) on the link of each chip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.kv import host_bandwidth, position_bytes, room, snapshot_bytes, snapshot_tokens
from assay.engine.points import prompts_only
from assay.engine.split import prompt_seconds
from assay.engine.steady import SATURATED
from assay.errors import BadInput
from assay.plan.disaggregate import Pairs
from assay.plan.sweep import Sweep
from assay.study.question import Caches, Question
from assay.workload.arrivals import Requests
from assay.workload.reuse import HitCurve, joint_hit, split_curves

Floats = NDArray[np.float64]

#: Rounds in which hits and the state they lead to are brought together; each halves their distance.
ROUNDS = 8
#: Hits this close, in share of the input and relative in time, are taken as equal.
CLOSE = 1e-3


@dataclass(frozen=True, slots=True)
class Tier:
    """One level of the cache on one chip: `size` bytes, infinite for what memory is left, at `rate` B/s."""

    name: str
    size: float
    rate: float


@dataclass(frozen=True, slots=True)
class Hits:
    """What is found in the cache, at M operating points and in T tiers.

    Attributes:
        cached: share of the input tokens that is not computed again, (M, 1).
        fetch: s to load it before a prompt starts, wait for the link included, (M, 1).
        held: tokens one cache holds down to each tier, (T, M).
        found: share of the input tokens taken from each tier, (T, M).
        passed: share found there and still computed: cheaper, or more than the link carries, (T, M).
        load: s to load one token from each tier, (T, M).
        busy: share of the time the link of a chip is loading, (M, 1).
    """

    cached: Floats
    fetch: Floats
    held: Floats
    found: Floats
    passed: Floats
    load: Floats
    busy: Floats

    def take(self, rows: NDArray[np.intp]) -> Hits:
        """Return the hits of the points at `rows`."""
        columns = ("cached", "fetch", "busy")
        return Hits(
            **{
                item.name: getattr(self, item.name)[rows if item.name in columns else (slice(None), rows)]
                for item in fields(self)
            }
        )

    def near(self, other: Hits) -> bool:
        """Return whether two are equal as far as a prediction can tell."""
        same = np.allclose(self.cached, other.cached, rtol=0.0, atol=CLOSE)
        return same and np.allclose(self.fetch, other.fetch, rtol=CLOSE, atol=0.0)

    def midway(self, other: Hits) -> Hits:
        """Return the mean of two."""
        return Hits(*((getattr(self, item.name) + getattr(other, item.name)) / 2.0 for item in fields(self)))


def tiers(asked: Caches, system: System) -> tuple[Tier, ...]:
    """Return the tiers of a question on one chip of a system, nearest first.

    Raises:
        BadInput: an SSD without its bandwidth.
        NoEvidence: no published rate to the host memory.
    """
    made = [Tier("hbm", np.inf, np.inf)]
    rate = np.inf
    if asked.host or asked.ssd:
        rate = asked.host_bandwidth or host_bandwidth(system)
    if asked.host:
        made.append(Tier("host", asked.host / system.node, rate))
    if asked.ssd:
        if not asked.ssd_bandwidth:
            raise BadInput("An SSD cache needs its bandwidth.", "Add --kv-ssd-bandwidth, of one host.")
        made.append(Tier("ssd", asked.ssd / system.node, min(asked.ssd_bandwidth / system.node, rate)))
    return tuple(made)


def hits(asked: Caches, found: Sweep, replicas: Floats | float = 1.0) -> Hits:
    """Return what the cache of each point of a sweep finds, for the first column of its state.

    Args:
        asked: the cache.
        found: M layouts at one operating point each.
        replicas: copies of each that share the traffic, (M,) or one number.
    """
    copy, workload = found.copy, found.step.workload
    isl, osl = float(found.load.isl[0, 0]), float(found.load.osl[0, 0])
    each, state = position_bytes(copy.table)[:, 0], snapshot_bytes(copy.table)[:, 0]
    kept = (asked.snapshot or snapshot_tokens(copy.table.caches, copy.kv)) if np.any(state) else 0
    stored = each + (state / kept if kept else 0.0)
    left = room(copy, found.state.batch[:, :1], isl + osl / 2)[:, 0]
    groups = copy.table.degrees.dp
    made = tiers(asked, copy.system)
    # a lower tier holds what is above it too: blocks are written through
    sizes = np.array([left if np.isinf(tier.size) else np.full_like(left, tier.size) for tier in made])
    held = np.maximum.accumulate(sizes / stored, axis=0)
    reached = reuse(asked, held, groups * replicas, kept, isl)
    share = np.diff(reached, axis=0, prepend=0.0)
    rates = np.array([[tier.rate] for tier in made])
    # one snapshot a hit, spread over the tokens it stands for
    length = np.maximum(isl * reached[-1], 1.0)
    load = (each + state / length) / rates
    compute = (prompt_seconds(found.step, copy.engine) / workload.fresh)[:, 0]
    used = np.where(load < compute, share, 0.0)
    each_second = found.state.throughput[:, 0] / groups * isl
    wanted = each_second * (used * load).sum(axis=0)
    used = np.where(load > 0, used * np.minimum(1.0, SATURATED / np.maximum(wanted, SATURATED)), used)
    busy = np.minimum(wanted, SATURATED)
    service = isl * (used * load).sum(axis=0)
    fetch = service * (1.0 + busy / (1.0 - busy) / 2.0)
    return Hits(used.sum(axis=0)[:, None], fetch[:, None], held, used, share - used, load, busy[:, None])


def settled(
    asked: Caches,
    run: Callable[[Floats | float, Floats | float], Sweep],
    replicas: Floats | float = 1.0,
) -> tuple[Sweep, Hits]:
    """Return the operating points at which hits and load agree, and those hits.

    Args:
        asked: the cache.
        run: the points at given hits and time to load them.
        replicas: copies of each that share the traffic.
    """
    found = run(0.0, 0.0)
    # from an empty replica: one too busy without hits to keep any would never find out
    empty = replace(found, state=replace(found.state, batch=np.zeros_like(found.state.batch)))
    known = hits(asked, empty, replicas)
    for _ in range(ROUNDS):
        found = run(known.cached, known.fetch)
        seen = hits(asked, found, replicas)
        if known.near(seen):
            return found, replace(seen, cached=known.cached, fetch=known.fetch)
        known = known.midway(seen)
    return run(known.cached, known.fetch), known


def stated(
    question: Question, run: Callable[[Floats | float, Floats | float], Sweep], replicas: float = 1.0
) -> tuple[Sweep, Hits | None]:
    """Return operating points at the hits of the question's cache, or at the share it states."""
    if question.caches is None:
        return run(question.cached, 0.0), None
    return settled(question.caches, run, replicas)


def reuse(asked: Caches, held: Floats, caches: Floats, snapshot: int, isl: float) -> Floats:
    """Return the share of the input tokens found in each tier and those above it, (T, M).

    With a router that knows the prefixes all caches act as one; dealt in turn, each sees its part of the
    requests. Without a trace nothing says how much of the traffic a smaller cache finds: all is taken to lie
    in the last tier that is larger than those above it, where that holds one prefix.

    Args:
        asked: the cache.
        held: tokens one cache holds down to each tier, (T, M).
        caches: caches that share the traffic, (M,).
        snapshot: tokens between two snapshots of a state, 0 = none.
        isl: input tokens of a request.
    """
    if not asked.trace:
        rate = asked.hit_rate or 0.0
        return np.where((held >= held[-1]) & (held >= rate * isl), rate, 0.0)
    if asked.router == "prefix":
        return joint_hit(curves(asked.trace, 1, snapshot), held * caches)
    found = np.empty_like(held)
    for count in np.unique(caches):
        same = caches == count
        found[:, same] = joint_hit(curves(asked.trace, int(count), snapshot), held[:, same])
    return found


@lru_cache(maxsize=64)
def curves(trace: str, caches: int, snapshot: int) -> tuple[HitCurve, ...]:
    """Return the hit curves of a trace dealt to some caches, hits ending at whole snapshots.

    Raises:
        BadInput: no such trace, or one without prefix blocks.
    """
    requests = traffic(trace)
    if snapshot > requests.block_tokens > 0:
        blocks = -(-snapshot // requests.block_tokens)
        requests = requests.with_block_tokens(blocks * requests.block_tokens)
    return split_curves(requests, caches)


@lru_cache(maxsize=4)
def traffic(trace: str) -> Requests:
    """Return the requests of a trace, read once."""
    from assay.workload.traces import read  # dozens of readers: only where a trace is given

    return read(Path(trace)).requests


def prefilling(
    question: Question, run: Callable[[Floats | float, Floats | float], Sweep], replicas: float = 1.0
) -> tuple[Sweep, Hits | None]:
    """Return the sweep of a prefill pool whose caches hold what no running sequence takes, and its hits.

    Args:
        question: its cache, or the share it states.
        run: the sweep at given hits.
        replicas: copies of each layout that share the traffic.
    """

    def prompting(cached: Floats | float, fetch: Floats | float) -> Sweep:
        found = run(cached, fetch)
        return replace(found, state=prompts_only(found.step, found.copy.engine, found.load))

    if question.caches is None:
        return run(question.cached, 0.0), None
    return settled(question.caches, prompting, replicas)


def delayed(matches: Pairs, fetch: Floats) -> Pairs:
    """Return pairs whose first tokens wait for the cache: `fetch` s for each of P prefill layouts, (P, 1)."""
    extra = fetch[:, :, None, None]
    return replace(matches, ttft=matches.ttft + extra, users=matches.users + matches.rate * extra)
