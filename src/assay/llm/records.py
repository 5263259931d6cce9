"""Turning plain data into records of blocks and back, refusing what is unknown or cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.blocks import MAY_BE_ZERO, WORDS

#: No dimension of a language model comes near this; larger values are typing mistakes.
LARGEST = 10**15

Record = TypeVar("Record")


def number(value: Any, where: str, *, zero: bool = False, whole: bool = True) -> Any:
    """Return `value` if it is a sane count.

    Raises:
        BadInput: not a number, NaN, negative, zero where that means nothing, or absurd.
    """
    wrong = isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    if wrong or (whole and value != int(value)):
        raise BadInput(
            f"{where} is {value!r}.", "It must be a whole number." if whole else "It must be a number."
        )
    if value < 0 or (value == 0 and not zero) or value > LARGEST:
        raise BadInput(
            f"{where} is {value!r}.", f"It must be {'at least 0' if zero else 'positive'} and sane."
        )
    return int(value) if whole else value


def read(kind: type[Record], data: Any, where: str, ignore: tuple[str, ...] = ()) -> Record:
    """Build a record from plain data.

    Raises:
        BadInput: `data` is not an object, a value is of the wrong type or absurd, or a field is missing.
        UnknownArchitecture: a field that `kind` does not have.
    """
    if not isinstance(data, Mapping):
        raise BadInput(f"{where} must be an object, not {type(data).__name__}.")
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key in ignore:
            continue
        if key not in known:
            raise UnknownArchitecture(f"{where} has an unknown field {key!r}.", f"Known: {', '.join(known)}.")
        values[key] = _value(hints[key], key, value, f"{where}.{key}")
    missing = [k for k, f in known.items() if k not in values and f.default is MISSING]
    if missing:
        raise BadInput(f"{where} lacks {', '.join(missing)}.")
    return kind(**values)


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(hint: Any, key: str, value: Any, where: str) -> Any:
    options = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if value is None and type(None) in options:
        return None
    target = options[0]
    if target is bool:
        if not isinstance(value, bool):
            raise BadInput(f"{where} is {value!r}.", "It must be true or false.")
        return value
    if target is str:
        if not isinstance(value, str):
            raise BadInput(f"{where} is {value!r}.", "It must be text.")
        if key in WORDS and value not in WORDS[key]:
            raise UnknownArchitecture(f"{where} is {value!r}.", f"Known: {', '.join(WORDS[key])}.")
        return value
    if target in (int, float):
        return number(value, where, zero=key in MAY_BE_ZERO, whole=target is int)
    if isinstance(target, type) and hasattr(target, "__dataclass_fields__"):
        return read(target, value, where)
    return _sequence(key, value, where)


def _sequence(key: str, value: Any, where: str) -> Any:
    if key == "block":
        pairs = isinstance(value, list | tuple) and all(
            isinstance(p, list | tuple) and len(p) == 2 for p in value
        )
        if not pairs:
            raise BadInput(f"{where} must be a list of [mixer, ffn] pairs.")
        return tuple((str(mixer), str(ffn)) for mixer, ffn in value)
    if isinstance(value, list | tuple):
        return tuple(number(v, where, zero=True) for v in value)
    return number(value, where, zero=True)


def write(record: Any) -> dict[str, Any]:
    """Return the plain data of a record: the fields that differ from their default."""
    data: dict[str, Any] = {"type": record.type} if hasattr(record, "type") else {}
    for item in fields(record):
        value = getattr(record, item.name)
        if value != item.default:
            data[item.name] = _plain(value)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return write(value) if hasattr(value, "__dataclass_fields__") else value
