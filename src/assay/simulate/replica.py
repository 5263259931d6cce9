"""One unit: continuous batching, chunked prompts, memory of the cache, preemption by recomputing.

A unit is idle, in a run of decode steps (which an arrival may cut at the end of the running step), or in a
step with prompt tokens. Policies differ in whether prompts share steps with decodes, in budget and
sequences, and in how much memory they keep free for the output of what already runs.
"""

from __future__ import annotations

from assay.simulate.intake import conclude, postpone
from assay.simulate.log import gap
from assay.simulate.prefix import share, shrink, unpin
from assay.simulate.queues import append, offer, pop, schedule
from assay.simulate.scheduler import (
    begin_prompt,
    computed,
    decode_cache,
    fill,
    join,
    make_room,
    prompt_cache,
)
from assay.simulate.state import (
    CLASSES,
    COMPLETED,
    DECODE,
    DECODER,
    IDLE,
    INFINITE,
    PREFILL,
    PROMPT,
    SLO,
    UP,
    State,
)
from assay.simulate.turns import gives_way, tell
from assay.simulate.walking import mixed, surface, walk


def weigh(state: State, number: int, change: int) -> None:
    """Change the load of a unit by so many requests, and keep the router's tree up to date."""
    unit = state.units[number]
    unit.load += change
    if state.pools[unit.pool].faces > 1:
        tell(state, number)
    elif unit.health == UP:
        offer(state, number, backlog(state, number))


def backlog(state: State, number: int) -> float:
    """Return what the router compares: requests at a unit; the SLO-aware one s until a prompt is computed."""
    unit = state.units[number]
    pool = state.pools[unit.pool]
    if state.models[pool.model].router != SLO or pool.role == DECODER:
        return float(unit.load)
    return forecast(state, number, 1)


def forecast(state: State, number: int, tokens: int) -> float:
    """Return s in which a unit computes its queue of prompts and `tokens` more beside its decodes.

    Steps as full as the budget allows. That a prompt may wait for memory is not foreseen.
    """
    unit = state.units[number]
    pool = state.pools[unit.pool]
    count = unit.count * pool.mixes
    mean = unit.context / count if count > 0 else 0.0
    room = max(pool.budget * pool.ranks - count * pool.width, 1)
    left, spent = unit.queue + tokens, 0.0
    full = left // room
    for chunk, steps in ((room, full), (left - full * room, 1)):
        if chunk > 0 and steps > 0:
            each = (chunk + pool.ranks - 1) // pool.ranks
            before = max(tokens - chunk, 0) // 2
            attention = surface(
                state.node, state.table, pool.prompt, float(each), float(before), pool.contexts
            )
            spent += steps * mixed(state.node, state.table, pool, count, mean, (each, chunk, attention))
    return spent * unit.slow


def enter(state: State, number: int, slot: int, now: float) -> None:
    """Queue a request at a unit and let it begin as soon as the scheduler looks."""
    unit = state.units[number]
    unit.queue += state.flight[slot].left
    weigh(state, number, 1)
    totals = state.totals[0]
    totals.waiting += 1
    totals.peak = max(totals.peak, totals.waiting + totals.running)
    unit.waiting += 1
    append(state, number * CLASSES + state.flight[slot].priority, slot)
    if unit.waiting == 1 or unit.kind == IDLE:
        nudge(state, number, now)


def nudge(state: State, number: int, now: float) -> None:
    """Let a unit look at what is new: at once if idle, else at the end of the decode step that runs."""
    unit = state.units[number]
    if unit.kind == IDLE:
        start(state, number, now)
    elif unit.kind == DECODE and unit.planned > 1 and unit.count < state.pools[unit.pool].sequences:
        cut(state, number, now)


def resume(state: State, slot: int, now: float) -> None:
    """The cache of an admitted request has come from a tier: the rest of its prompt follows, or decoding."""
    flight = state.flight[slot]
    number = flight.loading - 1
    unit = state.units[number]
    flight.loading = 0
    unit.loading -= 1
    if flight.left > 0:
        begin_prompt(state, unit, slot)
        nudge(state, number, now)
        return
    flight.following = unit.arrived
    unit.arrived = slot
    nudge(state, number, now)


def rejoin(state: State, number: int) -> None:
    """Let the requests decode whose swapped cache is back."""
    unit = state.units[number]
    while unit.arrived >= 0:
        slot = unit.arrived
        flight = state.flight[slot]
        unit.arrived = flight.following
        unit.used -= computed(flight) + state.pools[unit.pool].charge
        state.tiers[unit.tier].used -= flight.swapped
        flight.swapped = 0
        join(state, number, slot)


def cut(state: State, number: int, now: float) -> None:
    """End a run of decode steps with the step that is running now."""
    unit = state.units[number]
    elapsed = (now - unit.began) / unit.slow
    most = unit.planned
    if elapsed <= 0.0:
        most, elapsed = 1, INFINITE
    pool, mean = state.pools[unit.pool], unit.context / unit.count
    taken, spent = walk(state.node, state.table, pool, unit.count, mean, most, elapsed)
    if taken < unit.planned:
        unit.planned = taken
        schedule(state, number, unit.began + spent * unit.slow)


