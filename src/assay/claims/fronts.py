"""Fronts of one side of a claim: output tokens/s a chip at each speed of a user, with interval.

A front is evaluated at a grid of interactivities. Its interval moves both figures of a deployment together:
where a step is shorter than predicted, its users and its chips are faster by the same amount, so the
optimistic front joins the high ends and the pessimistic one the low ends of the 80 % intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.engine.speculation import Speculation
from assay.errors import DoesNotFit
from assay.estimate import BASES, Estimate
from assay.llm.formats import native_formats
from assay.llm.forward import draft_operators
from assay.plan import dataflow
from assay.plan.disaggregate import pairs, shortlist
from assay.plan.disaggregate import sides as pools
from assay.plan.pareto import front
from assay.plan.points import Points as Candidates
from assay.plan.points import gather, gather_pairs
from assay.plan.predict import skew
from assay.plan.space import formats, layouts, shape
from assay.plan.speculate import options as ways_to_draft
from assay.plan.sweep import Lengths, Sweep, candidates, sweep
from assay.study.question import Question
from assay.timing.rates import native

Floats = NDArray[np.float64]

#: Candidates of one sweep that get their measured corrections and intervals.
CANDIDATES = 48
#: Batches tried for each layout.
BATCHES = 16
#: How a model with its own draft head speculates.
MTP = "mtp"


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
    parts = list(_parts(side, bare=bare))
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


def _together(found: Sweep, *, bare: bool) -> Points:
    """Return the points of one pool that lie on its front, corrected by measurements unless `bare`."""
    if bare:
        return _bare(found.per_user, found.per_chip, lambda row: _label(found, row))
    row, column = candidates(found, None, None, CANDIDATES)
    return _corrected(gather(found, row, column, None, ""), [_label(found, int(k)) for k in row])


def _apart(plain: Sweep, found: Sweep, *, bare: bool) -> Points | None:
    """Return the points of disaggregated pools, whole replicas of both, as `assay plan` combines them.

    Args:
        plain: sweep without drafts, whose compiled step times prompts.
        found: the sweep that decodes.
        bare: without corrections.
    """
    limit = float(found.copy.system.max_chips)
    both = pools(plain, found, found.copy.engine, limit, batches=BATCHES)
    if both is None:
        return None
    osl = float(found.load.osl[0, 0])
    matches = pairs(both, limit)
    places = shortlist(matches, osl, None, None, CANDIDATES)
    if not len(places[0]):
        return None
    names = [_label(found, int(both.rows[1][k])) for k in places[1]]
    if not bare:
        return _corrected(gather_pairs(both, matches, places, (None, None), ""), names)
    user = 1.0 / matches.tpot[places]
    return _bare(user, matches.rate[places] * osl / matches.chips[places], lambda row: names[row])


def _label(found: Sweep, row: int) -> str:
    return f"{found.copy.table.layouts[row].label()} w {found.copy.weights}"


def _bare(user: Floats, chip: Floats, label: Callable[[int], str]) -> Points:
    """Return physics alone, (rows, batches) or flat, on its front."""
    wide = user.shape[1] if user.ndim > 1 else 1
    kept = front(user.ravel(), chip.ravel())
    names = tuple(label(int(k)) for k in kept // wide)
    return Points(
        np.tile(user.ravel()[kept], (3, 1)), np.tile(chip.ravel()[kept], (3, 1)), names, "datasheet"
    )


def _corrected(made: Candidates, labels: Sequence[str]) -> Points:
    rate = made.figures["output_tokens_per_s_per_chip"]
    user = _bounds(made.figures["output_tokens_per_s_per_user"])
    return Points(user, _bounds(rate), tuple(labels), rate.basis)


def _bounds(figure: Estimate) -> Floats:
    return np.stack([np.atleast_1d(np.asarray(part)) for part in (figure.value, figure.low, figure.high)])


def _parts(side: Side, *, bare: bool) -> Iterator[Points]:
    """Yield the points of a side, a weight format each; unless plain, also in two pools and with drafts."""
    legal = tuple(layouts(shape(side.model.architecture), side.system, side.chips))
    kv = default_kv(side.system, "")
    lengths = Lengths(side.isl, side.osl, 0.0)
    for weights in side.weights or options(side.model, side.system):
        simple: Sweep | None = None
        for drafting in _drafts(side):
            found = sweep(
                side.model, side.system, legal, weights, kv, engine(""), lengths, skew(), batches=BATCHES,
                drafting=drafting,
            )  # fmt: skip
            simple = simple or found
            if not np.any(found.fits):
                continue
            yield _together(found, bare=bare)
            split = None if side.plain else _apart(simple, found, bare=bare)
            if split is not None:
                yield split


def _drafts(side: Side) -> tuple[Speculation | None, ...]:
    """Return no drafts, and unless plain those of the model's own draft head."""
    own = not side.plain and bool(draft_operators(side.model.architecture))
    return (None, *ways_to_draft(MTP, side.model)) if own else (None,)


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
