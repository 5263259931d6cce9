"""The kernel's state before the first event, built from a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DoesNotFit
from assay.simulate import forms, rows
from assay.simulate import state as s
from assay.simulate.cluster import OVER_LIMIT, ROLES, ROUTERS, Fleet, Member, Pool, Scaling
from assay.simulate.faults import Event
from assay.simulate.policies import table
from assay.simulate.timetable import Timetable, timetable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Samples of the timeline at most.
SAMPLES = 1024
#: Events after which the kernel returns to show progress.
PAUSE = 200_000
#: Requests in flight that there is room for at first, and rows of the log beyond one for each.
SLOTS, SPARE_ROWS = 1024, 8192
_SPARE = 1.02


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is known of a model's traffic before it comes.

    Attributes:
        longest: most tokens of a request.
        block_tokens: tokens of its prefix blocks, 0 = none.
        span: s from the first arrival to the last.
        distinct: different prefix blocks, 0 = unknown; no cache is given more places.
    """

    longest: int
    block_tokens: int = 0
    span: float = 0.0
    distinct: int = 0


def build(fleet: Fleet, ahead: Sequence[Ahead], users: int = 0, events: Sequence[Event] = ()) -> s.State:
    """Return the state in arrays, still without traffic.

    Args:
        fleet: what serves.
        ahead: what is known of each model's traffic.
        users: users of a closed loop, 0 = arrivals as given.
        events: scripted failures, sorted by time.

    Raises:
        DoesNotFit: a pool whose memory holds no request at all.
    """
    traffic = [one for member, one in zip(fleet.members, ahead, strict=True) for _ in member.cluster.pools]
    tables = [_timetable(pool, one.longest) for pool, one in zip(fleet.pools, traffic, strict=True)]
    pools, flat = _pools(fleet, tables, traffic)
    models = _models(fleet, ahead)
    slots = SLOTS
    while slots < 2 * users:
        slots *= 2
    units, entries, buckets = _units(pools)
    tiers = _tiers(fleet.pools, tables, pools, units, traffic)
    entries, buckets = _behind(tiers, entries, buckets)
    until = np.full(1 << (len(units) - 1).bit_length(), np.inf)
    balance, weight = _trees(pools, units)
    places = int((pools["sequences"] * pools["units"]).sum())
    queues = np.full(len(units) * s.CLASSES, -1)
    tracked = (
        any(member.cluster.router == "prefix" for member in fleet.members) and pools["block_tokens"].any()
    )
    distinct = sum(one.distinct for one in ahead)
    known = 1 << (2 * min(entries, distinct or entries)).bit_length() if tracked else 1
    gap = max(max(one.span for one in ahead) / SAMPLES, 1e-3)
    fields: dict[str, Any] = {
        "setup": forms.rows(
            rows.Setup, 1, closed=users, pause=PAUSE, think=fleet.pools[0].copy.engine.request
        ),
        "totals": forms.rows(
            rows.Totals,
            1,
            free=slots,
            pending=-1,
            ready=int(pools["ready"].sum()),
            sample_width=gap,
            tick_at=models["tick_at"].min(),
        ),
        "models": models,
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
        "gaps": np.zeros(s.GAPS * len(models), dtype=np.int64),
        "wanted": np.zeros(int(models["decisions"].sum()), dtype=np.int64),
    }
    return s.State(**fields, **_empty(slots))


def _empty(slots: int) -> dict[str, Any]:
    """Return room for so many requests in flight, and what is still empty."""
    return {
        "flight": forms.rows(rows.FlightRow, slots),
        "coming": forms.rows(rows.ComingRow, 0),
        "log": forms.rows(rows.LogRow, slots + SPARE_ROWS),
        "timeline": forms.rows(rows.SampleRow, SAMPLES),
        "slots": np.arange(slots, dtype=forms.kind("slots"))[::-1].copy(),
        "later_at": np.zeros(slots),
        "later_slot": np.zeros(slots, dtype=forms.kind("later_slot")),
        "ids": np.zeros(0, dtype=np.int64),
    }


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


