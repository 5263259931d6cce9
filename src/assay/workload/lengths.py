"""Named workloads: how long requests are, how much of them is cached, and what their users expect.

Each is a file of `catalogue/data/workloads`, every figure with its source; users add their own in the
`workloads` folder of their facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.catalogue.compiled import section
from assay.catalogue.load import catalogue
from assay.errors import BadFact, BadInput, UnknownName
from assay.units import parse_quantity, tokens

#: The workload of a question that names none.
DEFAULT = "chat"


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of request, by its means.

    Attributes:
        name: name in the catalogue.
        title: what it is, in words.
        isl, osl: mean input and output tokens of a request.
        cached: share of the input tokens found in a prefix cache, 0 to 1.
        ttft, tpot: what users expect, s; None = no published expectation.
        ttft_per_input_token: least TTFT limit per new input token for lengths that are not the workload's, s.
        facts: the file as written: every figure with unit, source, date, basis.
    """

    name: str
    title: str
    isl: int
    osl: int
    cached: float
    ttft: float | None
    tpot: float | None
    ttft_per_input_token: float | None
    facts: Mapping[str, Any]


def workload(name: str, extra: Sequence[Path] = ()) -> Workload:
    """Return a workload by name or alias.

    Args:
        name: `chat`, `rag`, ...; case does not matter.
        extra: folders of the user's facts.

    Raises:
        UnknownName: no such workload.
        BadFact: its file is malformed.
    """
    files = _files(extra)
    known = {alias.lower(): key for key, file in files.items() for alias in (key, *file.get("aliases", ()))}
    if name.strip().lower() not in known:
        raise UnknownName("workload", name, known)
    key = known[name.strip().lower()]
    file = files[key]
    limits = file.get("slo") or {}
    try:
        return Workload(
            name=key,
            title=str(file.get("title", key)),
            isl=tokens(file["isl"]["value"], what="isl"),
            osl=tokens(file["osl"]["value"], what="osl"),
            cached=_share(file),
            ttft=_seconds(limits, "ttft"),
            tpot=_seconds(limits, "tpot"),
            ttft_per_input_token=_seconds(limits, "ttft_per_input_token"),
            facts=file,
        )
    except (KeyError, TypeError, BadInput) as error:
        raise BadFact(
            f"Workload {key!r} is malformed: {error}.", "It needs isl and osl, each {value, source}."
        ) from None


def workloads(extra: Sequence[Path] = ()) -> tuple[str, ...]:
    """Return the names of all workloads."""
    return tuple(sorted(_files(extra)))


def _files(extra: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """Return workload -> file; a file of the user's replaces assay's own of the same name."""
    known = catalogue(extra)
    names = {Path(path).stem for path in section("workloads")}
    names |= {path.stem for folder in known.extra for path in (folder / "workloads").glob("*.y*ml")}
    return {name: known.table(f"workloads/{name}") for name in names}


def _share(file: Mapping[str, Any]) -> float:
    share = parse_quantity(file.get("cached", {}).get("value", 0.0), "fraction", what="cached", zero=True)
    if share >= 1:
        raise BadInput(f"cached = {share} leaves no new input token")
    return share


def _seconds(limits: Mapping[str, Any], name: str) -> float | None:
    fact = limits.get(name)
    if not fact:
        return None
    return parse_quantity(fact["value"], "time", what=name, default_unit=fact.get("unit", "s"))
