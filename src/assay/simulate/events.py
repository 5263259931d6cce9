"""The event loop. At one instant: faults, ends of steps, requests that turn up again, arrivals, scaling."""

from __future__ import annotations

from assay.simulate.health import rise, stop, strike, tick
from assay.simulate.intake import conclude, take_next
from assay.simulate.log import sample
from assay.simulate.queues import pop
from assay.simulate.replica import complete, resume, start
from assay.simulate.routing import route
from assay.simulate.state import (
    DONE,
    DRAINING,
    INFINITE,
    LOADING,
    LOG_FULL,
    MORE_REQUESTS,
    MORE_SLOTS,
    PAUSED,
    STARTING,
    UNSERVED,
    State,
)
from assay.simulate.turns import account, loaded


def run(state: State) -> int:
    """Run until everything is done or the caller is needed, and return why.

    Between calls the caller empties the log, adds requests or slots, shows progress.
    """
    totals, setup, coming, faults = state.totals[0], state.setup[0], state.coming, state.faults
    left, count, size = setup.pause, setup.opening, len(state.log)
    closed, last = setup.closed > 0, setup.last > 0
    while True:
        place = totals.coming
        if totals.logged + totals.in_flight + 1 >= size:
            return LOG_FULL
        if place >= count and not last:
            return MORE_REQUESTS
        if totals.free == 0:
            return MORE_SLOTS
        if left == 0:
            return PAUSED
        left -= 1
        number = state.clock[1]
        step = state.until[number]
        later = state.later_at[0] if totals.later > 0 else INFINITE
        arrival = coming[place].arrival if place < count and not closed else INFINITE
        fault = faults[totals.fault].at
        now = min(step, later, arrival)
        if now == INFINITE and finished(state, fault):
            return finale(state)
        now = min(now, fault, totals.tick_at)
        if totals.sample_at <= now:
            sample(state, now)
        totals.now = now
        totals.events += 1
        if fault == now:
            strike(state, now)
        elif step == now:
            wake(state, number, now)
        elif later == now:
            turn_up(state, now)
        elif arrival == now:
            route(state, take_next(state, now), now)
        else:
            tick(state, now)


def finished(state: State, fault: float) -> bool:
    """Return whether nothing that is still to come can serve anybody."""
    totals = state.totals[0]
    if totals.in_flight == 0:
        return True
    return fault == INFINITE and totals.tick_at == INFINITE


def turn_up(state: State, now: float) -> None:
    """Let the next of the requests that turn up later do so: its cache is loaded, or it needs a unit."""
    totals = state.totals[0]
    slot = pop(state.later_at, state.later_slot, 0, totals.later, 0)
    totals.later -= 1
    if state.flight[slot].loading > 0:
        resume(state, slot, now)
    else:
        route(state, slot, now)


def wake(state: State, number: int, now: float) -> None:
    """End what a unit does: its start, or a step; a unit that was drained stops."""
    unit = state.units[number]
    if unit.health == STARTING:
        rise(state, number, now)
        return
    if unit.kind == LOADING:
        loaded(state, number, now)
        start(state, number, now)
        return
    complete(state, number, now)
    if unit.health == DRAINING and unit.load == 0:
        stop(state, number, now)


def serve(state: State, users: int) -> int:
    """Start the users of a closed loop, who ask at once, and run; return why it stopped."""
    for _ in range(users):
        if state.totals[0].coming < state.setup[0].opening:
            route(state, take_next(state, 0.0), 0.0)
    return run(state)


def finale(state: State) -> int:
    """Report what nobody could serve and return DONE."""
    totals = state.totals[0]
    slot = totals.pending
    totals.pending = -1
    while slot >= 0:
        following = state.flight[slot].following
        conclude(state, -1, slot, UNSERVED, totals.now)
        slot = following
    for index in range(len(state.pools)):
        account(state, index, 0, totals.now)
    return DONE