def _models(fleet: Fleet, ahead: Sequence[Ahead]) -> NDArray[Any]:
    router = table()["router"]
    made = forms.rows(rows.ModelRow, len(fleet.members))
    first = decided = 0
    for row, member, one in zip(made, fleet.members, ahead, strict=True):
        cluster = member.cluster
        scaling = cluster.scaling or Scaling(np.inf, 1.0, 0, 0, 0.0)
        decisions = 1 if cluster.scaling is None else int(scaling.window / scaling.every) + 1
        request = cluster.pools[0].copy.engine.request
        given = {
            "first": first,
            "pools": len(cluster.pools),
            "longest": one.longest,
            "router": ROUTERS.index(cluster.router),
            "tries": cluster.tries,
            "most_waiting": cluster.most_waiting,
            "over": OVER_LIMIT.index(cluster.over_limit),
            "least": scaling.least,
            "greatest": scaling.greatest,
            "decided": decided,
            "decisions": decisions,
            "slack": router["slack"]["value"],
            "ratio": router["ratio"]["value"],
            "match": router["match"]["value"],
            "retry_after": cluster.retry_after,
            "tick": scaling.every,
            "tick_at": scaling.every,
            "target": scaling.target,
            "cold_start": scaling.cold_start,
            "limit": max(cluster.ttft_limit - request, 0.0),
            "defer": cluster.ttft_limit * router["defer"]["value"],
        }
        for name, value in given.items():
            row[name] = value
        first, decided = first + len(cluster.pools), decided + decisions
    return made


def _pools(
    fleet: Fleet, tables: Sequence[Timetable], traffic: Sequence[Ahead]
) -> tuple[NDArray[Any], Floats]:
    """Return the parameters of the pools, and all their tables one after another."""
    made = forms.rows(rows.PoolRow, len(tables))
    flat: list[Floats] = []
    place = first = tree = 0
    for index, member in enumerate(fleet.members):
        for pool in member.cluster.pools:
            row, item, one = made[place], tables[place], traffic[place]
            for name, array in (("base", item.base), ("joint", item.joint), ("prompt", item.prompt)):
                row[name] = sum(part.size for part in flat)
                flat.append(array * pool.pace)
            row["experts"] = sum(part.size for part in flat) if item.experts.size else -1
            flat.append(item.experts * pool.pace)
            row["contexts"], row["prompts"] = item.contexts, item.prompts
            leaves = 1 << (pool.units - 1).bit_length()
            row["model"], row["first"], row["tree"], row["leaves"] = index, first, tree, leaves
            row["link_latency"], row["link_token"] = member.cluster.transfer
            _pool(row, pool, item, one if member.cluster.prefix_cache else replace(one, block_tokens=0))
            _turns(row, fleet, member, place)
            place, first, tree = place + 1, first + pool.units, tree + 2 * leaves
    return made, np.concatenate(flat)


