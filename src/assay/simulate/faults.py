"""Failures, recoveries and stragglers: scripted in a file, or drawn from MTBF and MTTR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.catalogue.reader import read_yaml
from assay.errors import BadFact, BadInput
from assay.simulate.state import DOWN, RECOVER, SLOW
from assay.units import parse_quantity

_EXAMPLE = "Write for example `faults: [{at: 60s, replica: 0, for: 5min}]` or `mtbf: 30d` with `mttr: 20min`."
_FIELDS = {"at", "replica", "replicas", "for", "slow"}


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that happens to one unit.

    Attributes:
        at: s since the start.
        unit: number of the unit.
        kind: `DOWN`, `RECOVER` or `SLOW` of `assay.simulate.state`.
        factor: how many times longer the steps of a slow unit take.
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
    """

    scripted: tuple[tuple[float, int, float, float], ...] = ()
    mtbf: float = 0.0
    mttr: float = 0.0

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
        spells = list(self.scripted)
        if self.mtbf > 0:
            random = np.random.default_rng([seed, 7])
            for replica in range(replicas):
                at = float(random.exponential(self.mtbf))
                while at < horizon:
                    spells.append((at, replica, float(random.exponential(self.mttr)), 0.0))
                    at += spells[-1][2] + float(random.exponential(self.mtbf))
        found: list[Event] = []
        for at, replica, lasts, factor in spells:
            if replica >= replicas:
                raise BadInput(
                    f"The faults name replica {replica}; there are {replicas}, counted from 0.", _EXAMPLE
                )
            for unit in range(replica * stages, (replica + 1) * stages):
                found.append(Event(at, unit, SLOW if factor else DOWN, factor or 1.0))
                if np.isfinite(lasts):
                    found.append(Event(at + lasts, unit, RECOVER))
        return sorted(found)


def read(path: Path) -> Faults:
    """Read a faults file.

    Raises:
        BadInput: not readable, or an entry that cannot be understood; says which.
    """
    try:
        data = read_yaml(path, str(path))
    except BadFact as error:
        raise BadInput(error.message, _EXAMPLE) from None
    if not isinstance(data, Mapping) or not set(data) <= {"faults", "mtbf", "mttr"} or not data:
        raise BadInput(f"{path} is not a faults file.", _EXAMPLE)
    entries = data.get("faults") or []
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise BadInput(f"{path}: `faults` is not a list.", _EXAMPLE)
    scripted = [
        spell for place, entry in enumerate(entries, 1) for spell in _spells(entry, f"{path}: fault {place}")
    ]
    mtbf = parse_quantity(data["mtbf"], "time", what="mtbf") if "mtbf" in data else 0.0
    if mtbf and "mttr" not in data:
        raise BadInput(f"{path} has mtbf without mttr.", _EXAMPLE)
    mttr = parse_quantity(data["mttr"], "time", what="mttr") if "mttr" in data else 0.0
    return Faults(tuple(scripted), mtbf, mttr)


def _spells(entry: Any, where: str) -> list[tuple[float, int, float, float]]:
    if not isinstance(entry, Mapping) or "at" not in entry or not set(entry) <= _FIELDS:
        raise BadInput(f"{where} is not {{at, replica, for, slow}}.", _EXAMPLE)
    at = parse_quantity(entry["at"], "time", what=f"{where}: at", zero=True)
    lasts = parse_quantity(entry["for"], "time", what=f"{where}: for") if "for" in entry else float("inf")
    slow = parse_quantity(entry["slow"], "count", what=f"{where}: slow") if "slow" in entry else 0.0
    if slow and slow < 1:
        raise BadInput(f"{where}: slow = {slow} would be faster.", "Write a factor of at least 1.")
    named = entry.get("replicas", [entry["replica"]] if "replica" in entry else [])
    if not isinstance(named, list) or not named:
        raise BadInput(f"{where} names no replica.", _EXAMPLE)
    for number in named:
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise BadInput(f"{where}: replica {number!r} is not a number from 0.", _EXAMPLE)
    return [(at, number, lasts, slow) for number in named]
