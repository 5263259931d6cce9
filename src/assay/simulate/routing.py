"""Where a request goes: round robin, least load, prefix-aware, session-sticky, SLO-aware; and admission."""

from __future__ import annotations

from assay.simulate.intake import conclude, postpone
from assay.simulate.replica import enter, forecast
from assay.simulate.state import (
    DECODE,
    INFINITE,
    PREFILL,
    PREFIX,
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
    flight = state.flight[slot]
    model = state.models[flight.model]
    if not fits(state, slot):
        conclude(state, -1, slot, REJECTED, now)
        return
    index = model.first + flight.staged * (model.pools - 1)
    pool = state.pools[index]
    lightest = state.balance[pool.tree + 1]
    if state.weight[(pool.tree >> 1) + lightest] == INFINITE:
        hold(state, slot)
        return
    number = pool.first + lightest
    if model.router == ROUND_ROBIN:
        number = next_up(state, index, model.turn % pool.units)
        model.turn = number - pool.first + 1
    elif model.router == SESSION and flight.session >= 0:
        number = next_up(state, index, flight.session % pool.units)
    elif model.router == PREFIX and flight.blocks > 0 and flight.staged == 0:
        number = nearest(state, slot, number)
    if model.over != SERVE and flight.staged == 0 and late(state, number, slot, now):
        return
    if model.most_waiting > 0 and state.units[number].waiting >= model.most_waiting:
        conclude(state, number, slot, REJECTED, now)
        return
    enter(state, number, slot, now)


def late(state: State, number: int, slot: int, now: float) -> bool:
    """Refuse a request whose predicted TTFT exceeds the limit, or put it off; return whether either was done.

    What is put off competes again after a while. A unit without prompts takes it in any case: waiting longer
    would not help.
    """
    flight = state.flight[slot]
    model = state.models[flight.model]
    unit = state.units[number]
    predicted = forecast(state, number, flight.left)
    if unit.kind == DECODE and unit.waiting > 0:  # for want of room, until somebody leaves
        predicted += max(state.until[number] - now, 0.0)
    if model.over == REJECT:
        if now - flight.arrival + predicted <= model.limit:
            return False
        model.refused += 1
        conclude(state, number, slot, REJECTED, now)
        return True
    if predicted <= model.limit or unit.queue == 0:
        return False
    model.deferred += 1 - flight.deferred
    flight.deferred = 1
    postpone(state, slot, now + model.defer)
    return True


def fits(state: State, slot: int) -> bool:
    """Return whether the cache of a whole request fits an empty unit of each pool it visits."""
    flight = state.flight[slot]
    model = state.models[flight.model]
    if flight.isl + flight.osl > model.longest:
        return False
    for index in range(model.first, model.first + model.pools):
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
    flight = state.flight[slot]
    model = state.models[flight.model]
    mask = len(state.seen) - 1
    number, known = -1, 0
    while known < flight.blocks:
        key = state.ids[flight.block + known]
        if state.seen[key & mask] != key:
            break
        number = state.owner[key & mask]
        known += 1
    if number < 0 or known < model.match * flight.blocks or state.units[number].health != UP:
        return lightest
    if state.units[number].pool != state.units[lightest].pool:
        return lightest
    if state.units[number].load > state.units[lightest].load * model.ratio + model.slack:
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
