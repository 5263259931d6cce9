"""Everything the event kernel reads and writes.

One source runs in two ways: as it stands, on lists of small objects, and compiled by numba, on arrays of
records with the same field names. Both do the same operations in the same order, so results are the same
bit for bit. That is why the kernel keeps to scalars, indices and records. Times are s, memory of the KV
cache is counted in tokens.

Words: a *unit* is what steps together: a replica, or one of its pipeline microbatches. A *pool* is a set of
equal units. A *slot* holds one request in flight; slots are reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Floats = list[float]
Ints = list[int]
INFINITE = float("inf")

#: What a unit is doing: nothing, decode steps, a step with prompt tokens.
IDLE, DECODE, PROMPT = 0, 1, 2
#: Health of a unit.
OFF, UP, STARTING, DRAINING = 0, 1, 2, 3
#: Where a request goes first, and where its cache is handed to.
BOTH, PREFILL, DECODER = 0, 1, 2
#: Routers.
ROUND_ROBIN, LEAST_LOAD, PREFIX, SESSION, SLO = 0, 1, 2, 3, 4
#: What happens to a request whose predicted TTFT is beyond the limit.
SERVE, REJECT, DEFER = 0, 1, 2
#: How a request ended.
COMPLETED, REJECTED, FAILED, UNSERVED = 0, 1, 2, 3
#: Kinds of scripted events.
DOWN, RECOVER, SLOW, LINK = 0, 1, 2, 3
#: Why the kernel returned.
DONE, LOG_FULL, MORE_REQUESTS, MORE_SLOTS, PAUSED = 0, 1, 2, 3, 4
#: Priorities that requests can have, 0 first.
CLASSES = 4
#: Bins an octave, first exponent and number of the histogram of gaps between tokens.
GAP_BINS, GAP_LOW, GAPS = 64, -20, 2048


@dataclass(slots=True)
class Setup:
    """What holds for the whole run.

    Attributes:
        router: code of the router; `slack`, `ratio`, `match`: when a prefix-aware one prefers the least
            loaded unit.
        heap_size: places of a unit's heap.
        block_tokens: tokens of a prefix block, 0 = no prefix cache.
        tries, retry_after: how often and after which s requests of a failed unit are sent again.
        most_waiting: waiting requests of a unit beyond which new ones are refused, 0 = never.
        over: what happens to requests whose TTFT would exceed `limit` s; `defer`: s they are put off.
        closed: users of a closed loop, 0 = arrivals as given. `think`: s until a user has asked again.
        longest: most tokens of a request.
        opening: requests of the traffic at hand that arrive by themselves; others follow an earlier turn.
        last: whether that traffic is the last.
        tick, target, least, greatest, cold_start: autoscaling. `pause`: events until progress is shown.
    """

    router: int
    heap_size: int
    block_tokens: int
    tries: int
    most_waiting: int
    over: int
    closed: int
    longest: int
    opening: int
    last: int
    least: int
    greatest: int
    pause: int
    slack: float
    ratio: float
    match: float
    retry_after: float
    tick: float
    target: float
    cold_start: float
    think: float
    limit: float
    defer: float


@dataclass(slots=True)
class Totals:
    """What changes with every event: counters and the clock.

    Attributes:
        coming: requests taken from the traffic at hand in order of arrival.
        free, later: sizes of the stack of free slots and of the heap of requests that turn up later.
        fault, logged, samples: places in faults, log and timeline.
        turn, order: counters of the round robin and of admissions.
        pending, pending_tail: requests that no unit can take now.
        in_flight, waiting, running, ready: slots taken, requests, units now; `peak`, `events`: most, all.
        refused, deferred: requests refused and put off for their predicted TTFT; `stalled`: by a failed link.
        prompt_tokens, hit_tokens, output_tokens, lost_tokens: of admitted prompts, found in caches, put
            out, computed in vain or twice.
        now, sample_at, sample_width, tick_at: s.
    """

    coming: int
    free: int
    later: int
    fault: int
    logged: int
    samples: int
    turn: int
    order: int
    pending: int
    pending_tail: int
    in_flight: int
    waiting: int
    running: int
    ready: int
    peak: int
    events: int
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
    now: float
    sample_at: float
    sample_width: float
    tick_at: float


@dataclass(slots=True)
class PoolRow:
    """A pool: policy, memory, host, places of its tables (see `timetable`) and of its tree; sums over time.

    `width` tokens a decoding sequence takes of the budget, `yields` those it gains; `room` tokens of cache a
    unit holds, `charge` those a sequence takes beyond its own; `tiers` tiers behind it, `swaps` whether
    preempted requests go there. `ready` units now, `ready_seconds` unit-seconds paid for; `steps`,
    `mixed_steps`, `computed`: decode steps, steps with prompts, their tokens; integrals over steps.
    """

    role: int
    first: int
    units: int
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
        pool, health, kind: what it is, whether it serves, what it does.
        began, planned: start and decode steps of its action; `steps`: decode steps so far.
        count, prompting, waiting, loading: sequences that decode, prompts under way, requests in its queues,
            admitted requests whose cache comes from a tier.
        context: sum of the contexts that decode. `used`, `idle`: tokens of cache in use and kept for reuse.
        queue: prompt tokens to compute. `future`: tokens to come of what is admitted. `peak`: most used.
        load: requests sent to it and not ended. `served`: requests ended.
        prompts, last: chain of prompts under way; `arrived`: of requests swapped in.
        stall: s since the last decode step. `busy`: s of steps. `link`: when its link is free.
        slow: factor on its step times.
        oldest, newest, frees, first, table: its prefix cache; `tier`: its first tier.
    """

    pool: int
    health: int
    kind: int
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
    isl: int
    osl: int
    made: int
    left: int
    chunk: int
    end: int
    block: int
    blocks: int
    pinned: int
    hit: int
    session: int
    priority: int
    order: int
    tries: int
    preempted: int
    following: int
    staged: int
    follow: int
    swapped: int
    loading: int
    sender: int
    deferred: int
    arrival: float
    base: float
    first: float


