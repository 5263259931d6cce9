"""Heaps, tournament trees and chained lists of the kernel; ties always go the same way."""

from __future__ import annotations

from typing import Any

from assay.simulate.state import Floats, Ints, State


def settle(tree: Ints, start: int, leaves: int, keys: Floats, offset: int, index: int) -> None:
    """Play the matches of one changed key again: `tree[start + 1]` is the index of the least key.

    A tournament over `leaves` (a power of two) keys from `offset` on; ties go to the lower index.
    """
    node = (leaves + index) >> 1
    while node >= 1:
        left, right = tree[start + 2 * node], tree[start + 2 * node + 1]
        best = left if keys[offset + left] <= keys[offset + right] else right
        if tree[start + node] == best and best != index:
            return
        tree[start + node] = best
        node >>= 1


def push(keys: Any, slots: Ints, start: int, size: int, key: float, slot: int) -> None:
    """Add an entry to a binary heap of `size` entries that begins at `start`."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if keys[start + above] <= key:
            break
        keys[start + at] = keys[start + above]
        slots[start + at] = slots[start + above]
        at = above
    keys[start + at] = key
    slots[start + at] = slot


def pop(keys: Any, slots: Ints, start: int, size: int, at: int) -> int:
    """Take the entry at place `at` (0 = least) out of a heap of `size` entries and return its slot."""
    taken = slots[start + at]
    size -= 1
    key, slot = keys[start + size], slots[start + size]
    if at == size:
        return taken
    while at > 0 and keys[start + ((at - 1) >> 1)] > key:
        above = (at - 1) >> 1
        keys[start + at] = keys[start + above]
        slots[start + at] = slots[start + above]
        at = above
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and keys[start + below + 1] < keys[start + below]:
            below += 1
        if keys[start + below] >= key:
            break
        keys[start + at] = keys[start + below]
        slots[start + at] = slots[start + below]
        at = below
    keys[start + at] = key
    slots[start + at] = slot
    return taken


def order(keys: Floats, slots: Ints, size: int) -> None:
    """Make a heap from 0 on of `size` entries whose keys have changed."""
    for root in range((size >> 1) - 1, -1, -1):
        at, key, slot = root, keys[root], slots[root]
        while 2 * at + 1 < size:
            below = 2 * at + 1
            if below + 1 < size and keys[below + 1] < keys[below]:
                below += 1
            if keys[below] >= key:
                break
            keys[at] = keys[below]
            slots[at] = slots[below]
            at = below
        keys[at] = key
        slots[at] = slot


def append(state: State, queue: int, slot: int) -> None:
    """Put a request at the end of a queue."""
    state.flight[slot].following = -1
    if state.head[queue] < 0:
        state.head[queue] = slot
    else:
        state.flight[state.tail[queue]].following = slot
    state.tail[queue] = slot


def put_back(state: State, queue: int, slot: int) -> None:
    """Put a request at the front of a queue."""
    state.flight[slot].following = state.head[queue]
    if state.head[queue] < 0:
        state.tail[queue] = slot
    state.head[queue] = slot


def take_first(state: State, queue: int) -> int:
    """Take the first request out of a queue and return its slot."""
    slot = state.head[queue]
    state.head[queue] = state.flight[slot].following
    return slot


def offer(state: State, number: int, load: float) -> None:
    """Tell the router the load of a unit; infinite = send nothing."""
    pool = state.pools[state.units[number].pool]
    index, offset = number - pool.first, pool.tree >> 1
    state.weight[offset + index] = load
    settle(state.balance, pool.tree, pool.leaves, state.weight, offset, index)


def schedule(state: State, number: int, until: float) -> None:
    """Set when a unit's present action ends."""
    state.until[number] = until
    settle(state.clock, 0, len(state.until), state.until, 0, number)
