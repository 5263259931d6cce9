"""Self-host or buy tokens: from which load on a deployment is cheaper than what hosts ask.

A deployment costs the same at any load, an API by the token. With c the cost of a request at the row's load
(full, or the rate that is asked for) and a what a host asks for one, the deployment is cheaper above the
share c / a of that load; never where a < c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import NoEvidence
from assay.plan.points import scale
from assay.study.answer import Answer, Row
from assay.study.question import Question

_MILLION = 1e6
_USD = "usd_per_million_output_tokens"


def against_api(answer: Answer, *, facts: Sequence[Path] = ()) -> Answer:
    """Return an answer whose first row stands against every published price of its model, cheapest first.

    Raises:
        NoEvidence: nobody among the sources sells this model by the token, or the row has no price.
    """
    name = str(answer.model["name"])
    table = catalogue(tuple(facts)).table("prices/tokens")
    offers = [row for row in table["rows"] if row["model"] == name]
    if not offers:
        raise NoEvidence(
            f"No price of {name} by the token is among assay's sources.", "Leave --against-api out."
        )
    if not answer.rows:
        return answer
    best = answer.rows[0]
    if _USD not in best.figures:
        raise NoEvidence(
            f"Nobody has published a price of {best.deployment.system_name}.", "Give one in a facts file."
        )
    made = [_offer(row, best, answer.question) for row in offers]
    cheapest = sorted(made, key=lambda item: (item["usd_per_request"], item["provider"]))
    about = {"date": str(table["date"]), "source": str(table["source"])}
    return replace(answer, rows=(replace(best, api={**about, "offers": cheapest}), *answer.rows[1:]))


def request_price(offer: Mapping[str, Any], isl: float, osl: float, cached: float) -> float:
    """Return what a host asks for one request, USD; cached input at the full price where none is stated.

    Args:
        offer: USD per million tokens: `input`, `output`, and `cached_input` if published.
        isl, osl: tokens of a request.
        cached: share of the input found in a cache.
    """
    new, old = float(offer["input"]), float(offer.get("cached_input", offer["input"]))
    return (isl * ((1.0 - cached) * new + cached * old) + osl * float(offer["output"])) / _MILLION


def _offer(offer: Mapping[str, Any], row: Row, question: Question) -> dict[str, Any]:
    cached = float(row.cache.get("hit", question.cached))
    asked = request_price(offer, question.isl, question.osl, cached)
    load = scale(row.figures[_USD], question.osl / _MILLION / asked)
    full = float(row.figures["output_tokens_per_s_per_chip"].value) * row.chips / question.osl
    wins = float(load.value) <= 1.0
    return {
        "provider": str(offer["provider"]),
        "usd_per_million": {
            "input": offer["input"],
            "cached_input": offer.get("cached_input"),
            "output": offer["output"],
        },
        "usd_per_request": asked,
        "break_even_load": load.json(),
        "break_even_requests_per_s": float(load.value) * full if wins else None,
    }
