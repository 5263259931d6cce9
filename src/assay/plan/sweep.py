"""Sweep one platform: every legal layout and batch, as arrays; keep the points worth a closer look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.breakdown import breakdown
from assay.engine.overheads import Engine
from assay.engine.points import Load, Outcome
from assay.engine.redundancy import Copies
from assay.engine.replica import Model, Replica, replica
from assay.engine.speculation import Speculation
from assay.engine.split import alone
from assay.engine.steady import Steady, at_batch, closed, open_loop
from assay.engine.step import Batch, Step, Workload
from assay.errors import DoesNotFit
from assay.llm.layout import Layout
from assay.plan.pareto import front, thinned

Floats = NDArray[np.float64]

#: Batches tried for each layout, spread in ratio between one sequence and what memory holds.
BATCHES = 24
#: More sequences of one attention-DP group than this gain nothing on any chip of the catalogue.
MOST_SEQUENCES = 4096
#: Parts of the limit on TTFT that have fronts of their own: corrections by measurements move that time.
LATE = (1.5, 0.7, 0.35, 0.15)

#: A sweep beaten everywhere by this factor is not looked at closer.
MARGIN = 1.15


@dataclass(frozen=True, slots=True)
class Sweep:
    """All operating points of one platform in one pair of formats; arrays (L, N).

    Attributes:
        copy: the sharded replica.
        step: its compiled step.
        state: the steady state.
        capacity: sequences that fit beside the weights, (L, 1).
        load: the lengths, as the engine's figures need them.
        fits: whether the layout holds at least one sequence.
    """

    copy: Replica
    step: Step
    state: Steady
    capacity: Floats
    load: Load
    fits: NDArray[np.bool_]

    @property
    def per_user(self) -> Floats:
        """Output tokens/s of one user, NaN where nothing fits."""
        return np.where(self.fits, 1.0 / self.state.tpot, np.nan)

    @property
    def per_chip(self) -> Floats:
        """Output tokens/s per chip of the replica, NaN where nothing fits."""
        chips = self.copy.table.degrees.chips[:, None]
        return np.where(self.fits, self.state.throughput * self.load.osl / chips, np.nan)


@dataclass(frozen=True, slots=True)
class Lengths:
    """The workload of a question: mean input and output tokens, cached share, s to fetch what is cached.

    `cached` and `fetch` may differ between layouts, (L, 1).
    """

    isl: float
    osl: float
    cached: Floats | float
    fetch: Floats | float = 0.0

    def workload(self, budget: float, drafting: Speculation | None = None) -> Workload:
        """Return the workload of the engine's step, speculative where `drafting` drafts."""
        drafts, yields = (0.0, 1.0)
        if drafting is not None and drafting.active:
            drafts, yields = float(drafting.drafts), float(drafting.yields[0])
        return Workload(
            isl=self.isl,
            osl=self.osl,
            cached=self.cached,
            chunk=budget,
            drafts=drafts,
            yields=yields,
            fetch=self.fetch,
        )

    def load(self) -> Load:
        """Return the lengths in the form of the engine's figures; no load is stated."""

        def one(value: float) -> Floats:
            return np.array([[value]], dtype=np.float64)

        none = one(np.nan)
        return Load(
            "closed",
            "e2e",
            one(self.isl),
            one(self.osl),
            np.atleast_2d(np.asarray(self.cached, dtype=np.float64)),
            none,
            none,
            none,
            none,
            none,
            none,
        )


def sweep(  # noqa: PLR0913 - what runs, where, at what load
    model: Model,
    system: System,
    layouts: tuple[Layout, ...],
    weights: str,
    kv: str,
    engine: Engine,
    lengths: Lengths,
    skew: float,
    *,
    concurrency: float | None = None,
    rate: float | None = None,
    batches: int = BATCHES,
    drafting: Speculation | None = None,
    batch: Floats | None = None,
    copies: Copies | None = None,
) -> Sweep:
    """Evaluate every layout at many batches, or at one stated concurrency or request rate.

    Args:
        model: the model.
        system: the platform.
        layouts: L legal layouts.
        weights, kv: formats.
        engine: scheduler and host parameters.
        lengths: the workload.
        skew: excess load of the busiest expert rank beyond chance.
        concurrency: requests in flight in one replica; None = sweep.
        rate: requests/s of one replica; None = sweep.
        batches: points a layout when sweeping.
        drafting: speculation, None for none.
        batch: decoding sequences of each layout, (L, 1); None = sweep.
        copies: redundant experts, in place of `skew`.
    """
    copy = replica(model, system, layouts, weights, kv, engine, copies)
    step = copy.step(lengths.workload(engine.budget, drafting), skew)
    capacity = copy.capacity(np.array([[lengths.isl + lengths.osl / 2]]))
    single = concurrency or rate or batch is not None
    fits = np.broadcast_to(capacity >= 1, (len(layouts), 1 if single else batches))
    limit = np.maximum(capacity, 1.0)
    if concurrency:
        state = closed(step, engine, concurrency, limit)
    elif rate:
        state = open_loop(step, engine, np.array([[rate]]), limit)
    elif batch is not None:
        state = at_batch(step, engine, batch)
    else:
        most = np.minimum(limit, MOST_SEQUENCES * copy.table.degrees.dp[:, None])
        grid = np.exp(np.linspace(0.0, 1.0, batches)[None, :] * np.log(most))
        state = at_batch(step, engine, grid)
    return Sweep(copy, step, state, capacity, lengths.load(), fits)


