"""Failures, recoveries, stragglers, links between pools: scripted in a file, or drawn from MTBF and MTTR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.catalogue.reader import read_yaml
from assay.errors import BadFact, BadInput
from assay.simulate.cluster import Fleet
from assay.simulate.state import DOWN, LINK, RECOVER, SLOW
from assay.units import parse_quantity

_EXAMPLE = "Write for example `faults: [{at: 60s, replica: 0, for: 5min}]` or `mtbf: 30d` with `mttr: 20min`."
#: Name of the chips that several models share.
SHARED = "shared"
_FIELDS = {"model", "at", "replica", "replicas", "link", "links", "for", "slow"}
_RATES = ("mtbf", "mttr", "link_mtbf", "link_mttr")


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that happens to one unit.

    Attributes:
        at: s since the start.
        unit: number of the unit.
        kind: `DOWN`, `RECOVER`, `SLOW` or `LINK` of `assay.simulate.state`.
        factor: how many times longer the steps of a slow unit take; s that a link is down.
    """

    at: float
    unit: int
    kind: int
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What a faults file says.

    Attributes:
        scripted: (s, replica, s that it lasts or infinity, factor or 0 = down).
        mtbf, mttr: mean s between failures of one replica and to its repair; 0 = none drawn.
        links: (s, prefill replica, s that its link to the decode pool is down).
        link_mtbf, link_mttr: the same of one link.
    """

    scripted: tuple[tuple[float, int, float, float], ...] = ()
    mtbf: float = 0.0
    mttr: float = 0.0
    links: tuple[tuple[float, int, float], ...] = ()
    link_mtbf: float = 0.0
    link_mttr: float = 0.0

    def events(self, replicas: int, stages: int, horizon: float, seed: int = 0) -> list[Event]:
        """Return all events in order of time.

        Args:
            replicas: replicas there are.
            stages: units of a replica, which fail together.
            horizon: s until which failures are drawn.
            seed: of the random numbers.

        Raises:
            BadInput: a replica that does not exist.
        """
        down = drawn(self.mtbf, self.mttr, replicas, horizon, [seed, 7])
        spells = [*self.scripted, *((at, number, lasts, 0.0) for at, number, lasts in down)]
        cuts = [*self.links, *drawn(self.link_mtbf, self.link_mttr, replicas, horizon, [seed, 11])]
        # a link that never comes back leaves its replica useless
        spells += [(at, number, lasts, 0.0) for at, number, lasts in cuts if not np.isfinite(lasts)]
        for number in (number for _, number, *_ in (*spells, *cuts)):
            if number >= replicas:
                raise BadInput(
                    f"The faults name replica {number}; there are {replicas}, counted from 0.", _EXAMPLE
                )
        found: list[Event] = []
        for at, replica, lasts, factor in spells:
            for unit in range(replica * stages, (replica + 1) * stages):
                found.append(Event(at, unit, SLOW if factor else DOWN, factor or 1.0))
                if np.isfinite(lasts):
                    found.append(Event(at + lasts, unit, RECOVER))
        for at, replica, lasts in _merged(cuts):
            found += [
                Event(at, unit, LINK, lasts) for unit in range(replica * stages, (replica + 1) * stages)
            ]
        return sorted(found)


def in_fleet(fleet: Fleet, faults: Mapping[str, Faults], horizon: float, seed: int = 0) -> list[Event]:
    """Return the failures of a fleet in order of time; they hit the first pool of each model.

    A replica that several models share fails for all of them at once.

    Args:
        fleet: what serves.
        faults: of each model by its name, of shared chips by `SHARED`; "" = of everything without its own.
        horizon: s until which failures are drawn.
        seed: of the random numbers.

    Raises:
        BadInput: a model, replica or link that does not exist.
    """
    found: list[Event] = []
    known = {member.name for member in fleet.members if not member.shared}
    if fleet.sharing:
        known.add(SHARED)
    for name in faults:
        if name and name not in known:
            raise BadInput(f"The faults name {name!r}.", f"Known: {', '.join(sorted(known))}.")
    first = 0
    own = len(fleet.members) - fleet.sharing
    for place, member in enumerate(fleet.members[: own + bool(fleet.sharing)]):
        pool = member.cluster.pools[0]
        name = SHARED if member.shared else member.name
        given = faults.get(name, faults.get("", Faults()))
        if len(member.cluster.pools) == 1:
            if name in faults and given.links:
                raise BadInput(f"The faults name a link of {name}, which has one pool.", "Leave it out.")
            given = replace(given, links=(), link_mtbf=0.0)
        events = given.events(pool.replicas, pool.stages, horizon, seed + place)
        for copy in range(fleet.sharing if member.shared else 1):
            found += [replace(event, unit=event.unit + first + copy * pool.units) for event in events]
        first += member.cluster.units
    return sorted(found)


def drawn(
    mtbf: float, mttr: float, count: int, horizon: float, seed: Sequence[int]
) -> list[tuple[float, int, float]]:
    """Return (s, number, s that it lasts) of failures of `count` parts until `horizon`; none without mtbf."""
    found: list[tuple[float, int, float]] = []
    random = np.random.default_rng(seed)
    for number in range(count if mtbf > 0 else 0):
        at = float(random.exponential(mtbf))
        while at < horizon:
            found.append((at, number, float(random.exponential(mttr))))
            at += found[-1][2] + float(random.exponential(mtbf))
    return found


def _merged(cuts: Sequence[tuple[float, int, float]]) -> list[tuple[float, int, float]]:
    """Return the finite cuts with those of one link that overlap made one."""
    found: list[tuple[float, int, float]] = []
    for at, number, lasts in sorted((c for c in cuts if np.isfinite(c[2])), key=lambda c: (c[1], c[0])):
        if found and found[-1][1] == number and at <= found[-1][0] + found[-1][2]:
            start = found[-1][0]
            found[-1] = (start, number, max(found[-1][2], at + lasts - start))
        else:
            found.append((at, number, lasts))
    return found


def read(path: Path) -> Faults:
    """Read a faults file of one model.

    Raises:
        BadInput: not readable, or an entry that cannot be understood; says which.
    """
    found = read_by_model(path)
    if set(found) > {""}:
        raise BadInput(f"{path} names models; there is one.", "Leave `model` out.")
    return found[""]


def read_by_model(path: Path) -> dict[str, Faults]:
    """Read a faults file: faults of each model that it names; "" = of every one that it does not.

    Rates of failures hold for all.

    Raises:
        BadInput: not readable, or an entry that cannot be understood; says which.
    """
    try:
        data = read_yaml(path, str(path))
    except BadFact as error:
        raise BadInput(error.message, _EXAMPLE) from None
    if not isinstance(data, Mapping) or not set(data) <= {"faults", *_RATES} or not data:
        raise BadInput(f"{path} is not a faults file.", _EXAMPLE)
    entries = data.get("faults") or []
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise BadInput(f"{path}: `faults` is not a list.", _EXAMPLE)
    scripted: dict[str, list[tuple[float, int, float, float]]] = {"": []}
    links: dict[str, list[tuple[float, int, float]]] = {"": []}
    for place, entry in enumerate(entries, 1):
        spells = _spells(entry, f"{path}: fault {place}")
        model = str(entry.get("model", ""))
        scripted.setdefault(model, [])
        links.setdefault(model, [])
        if "link" in entry or "links" in entry:
            links[model] += [(at, number, lasts) for at, number, lasts, _ in spells]
        else:
            scripted[model] += spells
    rates = {key: parse_quantity(data[key], "time", what=key) for key in _RATES if key in data}
    for part in ("", "link_"):
        if f"{part}mtbf" in rates and f"{part}mttr" not in rates:
            raise BadInput(f"{path} has {part}mtbf without {part}mttr.", _EXAMPLE)
    return {
        model: Faults(scripted=tuple(scripted[model]), links=tuple(links[model]), **rates)
        for model in scripted
    }


def _spells(entry: Any, where: str) -> list[tuple[float, int, float, float]]:
    if not isinstance(entry, Mapping) or "at" not in entry or not set(entry) <= _FIELDS:
        raise BadInput(f"{where} is not {{at, replica or link, for, slow}}.", _EXAMPLE)
    at = parse_quantity(entry["at"], "time", what=f"{where}: at", zero=True)
    lasts = parse_quantity(entry["for"], "time", what=f"{where}: for") if "for" in entry else float("inf")
    slow = parse_quantity(entry["slow"], "count", what=f"{where}: slow") if "slow" in entry else 0.0
    if slow and slow < 1:
        raise BadInput(f"{where}: slow = {slow} would be faster.", "Write a factor of at least 1.")
    keys = [key for key in ("replicas", "replica", "links", "link") if key in entry]
    if len(keys) != 1 or (slow and keys[0].startswith("link")):
        raise BadInput(
            f"{where} does not name one of replica, replicas, link (which is never slow).", _EXAMPLE
        )
    named = entry[keys[0]] if keys[0].endswith("s") else [entry[keys[0]]]
    if not isinstance(named, list) or not named:
        raise BadInput(f"{where} names no replica.", _EXAMPLE)
    for number in named:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise BadInput(f"{where}: replica {number!r} is not a number from 0.", _EXAMPLE)
    return [(at, number, lasts, slow) for number in named]
