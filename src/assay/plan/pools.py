"""Disaggregated candidates as points: their states, figures, prices and power, ready to be ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import Price, System
from assay.engine.breakdown import Breakdown, breakdown
from assay.engine.points import Outcome
from assay.engine.replica import Replica
from assay.engine.split import alone
from assay.engine.steady import Steady
from assay.engine.step import Batch, Step
from assay.errors import NoEvidence
from assay.estimate import BASES, Estimate
from assay.llm.layout import Layout
from assay.plan.disaggregate import Pairs, Sides
from assay.study.conditions import Pool
from assay.timing.energy import board_watts

Floats = NDArray[np.float64]
Places = tuple[NDArray[np.intp], ...]


@dataclass(frozen=True, slots=True)
class Pools:
    """The prefill side of M disaggregated candidates, and how the pools match; arrays (M,).

    Attributes:
        copy: the model sharded for the prefill pool.
        layouts: prefill layouts of the candidates.
        prefill, decode: replicas of each side.
        load: share of the prefill pool's time (or the link's) in use.
        service: s of one prompt on one attention-DP group.
        transfer: s to hand one cache over with nobody waiting.
        prefill_chips: chips of all prefill replicas. `chips`: of both pools.
        price: of a prefill chip; None = unpublished.
    """

    copy: Replica
    layouts: tuple[Layout, ...]
    prefill: Floats
    decode: Floats
    load: Floats
    service: Floats
    transfer: Floats
    prefill_chips: Floats
    chips: Floats
    price: Price | None = None

    @property
    def share(self) -> Floats:
        """Share of the chips that prefill."""
        return np.asarray(self.prefill_chips / self.chips)

    def pool(self, index: int) -> Pool:
        """Return the prefill pool of one candidate."""
        return Pool(self.layouts[index], int(self.prefill[index]))


def pools(both: Sides, found: Pairs, places: Places, price: Price | None) -> Pools:
    """Return the prefill side of the pairs at `places`."""
    row = places[0]
    copy = both.first.copy
    # counts met between two batches are whole but for rounding
    first, last, chips = (np.round(item[places]) for item in (found.prefill, found.decode, found.chips))
    return Pools(
        copy=copy,
        layouts=tuple(copy.table.layouts[int(k)] for k in both.rows[0][row]),
        prefill=first,
        decode=last,
        load=found.load[places],
        service=both.steps.single[row, 0],
        transfer=found.transfer[places],
        prefill_chips=first * both.chips[0][row],
        chips=chips,
        price=price,
    )


def outcome(both: Sides, found: Pairs, places: Places) -> Outcome:
    """Return the states of the pairs at `places`, (M, 1), per decode replica, with their breakdowns."""
    columns = both.rows[1][places[1]]
    step = both.last.step.take(columns)
    prompt = breakdown(both.first.step, alone(both.first.step)).take(both.rows[0][places[0]])

    def column(values: Floats) -> Floats:
        return np.array(values[places], dtype=np.float64)[:, None]

    tpot, batch, decoders = column(found.tpot), column(found.batch), column(found.decode)
    state = Steady(
        batch=batch,
        concurrency=column(found.users) / decoders,
        decode_step=tpot * step.workload.yields,
        mixed_step=both.steps.single[places[0]],
        tpot=tpot,
        ttft=column(found.ttft),
        queue=column(found.queue),
        throughput=column(found.rate) / decoders,
        utilisation=column(found.load),
    )
    degrees = step.table.degrees
    local = np.ceil(np.maximum(batch, 1.0) / (degrees.dp * degrees.pp)[:, None] - 1e-9)
    decode = Batch(local, np.maximum(batch / degrees.pp[:, None], 1.0))
    capacity = both.last.capacity[columns]
    return Outcome(state, state.ttft, step, capacity, breakdown(step, decode), prompt)


def power(made: Outcome, side: Pools) -> Estimate | None:
    """Return the mean board power of a chip of both pools, W, or None if it is unpublished."""
    decoding = np.maximum(made.state.decode_step, 1e-12)[:, 0]
    prompting = np.maximum(made.prompt.seconds, 1e-12)[:, 0] / np.minimum(side.load, 1.0)
    try:
        first = _watts(made.prompt, prompting, side.copy.system, made.step)
        last = _watts(made.decode, decoding, made.step.system, made.step)
    except NoEvidence:
        return None
    value, low, high, floor = (
        side.share * np.asarray(getattr(first, name)) + (1.0 - side.share) * np.asarray(getattr(last, name))
        for name in ("value", "low", "high", "floor")
    )
    return Estimate(value, low, high, floor, max(first.basis, last.basis, key=BASES.index))


def _watts(spent: Breakdown, each: Floats, system: System, step: Step) -> Estimate:
    """Return the board power of a chip that does the work of `spent` once every `each` seconds, W."""
    peaks = {cost.rates.compute_format for cost in step.costs}
    known = [system.chip.peak_flops[name] for name in peaks if system.chip.peak_flops.get(name)]
    rate = max(known or system.chip.peak_flops.values())
    busy = [
        np.minimum(work[:, 0] / each / scale, 1.0) if scale else np.zeros_like(each)
        for work, scale in (
            (spent.flops, rate),
            (spent.moved, system.chip.memory_bandwidth),
            (spent.sent, system.link_bandwidth),
        )
    ]
    return board_watts(system.chip, *busy)


def blended(price: Price | None, side: Pools | None) -> tuple[Floats, Floats, Floats] | None:
    """Return USD per chip-hour over all chips of a deployment: value, low, high; None if unpublished."""
    if price is None or (side is not None and side.price is None):
        return None
    share = np.zeros(1) if side is None else side.share
    other = price if side is None or side.price is None else side.price
    value, low, high = (
        share * getattr(other, name) + (1.0 - share) * getattr(price, name)
        for name in ("usd_per_hour", "low", "high")
    )
    return value, low, high
