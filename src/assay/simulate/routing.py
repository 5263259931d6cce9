"""Where a request goes: round robin, least load, prefix-aware, session-sticky, SLO-aware; and admission."""

from __future__ import annotations

from assay.simulate.intake import conclude, postpone
from assay.simulate.replica import enter, forecast
from assay.simulate.state import (
    INFINITE,
    PREFILL,
    PREFIX,
    PROMPT,
    REJECT,
    REJECTED,
    ROUND_ROBIN,
    SERVE,
    SESSION,
    UP,
    State,
)


def route(state: State, slot: int, now: float) -> None:
    """Send a request to a unit, refuse it, or hold it while no unit of its pool is up."""
    flight, setup, totals = state.flight[slot], state.setup[0], state.totals[0]
    if not fits(state, slot):
        conclude(state, -1, slot, REJECTED, now)
        return
    index = flight.staged * (len(state.pools) - 1)
    pool = state.pools[index]
    lightest = state.balance[pool.tree + 1]
    if state.weight[(pool.tree >> 1) + lightest] == INFINITE:
        hold(state, slot)
        return
    number = pool.first + lightest
    if setup.router == ROUND_ROBIN:
        number = next_up(state, index, totals.turn % pool.units)
        totals.turn = number - pool.first + 1
    elif setup.router == SESSION and flight.session >= 0:
        number = next_up(state, index, flight.session % pool.units)
    elif setup.router == PREFIX and flight.blocks > 0 and flight.staged == 0:
        number = nearest(state, slot, number)
    if setup.over != SERVE and flight.staged == 0 and late(state, number, slot, now):
        return
    if setup.most_waiting > 0 and state.units[number].waiting >= setup.most_waiting:
        conclude(state, number, slot, REJECTED, now)
        return
    enter(state, number, slot, now)


def late(state: State, number: int, slot: int, now: float) -> bool:
    """Refuse a request whose predicted TTFT exceeds the limit, or put it off; return whether either was done.

    What is put off competes again after a while. A unit without prompts takes it in any case: waiting longer
    would not help.
    """
    flight, setup, totals = state.flight[slot], state.setup[0], state.totals[0]
    unit = state.units[number]
    predicted = forecast(state, number, flight.left)
    if unit.kind == PROMPT or unit.waiting > 0:
        predicted += max(state.until[number] - now, 0.0)
    if setup.over == REJECT:
        if now - flight.arrival + predicted <= setup.limit:
            return False
        totals.refused += 1
        conclude(state, number, slot, REJECTED, now)
        return True
    if predicted <= setup.limit or unit.queue == 0:
        return False
    totals.deferred += 1 - flight.deferred
    flight.deferred = 1
    postpone(state, slot, now + setup.defer)
    return True


def fits(state: State, slot: int) -> bool:
    """Return whether the cache of a whole request fits an empty unit of each pool it visits."""
    flight = state.flight[slot]
    if flight.isl + flight.osl > state.setup[0].longest:
        return False
    for index in range(len(state.pools)):
        pool = state.pools[index]
        needed = flight.isl + pool.charge
        if pool.role != PREFILL:
            needed += flight.osl + pool.yields
        if needed > pool.room:
            return False
    return True


def next_up(state: State, pool: int, index: int) -> int:
    """Return the first unit of a pool that takes requests, from a place on and around."""
    first, size = state.pools[pool].first, state.pools[pool].units
    while state.units[first + index].health != UP:
        index += 1
        if index == size:
            index = 0
    return first + index


def nearest(state: State, slot: int, lightest: int) -> int:
    """Return the unit that last computed the longest part of a prompt, unless it is far more loaded."""
    flight, setup = state.flight[slot], state.setup[0]
    mask = len(state.seen) - 1
    number, known = -1, 0
    while known < flight.blocks:
        key = state.ids[flight.block + known]
        if state.seen[key & mask] != key:
            break
        number = state.owner[key & mask]
        known += 1
    if number < 0 or known < setup.match * flight.blocks or state.units[number].health != UP:
        return lightest
    if state.units[number].load > state.units[lightest].load * setup.ratio + setup.slack:
        return lightest
    return number


def hold(state: State, slot: int) -> None:
    """Keep a request until a unit comes up."""
    totals = state.totals[0]
    state.flight[slot].following = -1
    if totals.pending < 0:
        totals.pending = slot
    else:
        state.flight[totals.pending_tail].following = slot
    totals.pending_tail = slot


def release(state: State, now: float) -> None:
    """Route every request that was held."""
    totals = state.totals[0]
    slot = totals.pending
    totals.pending = -1
    while slot >= 0:
        following = state.flight[slot].following
        route(state, slot, now)
        slot = following
