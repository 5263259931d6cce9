"""Models that take turns on the same chips, one loaded at a time.

Every such replica has one unit, a *face*, for each model; only the one whose model is loaded computes. It
takes its next request unless that came later than another model's request plus the patience of that model.
Once it may take none and all it took have ended, the model whose request is due first is loaded.
"""

from __future__ import annotations

from assay.simulate.prefix import drop_oldest
from assay.simulate.queues import offer, schedule
from assay.simulate.rows import UnitRow
from assay.simulate.state import CLASSES, IDLE, INFINITE, LOADING, UP, State


def account(state: State, index: int, change: int, now: float) -> None:
    """Add up the time that units of a pool are paid for, and change their number."""
    pool = state.pools[index]
    pool.ready_seconds += pool.ready * (now - pool.ready_since)
    pool.ready_since = now
    pool.ready += change
    state.totals[0].ready += change


def face(state: State, number: int, place: int) -> int:
    """Return the unit of the model at a place among those that share a unit's chips."""
    pool = state.pools[state.units[number].pool]
    return state.pools[pool.face + place].first + number - pool.first


def at_hand(state: State, number: int) -> int:
    """Return the waiting request that a unit would take next, -1 = none."""
    if state.units[number].waiting == 0:
        return -1
    queue = number * CLASSES
    while state.head[queue] < 0:
        queue += 1
    return int(state.head[queue])


def rival(state: State, number: int) -> tuple[int, float]:
    """Return the unit of another model on the same chips whose request is due first, and when, s.

    (-1, infinite) where none waits.
    """
    found, due, oldest = -1, INFINITE, INFINITE
    for place in range(state.pools[state.units[number].pool].faces):
        other = face(state, number, place)
        slot = at_hand(state, other)
        if other == number or slot < 0:
            continue
        arrival = state.flight[slot].arrival
        at = arrival + state.pools[state.units[other].pool].patience
        if at < due or (at == due and arrival < oldest):
            found, due, oldest = other, at, arrival
    return found, due


def has_turn(state: State, number: int, slot: int) -> bool:
    """Return whether a unit may take a request, though other models may wait for its chips."""
    if state.pools[state.units[number].pool].faces < 2:
        return True
    return state.units[number].holds > 0 and state.flight[slot].arrival <= rival(state, number)[1]


def under_way(unit: UnitRow) -> bool:
    """Return whether a unit has taken requests that have not ended."""
    return unit.count + unit.prompting + unit.loading > 0 or unit.arrived >= 0


def gives_way(state: State, number: int, now: float) -> bool:
    """Return whether a unit cannot go on: its chips hold, or now load, another model."""
    unit = state.units[number]
    if unit.holds == 0:
        for place in range(state.pools[unit.pool].faces):
            holder = face(state, number, place)
            one = state.units[holder]
            if one.holds > 0 and one.health == UP and one.kind == IDLE and not under_way(one):
                load(state, holder, number, now)
                break
        return True
    if under_way(unit):
        return False
    other, due = rival(state, number)
    slot = at_hand(state, number)
    if other < 0 or (slot >= 0 and state.flight[slot].arrival <= due):
        return False
    unit.kind = IDLE
    schedule(state, number, INFINITE)
    load(state, number, other, now)
    return True


def load(state: State, old: int, new: int, now: float) -> None:
    """Begin to load the model of the unit `new` where that of `old`, which has nothing under way, was."""
    one, other = state.units[old], state.units[new]
    while one.oldest >= 0:
        drop_oldest(state, one)
    account(state, one.pool, -1, now)
    account(state, other.pool, 1, now)
    one.holds, other.holds = 0, 1
    pool = state.pools[other.pool]
    pool.switches += 1
    other.kind = LOADING
    other.began = now
    schedule(state, new, now + pool.switch)
    tell(state, new)


def loaded(state: State, number: int, now: float) -> None:
    """Count the time that loading took; the unit can begin."""
    unit = state.units[number]
    state.pools[unit.pool].switching += now - unit.began
    unit.kind = IDLE


def tell(state: State, number: int) -> None:
    """Tell the router of every model that shares a unit's chips how loaded they are.

    Requests of all models count, and `strange` more where another model is loaded.
    """
    faces = state.pools[state.units[number].pool].faces
    total = 0
    for place in range(faces):
        total += state.units[face(state, number, place)].load
    for place in range(faces):
        other = face(state, number, place)
        unit = state.units[other]
        if unit.health == UP:
            strange = state.pools[unit.pool].strange if unit.holds == 0 else 0.0
            offer(state, other, total + strange)
