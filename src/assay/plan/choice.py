"""Choose among candidate points: objective, limits, and how many replicas a rate or a cap asks for."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
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
        replicas: copies needed for the question's rate, or that its caps allow; 1 if it states neither.
        meets: whether the SLO, the rate and the limits on chips, power and budget hold.
        miss: by how much the worst limit is missed, as a factor; 1 or less = met.
        spares: copies that may be lost, included in `replicas` (aggregated) or beside the pools.
    """

    points: Points
    index: int
    replicas: int
    meets: bool
    miss: float
    spares: int = 0

    @property
    def chips(self) -> int:
        """Chips of all replicas, spare ones included."""
        points, index = self.points, self.index
        return int(points.chips[index] * self.replicas + self.spares * spare_chips(points)[index])


def misses(points: Points, question: Question) -> Floats:
    """Return by which factor each point misses the worst of its latency limits, (M,)."""
    worst = np.zeros(len(points.layouts))
    for limit, name in ((question.ttft, "ttft_s"), (question.tpot, "tpot_s")):
        if limit is not None:
            worst = np.maximum(worst, points.value(name) / limit)
    return np.where(np.isfinite(worst), worst, np.inf)


def per_chip(points: Points) -> tuple[float, Floats]:
    """Return provisioned W and USD/h of one chip of each point, NaN where unpublished."""
    watts = points.system.power_watts or np.nan
    dollars = points.value("usd_per_million_output_tokens") * 1e-6 * 3600.0
    return watts, np.asarray(dollars * points.value("output_tokens_per_s_per_chip"))


def allowed(points: Points, question: Question) -> Floats:
    """Return the chips that the caps on power and budget allow, (M,); inf without caps, NaN if unknowable."""
    watts, dollars = per_chip(points)
    chips = np.full(len(points.layouts), np.inf)
    if question.power is not None:
        chips = np.minimum(chips, question.power / watts)
    if question.budget is not None:
        chips = np.minimum(chips, question.budget / dollars)
    return chips


def replicas_for(points: Points, question: Question) -> Floats:
    """Return the copies each point needs to carry the question's rate, or that its caps allow, (M,)."""
    if question.rate is None:
        most = np.floor(allowed(points, question) / points.chips)
        return np.where(np.isfinite(most), np.maximum(most, 1.0), 1.0)
    requests = points.value("output_tokens_per_s_per_chip") * points.chips / question.osl
    # pools are sized for the rate already
    slack = 0.0 if points.side is None else 0.05
    return np.maximum(np.ceil(question.rate / np.maximum(requests, 1e-12) - slack), 1.0)


def scores(points: Points, question: Question, copies: Floats) -> Floats:
    """Return what the objective minimises, (M,).

    With a rate, cost and throughput count the chips that carry it; with a cap and no rate, they count the
    tokens of all copies under it; without either, cost and energy are per token, throughput is per chip,
    latency is the time per output token. Energy that nobody can know is infinite.
    """
    if question.objective == "latency":
        return points.value("tpot_s")
    chips = copies * points.chips
    rated = question.objective in ("cost", "throughput")
    if question.rate is not None and rated:
        return np.asarray(chips + 1e-6 * points.value("tpot_s"))
    if rated and (question.power is not None or question.budget is not None):
        return -points.value("output_tokens_per_s_per_chip") * chips
    if question.objective == "energy":
        joules = points.value("joules_per_output_token")
        return np.where(np.isfinite(joules), joules, np.inf)
    return -points.value("output_tokens_per_s_per_chip")


def lost(points: Points, question: Question) -> Floats:
    """Return the copies that the loss of the question's spare nodes takes away, (M,).

    A node that holds several replicas loses all of them; a replica on several nodes falls with any one.
    """
    sizes = np.array([layout.chips for layout in points.layouts], dtype=np.float64)
    return question.spare * np.maximum(np.floor(points.system.node / sizes), 1.0)


def spare_chips(points: Points) -> Floats:
    """Return the chips of one spare copy: a replica, or one of each pool, (M,)."""
    if points.side is None:
        return points.chips
    return np.array(
        [a.chips + b.chips for a, b in zip(points.side.layouts, points.layouts, strict=True)],
        dtype=np.float64,
    )


def choose(groups: Sequence[Points], question: Question) -> list[Choice]:
    """Return the best candidates of one platform, best first, at most `question.top`, one a deployment.

    Points that meet every limit come first, by objective, where nobody knows it by tokens per chip, which is
    by cost on one platform; then the nearest misses.
    """
    ranked: list[tuple[float, float, float, Choice]] = []
    for points in groups:
        copies = replicas_for(points, question)
        spares = lost(points, question)
        miss = misses(points, question)
        total = copies * points.chips + spares * spare_chips(points)
        if question.chips is not None:
            miss = np.maximum(miss, total / question.chips)
        if question.power is not None or question.budget is not None:
            miss = np.maximum(miss, np.nan_to_num(total / allowed(points, question), nan=np.inf))
        score = scores(points, question, copies)
        rate = points.value("output_tokens_per_s_per_chip")
        for index in np.flatnonzero(~np.isnan(score) & np.isfinite(miss) & np.isfinite(rate)):
            met = bool(miss[index] <= 1.0)
            choice = Choice(
                points, int(index), int(min(copies[index], 1e9)), met, float(miss[index]), int(spares[index])
            )
            late = 0.0 if met else float(miss[index])
            ranked.append((late, float(score[index]), -float(rate[index]), choice))
    ranked.sort(key=lambda item: item[:3])
    picked: list[Choice] = []
    seen: set[Hashable] = set()
    for *_, choice in ranked:
        if (key := kind(choice)) in seen:
            continue
        seen.add(key)
        picked.append(choice)
        if len(picked) >= question.top:
            break
    return picked


def kind(choice: Choice) -> Hashable:
    """Return what tells one row of a platform from another: layouts, weights, drafts."""
    points, index = choice.points, choice.index
    drafts = points.found.step.workload.drafts
    first = None if points.side is None else points.side.layouts[index]
    return points.layouts[index], first, points.found.copy.weights, drafts
