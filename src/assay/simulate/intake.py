"""Requests come in and go out: slots, requests that turn up later, the next request of a closed loop."""

from __future__ import annotations

from assay.simulate.log import record
from assay.simulate.queues import push
from assay.simulate.state import State


def take(state: State, now: float) -> int:
    """Put the next request of the traffic into a slot, arriving now, and return the slot."""
    totals = state.totals[0]
    row = state.coming[totals.coming - totals.taken]
    totals.free -= 1
    slot = state.slots[totals.free]
    flight = state.flight[slot]
    flight.number = totals.coming
    totals.coming += 1
    totals.in_flight += 1
    if totals.in_flight > totals.peak:
        totals.peak = totals.in_flight
    flight.arrival = now
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
    """Write down that a request ended; in a closed loop its user asks again."""
    record(state, unit, slot, status, now)
    totals = state.totals[0]
    if state.setup[0].closed > 0 and totals.coming - totals.taken < len(state.coming):
        postpone(state, take(state, now), now)
