"""Tiers behind a unit's cache: host memory, then SSD; the first also takes caches of preempted requests.

A block that leaves the unit's memory is kept in the first tier, the longest unused there moves on to the
next, and what leaves the last is gone. A block that is loaded again stays in its tier, as the newest. Each
tier has one link to the unit; loads and swaps go over it one after another, while the unit computes on.
"""

from __future__ import annotations

from assay.simulate.blocks import chain, erase, find, insert, unchain
from assay.simulate.rows import FlightRow, TierRow
from assay.simulate.state import State


def demote(state: State, first: int, count: int, key: int) -> None:
    """Keep a block in the first of `count` tiers from `first` on; what it displaces moves on."""
    for at in range(first, first + count):
        tier = state.tiers[at]
        size = tier.block_tokens
        entry = find(state.bucket, state.entries, tier, tier.buckets, key)
        if entry >= 0:
            unchain(state.entries, tier, entry)
            chain(state.entries, tier, entry)
            return
        displaced = -1
        if tier.used + tier.held + size > tier.room or tier.frees == 0:
            if tier.oldest < 0:
                continue
            displaced = expel(state, tier)
        entry = insert(state.bucket, state.entries, tier, tier.buckets, key)
        state.entries[entry].users = 0
        chain(state.entries, tier, entry)
        tier.held += size
        tier.peak = max(tier.peak, tier.used + tier.held)
        if displaced < 0:
            return
        key = displaced


def expel(state: State, tier: TierRow) -> int:
    """Drop the longest unused block of a tier and return its key."""
    entry = tier.oldest
    key = state.entries[entry].key
    unchain(state.entries, tier, entry)
    erase(state.bucket, state.entries, tier, tier.buckets, entry)
    tier.held -= tier.block_tokens
    return key


def wipe(state: State, first: int, count: int) -> None:
    """Empty `count` tiers from `first` on."""
    for at in range(first, first + count):
        tier = state.tiers[at]
        while tier.oldest >= 0:
            expel(state, tier)
        tier.used = 0.0


def reach(state: State, number: int, slot: int, found: int) -> int:
    """Return how many blocks of a prompt behind its first `found` lie in tiers of a unit, and ask for them.

    At least one input token is always computed, as with the unit's own cache.
    """
    flight, unit = state.flight[slot], state.units[number]
    pool = state.pools[unit.pool]
    count = pool.tiers
    most = min(flight.blocks, (flight.isl - 1) // pool.block_tokens)
    at = found
    while at < most:
        key, there = state.ids[flight.block + at], -1
        for place in range(unit.tier, unit.tier + count):
            tier = state.tiers[place]
            if there < 0 and find(state.bucket, state.entries, tier, tier.buckets, key) >= 0:
                there = place
        if there < 0:
            break
        state.tiers[there].asked += 1
        at += 1
    return at - found


def fetch(state: State, number: int, slot: int, found: int, loaded: int) -> float:
    """Load the blocks asked for and return when the last of them is here, s."""
    flight, unit, totals = state.flight[slot], state.units[number], state.totals[0]
    count = state.pools[unit.pool].tiers
    for at in range(found, found + loaded):
        key = state.ids[flight.block + at]
        for place in range(unit.tier, unit.tier + count):
            tier = state.tiers[place]
            entry = find(state.bucket, state.entries, tier, tier.buckets, key)
            if entry >= 0:
                unchain(state.entries, tier, entry)
                chain(state.entries, tier, entry)
                break
    done = totals.now
    for place in range(unit.tier, unit.tier + count):
        tier = state.tiers[place]
        if tier.asked > 0:
            tokens = tier.asked * tier.block_tokens
            done = max(done, cross(tier, totals.now, float(tokens)))
            if flight.order < 0:
                tier.hits += tokens
            tier.asked = 0
    return done


def cross(tier: TierRow, now: float, tokens: float) -> float:
    """Send tokens of cache over a tier's link and return when they are there, s."""
    tier.link = max(now, tier.link) + tier.latency + tokens * tier.token
    tier.moved += tokens
    return tier.link


def swap_out(state: State, number: int, flight: FlightRow) -> bool:
    """Move the cache of a request to the unit's first tier, if it has one with room; return whether."""
    unit, totals = state.units[number], state.totals[0]
    pool = state.pools[unit.pool]
    if pool.swaps == 0:
        return False
    tier = state.tiers[unit.tier]
    tokens = flight.isl + flight.made - 1
    if tier.used + tokens > tier.room:
        return False
    tier.used += tokens
    while tier.used + tier.held > tier.room:
        key = expel(state, tier)
        demote(state, unit.tier + 1, pool.tiers - 1, key)
    tier.peak = max(tier.peak, tier.used + tier.held)
    cross(tier, totals.now, float(tokens))
    flight.swapped = tokens
    state.models[flight.model].swapped += 1
    return True
