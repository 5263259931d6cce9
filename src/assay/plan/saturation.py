"""What one deployment carries, and what it takes where more is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Any

from assay.estimate import Estimate
from assay.plan.points import Points, scale
from assay.study.answer import Row
from assay.study.question import Question

#: Runs a deployment at a question's load.
Run = Callable[[Question], tuple[Row, Points]]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a deployment carries beside what is asked of it.

    Attributes:
        requests: requests/s with as many in flight as memory holds.
        offered: requests/s asked for.
        copies: deployments like this one that carry them, as far as the value goes.
        cautious: the same at the low end of the range.
        saturated: whether one does not.
    """

    requests: Estimate
    offered: float
    copies: int
    cautious: int
    saturated: bool

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "requests_per_s": self.requests.json(),
            "offered_requests_per_s": self.offered,
            "saturated": self.saturated,
            "copies": self.copies,
            "copies_at_low": self.cautious,
        }

    def sentence(self, chips: int) -> str:
        """Return what is carried of what is asked, and what to do; `chips` are those of one deployment."""
        parts = (self.requests.value, self.requests.low, self.requests.high)
        value, low, high = (float(part) for part in parts)
        one = f"one deployment carries {value:.3g} requests/s ({low:.3g} to {high:.3g})"
        if not self.saturated:
            return f"{one}, {self.offered:.4g} are asked for"
        return (
            f"Saturated: {self.offered:.4g} requests/s are asked for, {one}. {self.copies} carry it, "
            f"{self.copies * chips:,} chips; {self.cautious} at the low end of the range."
        )


def carried(asked: Question, run: Run, found: tuple[Row, Points]) -> tuple[Row, Points]:
    """Return a row at a request rate with its capacity; that of full load where the rate is beyond it.

    A saturated deployment has no mean time to first token, for its queue grows as long as it runs; its other
    figures are those of full load, and it does not meet what is asked.

    Args:
        asked: the question, with a rate.
        run: estimates the deployment at a load.
        found: what it says at the rate.
    """
    row, points = found
    offered = float(asked.rate or 0.0)
    counts = 1.0 if points.side is None else float(points.side.decode[0])
    most = max(int(float(points.found.capacity[0, 0]) * counts), 1)
    full, behind = run(replace(asked, rate=None, concurrency=most))
    requests = scale(full.figures["output_tokens_per_s_per_chip"], full.chips / asked.osl)
    lost = "ttft_s" not in row.figures or not isfinite(float(row.figures["ttft_s"].value))
    if lost and float(requests.value) >= offered:
        # measurements make it faster than the physics that found no steady state: the lower one holds
        physics = float(behind.outcome.state.throughput[0, 0])
        low = min(float(requests.low), physics)
        requests = replace(requests, value=physics, low=low)
    value, low = (max(float(part), 1e-12) for part in (requests.value, requests.low))
    capacity = Capacity(
        requests, offered, ceil(offered / value), ceil(offered / low), lost or value < offered
    )
    if not capacity.saturated:
        said = (*row.notes, capacity.sentence(row.chips))
        return replace(row, capacity=capacity.json(), notes=said), points
    figures = {name: figure for name, figure in full.figures.items() if name != "ttft_s"}
    made = replace(full, figures=figures, meets=False, capacity=capacity.json())
    return replace(made, notes=(capacity.sentence(full.chips), *row.notes)), behind
