"""What the kernel writes down: requests that ended, gaps between tokens, samples of the cluster."""

from __future__ import annotations

import math

from assay.simulate.state import GAP_BINS, GAP_LOW, GAPS, Ints, State


def gap(gaps: Ints, model: int, duration: float, tokens: int) -> None:
    """Count `tokens` gaps of a model of a `duration` in s; bins are `GAP_BINS` to an octave."""
    mantissa, exponent = math.frexp(duration)
    at = (exponent - GAP_LOW) * GAP_BINS + int((2.0 * mantissa - 1.0) * GAP_BINS)
    gaps[model * GAPS + max(0, min(at, GAPS - 1))] += tokens


def record(state: State, unit: int, slot: int, status: int, now: float) -> None:
    """Write down that a request ended, and free its slot."""
    flight, totals = state.flight[slot], state.totals[0]
    row = state.log[totals.logged]
    row.number = flight.number
    row.model = flight.model
    row.isl = flight.isl
    row.osl = flight.osl
    row.hit = flight.hit
    row.unit = unit
    row.tries = flight.tries
    row.preempted = flight.preempted
    row.status = status
    row.arrival = flight.arrival
    row.first = flight.first
    row.end = now
    totals.logged += 1
    totals.in_flight -= 1
    state.slots[totals.free] = slot
    totals.free += 1


def sample(state: State, now: float) -> None:
    """Sample the cluster for every instant passed since the last one."""
    totals, timeline = state.totals[0], state.timeline
    used = 0.0
    for unit in range(len(state.units)):
        used += state.units[unit].used
    while totals.sample_at <= now:
        if totals.samples == len(timeline):
            thin(state)
            continue
        row = timeline[totals.samples]
        row.at = totals.sample_at
        row.waiting = totals.waiting
        row.running = totals.running
        row.ready = totals.ready
        row.used = used
        totals.samples += 1
        totals.sample_at += totals.sample_width


def thin(state: State) -> None:
    """Drop every other sample and double the gap between them."""
    totals, timeline = state.totals[0], state.timeline
    half = totals.samples >> 1
    for at in range(half):
        old, new = timeline[2 * at], timeline[at]
        new.at = old.at
        new.waiting = old.waiting
        new.running = old.running
        new.ready = old.ready
        new.used = old.used
    totals.sample_width *= 2.0
    totals.sample_at = timeline[half - 1].at + totals.sample_width
    totals.samples = half
