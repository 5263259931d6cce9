"""Candidate points of a platform: figures with intervals, price and energy, ready to be ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import Price, System
from assay.engine.features import Known
from assay.engine.points import Outcome, figures
from assay.engine.power import replica_watts
from assay.engine.replica import Model
from assay.engine.residual import corrected
from assay.engine.terms import floors, terms
from assay.estimate import BASES, Estimate
from assay.llm.layout import Layout
from assay.plan.caches import Hits
from assay.plan.disaggregate import Pairs, Sides
from assay.plan.pools import Places, Pools, blended, outcome, pools, power
from assay.plan.predict import calibration, predictions
from assay.plan.published import length_spread, published
from assay.plan.sweep import Sweep, closer
from assay.study.conditions import Conditions, Pool, Predictions, Setting

Floats = NDArray[np.float64]

#: Date of the software a plan assumes, years; the newest the calibration has seen is what it means.
SOFTWARE_DATE = 2026.9
SECONDS_PER_HOUR = 3600.0
#: The figure whose evidence is of its own kind: measured power is rarer than measured speed.
ENERGY = "joules_per_output_token"


@dataclass(frozen=True, slots=True)
class Points:
    """M candidate operating points of one platform in one pair of formats; arrays (M,), one replica each.

    Attributes:
        found: the sweep they come from.
        outcome: their states and breakdowns, (M, 1).
        layouts: their layouts.
        concurrency: requests in flight.
        figures: name in `assay.study.answer.FIGURES` -> Estimate over the points; absent if unknowable.
        chips: chips of the replica, or of both pools.
        basis: rung of evidence of each point's latencies and rate: what of its kind has been measured.
        side: the prefill pools of disaggregated candidates, whose layouts are then those that decode.
        hits: what a prefix cache finds at each point; None where the question states the cached share.
    """

    found: Sweep
    outcome: Outcome
    layouts: tuple[Layout, ...]
    concurrency: Floats
    figures: dict[str, Estimate]
    chips: Floats
    basis: tuple[str, ...]
    side: Pools | None = None
    hits: Hits | None = None

    def cached(self, index: int) -> float:
        """Return the share of the input tokens of a point that is found in a cache."""
        if self.hits is not None:
            return float(self.hits.cached[index, 0])
        return float(self.found.load.cached[0, 0])

    @property
    def system(self) -> System:
        """The platform."""
        return self.found.copy.system

    def value(self, name: str) -> Floats:
        """Return the values of one figure, NaN where it is unknowable."""
        if name not in self.figures:
            return np.full(len(self.layouts), np.nan)
        return np.asarray(self.figures[name].value, dtype=np.float64)

    def one(self, name: str, index: int) -> Estimate:
        """Return one figure of one point."""
        found = self.figures[name]
        value, low, high, floor = (
            float(number[index]) if isinstance(number, np.ndarray) and number.ndim else float(number)
            for number in (found.value, found.low, found.high, found.floor)
        )
        rung = self.basis[index]
        if name == ENERGY:
            rung = max(rung, found.basis, key=BASES.index)
        return Estimate(value, low, high, floor, rung)


def gather(
    found: Sweep,
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    price: Price | None,
    name: str,
    *,
    offered: bool = False,
    hits: Hits | None = None,
) -> Points:
    """Return the candidate points at (row, column) of a sweep with all their figures.

    Args:
        found: the sweep.
        row, column: positions, (M,).
        price: USD per chip-hour, None if nobody has published one.
        name: engine named by the user, "" for none.
        offered: whether the sweep was at a stated request rate.
        hits: of the points, where a prefix cache was asked for.
    """
    made = closer(found, row, column)
    chips = found.copy.table.degrees.chips[row]
    return _points(found, made, chips, (price, name, offered), None, hits)


def gather_pairs(
    both: Sides,
    pairs: Pairs,
    places: Places,
    prices: tuple[Price | None, Price | None],
    name: str,
    *,
    offered: bool = False,
    hits: Hits | None = None,
) -> Points:
    """Return the disaggregated candidates at `places` with all their figures.

    Args:
        both, pairs: what the candidates were combined from.
        places: positions in the pairs.
        prices: USD per chip-hour of a prefill and of a decode chip.
        name: engine named by the user, "" for none.
        offered: whether the pairs were sized for a stated request rate.
        hits: of the points, where a prefix cache was asked for.
    """
    side = pools(both, pairs, places, prices[0])
    state = outcome(both, pairs, places)
    return _points(both.last, state, side.chips, (prices[1], name, offered), side, hits)


def _points(
    found: Sweep,
    made: Outcome,
    chips: Floats,
    terms_of: tuple[Price | None, str, bool],
    side: Pools | None,
    hits: Hits | None,
) -> Points:
    """Return points with figures, from their states: one replica each, or two pools."""
    price, name, offered = terms_of
    chosen = made.step.table.layouts
    counts = np.ones(len(chosen)) if side is None else side.decode
    values = _flat(figures(made, found.load, 1, counts[:, None]))
    least = _flat(floors(made, found.load, 1, counts))
    for part in (values, least):
        part["throughput"] = part["throughput"] / chips
        part["joules"] = np.full(len(chosen), np.nan)
    raw = predictions(values, least, _flat(terms(made)), [""] * len(chosen))
    concurrency = made.state.concurrency[:, 0] * counts
    conditions = conditions_of(found, made, chips, name, side, hits)
    # throughput follows from the latencies (see `carried`): its own correction is not asked for
    better = corrected(conditions, raw, calibration(), _known(found, side), ("tpot", "ttft"))
    per_chip = raw.throughput if offered else carried(better, concurrency / chips, found)
    better = replace(better, throughput=per_chip)
    watts = _power(made, found.copy.system) if side is None else power(made, side)
    table = _figures(found, better, blended(price, side), watts)
    return Points(found, made, chosen, concurrency, table, chips, better.basis, side, hits)


def carried(better: Predictions, users: Floats, found: Sweep) -> Estimate:
    """Return output tokens/s a chip that `users` requests in flight a chip give, by Little's law.

    Latencies are corrected by measurements; the throughput of a steady state follows from them, where a
    measured one counts the filling and draining of a finite run as well.
    """
    osl = float(found.load.osl[0, 0])

    def rate(part: str) -> Floats:
        spent = np.asarray(getattr(better.ttft, part)) + (osl - 1.0) * np.asarray(getattr(better.tpot, part))
        most: Floats = np.fmin(users * osl / spent, better.throughput.floor)
        return most

    return Estimate(rate("value"), rate("high"), rate("low"), better.throughput.floor, better.tpot.basis)


def _known(found: Sweep, side: Pools | None) -> Known:
    """Return the systems and the model of a sweep as they are, the user's own figures included."""
    model, system = found.copy.model, found.copy.system
    other = {} if side is None else {side.copy.system.id: side.copy.system}
    return Known({system.id: system} | other, {model.name: _shape(model)})