@dataclass(slots=True)
class EntryRow:
    """A block of a prefix cache: id, users, neighbours in order of use; `free` is a stack of free entries."""

    key: int
    users: int
    older: int
    newer: int
    free: int


@dataclass(slots=True)
class TierRow:
    """A tier of one unit: blocks as in the unit's own cache, tokens of swapped requests, a link.

    Attributes:
        oldest, newest, frees, first, table, buckets: its blocks; `asked` of them a request wants.
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
    follow: int
    isl: int
    osl: int
    session: int
    priority: int
    hit: int
    block: int
    blocks: int


@dataclass(slots=True)
class LogRow:
    """A request that ended."""

    number: int
    isl: int
    osl: int
    hit: int
    unit: int
    tries: int
    preempted: int
    status: int
    arrival: float
    first: float
    end: float


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


class State(NamedTuple):
    """All of it: records, then plain arrays (heaps, trees, queues, tables, units `wanted` of late)."""

    setup: list[Setup]
    totals: list[Totals]
    pools: list[PoolRow]
    units: list[UnitRow]
    flight: list[FlightRow]
    entries: list[EntryRow]
    tiers: list[TierRow]
    coming: list[ComingRow]
    faults: list[FaultRow]
    log: list[LogRow]
    timeline: list[SampleRow]
    table: Floats
    node: Floats
    until: Floats
    clock: Ints
    weight: Floats
    balance: Ints
    ends: Ints
    heap: Ints
    head: Ints
    tail: Ints
    slots: Ints
    later_at: Floats
    later_slot: Ints
    bucket: Ints
    seen: Ints
    owner: Ints
    ids: Ints
    gaps: Ints
    wanted: Ints
