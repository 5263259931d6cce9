"""A second look at a platform's candidates: the best few, at batches between those of the grid.

Candidates are chosen before measurements correct them, and those corrections move the time to first token
by up to a factor of six, so that the best point within a limit may not be among them. The first candidates
say how far times move here. That is fitted, in logarithms, by

    corrected / raw = a tpot^b ttft^c (users / chip)^d

separately for both times, and asked of every point. The layouts that are best by it are timed again at
batches four times as near to each other, and the best of those points become candidates too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.engine.overheads import Engine
from assay.engine.points import decode_only
from assay.engine.steady import at_batch
from assay.plan.disaggregate import Pairs, Sides
from assay.plan.points import Points
from assay.plan.sweep import MOST_SEQUENCES, Sweep
from assay.study.question import Question

Floats = NDArray[np.float64]
Places = tuple[NDArray[np.intp], ...]

#: Layouts that are timed again, and batches of each; candidates taken from them a margin.
LAYOUTS = 6
BATCHES = 17
EACH = 4
#: Part of the limits within which the layouts to time again are looked for, by the fitted times.
WIDE = 1.2
#: Parts of the limits within which points are taken: those times are right within a tenth or two.
MARGINS = (1.4, 1.25, 1.1, 1.0, 0.9, 0.8, 0.65)
#: Groups whose best point is expected this near to the best of a platform are looked at again.
NEAR = 0.03
#: Groups whose first candidates stay further behind the best of a platform are not looked at again.
FAR = 0.5
#: First candidates this far beyond what is expected of their grid are not looked at again.
BEYOND = 0.02
#: Part of the expected score from which a second look is good enough.
KEPT = 0.985
#: Squared distance from the limits, in logarithms, at which a candidate counts half in a fit.
CLOSE = 0.3
#: Least candidates from which a fit is made; with fewer, times move by their median.
FEW = 8


@dataclass(frozen=True, slots=True)
class Guess:
    """How far measurements move times: coefficients of TPOT and of TTFT, (4,) each."""

    tpot: Floats
    ttft: Floats

    @classmethod
    def of(cls, groups: Sequence[Points], question: Question) -> Guess:
        """Fit the corrections of candidates; those near the limits count most."""
        raw, made, users = [], [], []
        for points in groups:
            state = points.outcome.state
            raw.append([state.tpot[:, 0], state.ttft[:, 0]])
            made.append([points.value("tpot_s"), points.value("ttft_s")])
            users.append(points.concurrency / points.chips)
        before, after = np.concatenate(raw, axis=1), np.concatenate(made, axis=1)
        far = np.zeros(before.shape[1])
        for limit, time in zip((question.tpot, question.ttft), after, strict=True):
            if limit is not None:
                far = far + np.log(time / limit) ** 2
        weight = 1.0 / (CLOSE + np.nan_to_num(far, nan=1e6, posinf=1e6))
        known = _features(before[0], before[1], np.concatenate(users))
        return cls(*(_fitted(known, new / old, weight) for new, old in zip(after, before, strict=True)))

    def times(self, tpot: Floats, ttft: Floats, users: Floats) -> tuple[Floats, Floats]:
        """Return TPOT and TTFT as corrections are expected to leave them, s; `users` are those of a chip."""
        known = _features(tpot, ttft, users)
        return tpot * np.exp(known @ self.tpot), ttft * np.exp(known @ self.ttft)


def _features(tpot: Floats, ttft: Floats, users: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.stack([tpot, ttft, users], axis=-1))
    return np.concatenate([np.ones_like(logs[..., :1]), np.clip(np.nan_to_num(logs), -20.0, 20.0)], axis=-1)


def _fitted(known: Floats, factor: Floats, weight: Floats) -> Floats:
    """Return coefficients of ln(factor), held near none by a weak prior on all but the first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.log(factor)
    usable = np.isfinite(wanted)
    found = np.zeros(known.shape[1])
    if np.sum(usable) < FEW:
        found[0] = float(np.median(wanted[usable])) if np.any(usable) else 0.0
        return found
    each = weight[usable] / np.mean(weight[usable])
    rows, middle = known[usable], np.average(known[usable], axis=0, weights=each)
    rows = rows - np.where(np.arange(len(middle)), middle, 0.0)
    prior = np.diag([0.0, *np.full(len(middle) - 1, 0.1)])
    found = np.linalg.solve((rows.T * each) @ rows + prior, rows.T @ (each * wanted[usable]))
    found[0] -= float(middle[1:] @ found[1:])
    return np.asarray(found)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Points with the times expected of them, arrays of one shape, (L, N) or (P, D, R, N).

    Attributes:
        tpot, ttft: as corrections are expected to leave them, s.
        score: what the objective wants, greater where better; -inf where there is no point.
        axis: of the layouts that decode.
    """

    tpot: Floats
    ttft: Floats
    score: Floats
    axis: int

    @classmethod
    def of(
        cls, guess: Guess, question: Question, load: tuple[Floats, ...], valid: NDArray[np.bool_]
    ) -> Ranked:
        """Rank points by what the objective wants.

        Args:
            guess: how far times move.
            question: the objective and the lengths.
            load: TPOT and TTFT before corrections, users and chips; broadcast.
            valid: which points exist.
        """
        tpot, ttft, users, chips = np.broadcast_arrays(*load)
        tpot, ttft = guess.times(tpot, ttft, users / chips)
        score = -tpot
        if question.objective != "latency":
            with np.errstate(invalid="ignore"):
                score = users * question.osl / chips / (ttft + (question.osl - 1.0) * tpot)
        axis = 0 if score.ndim == 2 else 1
        return cls(tpot, ttft, np.where(valid & np.isfinite(score), score, -np.inf), axis)

    def within(self, question: Question, margin: float) -> Floats:
        """Return the scores of points within a part of the limits, -inf for others."""
        inside = np.isfinite(self.score)
        for limit, time in ((question.ttft, self.ttft), (question.tpot, self.tpot)):
            if limit is not None:
                inside = inside & (time <= limit * margin)
        return np.where(inside, self.score, -np.inf)

    def most(self, question: Question) -> float:
        """Return the score of the best point within the limits."""
        return float(np.max(self.within(question, 1.0), initial=-np.inf))

    def best(self, question: Question) -> Places:
        """Return the places of the best point of each of the best layouts, within each margin."""
        kept = [self._first(question, margin, EACH)[1] for margin in MARGINS]
        found = np.unravel_index(np.unique(np.concatenate(kept)), self.score.shape)
        return tuple(np.asarray(item, dtype=np.intp) for item in found)

    def leading(self, question: Question) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the layouts whose best points lead, and the batches of those points."""
        layouts, places = self._first(question, WIDE, LAYOUTS)
        return layouts, places % self.score.shape[-1]

    def _first(
        self, question: Question, margin: float, most: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return at most `most` layouts, best first, and the flat place of the best point of each."""
        score = np.moveaxis(self.within(question, margin), self.axis, 0).reshape(
            self.score.shape[self.axis], -1
        )
        places = np.moveaxis(np.arange(self.score.size).reshape(self.score.shape), self.axis, 0)
        each, top = np.arange(len(score)), np.argmax(score, axis=1)
        order = np.argsort(-score[each, top])[:most]
        order = order[np.isfinite(score[order, top[order]])]
        return order, places.reshape(score.shape)[order, top[order]]


def _between(batch: Floats, row: NDArray[np.intp], column: NDArray[np.intp], most: Floats) -> Floats:
    """Return batches around those at (row, column) of a grid, two of its steps either way, (L, N)."""
    step = np.log(most) / max(batch.shape[1] - 1, 1)
    spread = np.exp(np.linspace(-2.0, 2.0, BATCHES)[None, :] * step)
    return np.asarray(np.clip(batch[row, column][:, None] * spread, 1.0, most))


def _most(found: Sweep, rows: NDArray[np.intp]) -> Floats:
    groups = found.copy.table.degrees.dp[rows, None]
    return np.minimum(np.maximum(found.capacity[rows], 1.0), MOST_SEQUENCES * groups)


@dataclass(frozen=True, slots=True)
class Near:
    """Points to take candidates from.

    Attributes:
        rank: ranks them by how far times move.
        gather: makes candidates of those at some places.
    """

    rank: Callable[[Guess], Ranked]
    gather: Callable[[Places], Points]


@dataclass(frozen=True, slots=True)
class Second:
    """A group of candidates that may be looked at again.

    Attributes:
        first: its first candidates.
        rank: ranks the points of its grid.
        closer: makes its points near the best of a ranking.
    """

    first: Points
    rank: Callable[[Guess], Ranked]
    closer: Callable[[Ranked], Near]

    def points(self, question: Question, guess: Guess, ranked: Ranked) -> list[Points]:
        """Return its second candidates; where none is as good as was expected, third ones that know them."""
        coarse, known = ranked.most(question), reached(self.first, question)
        if known >= coarse + BEYOND * abs(coarse):
            return []
        near = self.closer(ranked)
        ranked = near.rank(guess)
        if not np.isfinite(expected := ranked.most(question)):
            return []
        least = expected - (1.0 - KEPT) * abs(expected)
        if known >= least:
            return []
        made = near.gather(ranked.best(question))
        if reached(made, question) >= least:
            return [made]
        places = near.rank(Guess.of((self.first, made), question)).best(question)
        return [made, near.gather(places)] if len(places[0]) else [made]


def reached(points: Points, question: Question) -> float:
    """Return the best score, as in `Ranked`, of candidates within the limits; -inf for none."""
    tpot, ttft = points.value("tpot_s"), points.value("ttft_s")
    score = -tpot if question.objective == "latency" else points.value("output_tokens_per_s_per_chip")
    inside = np.isfinite(score)
    for limit, time in ((question.ttft, ttft), (question.tpot, tpot)):
        if limit is not None:
            inside &= time <= limit
    return float(np.max(score[inside], initial=-np.inf))


def seconds(found: Sequence[Second], question: Question) -> list[Points]:
    """Return the second candidates of the groups that may hold a row of the platform.

    Those are groups whose best point is expected near the best that is expected or was reached, the lesser.
    """
    known = [reached(item.first, question) for item in found]
    most = max(known, default=-np.inf)
    if question.top == 1 and np.isfinite(most):
        found = [item for item, each in zip(found, known, strict=True) if each >= most - FAR * abs(most)]
    guesses = [Guess.of((item.first,), question) for item in found]
    ranked = [item.rank(guess) for item, guess in zip(found, guesses, strict=True)]
    scores = [item.most(question) for item in ranked]
    best = max(scores, default=-np.inf)
    best = min(best, most) if np.isfinite(most) else best
    made: list[Points] = []
    for item, guess, order, score in zip(found, guesses, ranked, scores, strict=True):
        if np.isfinite(score) and (question.top > 1 or score >= best - NEAR * abs(best)):
            made.extend(item.points(question, guess, order))
    return made


def together(
    found: Sweep, first: Points, question: Question, gather: Callable[[Sweep, Places], Points]
) -> Second:
    """Return a second look at a sweep: its best layouts at batches near their best.

    Args:
        found: the sweep on its grid.
        first: its first candidates.
        question: limits and objective.
        gather: makes candidates of points of a sweep.
    """

    def ranking(item: Sweep) -> Callable[[Guess], Ranked]:
        state, chips = item.state, item.copy.table.degrees.chips[:, None]
        load = (state.tpot, state.ttft, state.concurrency, chips)
        return lambda guess: Ranked.of(guess, question, load, item.fits)

    def closer(ranked: Ranked) -> Near:
        row, column = ranked.leading(question)
        near = found
        if question.concurrency is None:
            step = found.step.take(row)
            copy = replace(found.copy, table=step.table, working=found.copy.working[row])
            batch = _between(found.state.batch, row, column, _most(found, row))
            fits = np.broadcast_to(found.fits[row][:, :1], batch.shape)
            state = at_batch(step, copy.engine, batch)
            near = Sweep(copy, step, state, found.capacity[row], found.load, fits)
        return Near(ranking(near), lambda places: gather(near, places))

    return Second(first, ranking(found), closer)


def apart(
    pools: tuple[Sides, Pairs],
    first: Points,
    question: Question,
    engine: Engine,
    match: Callable[[Sides], Pairs],
    gather: Callable[[Sides, Pairs, Places], Points],
) -> Second:
    """Return a second look at two pools: the best decode layouts at batches near their best.

    Args:
        pools: both, and their pairs on the grid.
        first: their first candidates.
        question: limits, load and objective.
        engine: scheduler and host parameters.
        match: how pools are combined.
        gather: makes candidates of pairs.
    """
    both, matches = pools

    def ranking(item: Pairs) -> Callable[[Guess], Ranked]:
        load = (item.tpot, item.ttft, item.users, item.chips)
        return lambda guess: Ranked.of(guess, question, load, item.valid)

    def closer(ranked: Ranked) -> Near:
        near, made = both, matches
        if question.rate is None and question.concurrency is None:
            row, column = ranked.leading(question)
            rows = both.rows[1][row]
            batch = _between(both.state.batch, row, column, _most(both.last, rows))
            near = replace(
                both,
                rows=(both.rows[0], rows),
                state=decode_only(both.last.step.take(rows), engine, batch),
                chips=(both.chips[0], both.chips[1][row]),
                handover=both.handover.take(np.arange(len(both.rows[0])), row),
            )
            made = match(near)
        return Near(ranking(made), lambda places: gather(near, made, places))

    return Second(first, ranking(matches), closer)
