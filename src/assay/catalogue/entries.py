"""Facts as written, before they become records, and the names they go by."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

_SQUEEZE = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class Entries:
    """Everything as written, ours and the user's, before it becomes records.

    Attributes:
        chips, systems, models: id -> entry; `file` in each names where it came from.
        prices: rows with their `kind` and `file`.
        tables: name ("calibrations/kernels") -> content.
        sources: the user's own sources, id -> entry.
        ranges: dimension -> low and high of a sane value (`ranges` of `data/defaults.yaml`).
    """

    chips: MutableMapping[str, dict[str, Any]] = field(default_factory=dict)
    systems: MutableMapping[str, dict[str, Any]] = field(default_factory=dict)
    models: MutableMapping[str, dict[str, Any]] = field(default_factory=dict)
    prices: list[dict[str, Any]] = field(default_factory=list)
    tables: MutableMapping[str, Any] = field(default_factory=dict)
    sources: MutableMapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def squeeze(name: str) -> str:
    """Return a name without case, dots, dashes and underscores: "Kimi_K2.5" is "kimik25"."""
    return _SQUEEZE.sub("", name.lower())


def index(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return squeezed name -> id; ids win over aliases, later aliases over earlier ones."""
    names: dict[str, str] = {}
    for ident, entry in entries.items():
        for alias in (*(entry.get("aliases") or ()), entry.get("hf_id") or ""):
            if alias:
                names[squeeze(str(alias))] = ident
                names.setdefault(squeeze(str(alias).rpartition("/")[2]), ident)
    names.update({squeeze(ident): ident for ident in entries})
    return names


def aliases(entries: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return all aliases of all entries."""
    return tuple(str(alias) for entry in entries.values() for alias in entry.get("aliases") or ())
