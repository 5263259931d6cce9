"""Speculative decoding in a plan: which ways to draft are tried, and how they are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.engine.replica import Model
from assay.engine.speculation import Speculation, draft_counts, usual_yield, yield_of

Floats = NDArray[np.float64]

NONE = "none"


def options(wanted: str, model: Model, acceptance: Sequence[float] = ()) -> tuple[Speculation | None, ...]:
    """Return the ways to speculate that a plan tries, None = no speculation.

    Args:
        wanted: `none`, `mtp` (draft with the model's own head, or an EAGLE head of one layer), or `auto`
            (both, and the choice falls where the objective does).
        model: the model.
        acceptance: probability of each draft once those before it were accepted, as many as are drafted;
            empty = the usual ones, for the usual numbers of drafts.
    """
    if wanted == NONE:
        return (None,)
    if acceptance:
        stated = Speculation(len(acceptance), np.array([yield_of(acceptance)]), len(acceptance))
        return (None, stated) if wanted == "auto" else (stated,)
    drafting = tuple(
        Speculation(drafts, np.array([usual_yield(drafts, model.name)]), drafts) for drafts in draft_counts()
    )
    return (None, *drafting) if wanted == "auto" else drafting


def label(model: Model, drafts: float) -> str:
    """Return `MTP3`, `EAGLE3` for a model without a draft head of its own, or "" without drafts."""
    if not drafts:
        return ""
    return f"{'MTP' if model.architecture.mtp else 'EAGLE'}{int(drafts)}"


def fitted_acceptance(gain: Floats, drafting: Floats, plain: Floats, drafts: int) -> Floats:
    """Return the acceptance probability that explains measured gains of speculation, one a pair of runs.

    A speculative run and its twin without drafts differ in the step and in what it yields:
    `gain = yields x plain / drafting`. The probability p solves `1 + p + ... + p^drafts = yields`, equal
    for all positions, since a run publishes one number.

    Args:
        gain: measured time per output token without over with speculation.
        drafting: modelled time of a step with drafts and verification, s.
        plain: modelled time of a step without, s.
        drafts: tokens drafted a step.
    """
    yields = np.asarray(gain) * np.asarray(drafting) / np.asarray(plain)
    grid = np.linspace(0.0, 1.0, 1001)
    known = np.sum(grid[:, None] ** np.arange(drafts + 1)[None, :], axis=1)
    return np.asarray(np.interp(yields, known, grid))
