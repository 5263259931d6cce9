"""Measured factors between the platforms of a claim: published ratios, and MLPerf results of both sides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from assay.catalogue.query import Catalogue
from assay.claims.claim import Claim
from assay.claims.denominator import Unit
from assay.claims.quantity import Quantity
from assay.engine.features import family
from assay.errors import AssayError

#: Relative distance within which a measured interactivity is the stated one.
NEAR_SPEED = 0.15


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured factor, in the claim's denominator.

    Attributes:
        subject, baseline, model: ids.
        factor: with the range of prices or power where it was converted.
        denominator: name of the unit it stands in.
        speed: output tokens/s/user, NaN where the measurement has none.
        what: conditions in words.
        source, date: where it was published.
        same: whether platforms, model and denominator are the claim's; others are near.
    """

    subject: str
    baseline: str
    model: str
    factor: Quantity
    denominator: str
    speed: float
    what: str
    source: str
    date: str
    same: bool

    def json(self) -> dict[str, Any]:
        """Return the measurement as plain data."""
        return asdict(self) | {"speed": None if math.isnan(self.speed) else self.speed}


def measured(claim: Claim, scales: Sequence[Unit], facts: Catalogue) -> tuple[Measured, ...]:
    """Return what was measured of both sides of a claim, the same conditions first.

    Args:
        claim: a claim of performance.
        scales: the denominators it may mean; a factor per chip is converted into the first.
        facts: the catalogue.
    """
    if claim.metric != "throughput":
        return ()
    pair = (facts.system_id(claim.subject), facts.system_id(claim.baseline))
    models = {_model(facts, str(name)) for name in claim.condition("model")}
    rows = [*_published(claim, pair, models, scales, facts), *_mlperf(pair, models, scales, facts)]
    for name in claim.against:
        other = (pair[0], facts.system_id(name))
        rows += [replace(row, same=False) for row in _mlperf(other, models, (Unit("chip"),), facts)]
    families = {family(name) for name in models}

    def order(row: Measured) -> tuple[object, ...]:
        other = (row.subject, row.baseline) != pair
        speed = 0.0 if math.isnan(row.speed) else row.speed
        return (not row.same, other, family(row.model) not in families, row.model, speed)

    return tuple(sorted(rows, key=order))


def _model(facts: Catalogue, name: str) -> str:
    try:
        return facts.model_id(name)
    except AssayError:
        return name


def _generation(facts: Catalogue, system: str) -> str:
    entry = facts.entry("system", system)
    return str(facts.entry("chip", str(entry["chip"])).get("generation"))


def _published(
    claim: Claim, pair: tuple[str, str], models: set[str], scales: Sequence[Unit], facts: Catalogue
) -> Iterator[Measured]:
    kinds = {_generation(facts, name) for name in pair[:1]}, {_generation(facts, name) for name in pair[1:]}
    for row in facts.table("measurements/factors")["rows"]:
        ends = (str(row["subject"]), str(row["baseline"]))
        alike = (_generation(facts, ends[0]) in kinds[0]) and (_generation(facts, ends[1]) in kinds[1])
        if ends != pair and not alike:
            continue
        factor, denominator = Quantity.exact(float(row["factor"])), str(row["denominator"])
        if denominator == "chip" and claim.denominator != "chip" and ends == pair and scales:
            factor, denominator = factor * scales[0].ratio, scales[0].name
        same = ends == pair and str(row["model"]) in models and denominator.split()[0] == claim.denominator
        note = f"{row['isl']}/{row['osl']} at {row['interactivity']:g} tok/s/user; {row.get('note', '')}"
        yield Measured(
            *ends,
            model=str(row["model"]),
            factor=factor,
            denominator=denominator,
            speed=float(row["interactivity"]),
            what=note.rstrip("; "),
            source=str(row["source"]),
            date=str(row["date"]),
            same=same,
        )


def _mlperf(
    pair: tuple[str, str], models: set[str], scales: Sequence[Unit], facts: Catalogue
) -> Iterator[Measured]:
    """Yield the newest round of each model and scenario in which both sides have a result."""
    newest: dict[tuple[str, str], tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {}
    table: dict[tuple[str, str, str, str], Mapping[str, Any]] = {}
    rows = facts.table("measurements/mlperf_results")["rows"]
    for row in rows:
        table[str(row["round"]), str(row["model"]), str(row["scenario"]), str(row["system"])] = row
    for (edition, model, scenario, system), row in table.items():
        other = table.get((edition, model, scenario, pair[1]))
        if system == pair[0] and other is not None:
            newest[model, scenario] = max(
                newest.get((model, scenario), ("",)), (edition, row, other), key=lambda x: x[0]
            )  # type: ignore[assignment]
    for (model, scenario), (edition, mine, theirs) in newest.items():
        ratio = (mine["tokens_per_s"] / mine["chips"]) / (theirs["tokens_per_s"] / theirs["chips"])
        unit = scales[0] if scales else Unit("chip")
        limit = mine.get("tpot_p99_ms") or theirs.get("tpot_p99_ms")
        words = f"MLPerf {edition} {scenario}: {ratio:.2f}x per chip ({_line(mine)} against {_line(theirs)})"
        yield Measured(
            *pair,
            model=model,
            factor=Quantity.exact(ratio) * unit.ratio,
            denominator=unit.name,
            speed=1000.0 / float(limit) if limit else math.nan,
            what=words,
            source="MLCOMMONS",
            date=edition,
            same=model in models,
        )


def _line(row: Mapping[str, Any]) -> str:
    each = row["tokens_per_s"] / row["chips"]
    return f"{each:,.0f} tok/s/chip, {row['submitter']} x{row['chips']}"


def software(facts: Catalogue, system: str) -> tuple[float, str]:
    """Return how much faster one platform became by software alone, and between which MLPerf rounds.

    The greatest ratio of tokens/s a chip between two rounds of the same model and scenario; 1 where no
    two rounds have it.
    """
    ident = facts.system_id(system)
    seen: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for row in facts.table("measurements/mlperf_results")["rows"]:
        if row["system"] == ident:
            key = (str(row["model"]), str(row["scenario"]))
            seen.setdefault(key, []).append((str(row["round"]), row["tokens_per_s"] / row["chips"]))
    best, words = 1.0, ""
    for (model, scenario), results in seen.items():
        (first, old), (last, new) = min(results), max(results)
        if new / old > best:
            best, words = new / old, f"MLPerf {model} {scenario}, {first} to {last}"
    return best, words
