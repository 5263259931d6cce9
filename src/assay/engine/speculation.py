"""Speculative decoding: what a draft step costs, and how many tokens a verified step yields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

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


def speculation(method: str, draft_tokens: int, acceptance: Floats) -> Speculation:
    """Return the speculation of a group of points.

    Args:
        method: `mtp`, `eagle`, `draft`, or "" and `unknown` for none.
        draft_tokens: tokens drafted a step, 0 = the usual number of the method.
        acceptance: tokens a step yields, (n,); NaN = the usual figure for that many drafts.
    """
    if method in ("", "none", "unknown"):
        return Speculation(0, np.ones_like(acceptance), 0)
    table = _table()
    drafts = draft_tokens or int(table["draft_tokens"]["value"])
    usual = usual_yield(drafts)
    return Speculation(drafts, np.where(np.isfinite(acceptance), np.maximum(acceptance, 1.0), usual), drafts)


def usual_yield(drafts: int) -> float:
    """Return the tokens a step yields when each draft is accepted with the usual probability.

    Accepted prefixes: 1 + p + p^2 + ... + p^drafts (Leviathan et al., "Fast inference from transformers via
    speculative decoding", ICML 2023).
    """
    p = float(_table()["acceptance"]["value"])
    return float(sum(p**k for k in range(drafts + 1)))


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = catalogue().table("engines/speculation")
    return table
