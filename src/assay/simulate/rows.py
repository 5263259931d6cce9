"""Records of the kernel: one class for each field of `State` that is a list of records.

Words: a *unit* is what steps together: a replica, or one of its pipeline microbatches. A *pool* is a set of
equal units. A *slot* holds one request in flight; slots are reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Whole numbers that fit 32 bits: what there is much of is kept narrow.
Small = int


@dataclass(slots=True)
class Setup:
    """What holds for the whole run.

    Attributes:
        closed: users of a closed loop, 0 = arrivals as given. `think`: s until a user has asked again.
        opening: requests of the traffic at hand that arrive by themselves; others follow an earlier turn.
        last: whether that traffic is the last.
        pause: events until progress is shown.
    """

    closed: int
    opening: int
    last: int
    pause: int
    think: float


@dataclass(slots=True)
class ModelRow:
    """A model that is served: how its requests are routed, admitted, retried and scaled for; its counters.

    Attributes:
        first, pools: its pools; `longest`: most tokens of a request.
        router: code of the router; `slack`, `ratio`, `match`: when a prefix-aware one prefers the least
            loaded unit; `turn`: place of the round robin.
        tries, retry_after: how often and after which s requests of a failed unit are sent again.
        most_waiting: waiting requests of a unit beyond which new ones are refused, 0 = never.
        over: what happens to requests whose TTFT would exceed `limit` s; `defer`: s they are put off.
        tick, target, least, greatest, cold_start: autoscaling of its first pool, next at `tick_at`; its
            `decisions` of late stand in `wanted` from `decided` on.
        refused, deferred: requests refused and put off for their predicted TTFT; `stalled`: by a failed link.
        prompt_tokens, hit_tokens, output_tokens, lost_tokens: of admitted prompts, found in caches, put
            out, computed in vain or twice.
    """

    first: int
    pools: int
    longest: int
    router: int
    turn: int
    tries: int
    most_waiting: int
    over: int
    least: int
    greatest: int
    decided: int
    decisions: int
    preempted: int
    retried: int
    swapped: int
    refused: int
    deferred: int
    stalled: int
    prompt_tokens: int
    hit_tokens: int
    output_tokens: int
    lost_tokens: int
    slack: float
    ratio: float
    match: float
    retry_after: float
    tick: float
    tick_at: float
    target: float
    cold_start: float
    limit: float
    defer: float


@dataclass(slots=True)
class Totals:
    """What changes with every event: counters and the clock.

    Attributes:
        coming: requests taken from the traffic at hand in order of arrival.
        free, later: sizes of the stack of free slots and of the heap of requests that turn up later.
        fault, logged, samples: places in faults, log and timeline.
        order: counter of admissions.
        pending, pending_tail: requests that no unit can take now.
        in_flight, waiting, running, ready: slots taken, requests, units now; `peak`, `events`: most, all.
        now, sample_at, sample_width, tick_at: s.
    """

    coming: int
    free: int
    later: int
    fault: int
    logged: int
    samples: int
    order: int
    pending: int
    pending_tail: int
    in_flight: int
    waiting: int
    running: int
    ready: int
    peak: int
    events: int
    now: float
    sample_at: float
    sample_width: float
    tick_at: float


@dataclass(slots=True)
class PoolRow:
    """A pool: policy, memory, host, places of its tables (see `timetable`) and of its tree; sums over time.

    Models that take turns on the same replicas have one pool each, of as many units: `faces` such pools from
    `face` on. `switch` s until the model is loaded; `patience` s that others may overtake its requests;
    `strange` requests that a replica counts for more while it holds another model; `switches` to it so far.
    `block_tokens` tokens of a prefix block, 0 = no prefix cache; `width` tokens a decoding sequence takes of
    the budget, `yields` those it gains; `room` tokens of cache a unit holds, `charge` those a sequence takes
    beyond its own; `tiers` tiers behind it, `swaps` whether preempted requests go there. `ready` units now,
    `ready_seconds` unit-seconds paid for; `steps`, `mixed_steps`, `computed`: decode steps, steps with
    prompts, their tokens; integrals over steps.
    """

    model: int
    role: int
    first: int
    units: int
    face: int
    faces: int
    switches: int
    block_tokens: int
    mixes: int
    budget: int
    ranks: int
    sequences: int
    width: int
    contexts: int
    prompts: int
    base: int
    joint: int
    prompt: int
    experts: int
    tree: int
    leaves: int
    blocks: int
    buckets: int
    tiers: int
    swaps: int
    ready: int
    steps: int
    mixed_steps: int
    computed: int
    switch: float
    patience: float
    strange: float
    switching: float
    yields: float
    room: float
    charge: float
    reserve: float
    watermark: float
    host: float
    host_sequence: float
    link_latency: float
    link_token: float
    ready_seconds: float
    ready_since: float
    batch_seconds: float
    context_seconds: float
    decode_busy: float
    prompt_busy: float


@dataclass(slots=True)
class UnitRow:
    """State of a unit.

    Attributes:
        pool, health, kind: what it is, whether it serves, what it does; `holds`: whether its chips hold its
            model.
        began, planned: start and decode steps of its action; `steps`: decode steps so far.
        count, prompting, waiting, loading: sequences that decode, prompts under way, requests in its queues,
            admitted requests whose cache comes from a tier.
        context: sum of the contexts that decode. `used`, `idle`: tokens of cache in use and kept for reuse.
        queue: prompt tokens to compute. `future`: tokens to come of what is admitted. `peak`: most used.
        load: requests sent to it and not ended. `served`: requests ended.
        prompts, last: chain of prompts under way; `arrived`: of requests swapped in.
        stall: s since the last decode step. `busy`: s of steps. `link`: when its link is free.
        slow: factor on its step times.
        oldest, newest, frees, first, table: its prefix cache; `tier`: its first tier; `bottom`: its heap.
    """

    pool: int
    health: int
    kind: int
    holds: int
    bottom: int
    planned: int
    steps: int
    count: int
    prompting: int
    waiting: int
    loading: int
    served: int
    prompts: int
    last: int
    arrived: int
    oldest: int
    newest: int
    frees: int
    first: int
    table: int
    tier: int
    load: int
    queue: int
    began: float
    slow: float
    context: float
    used: float
    idle: float
    future: float
    peak: float
    stall: float
    busy: float
    link: float


@dataclass(slots=True)
class FlightRow:
    """State of a request in flight; lists are chained through `following`.

    `swapped` tokens of it lie in the first tier of its unit; `loading` is that unit + 1 while cache comes
    from a tier, else 0. `sender`: the prefill unit that sends its cache. `deferred`: whether it was put off.
    """

    number: int
    end: int
    session: int
    order: int
    arrival: float
    base: float
    first: float
    model: Small
    isl: Small
    osl: Small
    made: Small
    left: Small
    chunk: Small
    block: Small
    blocks: Small
    pinned: Small
    hit: Small
    priority: Small
    tries: Small
    preempted: Small
    following: Small
    staged: Small
    follow: Small
    swapped: Small
    loading: Small
    sender: Small
    deferred: Small


@dataclass(slots=True)
class EntryRow:
    """A block of a prefix cache: id, users, neighbours in order of use.

    `free` is a stack of free entries, each as its distance from its place there: so all begin as zeros.
    """

    key: int
    users: Small
    older: Small
    newer: Small
    free: Small


@dataclass(slots=True)
class TierRow:
    """A tier of one unit: blocks as in the unit's own cache, tokens of swapped requests, a link.

    Attributes:
        oldest, newest, frees, first, table, buckets, block_tokens: its blocks; a request wants `asked`.
        hits: input tokens found here.
        room, held, used, peak: tokens it has room for, of blocks, of swapped requests, most of both.
        moved: tokens sent over its link. `link`: when that is free, s.
        latency, token: s, and s a token, of a transfer.
    """

    oldest: int
    newest: int
    frees: int
    first: int
    table: int
    buckets: int
    block_tokens: int
    asked: int
    hits: int
    room: float
    held: float
    used: float
    peak: float
    moved: float
    link: float
    latency: float
    token: float


class ComingRow(NamedTuple):
    """A request to come; `follow` is the row of the next turn of its session, `gap` s after its end."""

    arrival: float
    gap: float
    number: int
    session: int
    model: Small
    follow: Small
    isl: Small
    osl: Small
    priority: Small
    hit: Small
    block: Small
    blocks: Small


@dataclass(slots=True)
class LogRow:
    """A request that ended."""

    number: int
    arrival: float
    first: float
    end: float
    model: Small
    isl: Small
    osl: Small
    hit: Small
    unit: Small
    tries: Small
    preempted: Small
    status: Small


@dataclass(slots=True)
class SampleRow:
    """A sample of the whole cluster."""

    waiting: int
    running: int
    ready: int
    at: float
    used: float


class FaultRow(NamedTuple):
    """A scripted event."""

    at: float
    unit: int
    kind: int
    factor: float
