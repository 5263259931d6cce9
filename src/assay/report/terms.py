"""The words of every figure: title, unit and definition, the same in terminal, export and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """How one figure of a row is called.

    Attributes:
        title: short title of a column or an axis.
        unit: unit of the value, SI but for dollars.
        definition: one sentence.
        rising: whether more is better.
    """

    title: str
    unit: str
    definition: str
    rising: bool


#: Name in `assay.study.answer.FIGURES` -> its words.
TERMS: Mapping[str, Term] = {
    "ttft_s": Term("TTFT", "s", "mean time from arrival to the first output token, queueing included", False),
    "tpot_s": Term("TPOT", "s", "mean time between the output tokens of one request", False),
    "output_tokens_per_s_per_user": Term(
        "output tok/s/user", "tok/s", "1 / TPOT: output tokens a second that one user sees", True
    ),
    "output_tokens_per_s_per_chip": Term(
        "output tok/s/chip", "tok/s", "output tokens a second over all chips of the deployment", True
    ),
    "total_tokens_per_s_per_chip": Term(
        "total tok/s/chip", "tok/s", "input and output tokens a second over all chips of the deployment", True
    ),
    "usd_per_million_output_tokens": Term(
        "$/M output", "USD", "chip-hours over output tokens, the work on input tokens included", False
    ),
    "joules_per_output_token": Term(
        "J/output token", "J", "energy over output tokens, the work on input tokens included", False
    ),
}

#: Objective -> the figure it ranks by, how a headline says it, and a word for a narrow column.
OBJECTIVES: Mapping[str, tuple[str, str, str]] = {
    "cost": ("usd_per_million_output_tokens", "Cheapest output tokens", "$/M"),
    "throughput": ("output_tokens_per_s_per_chip", "Most output tokens a chip", "tok/s"),
    "latency": ("output_tokens_per_s_per_user", "Fastest for one user", "tok/s"),
    "energy": ("joules_per_output_token", "Least energy per output token", "J"),
}

#: Kind of price -> how a headline says it.
PRICES: Mapping[str, str] = {
    "own": "cost of owning",
    "contract": "contract prices",
    "list": "list prices",
    "spot": "spot prices",
}
