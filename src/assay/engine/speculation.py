"""Speculative decoding: what a draft step costs, and how many tokens a verified step yields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.load import catalogue

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Speculation:
    """How decode steps speculate.

    Attributes:
        drafts: tokens drafted a step; 0 = no speculation.
        yields: tokens a verified step gains, (n,), at least 1.
        passes: draft passes a step (equals `drafts` for a sequential head).
    """

    drafts: int
    yields: Floats
    passes: int

    @property
    def active(self) -> bool:
        """Whether anything is drafted."""
        return self.drafts > 0


def speculation(method: str, draft_tokens: int, acceptance: Floats, model: str = "") -> Speculation:
    """Return the speculation of a group of points.

    Args:
        method: `mtp`, `eagle`, `draft`, or "" and `unknown` for none.
        draft_tokens: tokens drafted a step, 0 = the usual number of the method.
        acceptance: tokens a step yields, (n,); NaN = the usual figure for that many drafts.
        model: catalogue name, for its usual figure.
    """
    if method in ("", "none", "unknown"):
        return Speculation(0, np.ones_like(acceptance), 0)
    table = _table()
    drafts = draft_tokens or int(table["draft_tokens"]["value"])
    usual = usual_yield(drafts, model)
    return Speculation(drafts, np.where(np.isfinite(acceptance), np.maximum(acceptance, 1.0), usual), drafts)


def usual_yield(drafts: int, model: str = "") -> float:
    """Return the tokens a step yields with the usual acceptance of each position.

    `1 + p_1 + p_1 p_2 + ...`: a draft counts only if all before it were accepted (Leviathan et al., "Fast
    inference from transformers via speculative decoding", ICML 2023).

    Args:
        drafts: tokens drafted a step.
        model: catalogue name; models without figures of their own take those of all.
    """
    return yield_of(acceptance_by_position(drafts, model))


def yield_of(acceptance: ArrayLike) -> float:
    """Return the tokens a step yields at these chances of each draft once those before it were accepted."""
    return float(1.0 + np.cumprod(np.asarray(acceptance, dtype=np.float64)).sum())


def published_acceptance(model: str) -> tuple[dict[str, Any], ...]:
    """Return the published runs of a model's family with acceptance by position, as in the data file."""
    rows = catalogue().table("engines/acceptance")["rows"]
    return tuple(dict(row) for row in rows if model.startswith(row["model"]))


def acceptance_by_position(drafts: int, model: str = "") -> Floats:
    """Return the probability that each draft is accepted once those before it were, (drafts,).

    Positions beyond the last published one repeat it.
    """
    table = _table()["by_position"]
    family = max((name for name in table if model.startswith(name)), key=len, default="any")
    known = list(table[family]["value"])
    return np.array([known[min(place, len(known) - 1)] for place in range(drafts)], dtype=np.float64)


def acceptance_range(drafts: int, model: str = "") -> tuple[float, float]:
    """Return the tokens a step yields at the low and the high end of the published acceptance."""
    table = _table()["by_position"]
    fact = table[max((name for name in table if model.startswith(name)), key=len, default="any")]
    low, high = (float(sum(float(fact[end]) ** k for k in range(drafts + 1))) for end in ("low", "high"))
    return low, high


def draft_counts() -> tuple[int, ...]:
    """Return the numbers of draft tokens a plan tries."""
    return tuple(int(count) for count in _table()["draft_counts"]["value"])


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = catalogue().table("engines/speculation")
    return table