def closer(found: Sweep, row: NDArray[np.intp], column: NDArray[np.intp]) -> Outcome:
    """Return the outcome of single points of a sweep, (M, 1), with their breakdowns."""
    step = found.step.take(row)
    state = Steady(
        **{
            name: np.broadcast_to(getattr(found.state, name), found.state.tpot.shape)[row, column][:, None]
            for name in Steady.__slots__
        }
    )
    degrees = step.table.degrees
    groups = degrees.dp[:, None]
    local = np.ceil(state.batch / groups / degrees.pp[:, None] - 1e-9)
    decode = Batch(local, np.maximum(state.batch / degrees.pp[:, None], 1.0))
    capacity = found.capacity[row]
    rows, each = np.unique(row, return_inverse=True)
    once = found.step.take(rows)
    prompt = breakdown(once, alone(once)).take(each)
    return Outcome(state, state.ttft, step, capacity, breakdown(step, decode), prompt)


def candidates(
    found: Sweep, ttft: float | None, tpot: float | None, most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return layout and batch positions of the points worth keeping, (M,) each.

    The Pareto front of output tokens/s/user against output tokens/s/chip, of all points and of those within
    several parts of the TTFT limit, since measurements correct that time as well; thinned to `most` around
    the limit on TPOT (`assay.plan.pareto.thinned`).
    """
    per_user, per_chip = found.per_user.ravel(), found.per_chip.ravel()
    keep = [front(per_user, per_chip)]
    if ttft is not None:
        late = [found.state.ttft.ravel() <= ttft * part for part in LATE]
        keep.extend(front(np.where(item, per_user, np.nan), per_chip) for item in late)
    if tpot is not None:
        slow = found.state.tpot.ravel() <= tpot * 1.5
        keep.append(front(np.where(slow, -found.state.ttft.ravel(), np.nan), per_chip))
    flat = np.unique(np.concatenate(keep))
    flat = flat[thinned(found.state.tpot.ravel()[flat], tpot, most)]
    rows, columns = np.divmod(flat, found.per_user.shape[1])
    return rows, columns


def surpassed(found: Sweep, rivals: Sequence[Sweep]) -> bool:
    """Return whether rivals beat every point of a sweep by `MARGIN` in tokens/s/chip, no user slower.

    Such a sweep holds the best row only where the corrections by measurements of two formats of one model on
    one chip differ by more than the margin; none of 185 platform rows of three models changed by this.
    """
    mine = front(found.per_user.ravel(), found.per_chip.ravel())
    speed, most = found.per_user.ravel()[mine], found.per_chip.ravel()[mine]
    best = np.zeros_like(most)
    for rival in rivals:
        faster = rival.per_user.ravel()[None, :] >= speed[:, None]
        best = np.fmax(best, np.max(np.where(faster, np.nan_to_num(rival.per_chip.ravel()), 0.0), axis=1))
    return bool(len(mine) and np.all(best >= MARGIN * most))


def refuse(found: Sweep) -> DoesNotFit:
    """Return the refusal of a model that fits no layout of a platform, with the arithmetic."""
    copy = found.copy
    least = int(np.argmin(copy.table.weight_bytes))
    layout = copy.table.layouts[least]
    need = (copy.table.weight_bytes[least] + copy.working[least]) / 1e9
    return DoesNotFit(
        f"{copy.model.name} does not fit: {layout.label()} takes {need:,.4g} GB a chip, "
        f"{copy.usable / 1e9:,.4g} GB are free.",
        "More chips or a narrower weight format would hold it.",
    )
