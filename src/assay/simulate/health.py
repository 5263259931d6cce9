"""Units come and go: failures, recoveries, stragglers, autoscaling with cold start."""

from __future__ import annotations

from assay.simulate.intake import conclude, postpone
from assay.simulate.prefix import forget, unpin
from assay.simulate.queues import order, pop, take_first
from assay.simulate.replica import backlog, offer, schedule
from assay.simulate.routing import release
from assay.simulate.scheduler import drop_last_loading
from assay.simulate.state import (
    CLASSES,
    DOWN,
    DRAINING,
    FAILED,
    IDLE,
    INFINITE,
    LINK,
    OFF,
    RECOVER,
    STARTING,
    UP,
    State,
)


def strike(state: State, now: float) -> None:
    """Apply the next scripted event: a unit goes down, recovers, or slows by a factor."""
    totals = state.totals[0]
    row = state.faults[totals.fault]
    totals.fault += 1
    unit = state.units[row.unit]
    if row.kind == DOWN:
        if unit.health != OFF:
            fall(state, row.unit, now)
    elif row.kind == RECOVER:
        if unit.health == OFF:
            rise(state, row.unit, now)
        unit.slow = 1.0
    elif row.kind == LINK:
        stall(state, row.unit, now, row.factor)
    else:
        unit.slow = row.factor


def stall(state: State, number: int, now: float, lasts: float) -> None:
    """Stop the link of a prefill unit for a time: what is on its way, and what follows, comes later."""
    unit, totals = state.units[number], state.totals[0]
    unit.link = max(now, unit.link) + lasts
    for at in range(totals.later):
        flight = state.flight[state.later_slot[at]]
        if flight.staged > 0 and flight.sender == number:
            state.later_at[at] += lasts
            totals.stalled += 1
    order(state.later_at, state.later_slot, totals.later)


def account(state: State, index: int, change: int, now: float) -> None:
    """Add up the time that units of a pool are paid for, and change their number."""
    pool = state.pools[index]
    pool.ready_seconds += pool.ready * (now - pool.ready_since)
    pool.ready_since = now
    pool.ready += change
    state.totals[0].ready += change


def rise(state: State, number: int, now: float) -> None:
    """Take a unit into service."""
    unit = state.units[number]
    if unit.health == OFF:
        account(state, unit.pool, 1, now)
    unit.health = UP
    schedule(state, number, INFINITE)
    offer(state, number, backlog(state, number))
    release(state, now)


def fall(state: State, number: int, now: float) -> None:
    """Take a unit out of service at once: its requests are retried elsewhere or reported as failed."""
    unit, totals = state.units[number], state.totals[0]
    yields = state.pools[unit.pool].yields
    if unit.kind != IDLE:
        unit.busy += now - unit.began
    account(state, unit.pool, -1, now)
    unit.health = OFF
    offer(state, number, INFINITE)
    while unit.count > 0:
        slot = pop(state.ends, state.heap, number * state.setup[0].heap_size, unit.count, 0)
        unit.count -= 1
        flight = state.flight[slot]
        flight.made = int(flight.base + yields * unit.steps) - flight.isl + 1
        totals.running -= 1
        lose(state, number, slot, now)
    while unit.prompts >= 0:
        slot = unit.prompts
        unit.prompts = state.flight[slot].following
        totals.running -= 1
        lose(state, number, slot, now)
    while unit.arrived >= 0:
        slot = unit.arrived
        unit.arrived = state.flight[slot].following
        totals.running -= 1
        lose(state, number, slot, now)
    while unit.loading > 0:
        totals.running -= 1
        lose(state, number, drop_last_loading(state, number), now)
    for queue in range(number * CLASSES, (number + 1) * CLASSES):
        while state.head[queue] >= 0:
            totals.waiting -= 1
            lose(state, number, take_first(state, queue), now)
    unit.last = -1
    unit.prompting = 0
    unit.waiting = 0
    unit.queue = 0
    unit.load = 0
    unit.context = 0.0
    unit.used = 0.0
    unit.future = 0.0
    unit.stall = 0.0
    forget(state, unit)
    unit.kind = IDLE
    schedule(state, number, INFINITE)


def lose(state: State, number: int, slot: int, now: float) -> None:
    """Retry a request of a failed unit from its start, or report it."""
    flight, totals = state.flight[slot], state.totals[0]
    unpin(state, number, slot)
    flight.tries += 1
    if flight.tries > state.setup[0].tries:
        conclude(state, number, slot, FAILED, now)
        return
    totals.retried += 1
    totals.lost_tokens += flight.isl - min(flight.left, flight.isl) + flight.made
    flight.made = 0
    flight.first = -1.0
    flight.staged = 0
    flight.swapped = 0
    flight.left = flight.isl
    postpone(state, slot, now + state.setup[0].retry_after)


def tick(state: State, now: float) -> None:
    """Autoscale the first pool: as many units as its load needs, the new ones after their cold start.

    Units stop only down to the most that any decision within the window wanted, those that still start first,
    the others when their requests have ended.
    """
    setup, totals = state.setup[0], state.totals[0]
    totals.tick_at = now + setup.tick
    size = state.pools[0].units
    ready = 0
    for number in range(size):
        if state.units[number].health == UP or state.units[number].health == STARTING:
            ready += 1
    wanted = int((totals.waiting + totals.running) / setup.target) + 1
    wanted = max(setup.least, min(wanted, setup.greatest))
    kept = wanted
    for place in range(len(state.wanted) - 1, 0, -1):
        state.wanted[place] = state.wanted[place - 1]
        kept = max(kept, state.wanted[place])
    state.wanted[0] = wanted
    for number in range(size):
        unit = state.units[number]
        if ready < wanted and unit.health == DRAINING:
            unit.health = UP
            offer(state, number, backlog(state, number))
            ready += 1
        elif ready < wanted and unit.health == OFF:
            unit.health = STARTING
            account(state, unit.pool, 1, now)
            schedule(state, number, now + setup.cold_start)
            ready += 1
    for back in range(size):
        if ready > kept and state.units[size - 1 - back].health == STARTING:
            stop(state, size - 1 - back, now)
            ready -= 1
    for back in range(size):
        unit = state.units[size - 1 - back]
        if ready > kept and unit.health == UP:
            unit.health = DRAINING
            offer(state, size - 1 - back, INFINITE)
            ready -= 1
            if unit.load == 0:
                stop(state, size - 1 - back, now)


def stop(state: State, number: int, now: float) -> None:
    """Switch off a unit that has nothing left to do."""
    unit = state.units[number]
    unit.health = OFF
    account(state, unit.pool, -1, now)
    forget(state, unit)
    schedule(state, number, INFINITE)