@lru_cache(maxsize=8)
def _shape(model: Model) -> Mapping[str, Any]:
    return model.architecture.to_dict()


def _flat(table: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: np.array(array[:, 0], dtype=np.float64) for name, array in table.items()}


def conditions_of(
    found: Sweep,
    made: Outcome,
    chips: Floats,
    name: str,
    side: Pools | None = None,
    hits: Hits | None = None,
) -> Conditions:
    """Return the conditions of points as the calibration knows them (see `assay.plan.published`)."""
    copy, layouts = found.copy, made.step.table.layouts
    n, drafts = len(layouts), int(made.step.workload.drafts)
    alike = published(
        Setting(
            model=copy.model.name,
            system=copy.system.id,
            chips=1,
            weights=copy.weights,
            kv=copy.kv,
            engine=name,
            speculation="mtp" if drafts else "",
        ),
        copy.model.architecture,
        copy.system,
    )
    settings = [
        replace(
            alike,
            chips=int(chips[k]),
            pool=Pool(layout, 1 if side is None else int(side.decode[k])),
            prefill=None if side is None else side.pool(k),
        )
        for k, layout in enumerate(layouts)
    ]
    counts = np.ones(n) if side is None else side.decode
    return Conditions.of(
        settings,
        {
            "isl": np.full(n, float(found.load.isl[0, 0])),
            "osl": np.full(n, float(found.load.osl[0, 0])),
            "cached": np.full(n, float(found.load.cached[0, 0])) if hits is None else hits.cached[:, 0],
            "spread": np.full(n, length_spread()),
            "concurrency": made.state.concurrency[:, 0] * counts,
            "acceptance": np.full(n, float(np.ravel(made.step.workload.yields)[0]) if drafts else np.nan),
            "date": np.full(n, SOFTWARE_DATE),
        },
    )


