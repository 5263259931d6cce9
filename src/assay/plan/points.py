"""Candidate points of a platform: figures with intervals, price and energy, ready to be ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import Price, System
from assay.engine.points import Outcome, figures
from assay.engine.residual import corrected
from assay.engine.terms import floors, terms
from assay.errors import NoEvidence
from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.plan.predict import calibration, predictions
from assay.plan.sweep import Sweep, closer
from assay.study.conditions import Conditions, Pool, Predictions, Setting
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]

#: Date of the software a plan assumes, years; the newest the calibration has seen is what it means.
SOFTWARE_DATE = 2026.9
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Points:
    """M candidate operating points of one platform in one pair of formats; arrays (M,), one replica each.

    Attributes:
        found: the sweep they come from.
        outcome: their states and breakdowns, (M, 1).
        layouts: their layouts.
        concurrency: requests in flight.
        figures: name in `assay.study.answer.FIGURES` -> Estimate over the points; absent if unknowable.
        predictions: corrected predictions behind them.
        chips: chips of the replica.
    """

    found: Sweep
    outcome: Outcome
    layouts: tuple[Layout, ...]
    concurrency: Floats
    figures: dict[str, Estimate]
    predictions: Predictions
    chips: Floats

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
        return self.figures[name].at(index, len(self.layouts))


def gather(
    found: Sweep, row: NDArray[np.intp], column: NDArray[np.intp], price: Price | None, name: str
) -> Points:
    """Return the candidate points at (row, column) of a sweep with all their figures.

    Args:
        found: the sweep.
        row, column: positions, (M,).
        price: USD per chip-hour, None if nobody has published one.
        name: engine named by the user, "" for none.
    """
    copy, outcome = found.copy, closer(found, row, column)
    chosen = outcome.step.table.layouts
    chips = copy.table.degrees.chips[row]
    ones = np.ones(len(chosen))
    values = _flat(figures(outcome, found.load, 1, 1))
    least = _flat(floors(outcome, found.load, 1, ones))
    for table in (values, least):
        table["throughput"] = table["throughput"] / chips
        table["joules"] = np.full(len(chosen), np.nan)
    raw = predictions(values, least, _flat(terms(outcome)), [""] * len(chosen))
    concurrency = outcome.state.concurrency[:, 0]
    better = corrected(conditions_of(found, chosen, concurrency, name), raw, calibration())
    made = _figures(found, better, price, _power(outcome, copy.system))
    return Points(found, outcome, chosen, concurrency, made, better, chips)


def _flat(table: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: np.array(array[:, 0], dtype=np.float64) for name, array in table.items()}


def conditions_of(found: Sweep, chosen: Sequence[Layout], concurrency: Floats, name: str) -> Conditions:
    """Return the conditions of points as the calibration knows them."""
    copy, n = found.copy, len(chosen)
    settings = [
        Setting(
            model=copy.model.name,
            system=copy.system.id,
            chips=layout.chips,
            pool=Pool(layout),
            weights=copy.weights,
            kv=copy.kv,
            engine=name,
        )
        for layout in chosen
    ]
    return Conditions.of(
        settings,
        {
            "isl": np.full(n, float(found.load.isl[0, 0])),
            "osl": np.full(n, float(found.load.osl[0, 0])),
            "cached": np.full(n, float(found.load.cached[0, 0])),
            "concurrency": concurrency,
            "date": np.full(n, SOFTWARE_DATE),
        },
    )


def _power(outcome: Outcome, system: System) -> Estimate | None:
    """Return the mean board power of a chip at each point, W, or None if its power is unpublished."""
    state = outcome.state
    # FLOPs of different formats share one activity figure: time at peak of the fastest format in use
    rate = max(cost.rates.peak for cost in outcome.step.costs)
    share = 1.0 - state.decode_step / state.tpot
    busy = []
    for name, scale in (
        ("flops", rate),
        ("moved", system.chip.memory_bandwidth),
        ("sent", system.link_bandwidth),
    ):
        decode = getattr(outcome.decode, name) / state.decode_step
        prompt = getattr(outcome.prompt, name) / np.maximum(outcome.prompt.seconds, 1e-12)
        mean = ((1.0 - share) * decode + share * prompt) / scale if scale else np.zeros_like(decode)
        busy.append(np.minimum(mean[:, 0], 1.0))
    try:
        return board_watts(system.chip, busy[0], busy[1], busy[2])
    except NoEvidence:
        return None


def _figures(
    found: Sweep, better: Predictions, price: Price | None, power: Estimate | None
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
        made["usd_per_million_output_tokens"] = cost(rate, price)
    if power is not None:
        made["joules_per_output_token"] = energy(rate, power)
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
    million = 1e6 / SECONDS_PER_HOUR
    with np.errstate(divide="ignore"):
        return Estimate(
            price.usd_per_hour * million / np.asarray(rate.value),
            price.low * million / np.asarray(rate.high),
            price.high * million / np.asarray(rate.low),
            price.low * million / np.asarray(rate.floor),
            rate.basis,
        )


def energy(rate: Estimate, power: Estimate) -> Estimate:
    """Return J of the boards per output token: watts a chip over output tokens/s a chip."""
    with np.errstate(divide="ignore"):
        return Estimate(
            np.asarray(power.value) / np.asarray(rate.value),
            np.asarray(power.low) / np.asarray(rate.high),
            np.asarray(power.high) / np.asarray(rate.low),
            np.asarray(power.floor) / np.asarray(rate.floor),
            power.basis,
        )
