"""From a fleet as stated to one that can be simulated, and the fewest chips that hold its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from assay.catalogue.query import Catalogue
from assay.errors import BadInput
from assay.plan.serving import cluster
from assay.simulate.cluster import Fleet, Member
from assay.simulate.fleets import StatedFleet, StatedModel
from assay.simulate.run import Load, Run, execute_fleet
from assay.workload.sessions import Sessions

#: Share of the requests of every model that shall be within the limits.
SHARE = 0.99
#: Replicas of one model at most that a search tries.
MOST = 1024


def fleet(
    stated: StatedFleet, loads: Mapping[str, Load], known: Catalogue, facts: Sequence[Path] = ()
) -> Fleet:
    """Return the fleet that can be simulated.

    Args:
        stated: the fleet; every pool names its system.
        loads: what each model is asked, by its name; its mean input is the cache handed over between pools,
            its limit on TTFT the patience where none is stated.
        known: the facts.
        facts: folders of the user's own facts.

    Raises:
        BadInput: how long it takes to load a model is not stated, or what shares chips cannot.
        UnknownName, DoesNotFit, NoEvidence: as for one model.
    """
    members = []
    for one in stated.models:
        load = loads[one.name]
        requests = load.traffic.requests if isinstance(load.traffic, Sessions) else load.traffic
        context = float(requests.isl.mean())
        runs = cluster(one.serves, one.model, known, context=context, facts=facts)
        member = Member(one.name, runs, one.shared)
        if one.shared:
            switch = switching(one, stated.load, member)
            left = max(load.limits.ttft - switch, 0.0) if load.limits.ttft < float("inf") else 0.0
            member = replace(member, switch=switch, patience=left if one.patience is None else one.patience)
        members.append(member)
    shared = [member.cluster.pools[0] for member in members if member.shared]
    usual = max((float(pool.policy.sequences) for pool in shared), default=0.0)
    return Fleet(tuple(members), stated.target or usual)


def switching(one: StatedModel, bandwidth: float, member: Member) -> float:
    """Return s until a model is loaded where another was: its weights on one chip over the way to it.

    Raises:
        BadInput: neither the time nor the bandwidth is stated; no system publishes them.
    """
    if one.switch is not None:
        return one.switch
    pool = member.cluster.pools[0]
    if not bandwidth:
        raise BadInput(
            f"How long it takes to load {one.name} where another model was is not published for "
            f"{pool.copy.system.name}.",
            "State in `shared` what you measured: `switch: 3s`, or `load: 25GB/s` to one chip.",
        )
    return float(pool.copy.table.weight_bytes[0]) / bandwidth


@dataclass(frozen=True, slots=True)
class Fewest:
    """The fewest replicas at which every model keeps its limits; None = no number that was tried does.

    Attributes:
        together: replicas that the models share; `together_chips`: their chips.
        apart: replicas of each model with chips of its own; `apart_chips`: their chips together.
    """

    together: int | None
    together_chips: int | None
    apart: Mapping[str, int | None]
    apart_chips: int | None


def fewest(stated: StatedFleet, build: Callable[[StatedFleet], tuple[Fleet, list[Load]]]) -> Fewest:
    """Return the fewest replicas for the models that share chips, together and each with its own.

    Args:
        stated: the fleet.
        build: from a stated fleet to what runs and what it is asked.

    Raises:
        BadInput: no models share chips.
    """
    shared = tuple(one for one in stated.models if one.shared)
    if not shared:
        raise BadInput(
            "--fewest compares models that share chips with chips of their own.", "State `shared`."
        )
    stated = replace(stated, models=shared)

    def holds(one: StatedFleet) -> bool:
        runs, loads = build(one)
        run = execute_fleet(runs, loads)
        if not run.whole:
            raise KeyboardInterrupt
        return good(run) >= SHARE

    def alone_holds(one: StatedFleet, copies: int) -> bool:
        return holds(one.with_shared(copies).apart())

    apart: dict[str, int | None] = {}
    for one in shared:
        alone = replace(stated, models=(one,))
        apart[one.name] = least(partial(alone_holds, alone), MOST)
    counts = [copies for copies in apart.values() if copies is not None]
    most = sum(counts) if len(counts) == len(apart) else MOST
    together = least(lambda copies: holds(stated.with_shared(copies)), most)
    chips = shared[0].serves.pools[0].layout.chips
    return Fewest(
        together,
        None if together is None else together * chips,
        apart,
        sum(counts) * chips if len(counts) == len(apart) else None,
    )


def good(run: Run) -> float:
    """Return the share of requests within the limits, of the model that fares worst."""
    return min(tally.good / max(int(tally.ended.sum()), 1) for tally in run.tallies)


def least(holds: Callable[[int], bool], most: int) -> int | None:
    """Return the least number from 1 to `most` that holds, by doubling and bisection; None = none does."""
    low, high = 0, 1
    while not holds(high):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
