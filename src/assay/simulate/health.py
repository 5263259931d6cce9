"""Units come and go: failures, recoveries, stragglers, autoscaling with cold start."""

from __future__ import annotations

from assay.simulate.intake import conclude, postpone
from assay.simulate.prefix import forget, unpin
from assay.simulate.queues import offer, order, pop, schedule, take_first
from assay.simulate.replica import start, weigh
from assay.simulate.routing import release
from assay.simulate.rows import ModelRow
from assay.simulate.scheduler import drop_last_loading
from assay.simulate.state import (
    CLASSES,
    DOWN,
    DRAINING,
    FAILED,
    IDLE,
    INFINITE,
    LINK,
    LOADING,
    OFF,
    RECOVER,
    STARTING,
    UP,
    State,
)
from assay.simulate.turns import account, loaded


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
            state.models[flight.model].stalled += 1
    order(state.later_at, state.later_slot, totals.later)


def rise(state: State, number: int, now: float) -> None:
    """Take a unit into service."""
    unit = state.units[number]
    if unit.health == OFF and unit.holds > 0:
        account(state, unit.pool, 1, now)
    unit.health = UP
    schedule(state, number, INFINITE)
    weigh(state, number, 0)
    release(state, now)
    if (
        state.pools[unit.pool].faces > 1 and unit.holds > 0 and unit.kind == IDLE
    ):  # other models may have begun to wait for its chips
        start(state, number, now)


def fall(state: State, number: int, now: float) -> None:
    """Take a unit out of service at once: its requests are retried elsewhere or reported as failed."""
    unit, totals = state.units[number], state.totals[0]
    yields = state.pools[unit.pool].yields
    if unit.kind == LOADING:
        loaded(state, number, now)
    elif unit.kind != IDLE:
        unit.busy += now - unit.began
    if unit.holds > 0:
        account(state, unit.pool, -1, now)
    unit.health = OFF
    offer(state, number, INFINITE)
    while unit.count > 0:
        slot = pop(state.ends, state.heap, unit.bottom, unit.count, 0)
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
    flight = state.flight[slot]
    model = state.models[flight.model]
    unpin(state, number, slot)
    flight.tries += 1
    if flight.tries > model.tries:
        conclude(state, number, slot, FAILED, now)
        return
    model.retried += 1
    model.lost_tokens += flight.isl - min(flight.left, flight.isl) + flight.made
    flight.made = 0
    flight.first = -1.0
    flight.staged = 0
    flight.swapped = 0
    flight.left = flight.isl
    postpone(state, slot, now + model.retry_after)


def tick(state: State, now: float) -> None:
    """Autoscale every model whose time has come, and note whose comes next."""
    soonest = INFINITE
    for index in range(len(state.models)):
        model = state.models[index]
        if model.tick_at <= now:
            model.tick_at = now + model.tick
            scale(state, model, now)
        soonest = min(soonest, model.tick_at)
    state.totals[0].tick_at = soonest


def scale(state: State, model: ModelRow, now: float) -> None:
    """Autoscale the first pool of a model: as many units as its load needs, new ones after their cold start.

    Units stop only down to the most that any decision within the window wanted, those that still start first,
    the others when their requests have ended.
    """
    first, size = state.pools[model.first].first, state.pools[model.first].units
    ready = load = 0
    for number in range(first, first + size):
        unit = state.units[number]
        load += unit.load
        if unit.health in (UP, STARTING):
            ready += 1
    wanted = int(load / model.target) + 1
    wanted = max(model.least, min(wanted, model.greatest))
    kept = wanted
    for place in range(model.decided + model.decisions - 1, model.decided, -1):
        state.wanted[place] = state.wanted[place - 1]
        kept = max(kept, state.wanted[place])
    state.wanted[model.decided] = wanted
    for number in range(first, first + size):
        unit = state.units[number]
        if ready < wanted and unit.health == DRAINING:
            unit.health = UP
            weigh(state, number, 0)
            ready += 1
        elif ready < wanted and unit.health == OFF:
            unit.health = STARTING
            account(state, unit.pool, 1, now)
            schedule(state, number, now + model.cold_start)
            ready += 1
    for number in range(first + size - 1, first - 1, -1):
        if ready > kept and state.units[number].health == STARTING:
            stop(state, number, now)
            ready -= 1
    for number in range(first + size - 1, first - 1, -1):
        unit = state.units[number]
        if ready > kept and unit.health == UP:
            unit.health = DRAINING
            offer(state, number, INFINITE)
            ready -= 1
            if unit.load == 0:
                stop(state, number, now)


def stop(state: State, number: int, now: float) -> None:
    """Switch off a unit that has nothing left to do."""
    unit = state.units[number]
    unit.health = OFF
    account(state, unit.pool, -1, now)
    forget(state, unit)
    schedule(state, number, INFINITE)