def start(state: State, number: int, now: float) -> None:
    """Choose what a unit does next and when that ends."""
    unit = state.units[number]
    pool = state.pools[unit.pool]
    rejoin(state, number)
    if pool.faces > 1 and gives_way(state, number, now):
        return
    make_room(state, number)
    prompt = fill(state, number)
    count = unit.count
    mean = unit.context / count if count > 0 else 0.0
    unit.began = now
    if prompt[1] > 0:
        unit.kind = PROMPT
        unit.planned = pool.mixes
        if pool.mixes == 0:
            count, mean = 0, 0.0
        spent = mixed(state.node, state.table, pool, count, mean, prompt)
    elif count > 0:
        unit.kind = DECODE
        most = state.ends[unit.bottom] - unit.steps
        fits = (pool.room - unit.used) / (count * pool.yields)
        if fits < most:
            most = max(1, int(fits))
        unit.planned, spent = walk(state.node, state.table, pool, count, mean, most, INFINITE)
    else:
        unit.kind = IDLE
        schedule(state, number, INFINITE)
        return
    schedule(state, number, now + spent * unit.slow)


def complete(state: State, number: int, now: float) -> None:
    """End a unit's action: tokens are out, requests leave, the next action starts."""
    unit = state.units[number]
    pool, kind = state.pools[unit.pool], unit.kind
    spent = now - unit.began
    unit.busy += spent
    pool.batch_seconds += unit.count * spent
    pool.context_seconds += unit.context * spent
    if kind == PROMPT:
        pool.prompt_busy += spent
        pool.mixed_steps += 1
    else:
        pool.decode_busy += spent
    if unit.count > 0:
        if unit.planned > 0:
            advance(state, number, spent)
            leave(state, number, now)
        else:
            unit.stall += spent
    if kind == PROMPT:
        absorb(state, number, now)
    shrink(state, unit)
    start(state, number, now)


def advance(state: State, number: int, spent: float) -> None:
    """Let every decoding sequence of a unit gain the tokens of the steps it planned."""
    unit = state.units[number]
    pool, count, taken = state.pools[unit.pool], unit.count, unit.planned
    grown = count * taken * pool.yields
    unit.steps += taken
    unit.context += grown
    unit.used += grown
    unit.future -= grown
    unit.peak = max(unit.peak, unit.used)
    pool.steps += taken
    each = spent / taken
    if unit.stall > 0.0:
        gap(state.gaps, pool.model, unit.stall + each, count)
        unit.stall = 0.0
        taken -= 1
    if taken > 0:
        gap(state.gaps, pool.model, each, count * taken)


def leave(state: State, number: int, now: float) -> None:
    """Let the sequences that have all their tokens go."""
    unit = state.units[number]
    pool = state.pools[unit.pool]
    bottom = unit.bottom
    while unit.count > 0 and state.ends[bottom] <= unit.steps:
        slot = pop(state.ends, state.heap, bottom, unit.count, 0)
        flight = state.flight[slot]
        unit.count -= 1
        unit.context -= flight.base + pool.yields * unit.steps
        unit.used -= decode_cache(pool, unit, flight)
        finish(state, number, slot, now)


def finish(state: State, number: int, slot: int, now: float) -> None:
    """Answer a request completely."""
    unpin(state, number, slot)
    flight = state.flight[slot]
    state.totals[0].running -= 1
    state.models[flight.model].output_tokens += flight.osl
    state.units[number].served += 1
    weigh(state, number, -1)
    conclude(state, number, slot, COMPLETED, now)


def absorb(state: State, number: int, now: float) -> None:
    """Take the prompt tokens of a step off what is left; whole prompts yield their first token."""
    unit = state.units[number]
    slot = unit.prompts
    unit.prompts = -1
    unit.last = -1
    while slot >= 0:
        flight = state.flight[slot]
        following = flight.following
        flight.left -= flight.chunk
        unit.queue -= flight.chunk
        state.pools[unit.pool].computed += flight.chunk
        if flight.left > 0:
            flight.following = -1
            if unit.last >= 0:
                state.flight[unit.last].following = slot
            else:
                unit.prompts = slot
            unit.last = slot
        else:
            ripen(state, number, slot, now)
        slot = following
    if state.models[state.pools[unit.pool].model].router == SLO:
        weigh(state, number, 0)


def ripen(state: State, number: int, slot: int, now: float) -> None:
    """A prompt is computed: its first token is out, it decodes here, moves on or is finished."""
    unit, flight = state.units[number], state.flight[slot]
    pool = state.pools[unit.pool]
    unit.prompting -= 1
    if flight.blocks > 0 and pool.block_tokens > 0:
        share(state, number, slot)
    unit.used -= prompt_cache(pool, flight)
    if flight.first < 0.0:
        flight.first = now
    flight.made += 1
    unit.future -= 1.0
    if flight.made >= flight.osl:
        finish(state, number, slot, now)
    elif pool.role == PREFILL:
        unit.future -= flight.osl - flight.made
        hand_over(state, number, slot, now)
    else:
        join(state, number, slot)


def hand_over(state: State, number: int, slot: int, now: float) -> None:
    """Send a request's cache to a decode pool, over the unit's link, one after another."""
    unit, flight = state.units[number], state.flight[slot]
    pool = state.pools[unit.pool]
    unpin(state, number, slot)
    weigh(state, number, -1)
    state.totals[0].running -= 1
    arrives = max(now, unit.link) + pool.link_latency + pool.link_token * flight.isl
    unit.link = arrives
    flight.staged = 1
    flight.sender = number
    postpone(state, slot, arrives)
