"""Fronts of one side of a claim: output tokens/s a chip at each speed of a user, with interval.

A front is evaluated at a grid of interactivities. Its interval moves both figures of a deployment together:
where a step is shorter than predicted, its users and its chips are faster by the same amount, so the
optimistic front joins the high ends and the pessimistic one the low ends of the 80 % intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.engine.speculation import usual_yield
from assay.engine.split import decode_seconds, prompt_seconds
from assay.engine.steady import SATURATED, at_batch
from assay.errors import DoesNotFit
from assay.estimate import BASES, Estimate
from assay.llm.formats import native_formats
from assay.llm.forward import draft_operators
from assay.plan import dataflow
from assay.plan.pareto import front
from assay.plan.points import gather
from assay.plan.predict import skew
from assay.plan.space import formats, layouts, shape
from assay.plan.sweep import Lengths, Sweep, sweep
from assay.study.question import Question
from assay.timing.rates import native

Floats = NDArray[np.float64]

#: Candidates of one sweep that get their measured corrections and intervals.
CANDIDATES = 48
#: Batches tried for each layout.
BATCHES = 16
#: Draft tokens of a step where a model has its own draft head.
DRAFTS = 3


@dataclass(frozen=True, slots=True)
class Points:
    """Operating points of one side; arrays (3, M): central, low and high ends of the 80 % interval.

    Attributes:
        user: output tokens/s of one user.
        chip: output tokens/s of one chip, over all chips.
        labels: deployment of each point.
        basis: weakest rung of evidence among them.
    """

    user: Floats
    chip: Floats
    labels: tuple[str, ...]
    basis: str

    def at(self, speeds: Floats) -> Floats:
        """Return the greatest output tokens/s a chip at each interactivity, (3, G); 0 = out of reach."""
        return np.stack([_front(self.user[k], self.chip[k], speeds) for k in range(3)])

    def label(self, speed: float) -> str:
        """Return the deployment that is best at one interactivity, "" where none reaches it."""
        able = np.where(self.user[0] >= speed, self.chip[0], -1.0)
        best = int(np.argmax(able)) if len(able) else 0
        return self.labels[best] if len(able) and able[best] > 0 else ""

    @property
    def fastest(self) -> Floats:
        """Greatest output tokens/s of one user, (3,)."""
        return np.asarray(self.user.max(axis=1))


def _front(user: Floats, chip: Floats, speeds: Floats) -> Floats:
    kept = front(user, chip)
    if not len(kept):
        return np.zeros_like(speeds)
    fast, rate = user[kept][::-1], chip[kept][::-1]
    found = np.exp(np.interp(np.log(speeds), np.log(fast), np.log(rate)))
    return np.where(speeds <= fast[-1], found, 0.0)


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of a claim is asked for.

    Attributes:
        model: the model.
        system: the platform, possibly with figures of another put in.
        isl, osl: mean input and output tokens of a request.
        weights: weight formats tried; empty = all that chip and model allow.
        plain: one pool of replicas and no drafts; otherwise also disaggregated, and with the model's own
            draft head.
        chips: greatest number of chips in one replica, None = what the system allows.
    """

    model: Model
    system: System
    isl: int
    osl: int
    weights: tuple[str, ...] = ()
    plain: bool = False
    chips: int | None = None


def points(side: Side, *, bare: bool = False) -> Points:
    """Return the operating points of one side.

    Args:
        side: what is asked.
        bare: physics alone, without measured corrections and intervals.

    Raises:
        DoesNotFit: no legal layout holds the model.
        NoEvidence: a fact that the prediction needs is not published.
    """
    if side.system.chip.kind == "dataflow":
        return _dataflow(side)
    parts = [_part(found, bare=bare) for found in _sweeps(side) if np.any(found.fits)]
    if not parts:
        raise DoesNotFit(
            f"{side.model.name} fits no layout on {side.system.name}.", "More chips would hold it."
        )
    return Points(
        np.concatenate([part.user for part in parts], axis=1),
        np.concatenate([part.chip for part in parts], axis=1),
        tuple(label for part in parts for label in part.labels),
        max((part.basis for part in parts), key=BASES.index),
    )


