"""Requests come in and go out: slots, requests that turn up later, the next request of a closed loop."""

from __future__ import annotations

from assay.simulate.log import record
from assay.simulate.queues import push
from assay.simulate.state import State


def take_next(state: State, now: float) -> int:
    """Put the next request of the traffic into a slot, arriving now, and return the slot."""
    totals = state.totals[0]
    totals.coming += 1
    return take(state, totals.coming - 1, now)


def take(state: State, place: int, now: float) -> int:
    """Put the request at a place of the traffic into a slot, arriving now, and return the slot."""
    totals = state.totals[0]
    row = state.coming[place]
    totals.free -= 1
    slot = state.slots[totals.free]
    flight = state.flight[slot]
    flight.number = row.number
    flight.follow = row.follow
    totals.in_flight += 1
    flight.arrival = now
    flight.model = row.model
    flight.isl = row.isl
    flight.osl = row.osl
    flight.session = row.session
    flight.priority = row.priority
    flight.hit = row.hit
    flight.block = row.block
    flight.blocks = row.blocks
    flight.made = 0
    flight.left = row.isl
    flight.first = -1.0
    flight.pinned = 0
    flight.staged = 0
    flight.swapped = 0
    flight.loading = 0
    flight.deferred = 0
    flight.order = -1
    flight.tries = 0
    flight.preempted = 0
    flight.following = -1
    return slot


def postpone(state: State, slot: int, at: float) -> None:
    """Let a request turn up again at a later time."""
    totals = state.totals[0]
    push(state.later_at, state.later_slot, 0, totals.later, at, slot)
    totals.later += 1


def conclude(state: State, unit: int, slot: int, status: int, now: float) -> None:
    """Write down that a request ended; its session goes on, or in a closed loop its user asks again."""
    follow = state.flight[slot].follow
    record(state, unit, slot, status, now)
    setup = state.setup[0]
    if follow >= 0:
        at = now + state.coming[follow].gap
        postpone(state, take(state, follow, at), at)
    elif setup.closed > 0 and state.totals[0].coming < setup.opening:
        postpone(state, take_next(state, now + setup.think), now + setup.think)
