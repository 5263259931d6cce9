"""Which requests the next step of a unit carries, and what their cache takes."""

from __future__ import annotations

from assay.simulate.intake import postpone
from assay.simulate.offload import cross, fetch, reach, swap_out
from assay.simulate.prefix import matched, pin, shrink, unpin
from assay.simulate.queues import pop, push, put_back, take_first
from assay.simulate.rows import FlightRow, PoolRow, UnitRow
from assay.simulate.state import CLASSES, State
from assay.simulate.turns import has_turn
from assay.simulate.walking import surface


def prompt_cache(pool: PoolRow, flight: FlightRow) -> float:
    """Return the tokens of cache that a prompt under way holds alone: its own, less shared, plus rounding."""
    return flight.isl + flight.made - flight.pinned * pool.block_tokens + pool.charge


def decode_cache(pool: PoolRow, unit: UnitRow, flight: FlightRow) -> float:
    """Return the tokens of cache that a decoding request holds alone."""
    own = flight.base + pool.yields * unit.steps
    return own - flight.pinned * pool.block_tokens + pool.charge


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
        if not has_turn(state, number, slot) or not admit(state, number, slot):
            return -1
        take_first(state, queue)
        unit.waiting -= 1
        state.totals[0].waiting -= 1
        state.totals[0].running += 1
        if state.flight[slot].loading > 0:
            unit.loading += 1
        elif state.flight[slot].left == 0:
            join(state, number, slot)
        else:
            begin_prompt(state, unit, slot)
            return slot
    return -1


def begin_prompt(state: State, unit: UnitRow, slot: int) -> None:
    """Put a request at the end of the prompts under way; a step that runs does not carry it."""
    state.flight[slot].following = -1
    state.flight[slot].chunk = 0
    if unit.last >= 0:
        state.flight[unit.last].following = slot
    else:
        unit.prompts = slot
    unit.last = slot
    unit.prompting += 1


def admit(state: State, number: int, slot: int) -> bool:
    """Give a waiting request memory for its prompt and return whether there was enough.

    What runs keeps the growth of its next step, the watermark and the policy's reserve for its output.
    """
    unit, flight = state.units[number], state.flight[slot]
    pool = state.pools[unit.pool]
    running = unit.count + unit.prompting + unit.loading
    if running >= pool.sequences:
        return False
    found, unused = 0, 0
    if flight.blocks > 0 and flight.staged == 0 and flight.swapped == 0:
        found, unused = matched(state, number, slot)
    size = pool.block_tokens
    needed = computed(flight) - found * size + pool.charge
    wanted = flight.osl - flight.made
    kept = float(unused * size)
    if running > 0:
        kept += pool.watermark + (running + 1) * pool.yields + pool.reserve * (unit.future + wanted)
    if unit.used + needed + kept > pool.room:
        return False
    pin(state, number, slot, found)
    if flight.staged == 0:
        unit.used += needed
        recall(state, number, slot, found)
    unit.future += wanted
    unit.peak = max(unit.peak, unit.used)
    shrink(state, unit)
    state.totals[0].order += 1
    flight.order = state.totals[0].order
    return True


def computed(flight: FlightRow) -> int:
    """Return the tokens a request needs in the cache before it decodes; the newest one is not in it yet.

    A prompt still to be computed counts the token that its last step puts out.
    """
    there = flight.staged > 0 or flight.swapped > 0
    return flight.isl + flight.made - (1 if there else 0)


