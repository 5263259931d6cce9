"""Which requests the next step of a unit carries, and what their cache takes."""

from __future__ import annotations

from assay.simulate.prefix import matched, pin, shrink, unpin
from assay.simulate.queues import pop, push, put_back, take_first
from assay.simulate.state import CLASSES, FlightRow, PoolRow, State, UnitRow
from assay.simulate.walking import surface


def prompt_cache(state: State, pool: PoolRow, flight: FlightRow) -> float:
    """Return the tokens of cache that a prompt under way holds alone: its own, less shared, plus rounding."""
    return flight.isl + flight.made - flight.pinned * state.setup[0].block_tokens + pool.charge


def decode_cache(state: State, pool: PoolRow, unit: UnitRow, flight: FlightRow) -> float:
    """Return the tokens of cache that a decoding request holds alone."""
    own = flight.base + pool.yields * unit.steps
    return own - flight.pinned * state.setup[0].block_tokens + pool.charge


def fill(state: State, number: int) -> tuple[int, int, float]:
    """Give prompts their share of the next step and admit new ones.

    Returns:
        Prompt tokens of the busiest rank, of all ranks, and s of their attention.
    """
    unit = state.units[number]
    if unit.prompts < 0 and unit.waiting == 0:
        return 0, 0, 0.0
    pool = state.pools[unit.pool]
    ranks = pool.ranks
    decoding = unit.count * pool.width * pool.mixes
    each = pool.budget - decoding // ranks
    room = pool.budget * ranks - decoding
    busiest, tokens, longest, attention = 0, 0, 0.0, 0.0
    slot = unit.prompts
    while room > 0 and each > 0:
        if slot < 0:
            slot = admit_next(state, number)
            if slot < 0:
                break
        flight = state.flight[slot]
        chunk = min(flight.left, each, room)
        flight.chunk = chunk
        done = flight.isl + flight.made - flight.left
        spent = surface(state.node, state.table, pool.prompt, float(chunk), float(done), pool.contexts)
        attention += spent
        longest = max(longest, spent)
        busiest = max(busiest, chunk)
        tokens += chunk
        room -= chunk
        slot = flight.following
    while slot >= 0:
        state.flight[slot].chunk = 0
        slot = state.flight[slot].following
    return max(busiest, (tokens + ranks - 1) // ranks), tokens, max(longest, attention / ranks)


def admit_next(state: State, number: int) -> int:
    """Admit the first waiting request if it fits and return its slot; -1 = none with a prompt to compute.

    Requests whose cache came from a prefill unit decode at once.
    """
    unit = state.units[number]
    while unit.waiting > 0:
        queue = number * CLASSES
        while state.head[queue] < 0:
            queue += 1
        slot = state.head[queue]
        if not admit(state, number, slot):
            return -1
        take_first(state, queue)
        unit.waiting -= 1
        state.totals[0].waiting -= 1
        state.totals[0].running += 1
        flight = state.flight[slot]
        if flight.left == 0:
            join(state, number, slot)
            continue
        flight.following = -1
        if unit.last >= 0:
            state.flight[unit.last].following = slot
        else:
            unit.prompts = slot
        unit.last = slot
        unit.prompting += 1
        return slot
    return -1


def admit(state: State, number: int, slot: int) -> bool:
    """Give a waiting request memory for its prompt and return whether there was enough.

    What runs keeps the growth of its next step, the watermark and the policy's reserve for its output.
    """
    unit, flight, totals = state.units[number], state.flight[slot], state.totals[0]
    pool = state.pools[unit.pool]
    running = unit.count + unit.prompting
    if running >= pool.sequences:
        return False
    found, unused = 0, 0
    if flight.blocks > 0 and flight.staged == 0:
        found, unused = matched(state, number, slot)
    size = state.setup[0].block_tokens
    tokens = flight.isl + flight.made - flight.staged
    wanted = flight.osl - flight.made
    needed = tokens - found * size + pool.charge
    kept = float(unused * size)
    if running > 0:
        kept += pool.watermark + (running + 1) * pool.yields + pool.reserve * (unit.future + wanted)
    if unit.used + needed + kept > pool.room:
        return False
    pin(state, number, slot, found)
    if flight.staged == 0:
        unit.used += needed
        if flight.order < 0:
            flight.hit = max(flight.hit, found * size)
            totals.hit_tokens += flight.hit
            totals.prompt_tokens += flight.isl
        known = flight.hit if flight.blocks == 0 else found * size
        flight.left = tokens - known
    unit.future += wanted
    unit.peak = max(unit.peak, unit.used)
    shrink(state, unit)
    totals.order += 1
    flight.order = totals.order
    return True


def join(state: State, number: int, slot: int) -> None:
    """Let a request with its whole prompt in the cache decode."""
    unit, flight = state.units[number], state.flight[slot]
    pool = state.pools[unit.pool]
    yields = pool.yields
    wanted = flight.osl - flight.made
    needed = int(wanted / yields)
    if needed * yields < wanted:
        needed += 1
    tokens = flight.isl + flight.made - 1
    flight.base = tokens - yields * unit.steps
    flight.end = unit.steps + needed
    unit.future += needed * yields - wanted
    push(state.ends, state.heap, number * state.setup[0].heap_size, unit.count, flight.end, slot)
    unit.count += 1
    unit.context += tokens
    unit.used += decode_cache(state, pool, unit, flight)
    unit.peak = max(unit.peak, unit.used)
    shrink(state, unit)


def make_room(state: State, number: int) -> None:
    """Preempt the requests admitted last until the others can grow by one step."""
    unit = state.units[number]
    pool = state.pools[unit.pool]
    while unit.count + unit.prompting > 1:
        if pool.room - unit.used >= unit.count * pool.yields:
            return
        preempt(state, number)


def preempt(state: State, number: int) -> None:
    """Take the memory of the request admitted last and put it back in front of its queue."""
    unit, totals = state.units[number], state.totals[0]
    pool = state.pools[unit.pool]
    if unit.prompting > 0:
        slot = drop_last_prompt(state, unit)
        flight = state.flight[slot]
        unit.used -= prompt_cache(state, pool, flight)
        unit.future -= flight.osl - flight.made
    else:
        slot = drop_last_decode(state, number)
        flight = state.flight[slot]
        unit.used -= decode_cache(state, pool, unit, flight)
        unit.future -= (flight.end - unit.steps) * pool.yields
        flight.made = min(int(flight.base + pool.yields * unit.steps) - flight.isl + 1, flight.osl - 1)
    unpin(state, number, slot)
    flight.staged = 0
    flight.left = flight.isl + flight.made
    flight.preempted += 1
    totals.preempted += 1
    totals.lost_tokens += flight.left
    totals.waiting += 1
    totals.running -= 1
    unit.waiting += 1
    put_back(state, number * CLASSES + flight.priority, slot)


def drop_last_prompt(state: State, unit: UnitRow) -> int:
    """Take the last of the prompts under way out of its list and return its slot."""
    slot, before = unit.prompts, -1
    while state.flight[slot].following >= 0:
        before, slot = slot, state.flight[slot].following
    unit.last = before
    if before >= 0:
        state.flight[before].following = -1
    else:
        unit.prompts = -1
    unit.prompting -= 1
    return slot


def drop_last_decode(state: State, number: int) -> int:
    """Take the decoding request that was admitted last out of the heap and return its slot."""
    unit = state.units[number]
    bottom = number * state.setup[0].heap_size
    best = 0
    for at in range(1, unit.count):
        if state.flight[state.heap[bottom + at]].order > state.flight[state.heap[bottom + best]].order:
            best = at
    slot = pop(state.ends, state.heap, bottom, unit.count, best)
    unit.count -= 1
    unit.context -= state.flight[slot].base + state.pools[unit.pool].yields * unit.steps
    return slot
