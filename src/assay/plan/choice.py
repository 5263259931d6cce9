"""Choose among candidate points: objective, limits, and how many replicas a rate needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.plan.points import Points
from assay.study.question import Question

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate picked for a row.

    Attributes:
        points: the candidates it belongs to.
        index: which of them.
        replicas: copies needed for the question's rate, 1 if no rate was asked.
        meets: whether the SLO, the rate and the chip limit hold.
        miss: by how much the worst limit is missed, as a factor; 1 or less = met.
    """

    points: Points
    index: int
    replicas: int
    meets: bool
    miss: float

    @property
    def chips(self) -> int:
        """Chips of all replicas."""
        return int(self.points.chips[self.index]) * self.replicas


def misses(points: Points, question: Question) -> Floats:
    """Return by which factor each point misses the worst of its latency limits, (M,)."""
    worst = np.zeros(len(points.layouts))
    for limit, name in ((question.ttft, "ttft_s"), (question.tpot, "tpot_s")):
        if limit is not None:
            worst = np.maximum(worst, points.value(name) / limit)
    return np.where(np.isfinite(worst), worst, np.inf)


def replicas_for(points: Points, question: Question) -> Floats:
    """Return the copies each point needs to carry the question's rate, (M,)."""
    if question.rate is None:
        return np.ones(len(points.layouts))
    requests = points.value("output_tokens_per_s_per_chip") * points.chips / question.osl
    return np.asarray(np.ceil(question.rate / np.maximum(requests, 1e-12)))


def scores(points: Points, question: Question, copies: Floats) -> Floats:
    """Return what the objective minimises, (M,).

    With a rate, cost and throughput count the chips that carry it; without one, cost and energy are per
    token, throughput is per chip, latency is the time per output token.
    """
    if question.objective == "latency":
        return points.value("tpot_s")
    chips = copies * points.chips
    if question.rate is not None and question.objective in ("cost", "throughput"):
        return np.asarray(chips + 1e-6 * points.value("tpot_s"))
    if question.objective == "energy":
        return np.where(
            np.isfinite(points.value("joules_per_output_token")),
            points.value("joules_per_output_token"),
            -1e-9 * points.value("output_tokens_per_s_per_chip") + 1e12,
        )
    return -points.value("output_tokens_per_s_per_chip")


def choose(groups: Sequence[Points], question: Question) -> list[Choice]:
    """Return the best candidates of one platform, best first, at most `question.top`, one a layout.

    Points that meet every limit come first, by objective; then the nearest misses.
    """
    ranked: list[tuple[float, float, Choice]] = []
    for points in groups:
        copies = replicas_for(points, question)
        miss = misses(points, question)
        if question.chips is not None:
            miss = np.maximum(miss, copies * points.chips / question.chips)
        score = scores(points, question, copies)
        for index in np.flatnonzero(np.isfinite(score)):
            met = bool(miss[index] <= 1.0)
            choice = Choice(points, int(index), int(min(copies[index], 1e9)), met, float(miss[index]))
            ranked.append((0.0 if met else float(miss[index]), float(score[index]), choice))
    ranked.sort(key=lambda item: item[:2])
    picked: list[Choice] = []
    seen: set[tuple[object, str]] = set()
    for _, _, choice in ranked:
        key = (choice.points.layouts[choice.index], choice.points.found.copy.weights)
        if key in seen:
            continue
        seen.add(key)
        picked.append(choice)
        if len(picked) >= question.top:
            break
    return picked