def _pool(row: Any, pool: Pool, item: Timetable, one: Ahead) -> None:
    """Write policy, memory and host of a pool."""
    policy, engine, slower = pool.policy, pool.copy.engine, pool.stages * pool.pace
    ranks = int(pool.copy.table.degrees.dp[0])
    room = float(pool.capacity or np.floor(item.room))
    blocks = int(room // one.block_tokens) + 1 if one.block_tokens else 1
    blocks = min(blocks, one.distinct) if one.distinct else blocks
    row["role"], row["units"] = ROLES.index(pool.role), pool.units
    row["mixes"], row["budget"], row["ranks"] = policy.mixes, policy.budget, ranks
    row["sequences"], row["width"] = policy.sequences * ranks, 1 + pool.drafts
    row["block_tokens"] = one.block_tokens
    row["blocks"], row["buckets"] = blocks, 1 << (2 * blocks).bit_length()
    row["tiers"], row["swaps"] = len(pool.tiers), pool.swap
    # whole 64ths of a token keep sums exact
    row["yields"] = max(round(pool.yields * 64) / 64, 1.0)
    row["room"], row["charge"] = room, np.ceil(item.charge) + policy.block_tokens - 1
    row["reserve"] = policy.reserve * (pool.role != "prefill")
    row["watermark"] = np.floor(policy.watermark * room)
    row["host"], row["host_sequence"] = engine.host * slower, engine.host_sequence * slower


def _turns(row: Any, fleet: Fleet, member: Member, place: int) -> None:
    """Write with which others a pool shares its chips, and how many of its units serve at the start."""
    sharing = fleet.sharing if member.shared else 1
    row["faces"], row["face"] = sharing, len(fleet.pools) - sharing if member.shared else place
    row["switch"], row["patience"], row["strange"] = member.switch, member.patience, fleet.strange
    units, scaling = int(row["units"]), member.cluster.scaling
    row["ready"] = len(range(place - int(row["face"]), units, sharing))
    if scaling is not None and member.cluster.pools[0].role == "both":
        row["ready"] = min(scaling.least, units)


def _units(pools: NDArray[Any]) -> tuple[NDArray[Any], int, int]:
    """Return units, and the places of all their prefix caches and hash tables.

    Models that share chips are loaded on one after another of the replicas at the start.
    """
    pool = np.repeat(np.arange(len(pools)), pools["units"])
    blocks, buckets, heaps = pools["blocks"][pool], pools["buckets"][pool], pools["sequences"][pool]
    replica, faces = np.arange(len(pool)) - pools["first"][pool], pools["faces"][pool]
    holds = replica % faces == pool - pools["face"][pool]
    units = forms.rows(
        rows.UnitRow,
        len(pool),
        pool=pool,
        health=np.where((faces == 1) & (replica >= pools["ready"][pool]), s.OFF, s.UP),
        holds=holds,
        bottom=np.cumsum(heaps) - heaps,
        slow=1.0,
        prompts=-1,
        last=-1,
        arrived=-1,
        oldest=-1,
        newest=-1,
        frees=blocks,
        first=np.cumsum(blocks) - blocks,
        table=np.cumsum(buckets) - buckets,
    )
    return units, int(blocks.sum()), int(buckets.sum())


def _tiers(
    each: Sequence[Pool],
    tables: Sequence[Timetable],
    pools: NDArray[Any],
    units: NDArray[Any],
    traffic: Sequence[Ahead],
) -> NDArray[Any]:
    """Return the tiers of all units, which share their replica's, and tell units where theirs are."""
    made = forms.rows(rows.TierRow, sum(len(pool.tiers) * pool.units for pool in each))
    at = 0
    for unit in units:
        index = unit["pool"]
        pool, size, block_tokens = each[index], tables[index].token_bytes, int(pools["block_tokens"][index])
        distinct = traffic[index].distinct
        unit["tier"] = at
        for row, tier in zip(made[at : at + len(pool.tiers)], pool.tiers, strict=True):
            row["room"] = np.floor(tier.bytes / pool.stages / size)
            row["latency"], row["token"] = tier.latency, size / (tier.bandwidth / pool.stages)
            row["block_tokens"] = block_tokens
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


def _trees(pools: NDArray[Any], units: NDArray[Any]) -> tuple[Ints, Floats]:
    """Return the routers' trees of all pools, and the loads they compare: infinite where no unit serves."""
    weights, trees = [], []
    for row in pools:
        mine = units[row["first"] : row["first"] + row["units"]]
        weight = np.full(row["leaves"], np.inf)
        strange = np.where(mine["holds"] > 0, 0.0, row["strange"])
        weight[: row["units"]] = np.where(mine["health"] == s.UP, strange, np.inf)
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
