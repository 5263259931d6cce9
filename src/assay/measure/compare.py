"""Two results of benchmark tools side by side: in their own words, in one definition, and what differs.

Tools give one name to different figures and count tokens on different sides. A figure of one file is set
against one of the other only where both mean the same quantity (`measurements/tools`), and only where both
runs put the same load on the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import BadInput
from assay.measure.importers import aiperf, guidellm, inference_perf, sglang, vllm
from assay.measure.read import read
from assay.measure.records import Record

#: How far conditions of two runs may lie apart and still be the same load, as a share.
SAME = 0.05
_SCALES = {"ms": 1e-3, "s": 1.0, "tokens/s": 1.0}
_TOOLS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("sglang", sglang.is_result),
    ("vllm", vllm.is_result),
    ("aiperf", aiperf.is_result),
    ("inference-perf", inference_perf.is_result),
    ("guidellm", guidellm.is_result),
)
#: Normalised figures and conditions of a record.
VALUES = ("ttft", "tpot", "e2e", "throughput")
CONDITIONS = ("isl", "osl", "concurrency", "rate")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as a tool gives it: its name there, SI value, the quantity it means, and a note."""

    name: str
    value: float
    quantity: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One result.

    Attributes:
        file: where it stands. `tool`: id in `measurements/tools`. `title`: the tool in words.
        tokens: whose tokens its figures count. `source`: where the tool says so.
        figures: in its own words. `values`, `conditions`: normalised, SI; throughput over all chips.
        flags: what is wrong with the run.
    """

    file: str
    tool: str
    title: str
    tokens: str
    source: str
    figures: tuple[Figure, ...]
    values: Mapping[str, float]
    conditions: Mapping[str, float]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same quantity in both files; `ratio` is second over first, None where loads differ."""

    quantity: str
    first: Figure
    second: Figure
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs.

    Attributes:
        runs: both. `differs`: why their loads are not the same, in sentences; empty = they are.
        pairs: figures that mean the same. `unlike`: those with no counterpart in the other file.
        normalised: figure -> first, second (assay's definition) and ratio, as for pairs.
    """

    runs: tuple[Run, Run]
    differs: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unlike: tuple[tuple[Figure, ...], tuple[Figure, ...]]
    normalised: Mapping[str, tuple[float, float, float | None]]

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def compare(first: Path, last: Path) -> Comparison:
    """Compare two result files.

    Raises:
        BadInput: a file is no single result of a tool known here, or both have no figure in common.
    """
    runs = (load(first), load(last))
    differs = tuple(_differs(*runs))
    groups = [{item.quantity: item for item in run.figures} for run in runs]
    pairs = tuple(
        Pair(name, item, groups[1][name], None if differs else groups[1][name].value / item.value)
        for name, item in groups[0].items()
        if name in groups[1]
    )
    if not pairs:
        raise BadInput(f"{first} and {last} have no figure that means the same.", "Compare other runs.")
    shared = {item.quantity for item in pairs}
    unlike = tuple(tuple(item for item in run.figures if item.quantity not in shared) for run in runs)
    normalised: dict[str, tuple[float, float, float | None]] = {}
    for name in VALUES:
        one, other = (run.values.get(name) for run in runs)
        if one and other:
            normalised[name] = (one, other, None if differs else other / one)
    return Comparison(runs, differs, pairs, (unlike[0], unlike[1]), normalised)


def load(path: Path) -> Run:
    """Read one result, in its own words and normalised.

    Raises:
        BadInput: the file holds no result, several, or one of a format without own definitions here.
    """
    records = read(path, {"n_accelerators": "1"}).rows
    if len(records) != 1:
        raise BadInput(f"{path} holds {len(records)} results.", "Give a file with one.")
    item = _object(path)
    tool = next((name for name, known in _TOOLS if known(item)), "")
    table = catalogue().table("measurements/tools")
    if not tool:
        known = ", ".join(str(entry["name"]) for entry in table["tools"].values())
        raise BadInput(
            f"{path} is not the summary of a tool whose definitions are known.", f"Known: {known}."
        )
    entry, record = table["tools"][tool], records[0]
    inner = item["benchmarks"][0] if tool == "guidellm" else item
    return Run(
        file=str(path),
        tool=tool,
        title=str(entry["name"]),
        tokens=str(entry["tokens"]),
        source=str(table["sources"][entry["source"]]["where"]),
        figures=tuple(_figures(inner, entry["figures"])),
        values=_mean(record),
        conditions={name: record.conditions[name] for name in CONDITIONS if name in record.conditions},
        flags=record.flags,
    )


def _object(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, Mapping) else {}


def _figures(item: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    made = []
    for name, entry in table.items():
        value: Any = item
        for step in entry["path"]:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and value > 0:
            scaled = float(value) * _SCALES[str(entry["unit"])]
            made.append(Figure(name, scaled, str(entry["quantity"]), str(entry.get("note") or "")))
    return made


def _mean(record: Record) -> dict[str, float]:
    values = {name: record.values[name] for name in VALUES if name in record.values}
    if "throughput" in values and (total := record.published.get("output_tok_s_total")):
        values["throughput"] = float(total)  # a record's own is per chip, of as many as the file names
    return values


def _differs(first: Run, second: Run) -> list[str]:
    """Return in which conditions two runs differ by more than `SAME`, and what is wrong with either."""
    found = []
    for name in CONDITIONS:
        one, other = first.conditions.get(name), second.conditions.get(name)
        if (one is None) != (other is None):
            found.append(f"{name} is stated by one alone: {_said(one)} and {_said(other)}")
        elif one is not None and other is not None and _apart(one, other):
            found.append(f"{name} differs: {_said(one)} and {_said(other)}")
    return found


def _apart(one: float, other: float) -> bool:
    if not (isfinite(one) and isfinite(other)) or min(one, other) <= 0:
        return one != other
    return abs(log(other / one)) > log(1.0 + SAME)


def _said(value: float | None) -> str:
    return "not stated" if value is None else f"{value:.4g}"
