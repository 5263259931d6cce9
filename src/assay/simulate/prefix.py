"""Prefix cache of the kernel: blocks by hash, shared while in use, the longest unused dropped first."""

from __future__ import annotations

from assay.simulate.blocks import chain, erase, find, insert, unchain
from assay.simulate.offload import demote, wipe
from assay.simulate.rows import PoolRow, UnitRow
from assay.simulate.state import State


def matched(state: State, number: int, slot: int) -> tuple[int, int]:
    """Return (leading blocks of a request in a unit's cache, those of them without a user).

    At least one input token is always computed, so the block that ends the input never counts.
    """
    flight, unit, entries = state.flight[slot], state.units[number], state.entries
    pool = state.pools[unit.pool]
    buckets = pool.buckets
    most = min(flight.blocks, (flight.isl - 1) // pool.block_tokens) if pool.block_tokens > 0 else 0
    found, unused = 0, 0
    while found < most:
        entry = find(state.bucket, entries, unit, buckets, state.ids[flight.block + found])
        if entry < 0:
            break
        if entries[entry].users == 0:
            unused += 1
        found += 1
    return found, unused


def use(state: State, unit: UnitRow, entry: int) -> None:
    """Add a user to a block."""
    row = state.entries[entry]
    if row.users == 0:
        unchain(state.entries, unit, entry)
        size = state.pools[unit.pool].block_tokens
        unit.idle -= size
        unit.used += size
    row.users += 1


def pin(state: State, number: int, slot: int, found: int) -> None:
    """Let a request use the first `found` blocks of its prompt."""
    flight, unit = state.flight[slot], state.units[number]
    buckets = state.pools[unit.pool].buckets
    for at in range(found):
        use(state, unit, find(state.bucket, state.entries, unit, buckets, state.ids[flight.block + at]))
    flight.pinned = found


def share(state: State, number: int, slot: int) -> None:
    """Put the full blocks of a computed prompt into the cache, where they become shared."""
    flight, unit = state.flight[slot], state.units[number]
    buckets, size = state.pools[unit.pool].buckets, state.pools[unit.pool].block_tokens
    full = min(flight.blocks, flight.isl // size)
    mask = len(state.seen) - 1
    while flight.pinned < full:
        key = state.ids[flight.block + flight.pinned]
        entry = find(state.bucket, state.entries, unit, buckets, key)
        if entry >= 0:  # somebody else computed the same block meanwhile
            use(state, unit, entry)
            unit.used -= size
        elif insert(state.bucket, state.entries, unit, buckets, key) < 0:
            break
        if mask > 0:
            state.seen[key & mask] = key
            state.owner[key & mask] = number
        flight.pinned += 1


def unpin(state: State, number: int, slot: int) -> None:
    """Let go of a request's shared blocks, its last block first, so that prefixes outlive their ends."""
    flight, unit, entries = state.flight[slot], state.units[number], state.entries
    buckets, size = state.pools[unit.pool].buckets, state.pools[unit.pool].block_tokens
    while flight.pinned > 0:
        flight.pinned -= 1
        entry = find(state.bucket, entries, unit, buckets, state.ids[flight.block + flight.pinned])
        entries[entry].users -= 1
        if entries[entry].users == 0:
            chain(entries, unit, entry)
            unit.idle += size
            unit.used -= size


def drop_oldest(state: State, unit: UnitRow) -> None:
    """Drop the block that nobody has used for longest; the unit's first tier keeps a copy."""
    entry = unit.oldest
    key = state.entries[entry].key
    pool: PoolRow = state.pools[unit.pool]
    unchain(state.entries, unit, entry)
    erase(state.bucket, state.entries, unit, pool.buckets, entry)
    unit.idle -= state.pools[unit.pool].block_tokens
    if pool.tiers > 0:
        demote(state, unit.tier, pool.tiers, key)


def shrink(state: State, unit: UnitRow) -> None:
    """Drop unused blocks, longest unused first, until the cache fits its memory."""
    room = state.pools[unit.pool].room
    while unit.idle > 0.0 and unit.used + unit.idle > room:
        drop_oldest(state, unit)


def forget(state: State, unit: UnitRow) -> None:
    """Drop every unused block, those of the tiers too: the unit has lost its memory."""
    while unit.oldest >= 0:
        drop_oldest(state, unit)
    wipe(state, unit.tier, state.pools[unit.pool].tiers)
