"""What a run of several models says: of each model and of all, and what taking turns cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from assay.catalogue.schema import Price
from assay.simulate.carbon import Grid
from assay.simulate.cluster import Fleet
from assay.simulate.outcome import Outcome, of_pools
from assay.simulate.run import Run


def outcomes(
    fleet: Fleet, run: Run, prices: Sequence[Price | None], grid: Grid | None = None
) -> tuple[Outcome, dict[str, Outcome]]:
    """Return the outcome of all models together, and of each by its name.

    Chips that models share are paid by the one that they hold or load; `chips` of such a model is the mean
    number that it held.

    Args:
        fleet: what served.
        run: how it went.
        prices: of a chip-hour of each model's chips; None = unknown.
        grid: whose electricity the chips take; None = unknown.
    """
    every: dict[str, Outcome] = {}
    for index, (member, price) in enumerate(zip(fleet.members, prices, strict=True)):
        part = run.of(index)
        pools = member.cluster.pools
        chips = float(member.cluster.chips)
        if member.shared:
            seconds = float(run.state.totals["now"][0])
            chips = float(part.state.pools["ready_seconds"][0]) / seconds * chips / pools[0].replicas
        found = of_pools(pools, max(chips, 1e-9), part, price, grid)
        every[member.name] = replace(found, figures={**found.figures, **_turns(part, member.shared)})
    whole = of_pools(fleet.pools, float(fleet.chips), run, _mean(every.values(), prices), grid)
    units = run.state.units[run.state.units["holds"] > 0]  # a shared replica has one cache, of what it holds
    figures = {
        **whole.figures,
        **_turns(run, bool(fleet.sharing)),
        "cache_tokens": float(run.state.pools["room"][units["pool"]].sum()),
    }
    return replace(whole, figures=figures), every


def _turns(run: Run, shared: bool) -> Mapping[str, Any]:
    """Return how often models were loaded in turn, and the share of the time paid for that it took."""
    pools = run.state.pools[run.state.pools["faces"] > 1]
    if not shared:
        return {"switches": 0, "switching_share": 0.0}
    paid = max(float(pools["ready_seconds"].sum()), 1e-12)
    return {
        "switches": int(pools["switches"].sum()),
        "switching_share": float(pools["switching"].sum()) / paid,
    }


def _mean(every: Iterable[Outcome], prices: Sequence[Price | None]) -> Price | None:
    """Return the mean price of a chip-hour, weighted by chip-hours; None if one is unknown."""
    hours = [outcome.figures["chip_hours"] for outcome in every]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices) or sum(hours) <= 0:
        return None
    total = sum(price.usd_per_hour * each for price, each in zip(known, hours, strict=True))
    return replace(known[-1], usd_per_hour=total / sum(hours))
