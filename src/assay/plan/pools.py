"""Disaggregated candidates as points: their states, figures, prices and power, ready to be ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import Price
from assay.engine.breakdown import breakdown
from assay.engine.points import Outcome
from assay.engine.power import both_watts, pool_watts
from assay.engine.replica import Replica
from assay.engine.split import alone
from assay.engine.steady import Steady
from assay.engine.step import Batch
from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.plan.disaggregate import Pairs, Sides
from assay.study.conditions import Pool

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
    decoding = np.maximum(made.state.decode_step, 1e-12)
    prompting = np.maximum(made.prompt.seconds, 1e-12) / np.minimum(side.load, 1.0)[:, None]
    first = pool_watts(made.prompt, prompting, made.step, side.copy.system)
    last = pool_watts(made.decode, decoding, made.step, made.step.system)
    found = both_watts(first, last, side.share[:, None])
    return None if found is None else found.apply(lambda number: number[:, 0])


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
