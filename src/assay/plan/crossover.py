"""Where one way of serving overtakes another: sentences for the row that won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from assay.plan.choice import Choice, lost, spare_chips
from assay.plan.pareto import front
from assay.plan.points import Points
from assay.plan.sweep import Sweep
from assay.study.question import Question

Floats = NDArray[np.float64]

#: Points of the common range of two fronts.
GRID = 160


def remarks(
    question: Question,
    best: Choice,
    together: Sequence[Points],
    apart: Sequence[Points],
    swept: Sequence[Sweep],
) -> tuple[str, ...]:
    """Return where the best row's way of serving and its layout stop being the best.

    Args:
        question: what is asked; only points within its limit on first tokens count.
        best: the choice behind the first row.
        together, apart: aggregated and disaggregated candidates.
        swept: sweeps of the aggregated layouts.
    """
    found = [
        break_even(question, best, together, apart),
        experts_win(best, swept),
        sizing(question, best, swept),
    ]
    return tuple(text for text in found if text)


def sizing(question: Question, best: Choice, swept: Sequence[Sweep]) -> str:
    """Return three sizes of a deployment for a rate: what loads, what carries it, what outlives a node."""
    if question.rate is None:
        return ""
    loads = [int(item.copy.table.degrees.chips[item.fits[:, 0]].min()) for item in swept if np.any(item.fits)]
    least = f"the model loads on {min(loads)} chip{'s' if min(loads) > 1 else ''}; " if loads else ""
    one = float(lost(best.points, replace(question, spare=1))[best.index])
    carried = best.chips - best.spares * float(spare_chips(best.points)[best.index])
    outlives = carried + one * float(spare_chips(best.points)[best.index])
    return (
        f"{least}{carried:,.0f} carry {question.rate:.4g} requests/s within the limits; "
        f"{outlives:,.0f} still do after the loss of a node"
    )


def curve(groups: Sequence[Points], ttft: float | None) -> tuple[Floats, Floats]:
    """Return the front of candidates within a limit on first tokens: log tok/s/user, rising, and per chip."""
    if not groups:
        return np.empty(0), np.empty(0)
    per_user = np.concatenate([item.value("output_tokens_per_s_per_user") for item in groups])
    per_chip = np.concatenate([item.value("output_tokens_per_s_per_chip") for item in groups])
    if ttft is not None:
        late = np.concatenate([item.value("ttft_s") for item in groups]) > ttft
        per_user = np.where(late, np.nan, per_user)
    kept = front(per_user, per_chip)[::-1]
    return np.log(per_user[kept]), np.log(per_chip[kept])


def envelope(at: Floats, known: tuple[Floats, Floats]) -> Floats:
    """Return the best log tok/s/chip at no less than `at` log tok/s/user, -inf beyond the fastest."""
    return np.asarray(np.interp(at, known[0], known[1], right=-np.inf))


def break_even(question: Question, best: Choice, together: Sequence[Points], apart: Sequence[Points]) -> str:
    """Return by what disaggregated serving wins or loses at the best row, and where the sign changes."""
    first, last = curve(together, question.ttft), curve(apart, question.ttft)
    if not len(first[0]) or not len(last[0]):
        return ""
    here = float(np.log(best.points.value("output_tokens_per_s_per_user")[best.index]))
    wins = best.points.side is not None
    ends = min(first[0][0], last[0][0]), max(first[0][-1], last[0][-1])
    at = np.linspace(*ends, GRID)
    with np.errstate(invalid="ignore"):
        gain = envelope(at, last) - envelope(at, first)
    now = float(np.interp(here, at, np.clip(np.nan_to_num(gain, nan=0.0), -9.0, 9.0)))
    changes = np.flatnonzero(np.sign(gain[1:]) * np.sign(gain[:-1]) < 0)
    name, other = ("disaggregated", "aggregated") if wins else ("aggregated", "disaggregated")
    size = np.exp(abs(now))
    text = f"{name} serving yields {size:.2f}x the tokens per chip of {other} at this speed"
    if size > 100.0:
        text = f"only {name} serving is this fast"
    if not len(changes):
        return text
    near = changes[np.argmin(np.abs(at[changes] - here))]
    side = "above" if at[near] > here else "below"
    return f"{text}; {other} wins {side} {np.exp(at[near]):.3g} output tok/s/user"


def experts_win(best: Choice, swept: Sequence[Sweep]) -> str:
    """Return from which requests in flight expert parallelism beats tensor parallelism on as many chips."""
    chips = best.points.layouts[best.index].chips
    for sweep in swept:
        if sweep.copy.weights == best.points.found.copy.weights:
            layouts = sweep.copy.table.layouts
            same = np.array([item.chips == chips and item.pp == 1 for item in layouts])
            spread = np.array([item.ep > 1 for item in layouts])
            if np.any(same & spread) and np.any(same & ~spread):
                return _crossing(sweep, np.flatnonzero(same & spread), np.flatnonzero(same & ~spread), chips)
    return ""


def _crossing(sweep: Sweep, spread: NDArray[np.intp], split: NDArray[np.intp], chips: int) -> str:
    state, fits = sweep.state, sweep.fits
    if state.tpot.shape[1] < 2:
        return ""
    kept = [rows[fits[rows, 0]] for rows in (spread, split)]
    if not all(len(rows) for rows in kept):
        return ""
    top = max(float(state.concurrency[rows, -1].max()) for rows in kept)
    users = np.geomspace(1.0, max(top, 2.0), GRID)
    best = [
        np.max([np.interp(users, state.concurrency[row], state.throughput[row]) for row in rows], axis=0)
        for rows in kept
    ]
    wins = best[0] > best[1] * 1.001
    if wins.all():
        return f"on {chips} chips expert parallelism beats tensor parallelism at any load"
    if not wins.any():
        return f"on {chips} chips tensor parallelism beats expert parallelism at any load"
    start = int(np.flatnonzero(~wins)[-1]) + 1
    if start >= len(users):
        return ""
    least = float(f"{users[start]:.2g}")
    return f"on {chips} chips expert parallelism beats tensor parallelism above {least:,.0f} in flight"