def _power(outcome: Outcome, system: System) -> Estimate | None:
    """Return the mean board power of a chip at each point, W, or None if its power is unpublished."""
    found = replica_watts(outcome, system)
    return None if found is None else found.apply(lambda number: np.asarray(number)[:, 0])


def _figures(
    found: Sweep,
    better: Predictions,
    price: tuple[Floats, Floats, Floats] | None,
    watts: Estimate | None,
) -> dict[str, Estimate]:
    """Return all figures a row shows, from corrected predictions."""
    isl, osl = float(found.load.isl[0, 0]), float(found.load.osl[0, 0])
    tpot, rate = better.tpot, better.throughput
    made = {
        "ttft_s": better.ttft,
        "tpot_s": tpot,
        "output_tokens_per_s_per_user": inverse(tpot),
        "output_tokens_per_s_per_chip": rate,
        "total_tokens_per_s_per_chip": scale(rate, (isl + osl) / osl),
    }
    if price is not None:
        made["usd_per_million_output_tokens"] = charge(rate, *price)
    if watts is not None:
        made[ENERGY] = energy(rate, watts)
    return made


def inverse(quantity: Estimate) -> Estimate:
    """Return 1 / quantity; its bounds change places."""
    with np.errstate(divide="ignore"):
        return Estimate(
            1.0 / np.asarray(quantity.value),
            1.0 / np.asarray(quantity.high),
            1.0 / np.asarray(quantity.low),
            1.0 / np.asarray(quantity.floor),
            quantity.basis,
        )


def scale(quantity: Estimate, factor: float) -> Estimate:
    """Return quantity x factor."""
    return quantity.apply(lambda number: number * factor)


def cost(rate: Estimate, price: Price) -> Estimate:
    """Return USD per million output tokens: price per chip-hour over output tokens per chip-hour.

    The interval joins the published price range with that of the throughput.
    """
    return charge(rate, price.usd_per_hour, price.low, price.high)


def charge(rate: Estimate, usd: Floats | float, low: Floats | float, high: Floats | float) -> Estimate:
    """Return USD per million output tokens at `usd` per chip-hour, between `low` and `high`."""
    million = 1e6 / SECONDS_PER_HOUR
    with np.errstate(divide="ignore"):
        return Estimate(
            usd * million / np.asarray(rate.value),
            low * million / np.asarray(rate.high),
            high * million / np.asarray(rate.low),
            low * million / np.asarray(rate.floor),
            rate.basis,
        )


def energy(rate: Estimate, power: Estimate) -> Estimate:
    """Return J of the boards per output token: watts a chip over output tokens/s a chip."""
    return ratio(power, rate, 1.0)


def ratio(above: Estimate, below: Estimate, factor: float) -> Estimate:
    """Return factor x above / below with an 80 % interval.

    The two are taken as independent: their distances from the value add in squares, in logarithms. The
    floor is the least of one over the greatest of the other. Basis is the weaker of the two.
    """
    top, base = (np.asarray(item.value, dtype=np.float64) for item in (above, below))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = factor * top / base
        down = np.hypot(np.log(top / above.low), np.log(below.high / base))
        up = np.hypot(np.log(above.high / top), np.log(base / below.low))
        floor = factor * np.asarray(above.floor) / np.asarray(below.floor)
    basis = max(above.basis, below.basis, key=BASES.index)
    return Estimate(value, np.maximum(value * np.exp(-down), floor), value * np.exp(up), floor, basis)
