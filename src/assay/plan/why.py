"""Why a deployment won: where its time goes, what would move it, which assumption matters, what lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.catalogue.load import catalogue
from assay.engine.breakdown import explain as explain_step
from assay.engine.models import model
from assay.engine.overheads import Engine
from assay.engine.speculation import acceptance_range
from assay.engine.step import Batch, Step
from assay.errors import DoesNotFit
from assay.plan.answer import answer, on, order
from assay.plan.choice import Choice
from assay.plan.moves import Variant, best, moves, parts, prefill
from assay.plan.points import Points
from assay.study.answer import Answer, Row
from assay.study.question import Question

#: Rivals on the winner's platform that are looked at.
RIVALS = 6


@dataclass(frozen=True, slots=True)
class Rival:
    """A deployment that lost.

    Attributes:
        platform: system id. `deployment`: its label.
        factor: by how much it is worse in the objective (in tokens per chip where one of the two has no
            price); 1.2 = 20 % worse. Below 1 it is better, and loses for a limit it misses.
        reason: why it lost.
    """

    platform: str
    deployment: str
    factor: float
    reason: str


@dataclass(frozen=True, slots=True)
class Why:
    """Why the first row of an answer is first.

    Attributes:
        answer: the answer.
        parts: resource -> share of the chips' time that it bounds.
        steps: decode step and prefill by operator, as in `Answer.explain`.
        moves: change -> factor on throughput at the same time per output token.
        sensitivity: assumption -> (factor at its low end, factor at its high end) on the same throughput,
            the one that matters most first.
        rivals: what lost, nearest first. `refused`: platform -> why it cannot answer.
    """

    answer: Answer
    parts: Mapping[str, float]
    steps: Sequence[Mapping[str, Any]]
    moves: Mapping[str, float]
    sensitivity: Mapping[str, tuple[float, float]]
    rivals: Sequence[Rival]
    refused: Mapping[str, str]

    def json(self) -> dict[str, Any]:
        """Return the answer's JSON with `why` beside it."""
        return self.answer.json() | {
            "why": {
                "parts": dict(self.parts),
                "steps": [dict(item) for item in self.steps],
                "moves": dict(self.moves),
                "sensitivity": {name: list(ends) for name, ends in self.sensitivity.items()},
                "rivals": [asdict(item) for item in self.rivals],
                "refused": dict(self.refused),
            }
        }


def why(question: Question, *, facts: Sequence[Path] = ()) -> Why:
    """Answer a question and explain its first row.

    Raises:
        DoesNotFit: nothing can be explained, for no platform answers.
        AssayError: as `assay.plan.answer`.
    """
    found = answer(question, facts=facts)
    row = found.best() or (found.rows[0] if found.rows else None)
    if row is None:
        reasons = {item.platform: item.reason for item in found.refused}
        raise DoesNotFit(f"No platform answers: {next(iter(reasons.values()), 'none was named')}")
    known = catalogue(tuple(facts))
    prepared, _ = model(question.model, tuple(facts))
    wider = replace(question, top=RIVALS)
    platform = on(wider, prepared, known.system(row.deployment.system), known)
    near = list(platform.rows[1:])
    if platform.choices:  # a dataflow platform has one way of serving
        other = "aggregated" if row.deployment.prefill else "disaggregated"
        near += _other(replace(question, serving=other, top=1), row, tuple(facts))
    near += [item for item in found.rows if item is not row]
    rivals = {(item.platform, item.deployment): item for item in (_rival(one, row, question) for one in near)}
    choice = platform.choices[0] if platform.choices else None
    told = _told(choice) if choice is not None else ({}, (), {}, {})
    return Why(
        answer=found,
        parts=told[0],
        steps=told[1],
        moves=told[2],
        sensitivity=told[3],
        rivals=tuple(sorted(rivals.values(), key=lambda item: item.factor)),
        refused={item.platform: item.reason for item in found.refused},
    )


def _other(question: Question, row: Row, facts: tuple[Path, ...]) -> tuple[Row, ...]:
    """Return the best row of the other way of serving on the winner's platform, if there is one."""
    known = catalogue(facts)
    prepared, _ = model(question.model, facts)
    try:
        return on(question, prepared, known.system(row.deployment.system), known).rows[:1]
    except DoesNotFit:
        return ()


