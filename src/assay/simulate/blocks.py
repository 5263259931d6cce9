"""Blocks of a prefix cache: a hash table and a chain in order of use, for each unit and each of its tiers.

A hash table with open addressing (`bucket` holds entry + 1, 0 = empty) over as many entries as the memory
has blocks. Entries without users wait in a chain from `oldest` to `newest`. Block ids are scrambled before
they come here, so their low bits can serve as hashes.
"""

from __future__ import annotations

from assay.simulate.rows import EntryRow, TierRow, UnitRow
from assay.simulate.state import Smalls

#: What owns blocks.
Chain = UnitRow | TierRow


def find(bucket: Smalls, entries: list[EntryRow], owner: Chain, buckets: int, key: int) -> int:
    """Return the place of a block in a cache, -1 = not there."""
    mask = buckets - 1
    at = key & mask
    while True:
        entry = bucket[owner.table + at] - 1
        if entry < 0:
            return -1
        if entries[entry].key == key:
            return entry
        at = (at + 1) & mask


def unchain(entries: list[EntryRow], owner: Chain, at: int) -> None:
    """Take an entry out of the chain of unused blocks."""
    older, newer = entries[at].older, entries[at].newer
    if older >= 0:
        entries[older].newer = newer
    else:
        owner.oldest = newer
    if newer >= 0:
        entries[newer].older = older
    else:
        owner.newest = older


def chain(entries: list[EntryRow], owner: Chain, at: int) -> None:
    """Put an entry at the newest end of the chain of unused blocks."""
    entries[at].older = owner.newest
    entries[at].newer = -1
    if owner.newest >= 0:
        entries[owner.newest].newer = at
    else:
        owner.oldest = at
    owner.newest = at


def insert(bucket: Smalls, entries: list[EntryRow], owner: Chain, buckets: int, key: int) -> int:
    """Add a block with one user and return its entry; -1 if every entry is taken."""
    if owner.frees == 0:
        return -1
    owner.frees -= 1
    at = owner.first + owner.frees
    at += entries[at].free
    mask = buckets - 1
    home = key & mask
    while bucket[owner.table + home] > 0:
        home = (home + 1) & mask
    bucket[owner.table + home] = at + 1
    entries[at].key = key
    entries[at].users = 1
    return at


def erase(bucket: Smalls, entries: list[EntryRow], owner: Chain, buckets: int, entry: int) -> None:
    """Take an entry out of the hash table; followers that it displaced move up."""
    mask = buckets - 1
    at = entries[entry].key & mask
    while bucket[owner.table + at] != entry + 1:
        at = (at + 1) & mask
    hole = at
    while True:
        at = (at + 1) & mask
        other = bucket[owner.table + at] - 1
        if other < 0:
            break
        home = entries[other].key & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            bucket[owner.table + hole] = other + 1
            hole = at
    bucket[owner.table + hole] = 0
    top = owner.first + owner.frees
    entries[top].free = entry - top
    owner.frees += 1
