"""The two forms of the kernel's state: arrays of records, and lists of objects for plain Python."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from assay.simulate.state import State

#: Field of `State` -> class of its records.
RECORDS: dict[str, Any] = {
    "setup": Setup,
    "totals": Totals,
    "models": ModelRow,
    "pools": PoolRow,
    "units": UnitRow,
    "flight": FlightRow,
    "entries": EntryRow,
    "tiers": TierRow,
    "coming": ComingRow,
    "faults": FaultRow,
    "log": LogRow,
    "timeline": SampleRow,
}

#: Word of a field's type -> how an array keeps it.
_WIDTHS = {"float": "f8", "int": "i8", "Small": "i4", "Floats": "f8", "Ints": "i8", "Smalls": "i4"}


def kinds(row: Any) -> np.dtype[Any]:
    """Return the record type of a row class."""
    if hasattr(row, "_fields"):
        notes = {name: row.__annotations__[name] for name in row._fields}
    else:
        notes = {item.name: item.type for item in fields(row)}
    words = {name: getattr(note, "__forward_arg__", note) for name, note in notes.items()}
    return np.dtype([(name, _WIDTHS[word]) for name, word in words.items()], align=True)


def kind(name: str) -> np.dtype[Any]:
    """Return the type of the elements of a field of `State`."""
    row = RECORDS.get(name)
    if row is not None:
        return kinds(row)
    note: Any = State.__annotations__[name]
    return np.dtype(_WIDTHS[getattr(note, "__forward_arg__", note)])


def rows(row: Any, count: int, **columns: Any) -> NDArray[Any]:
    """Return `count` records of a row class, zero but for the columns given."""
    made = np.zeros(count, dtype=kinds(row))
    for name, values in columns.items():
        made[name] = values
    return made


def plain(name: str, array: NDArray[Any]) -> list[Any]:
    """Return a field of `State` as plain Python has it: a list of objects or of numbers."""
    row = RECORDS.get(name)
    if row is None:
        return list(array.tolist())
    return [row(*item) for item in array.tolist()]


def packed(name: str, items: Any) -> NDArray[Any]:
    """Return a field of `State` as an array, whatever form it has."""
    if isinstance(items, np.ndarray):
        return items
    words = kind(name)
    if words.names is None:
        return np.array(items, dtype=words)
    made = np.zeros(len(items), dtype=words)
    for field in words.names:  # one at a time: rows as tuples would take several times as much
        made[field] = [getattr(item, field) for item in items]
    return made


def lengthen(state: State, name: str, count: int) -> None:
    """Add so many zero records or numbers to a field of the state, in place."""
    items: Any = getattr(state, name)
    if isinstance(items, np.ndarray):
        items.resize(len(items) + count, refcheck=False)  # nobody else holds them
    else:
        items.extend(plain(name, np.zeros(count, dtype=kind(name))))


def as_plain(state: State) -> State:
    """Return the state in the form plain Python runs on."""
    given: tuple[Any, ...] = state
    made: list[Any] = [plain(name, item) for name, item in zip(State._fields, given, strict=True)]
    return State(*made)


def as_arrays(state: State) -> State:
    """Return the state in arrays."""
    made: list[Any] = [packed(name, item) for name, item in zip(State._fields, state, strict=True)]
    return State(*made)


def read(state: State, field: str, name: str) -> Any:
    """Return one number of a record that there is only one of, `setup` or `totals`, in either form."""
    items: Any = getattr(state, field)
    return items[name][0].item() if isinstance(items, np.ndarray) else getattr(items[0], name)


def write(state: State, field: str, name: str, value: float) -> None:
    """Set one number of `setup` or `totals`, in either form."""
    items: Any = getattr(state, field)
    if isinstance(items, np.ndarray):
        items[name][0] = value
    else:
        setattr(items[0], name, value)