def options(model: Model, system: System) -> tuple[str, ...]:
    """Return the weight formats worth trying, as stored first.

    A checkpoint in integer 4 bit may also be served in a 4-bit format that the chip multiplies.
    """
    stored = native_formats(model.architecture)["experts"]
    found = formats(system.chip, "", stored)
    if stored == "int4" and native(system.chip, "nvfp4"):
        found.append("fp4")
    return tuple(found)


def _part(found: Sweep, *, bare: bool) -> Points:
    """Return the points of a sweep that lie on its front, corrected unless `bare`."""
    user, chip = found.per_user.ravel(), found.per_chip.ravel()
    kept = front(user, chip)
    if not bare and len(kept) > CANDIDATES:
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, CANDIDATES).round().astype(np.intp))]
    row, column = np.divmod(kept, found.per_user.shape[1])
    labels = tuple(f"{found.copy.table.layouts[int(k)].label()} w {found.copy.weights}" for k in row)
    if bare:
        return Points(np.tile(user[kept], (3, 1)), np.tile(chip[kept], (3, 1)), labels, "datasheet")
    made = gather(found, row, column, None, "")
    rate = made.figures["output_tokens_per_s_per_chip"]
    return Points(_bounds(made.figures["output_tokens_per_s_per_user"]), _bounds(rate), labels, rate.basis)


def _bounds(figure: Estimate) -> Floats:
    return np.stack([np.atleast_1d(np.asarray(part)) for part in (figure.value, figure.low, figure.high)])


def _sweeps(side: Side) -> Iterator[Sweep]:
    """Yield the sweeps of a side: a weight format each; unless plain, also disaggregated and with drafts."""
    legal = tuple(layouts(shape(side.model.architecture), side.system, side.chips))
    kv = default_kv(side.system, "")
    lengths = Lengths(side.isl, side.osl, 0.0)
    for weights in side.weights or options(side.model, side.system):
        simple = sweep(
            side.model, side.system, legal, weights, kv, engine(""), lengths, skew(), batches=BATCHES
        )
        yield simple
        if side.plain or not np.any(simple.fits):
            continue
        yield disaggregated(simple)
        if draft_operators(side.model.architecture):
            drafted = speculative(simple)
            yield drafted
            yield disaggregated(drafted)


def speculative(found: Sweep) -> Sweep:
    """Return a sweep with the model's own draft head and the usual acceptance."""
    workload = replace(found.step.workload, drafts=float(DRAFTS), yields=np.array([[usual_yield(DRAFTS)]]))
    step = found.copy.step(workload, found.step.skew)
    return replace(found, step=step, state=at_batch(step, found.copy.engine, found.state.batch))


def disaggregated(found: Sweep) -> Sweep:
    """Return a sweep as decode pools beside the best prefill pool, in the ratio that keeps both busy.

    With o output tokens/s of a decode chip and p prompts/s of a prefill chip, one chip of the whole yields
    1 / (1/o + 1/(p OSL)). Cache transfer is left out: it delays the first token, not the others.
    """
    step, settings, state = found.step, found.copy.engine, found.state
    degrees = step.table.degrees
    chips = degrees.chips[:, None]
    prompts = (degrees.dp * degrees.pp)[:, None] / prompt_seconds(step, settings) / chips * SATURATED
    best = float(np.max(np.where(found.fits[:, :1], prompts, 0.0)))
    tpot = decode_seconds(step, settings, state.batch) / step.workload.yields
    osl = float(found.load.osl[0, 0])
    rate = 1.0 / (tpot * chips / state.batch + 1.0 / (best * osl))
    whole = replace(state, decode_step=tpot * step.workload.yields, tpot=tpot, throughput=rate * chips / osl)
    return replace(found, state=whole)


def _dataflow(side: Side) -> Points:
    weights = (side.weights or ("native",))[0]
    question = Question(side.model.name, isl=side.isl, osl=side.osl, chips=side.chips, weights=weights)
    result = dataflow.place(side.model, side.system, question, "bf16")
    if not np.any(result.fits):
        raise dataflow.refuse(result, side.model, side.system)
    ways = dataflow.whole(result)
    figures = dataflow.figures_of(result, ways, side.system, question, (None, None))
    rate = figures["output_tokens_per_s_per_chip"]
    labels = tuple(f"{int(n):,} chips" for n in np.asarray(result.chips)[result.fits])
    user = _bounds(figures["output_tokens_per_s_per_user"])[:, result.fits]
    return Points(user, _bounds(rate)[:, result.fits], labels, rate.basis)
