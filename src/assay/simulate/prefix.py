"""Prefix cache of the kernel: blocks by hash, shared while in use, the longest unused dropped first.

Each unit has a hash table with open addressing (`bucket` holds entry + 1, 0 = empty) over as many entries
as its memory has blocks. Entries without users wait in a chain from `oldest` to `newest`. Block ids are
scrambled before they come here, so their low bits can serve as hashes.
"""

from __future__ import annotations

from assay.simulate.state import EntryRow, Ints, PoolRow, State, UnitRow


def find(bucket: Ints, entries: list[EntryRow], unit: UnitRow, buckets: int, key: int) -> int:
    """Return the place of a block in a unit's cache, -1 = not there."""
    mask = buckets - 1
    at = key & mask
    while True:
        entry = bucket[unit.table + at] - 1
        if entry < 0:
            return -1
        if entries[entry].key == key:
            return entry
        at = (at + 1) & mask


def unchain(entries: list[EntryRow], unit: UnitRow, at: int) -> None:
    """Take an entry out of the chain of unused blocks."""
    older, newer = entries[at].older, entries[at].newer
    if older >= 0:
        entries[older].newer = newer
    else:
        unit.oldest = newer
    if newer >= 0:
        entries[newer].older = older
    else:
        unit.newest = older


def chain(entries: list[EntryRow], unit: UnitRow, at: int) -> None:
    """Put an entry at the newest end of the chain of unused blocks."""
    entries[at].older = unit.newest
    entries[at].newer = -1
    if unit.newest >= 0:
        entries[unit.newest].newer = at
    else:
        unit.oldest = at
    unit.newest = at


def insert(bucket: Ints, entries: list[EntryRow], unit: UnitRow, buckets: int, key: int) -> int:
    """Add a block with one user and return its entry; -1 if every entry is taken."""
    if unit.frees == 0:
        return -1
    unit.frees -= 1
    at = entries[unit.first + unit.frees].free
    mask = buckets - 1
    home = key & mask
    while bucket[unit.table + home] > 0:
        home = (home + 1) & mask
    bucket[unit.table + home] = at + 1
    entries[at].key = key
    entries[at].users = 1
    return at


def erase(bucket: Ints, entries: list[EntryRow], unit: UnitRow, buckets: int, entry: int) -> None:
    """Take an entry out of the hash table; followers that it displaced move up."""
    mask = buckets - 1
    at = entries[entry].key & mask
    while bucket[unit.table + at] != entry + 1:
        at = (at + 1) & mask
    hole = at
    while True:
        at = (at + 1) & mask
        other = bucket[unit.table + at] - 1
        if other < 0:
            break
        home = entries[other].key & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            bucket[unit.table + hole] = other + 1
            hole = at
    bucket[unit.table + hole] = 0
    entries[unit.first + unit.frees].free = entry
    unit.frees += 1


def matched(state: State, number: int, slot: int) -> tuple[int, int]:
    """Return (leading blocks of a request in a unit's cache, those of them without a user).

    At least one input token is always computed, so the block that ends the input never counts.
    """
    flight, unit, entries = state.flight[slot], state.units[number], state.entries
    buckets = state.pools[unit.pool].buckets
    most = min(flight.blocks, (flight.isl - 1) // state.setup[0].block_tokens)
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
        unit.idle -= state.setup[0].block_tokens
        unit.used += state.setup[0].block_tokens
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
    buckets, size = state.pools[unit.pool].buckets, state.setup[0].block_tokens
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
    buckets, size = state.pools[unit.pool].buckets, state.setup[0].block_tokens
    while flight.pinned > 0:
        flight.pinned -= 1
        entry = find(state.bucket, entries, unit, buckets, state.ids[flight.block + flight.pinned])
        entries[entry].users -= 1
        if entries[entry].users == 0:
            chain(entries, unit, entry)
            unit.idle += size
            unit.used -= size


def drop_oldest(state: State, unit: UnitRow) -> None:
    """Drop the block that nobody has used for longest."""
    entry = unit.oldest
    pool: PoolRow = state.pools[unit.pool]
    unchain(state.entries, unit, entry)
    erase(state.bucket, state.entries, unit, pool.buckets, entry)
    unit.idle -= state.setup[0].block_tokens


def shrink(state: State, unit: UnitRow) -> None:
    """Drop unused blocks, longest unused first, until the cache fits its memory."""
    room = state.pools[unit.pool].room
    while unit.idle > 0.0 and unit.used + unit.idle > room:
        drop_oldest(state, unit)


def forget(state: State, unit: UnitRow) -> None:
    """Drop every unused block: the unit has lost its memory."""
    while unit.oldest >= 0:
        drop_oldest(state, unit)
