"""Ways to run a machine that is not a plain replica, and which of them answers a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import Price
from assay.errors import DoesNotFit
from assay.estimate import Estimate
from assay.plan.pareto import front
from assay.plan.points import charge, inverse, scale
from assay.plan.prefilled import Decoder, Prefilled
from assay.study.answer import FIGURES
from assay.study.question import Question

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ways:
    """M ways to run the machine, arrays (M,).

    Attributes:
        place: which operating point of the machine.
        chips: of the machine and of the chips that prefill for it.
        rate: output tokens/s of all.
        ttft: time to first token, s. `users`: requests in flight.
        fits: whether the machine holds the model, and its prompts are carried.
        fed: the chips that prefill; None = the machine does.
    """

    place: NDArray[np.intp]
    chips: Floats
    rate: Estimate
    ttft: Estimate
    users: Floats
    fits: NDArray[np.bool_]
    fed: Prefilled | None = None

    @classmethod
    def of(cls, machine: Decoder, rate: Estimate, fed: Prefilled) -> Ways:
        """Return every way to feed a machine; `rate` is its output tokens/s (B,)."""
        place = fed.place
        own = rate.apply(lambda number: number[place])
        return cls(place, machine.chips[place] + fed.chips, own, fed.ttft, fed.users, fed.valid, fed)


def shown(
    ways: Ways, tpot: Estimate, question: Question, usd: Sequence[Floats | float]
) -> dict[str, Estimate]:
    """Return the figures of a row for every way, but its energy.

    Args:
        ways: the ways.
        tpot: of the machine's operating points, s.
        question: the lengths.
        usd: USD per chip-hour over all chips: value, low, high; empty if unpublished.
    """
    rate = ways.rate.apply(lambda number: number / ways.chips)
    time = tpot.apply(lambda number: number[ways.place])
    made = {
        "ttft_s": ways.ttft,
        "tpot_s": time,
        "output_tokens_per_s_per_user": inverse(time),
        "output_tokens_per_s_per_chip": rate,
        "total_tokens_per_s_per_chip": scale(rate, (question.isl + question.osl) / question.osl),
    }
    if usd:
        made["usd_per_million_output_tokens"] = charge(rate, *usd)
    return made


def mean_price(parts: Sequence[tuple[Floats, Price | None]]) -> tuple[Floats, ...]:
    """Return USD per chip-hour of chips of several prices: value, low, high; empty if one is unpublished."""
    if any(price is None for _, price in parts):
        return ()
    total = sum((chips for chips, _ in parts), np.zeros(1))
    return tuple(
        np.asarray(sum(chips * getattr(price, name) for chips, price in parts) / total)
        for name in ("usd_per_hour", "low", "high")
    )


def frontier(
    ways: Ways, figures: Mapping[str, Estimate], label: Callable[[int], str], formats: tuple[str, str]
) -> tuple[Mapping[str, Any], ...]:
    """Return the Pareto front of all ways, fastest user first, as plain data."""
    per_user = np.where(ways.fits, figures["output_tokens_per_s_per_user"].value, np.nan)
    per_chip = np.where(ways.fits, figures["output_tokens_per_s_per_chip"].value, np.nan)
    n = len(ways.chips)
    return tuple(
        {
            "concurrency": float(ways.users[k]),
            "chips": int(ways.chips[k]),
            "deployment": label(int(k)),
            "weights": formats[0],
            "kv": formats[1],
        }
        | {name: figures[name].at(int(k), n).json() for name in FIGURES if name in figures}
        for k in front(per_user, per_chip)
    )


@dataclass(frozen=True, slots=True)
class Pick:
    """The way chosen: which one, copies of it, whether limits hold, the factor by which they are missed."""

    index: int
    replicas: int
    meets: bool
    miss: float


def pick(ways: Ways, figures: Mapping[str, Estimate], question: Question) -> Pick:
    """Return the best way by the question's limits and objective, and the copies that its rate needs."""
    miss = np.zeros(len(ways.chips))
    for limit, name in ((question.ttft, "ttft_s"), (question.tpot, "tpot_s")):
        if limit is not None:
            miss = np.maximum(miss, np.asarray(figures[name].value) / limit)
    copies = np.ones(len(ways.chips))
    if question.rate is not None:
        copies = np.ceil(question.rate * question.osl / np.asarray(ways.rate.value))
    if question.chips is not None:
        miss = np.maximum(miss, copies * ways.chips / question.chips)
    score = -np.asarray(figures["output_tokens_per_s_per_chip"].value)
    if question.objective == "latency":
        score = np.asarray(figures["tpot_s"].value)
    elif question.rate is not None:
        score = copies * ways.chips
    elif question.objective == "cost" and "usd_per_million_output_tokens" in figures:
        score = np.asarray(figures["usd_per_million_output_tokens"].value)
    late = np.where(miss > 1.0, miss, 0.0) + np.where(ways.fits, 0.0, np.inf)
    index = int(np.lexsort((score, late))[0])
    if not ways.fits[index]:
        raise DoesNotFit("No count of prefill replicas and chips carries what the machine decodes.")
    return Pick(index, int(copies[index]), bool(miss[index] <= 1.0), float(miss[index]))
