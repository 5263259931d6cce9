"""Everything the event kernel reads and writes.

One source runs in two ways: as it stands, on lists of small objects, and compiled by numba, on arrays of
records with the same field names. Both do the same operations in the same order, so results are the same
bit for bit. That is why the kernel keeps to scalars, indices and records. Times are s, memory of the KV
cache is counted in tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from assay.simulate.rows import (
    ComingRow,
    EntryRow,
    FaultRow,
    FlightRow,
    LogRow,
    ModelRow,
    PoolRow,
    SampleRow,
    Setup,
    TierRow,
    Totals,
    UnitRow,
)

Floats = list[float]
Ints = list[int]
#: Whole numbers that fit 32 bits, as `Small` in `rows`.
Smalls = list[int]
INFINITE = float("inf")

#: What a unit is doing: nothing, decode steps, a step with prompt tokens, loading its model.
IDLE, DECODE, PROMPT, LOADING = 0, 1, 2, 3
#: Health of a unit.
OFF, UP, STARTING, DRAINING = 0, 1, 2, 3
#: Where a request goes first, and where its cache is handed to.
BOTH, PREFILL, DECODER = 0, 1, 2
#: Routers.
ROUND_ROBIN, LEAST_LOAD, PREFIX, SESSION, SLO = 0, 1, 2, 3, 4
#: What happens to a request whose predicted TTFT is beyond the limit.
SERVE, REJECT, DEFER = 0, 1, 2
#: How a request ended.
COMPLETED, REJECTED, FAILED, UNSERVED = 0, 1, 2, 3
#: Kinds of scripted events.
DOWN, RECOVER, SLOW, LINK = 0, 1, 2, 3
#: Why the kernel returned.
DONE, LOG_FULL, MORE_REQUESTS, MORE_SLOTS, PAUSED = 0, 1, 2, 3, 4
#: Priorities that requests can have, 0 first.
CLASSES = 4
#: Bins an octave, first exponent and number of the histogram of gaps between tokens.
GAP_BINS, GAP_LOW, GAPS = 64, -20, 2048


class State(NamedTuple):
    """All of it: records, then plain arrays (heaps, trees, queues, tables, units `wanted` of late)."""

    setup: list[Setup]
    totals: list[Totals]
    models: list[ModelRow]
    pools: list[PoolRow]
    units: list[UnitRow]
    flight: list[FlightRow]
    entries: list[EntryRow]
    tiers: list[TierRow]
    coming: list[ComingRow]
    faults: list[FaultRow]
    log: list[LogRow]
    timeline: list[SampleRow]
    table: Floats
    node: Floats
    until: Floats
    clock: Ints
    weight: Floats
    balance: Ints
    ends: Ints
    heap: Smalls
    head: Smalls
    tail: Smalls
    slots: Smalls
    later_at: Floats
    later_slot: Smalls
    bucket: Smalls
    seen: Ints
    owner: Smalls
    ids: Ints
    gaps: Ints
    wanted: Ints
