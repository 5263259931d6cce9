"""The kernel's state before the first event, built from a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DoesNotFit
from assay.simulate import forms, rows
from assay.simulate import state as s
from assay.simulate.cluster import OVER_LIMIT, ROLES, ROUTERS, Cluster, Pool, Scaling
from assay.simulate.faults import Event
from assay.simulate.policies import table
from assay.simulate.timetable import Timetable, timetable
from assay.workload.arrivals import Requests

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Samples of the timeline at most.
SAMPLES = 1024
#: Events after which the kernel returns to show progress.
PAUSE = 200_000
#: Requests in flight that there is room for at first, and rows of the log beyond one for each.
SLOTS, SPARE_ROWS = 1024, 8192
_SPARE = 1.02


def build(
    cluster: Cluster,
    first: Requests,
    longest: int,
    users: int = 0,
    events: Sequence[Event] = (),
    distinct: int = 0,
) -> s.State:
    """Return the state in arrays, still without traffic.

    Args:
        cluster: what serves.
        first: the first requests, for their block size and span.
        longest: most tokens of a request.
        users: users of a closed loop, 0 = arrivals as given.
        events: scripted failures, sorted by time.
        distinct: different prefix blocks of all the traffic, 0 = unknown; no cache is given more places.

    Raises:
        DoesNotFit: a pool whose memory holds no request at all.
    """
    tables = [_timetable(pool, longest) for pool in cluster.pools]
    block_tokens = first.block_tokens if first.blocks is not None and cluster.prefix_cache else 0
    pools, flat = _pools(cluster, tables, block_tokens, distinct)
    setup = _setup(cluster, block_tokens, users, longest, int(pools["sequences"].max()))
    slots = SLOTS
    while slots < 2 * users:
        slots *= 2
    on = cluster.scaling.least if cluster.scaling else cluster.pools[0].units
    pools["ready"] = pools["units"]
    pools["ready"][0] = on
    units, entries, buckets = _units(cluster, pools, on)
    tiers = _tiers(cluster, tables, units, block_tokens, distinct)
    entries, buckets = _behind(tiers, entries, buckets)
    leaves = 1 << (cluster.units - 1).bit_length()
    until = np.full(leaves, np.inf)
    balance, weight = _trees(cluster, pools, on)
    places, queues = cluster.units * int(setup["heap_size"][0]), np.full(cluster.units * s.CLASSES, -1)
    tracked = block_tokens and cluster.router == "prefix"
    known = 1 << (2 * min(entries, distinct or entries)).bit_length() if tracked else 1
    fields: dict[str, Any] = {
        "setup": setup,
        "totals": _totals(slots, int(pools["ready"].sum()), first, setup),
        "pools": pools,
        "units": units,
        "entries": forms.rows(rows.EntryRow, entries),
        "tiers": tiers,
        "faults": _faults(events),
        "table": flat,
        "node": max((item.node for item in tables), key=len),
        "until": until,
        "clock": tournament(until),
        "weight": weight,
        "balance": balance,
        "ends": np.zeros(places, dtype=forms.kind("ends")),
        "heap": np.zeros(places, dtype=forms.kind("heap")),
        "head": queues.astype(forms.kind("head")),
        "tail": queues.astype(forms.kind("tail")),
        "bucket": np.zeros(buckets, dtype=forms.kind("bucket")),
        "seen": np.full(known, -1),
        "owner": np.zeros(known, dtype=forms.kind("owner")),
    }
    return s.State(**fields, **_empty(slots, cluster.scaling))


def _empty(slots: int, scaling: Scaling | None) -> dict[str, Any]:
    """Return room for so many requests in flight and the decisions of a window, and what is still empty."""
    decisions = 1 if scaling is None else int(scaling.window / scaling.every) + 1
    return {
        "wanted": np.zeros(decisions, dtype=np.int64),
        "flight": forms.rows(rows.FlightRow, slots),
        "coming": forms.rows(rows.ComingRow, 0),
        "log": forms.rows(rows.LogRow, slots + SPARE_ROWS),
        "timeline": forms.rows(rows.SampleRow, SAMPLES),
        "slots": np.arange(slots, dtype=forms.kind("slots"))[::-1].copy(),
        "later_at": np.zeros(slots),
        "later_slot": np.zeros(slots, dtype=forms.kind("later_slot")),
        "ids": np.zeros(0, dtype=np.int64),
        "gaps": np.zeros(s.GAPS, dtype=np.int64),
    }


def _totals(slots: int, ready: int, first: Requests, setup: NDArray[Any]) -> NDArray[Any]:
    gap, tick = _first_gap(first), setup["tick"]
    return forms.rows(rows.Totals, 1, free=slots, pending=-1, ready=ready, sample_width=gap, tick_at=tick)


def _first_gap(first: Requests) -> float:
    return max(first.span / SAMPLES, 1e-3) if len(first) else 1.0


def _timetable(pool: Pool, longest: int) -> Timetable:
    made = timetable(pool.copy, pool.policy.sequences, longest * _SPARE + 64, pool.skew, pool.drafts)
    if made.room > 0:
        return made
    layout = pool.copy.table.layouts[0].label()
    need = float(pool.copy.table.weight_bytes[0] + pool.copy.working[0]) / 1e9
    raise DoesNotFit(
        f"{pool.copy.model.name} does not fit: {layout} takes {need:,.4g} GB a chip, "
        f"{pool.copy.usable / 1e9:,.4g} GB are free.",
        "More chips or a narrower weight format would hold it.",
    )


def _setup(cluster: Cluster, block_tokens: int, users: int, longest: int, sequences: int) -> NDArray[Any]:
    router = table()["router"]
    scaling = cluster.scaling or Scaling(np.inf, 1.0, 0, 0, 0.0)
    return forms.rows(
        rows.Setup,
        1,
        router=ROUTERS.index(cluster.router),
        heap_size=sequences,
        block_tokens=block_tokens,
        tries=cluster.tries,
        most_waiting=cluster.most_waiting,
        over=OVER_LIMIT.index(cluster.over_limit),
        closed=users,
        longest=longest,
        least=scaling.least,
        greatest=scaling.greatest,
        pause=PAUSE,
        slack=router["slack"]["value"],
        ratio=router["ratio"]["value"],
        match=router["match"]["value"],
        retry_after=cluster.retry_after,
        tick=scaling.every,
        target=scaling.target,
        cold_start=scaling.cold_start,
        limit=max(cluster.ttft_limit - cluster.pools[0].copy.engine.request, 0.0),
        defer=cluster.ttft_limit * router["defer"]["value"],
        think=cluster.pools[0].copy.engine.request,
    )


def _pools(
    cluster: Cluster, tables: Sequence[Timetable], block_tokens: int, distinct: int
) -> tuple[NDArray[Any], Floats]:
    """Return the parameters of the pools, and all their tables one after another."""
    made = forms.rows(rows.PoolRow, len(tables))
    flat: list[Floats] = []
    first = tree = 0
    for row, pool, item in zip(made, cluster.pools, tables, strict=True):
        policy, engine, slower = pool.policy, pool.copy.engine, pool.stages * pool.pace
        ranks = int(pool.copy.table.degrees.dp[0])
        room = float(pool.capacity or np.floor(item.room))
        blocks = int(room // block_tokens) + 1 if block_tokens else 1
        blocks = min(blocks, distinct) if distinct else blocks
        leaves = 1 << (pool.units - 1).bit_length()
        for name, array in (("base", item.base), ("joint", item.joint), ("prompt", item.prompt)):
            row[name] = sum(part.size for part in flat)
            flat.append(array * pool.pace)
        row["experts"] = sum(part.size for part in flat) if item.experts.size else -1
        flat.append(item.experts * pool.pace)
        row["role"], row["first"], row["units"] = ROLES.index(pool.role), first, pool.units
        row["mixes"], row["budget"], row["ranks"] = policy.mixes, policy.budget, ranks
        row["sequences"], row["width"] = policy.sequences * ranks, 1 + pool.drafts
        row["contexts"], row["prompts"] = item.contexts, item.prompts
        row["tree"], row["leaves"] = tree, leaves
        row["blocks"], row["buckets"] = blocks, 1 << (2 * blocks).bit_length()
        row["tiers"], row["swaps"] = len(pool.tiers), pool.swap
        # whole 64ths of a token keep sums exact
        row["yields"] = max(round(pool.yields * 64) / 64, 1.0)
        row["room"], row["charge"] = room, np.ceil(item.charge) + policy.block_tokens - 1
        row["reserve"] = policy.reserve * (pool.role != "prefill")
        row["watermark"] = np.floor(policy.watermark * room)
        row["host"], row["host_sequence"] = engine.host * slower, engine.host_sequence * slower
        row["link_latency"], row["link_token"] = cluster.transfer
        first, tree = first + pool.units, tree + 2 * leaves
    return made, np.concatenate(flat)


def _units(cluster: Cluster, pools: NDArray[Any], on: int) -> tuple[NDArray[Any], int, int]:
    """Return units, and the places of all their prefix caches and hash tables."""
    pool = np.repeat(np.arange(len(cluster.pools)), pools["units"])
    blocks, buckets = pools["blocks"][pool], pools["buckets"][pool]
    first, start = np.cumsum(blocks) - blocks, np.cumsum(buckets) - buckets
    units = forms.rows(
        rows.UnitRow,
        len(pool),
        pool=pool,
        health=s.UP,
        slow=1.0,
        prompts=-1,
        last=-1,
        arrived=-1,
        oldest=-1,
        newest=-1,
        frees=blocks,
        first=first,
        table=start,
    )
    units["health"][on : cluster.pools[0].units] = s.OFF
    return units, int(blocks.sum()), int(buckets.sum())


def _tiers(
    cluster: Cluster, tables: Sequence[Timetable], units: NDArray[Any], block_tokens: int, distinct: int
) -> NDArray[Any]:
    """Return the tiers of all units, which share their replica's, and tell units where theirs are."""
    made = forms.rows(rows.TierRow, sum(len(pool.tiers) * pool.units for pool in cluster.pools))
    at = 0
    for unit in units:
        pool, each = cluster.pools[unit["pool"]], tables[unit["pool"]].token_bytes
        unit["tier"] = at
        for row, tier in zip(made[at : at + len(pool.tiers)], pool.tiers, strict=True):
            row["room"] = np.floor(tier.bytes / pool.stages / each)
            row["latency"], row["token"] = tier.latency, each / (tier.bandwidth / pool.stages)
            blocks = int(row["room"] // block_tokens) if block_tokens else 0
            row["frees"] = min(blocks, distinct) if distinct else blocks
        at += len(pool.tiers)
    made["oldest"] = made["newest"] = -1
    made["buckets"] = [1 << (2 * int(count)).bit_length() for count in made["frees"]]
    return made


def _behind(tiers: NDArray[Any], entries: int, buckets: int) -> tuple[int, int]:
    """Return the places of all caches and hash tables, those of the tiers behind those of the units."""
    tiers["first"] = entries + np.cumsum(tiers["frees"]) - tiers["frees"]
    tiers["table"] = buckets + np.cumsum(tiers["buckets"]) - tiers["buckets"]
    return entries + int(tiers["frees"].sum()), buckets + int(tiers["buckets"].sum())


def _faults(events: Sequence[Event]) -> NDArray[Any]:
    made = forms.rows(rows.FaultRow, len(events) + 1, factor=1.0)
    for row, event in zip(made, events, strict=False):
        row["at"], row["unit"], row["kind"], row["factor"] = event.at, event.unit, event.kind, event.factor
    made["at"][-1] = np.inf
    return made


def _trees(cluster: Cluster, pools: NDArray[Any], on: int) -> tuple[Ints, Floats]:
    """Return the routers' trees of all pools, and the loads they compare: infinite beyond the units."""
    weights, trees = [], []
    for index, (units, leaves) in enumerate(zip(pools["units"], pools["leaves"], strict=True)):
        usable = min(units, on) if cluster.scaling and index == 0 else units
        weight = np.where(np.arange(leaves) < usable, 0.0, np.inf)
        weights.append(weight)
        trees.append(tournament(weight))
    return np.concatenate(trees), np.concatenate(weights)


def tournament(keys: Floats) -> Ints:
    """Return the winner tree of keys whose number is a power of two."""
    leaves = len(keys)
    tree = np.zeros(2 * leaves, dtype=np.int64)
    tree[leaves:] = np.arange(leaves)
    for node in range(leaves - 1, 0, -1):
        left, right = tree[2 * node], tree[2 * node + 1]
        tree[node] = left if keys[left] <= keys[right] else right
    return tree
