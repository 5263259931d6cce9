"""Fields of a file that a user writes: read by name and in their unit; errors name file and field."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.catalogue.reader import read_yaml
from assay.errors import BadFact, BadInput
from assay.units import parse_quantity


class Fields:
    """A mapping of a user's file.

    Args:
        data: what stands there.
        where: file and place in it, for errors.
        known: fields it may have.

    Raises:
        BadInput: not a mapping, or a field that is not known.
    """

    def __init__(self, data: Any, where: str, known: Collection[str]) -> None:
        if not isinstance(data, Mapping):
            raise BadInput(
                f"{where} is {data!r:.60}, not a list of fields.", f"It may have {', '.join(known)}."
            )
        for name in data:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"It may have {', '.join(known)}."
                raise BadInput(f"{where} has a field {name!r} that assay does not know.", hint)
        self.data, self.where, self.known = data, where, known

    def __contains__(self, name: str) -> bool:
        """Return whether a field is stated."""
        return self.data.get(name) is not None

    def name(self, field: str) -> str:
        """Return file and field, for errors."""
        return f"{self.where}: {field}"

    def need(self, *fields: str) -> None:
        """Refuse a file that lacks a field.

        Raises:
            BadInput: it does.
        """
        for field in fields:
            if field not in self:
                raise BadInput(f"{self.where} has no {field!r}.", f"It needs {', '.join(fields)}.")

    def quantity(self, field: str, dimension: str, default: float = 0.0, *, zero: bool = False) -> float:
        """Return a quantity in SI, or the default where the field is absent.

        Raises:
            BadInput: not a quantity of that dimension.
        """
        if field not in self:
            return default
        return parse_quantity(self.data[field], dimension, what=self.name(field), zero=zero)

    def count(self, field: str, default: int = 0, *, zero: bool = False) -> int:
        """Return a whole number.

        Raises:
            BadInput: it is none.
        """
        value = self.quantity(field, "count", float(default), zero=zero)
        if value != round(value):
            raise BadInput(
                f"{self.name(field)} = {self.data[field]!r} is not a whole number.", "Write for example 8."
            )
        return round(value)

    def text(self, field: str, default: str = "", choices: Collection[str] = ()) -> str:
        """Return a word, one of `choices` where there are any.

        Raises:
            BadInput: not a word, or none of them.
        """
        if field not in self:
            return default
        value = self.data[field]
        if not isinstance(value, str) or (choices and value not in choices):
            known = f"Write one of {', '.join(choices)}." if choices else "Write a name."
            raise BadInput(f"{self.name(field)} = {value!r:.60} cannot be used.", known)
        return value

    def flag(self, field: str, *, default: bool) -> bool:
        """Return true or false.

        Raises:
            BadInput: neither.
        """
        value = self.data.get(field, default)
        if not isinstance(value, bool):
            raise BadInput(f"{self.name(field)} = {value!r:.60} is neither true nor false.")
        return value

    def items(self, field: str) -> Sequence[Any]:
        """Return a list, empty where the field is absent.

        Raises:
            BadInput: not a list, or one without entries.
        """
        if field not in self:
            return ()
        value = self.data[field]
        if not isinstance(value, list) or not value:
            raise BadInput(f"{self.name(field)} is {value!r:.60}, not a list with entries.")
        return value


def load(path: Path) -> Any:
    """Return the content of a YAML or JSON file of the user's.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    if not path.exists():
        raise BadInput(f"{str(path)!r} does not exist.", "Give a file.")
    try:
        return read_yaml(path, str(path))
    except BadFact as error:
        raise BadInput(error.message, error.hint) from None