Told = tuple[
    Mapping[str, float], Sequence[Mapping[str, Any]], Mapping[str, float], Mapping[str, tuple[float, float]]
]


def _told(choice: Choice) -> Told:
    points, index = choice.points, choice.index
    return (
        parts(points, index),
        tuple(steps_of(points, index)),
        moves(points, index),
        sensitivity(points, index),
    )


def steps_of(points: Points, index: int) -> list[dict[str, Any]]:
    """Return the decode step and one prompt of a point by operator."""
    outcome, side = points.outcome, points.side
    rows = np.array([index], dtype=np.intp)
    step, state = outcome.step.take(rows), outcome.state
    degrees = step.table.degrees
    groups = float(degrees.dp[0])
    each = float(state.batch[index, 0]) / groups / float(degrees.pp[0])
    local = np.ceil(np.array([[each]]) - 1e-9)
    decode = explain_step(step, Batch(local, np.maximum(np.array([[each * groups]]), 1.0)), "decode")
    return decode + explain_step(*_prompt(step if side is None else prefill(points, index)), "prefill")


def _prompt(step: Step) -> tuple[Step, Batch]:
    fresh = np.atleast_2d(step.workload.fresh)
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    groups = float(step.table.degrees.dp[0])
    return step, Batch(zero, zero, fresh, fresh * groups, one, one * groups)


def sensitivity(points: Points, index: int) -> dict[str, tuple[float, float]]:
    """Return assumption -> factors on throughput at the low and at the high end of its published range.

    One at a time; the time per output token stays. Host times have no published range: half and twice.
    """
    base = best(points, index, Variant())
    if base <= 0:
        return {}
    settings = points.found.copy.engine
    experts = catalogue().table("engines/experts")["skew"]
    low, high = float(experts["low"]), float(experts["high"])
    share = catalogue().table("engines/sensitivity")["memory"]
    cases: dict[str, tuple[Variant, Variant]] = {
        f"load of the busiest expert rank {low:.0%} to {high:.0%} above chance": (
            Variant(skew=low),
            Variant(skew=high),
        ),
        f"memory the engine may use {share['low']:.0%} to {share['high']:.0%}": (
            Variant(engine=replace(settings, memory=float(share["low"]))),
            Variant(engine=replace(settings, memory=float(share["high"]))),
        ),
        "host time of a step, half to twice": (
            Variant(engine=_host(points, 0.5)),
            Variant(engine=_host(points, 2.0)),
        ),
    }
    work = points.found.step.workload
    if work.drafts:
        few, many = acceptance_range(int(work.drafts), points.found.copy.model.name)
        cases[f"tokens of a speculative step {few:.2f} to {many:.2f}"] = (
            Variant(yields=few),
            Variant(yields=many),
        )
    found = {
        name: (best(points, index, first) / base, best(points, index, last) / base)
        for name, (first, last) in cases.items()
    }
    return dict(
        sorted(found.items(), key=lambda item: -abs(np.log(max(item[1][0], 1e-9) / max(item[1][1], 1e-9))))
    )


def _host(points: Points, factor: float) -> Engine:
    settings = points.found.copy.engine
    return replace(
        settings,
        gap=settings.gap * factor,
        host=settings.host * factor,
        host_sequence=settings.host_sequence * factor,
    )


def _rival(row: Row, winner: Row, question: Question) -> Rival:
    """Return by what factor a row loses to the winner in the objective, and why."""
    keys = zip(order(row, question)[1:], order(winner, question)[1:], strict=True)
    # without a power by cost, without a price by tokens per chip
    key, other = next(pair for pair in keys if np.all(np.isfinite(pair)))
    # what is minimised is positive, what is maximised negative
    factor = key / other if key > 0 else other / key
    label = row.deployment.label()
    if not row.meets:
        reason = next((note for note in row.notes if "misses" in note), "misses a limit")
    elif question.objective == "energy" and "joules_per_output_token" not in row.figures:
        reason = f"its power is not published; limited by {row.limited_by}"
    elif row.deployment.weights != winner.deployment.weights:
        reason = f"weights {row.deployment.weights}; limited by {row.limited_by}"
    else:
        reason = f"limited by {row.limited_by}"
    return Rival(row.deployment.system, label, float(factor), reason)