def recall(state: State, number: int, slot: int, found: int) -> None:
    """Count what an admitted request finds in the caches, and start loading what lies in tiers."""
    unit, flight, totals = state.units[number], state.flight[slot], state.totals[0]
    pool, model = state.pools[unit.pool], state.models[flight.model]
    size, ready, loaded = pool.block_tokens, totals.now, 0
    before = flight.left
    if flight.swapped > 0:
        tier = state.tiers[unit.tier]
        ready = cross(tier, totals.now, float(flight.swapped))
    elif flight.blocks > 0:
        if pool.tiers > 0:
            loaded = reach(state, number, slot, found)
            if loaded > 0:
                ready = fetch(state, number, slot, found, loaded)
        flight.left = computed(flight) - (found + loaded) * size
    else:
        flight.left = computed(flight) - flight.hit
    if flight.order < 0:
        flight.hit = max(flight.hit, (found + loaded) * size)
        model.hit_tokens += flight.hit
        model.prompt_tokens += flight.isl
    unit.queue += flight.left - before
    if ready > totals.now:
        flight.loading = number + 1
        postpone(state, slot, ready)


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
    push(state.ends, state.heap, unit.bottom, unit.count, flight.end, slot)
    unit.count += 1
    unit.context += tokens
    unit.used += decode_cache(pool, unit, flight)
    unit.peak = max(unit.peak, unit.used)
    shrink(state, unit)


def make_room(state: State, number: int) -> None:
    """Preempt the requests admitted last until the others can grow by one step."""
    unit = state.units[number]
    pool = state.pools[unit.pool]
    while unit.count + unit.prompting + unit.loading > 1:
        if pool.room - unit.used >= unit.count * pool.yields:
            return
        preempt(state, number)


def preempt(state: State, number: int) -> None:
    """Take the memory of the request admitted last and put it back in front of its queue.

    Its cache is swapped out where the pool does that and the tier has room, else computed again.
    """
    unit, totals = state.units[number], state.totals[0]
    pool = state.pools[unit.pool]
    if unit.loading > 0:
        slot = drop_last_loading(state, number)
        flight = state.flight[slot]
        unit.used -= computed(flight) - flight.pinned * pool.block_tokens + pool.charge
        unit.future -= flight.osl - flight.made
    elif unit.prompting > 0:
        slot = drop_last_prompt(state, unit)
        flight = state.flight[slot]
        unit.used -= prompt_cache(pool, flight)
        unit.future -= flight.osl - flight.made
    else:
        slot = drop_last_decode(state, number)
        flight = state.flight[slot]
        unit.used -= decode_cache(pool, unit, flight)
        unit.future -= (flight.end - unit.steps) * pool.yields
        flight.made = min(int(flight.base + pool.yields * unit.steps) - flight.isl + 1, flight.osl - 1)
        if swap_out(state, number, flight):
            flight.left = 0
    unpin(state, number, slot)
    flight.staged = 0
    flight.preempted += 1
    model = state.models[flight.model]
    model.preempted += 1
    if flight.swapped == 0:
        unit.queue += flight.isl + flight.made - flight.left
        flight.left = flight.isl + flight.made
        model.lost_tokens += flight.left
    totals.waiting += 1
    totals.running -= 1
    unit.waiting += 1
    put_back(state, number * CLASSES + flight.priority, slot)


def drop_last_loading(state: State, number: int) -> int:
    """Take the request admitted last of those whose cache comes from a tier, and return its slot."""
    totals = state.totals[0]
    best = -1
    for at in range(totals.later):
        flight = state.flight[state.later_slot[at]]
        if flight.loading != number + 1:
            continue
        if best < 0 or flight.order > state.flight[state.later_slot[best]].order:
            best = at
    slot = pop(state.later_at, state.later_slot, 0, totals.later, best)
    totals.later -= 1
    state.flight[slot].loading = 0
    state.units[number].loading -= 1
    return slot


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
    bottom = unit.bottom
    best = 0
    for at in range(1, unit.count):
        if state.flight[state.heap[bottom + at]].order > state.flight[state.heap[bottom + best]].order:
            best = at
    slot = pop(state.ends, state.heap, bottom, unit.count, best)
    unit.count -= 1
    unit.context -= state.flight[slot].base + state.pools[unit.pool].yields * unit.steps
    return slot
