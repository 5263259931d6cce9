"""New and cached input apart: what each costs in time, money and energy, beside what the cache holds.

The chips' time of a request is split as its steps are: decode steps belong to output tokens, the rest to the
prompt. Of the prompt's time, cached tokens take what its new tokens would not need without them (attention
over the prefix); new tokens take the rest. Loading hits from host memory or SSD takes no time of the chips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from assay.engine.replica import replica
from assay.engine.split import prompt_seconds
from assay.plan.caches import tiers
from assay.plan.energy import prompt_share
from assay.plan.points import Points, scale
from assay.plan.predict import skew
from assay.study.question import Question


def cache_of(points: Points, index: int, question: Question) -> Mapping[str, Any]:
    """Return what the prefix cache of a point holds and finds, and its input apart; empty without hits.

    Money and energy are missing where price or power are unpublished, or where the prompts run on chips of
    another system, whose share of both is not told apart.
    """
    share = points.cached(index)
    if question.caches is None and not share:
        return {}
    found: dict[str, Any] = {"hit": share} | _held(points, index, question)
    cold, warm, alone = _prompts(points, index, question, share)
    found |= {"seconds_new": warm, "seconds_saved": cold - warm}
    side = points.side
    if side is not None and side.copy.system.id != points.system.id:
        return found
    prefix = max(warm - alone, 0.0) / warm if share else 0.0
    prompt = _prompt_share(points, index)
    isl, osl = float(question.isl), float(question.osl)

    def parts(spent: float) -> dict[str, float]:
        return {
            "new_input": spent * (1.0 - prefix) * osl / (isl * (1.0 - share)),
            "cached_input": spent * prefix * osl / (isl * share) if share else 0.0,
            "output": 1.0 - spent,
        }

    apart: dict[str, dict[str, Any]] = {kind: {} for kind in parts(prompt)}
    for name, figure, spent in (
        ("usd_per_million", "usd_per_million_output_tokens", prompt),
        ("joules", "joules_per_output_token", prompt_share(points, index)),
    ):
        if figure in points.figures:
            whole = points.one(figure, index)
            for kind, part in parts(spent).items():
                apart[kind][name] = scale(whole, part).json()
    found["apart"] = apart
    return found


def _held(points: Points, index: int, question: Question) -> dict[str, Any]:
    """Return the tiers: tokens held, shares found and passed over, rate and time of loading."""
    if question.caches is None or points.hits is None:
        return {}
    side = points.side
    copy = points.found.copy if side is None else side.copy
    known = points.hits.take(np.array([index], dtype=np.intp))
    listed = []
    for row, tier in enumerate(tiers(question.caches, copy.system)):
        one = {
            "tier": tier.name,
            "tokens": float(known.held[row, 0]),
            "hit": float(known.found[row, 0]),
            "computed_again": float(known.passed[row, 0]),
        }
        if np.isfinite(tier.rate):
            one |= {"bytes_per_s": tier.rate, "seconds_per_token": float(known.load[row, 0])}
        listed.append(one)
    return {
        "router": question.caches.router,
        "tiers": listed,
        "seconds_fetch": float(known.fetch[0, 0]),
        "link_busy": float(known.busy[0, 0]),
    }


def _prompts(points: Points, index: int, question: Question, share: float) -> tuple[float, float, float]:
    """Return s of a prompt without hits, with them, and of its new tokens without the prefix before them."""
    side = points.side
    copy = points.found.copy if side is None else side.copy
    layout = points.layouts[index] if side is None else side.layouts[index]
    one = replica(copy.model, copy.system, (layout,), copy.weights, copy.kv, copy.engine, copy.copies)
    work = replace(points.found.step.workload, drafts=0.0, yields=1.0, fetch=0.0)
    isl = float(question.isl)
    found = []
    for tokens, cached in ((isl, 0.0), (isl, share), (isl * (1.0 - share), 0.0)):
        step = one.step(replace(work, isl=tokens, cached=cached), skew())
        found.append(float(prompt_seconds(step, copy.engine)[0, 0]))
    cold, warm, alone = found
    return cold, warm, alone


def _prompt_share(points: Points, index: int) -> float:
    """Return the share of all chips' time that prompts take, 0 to 1."""
    if points.side is not None:
        return float(points.side.share[index])
    state = points.outcome.state
    yields = float(np.ravel(points.outcome.step.workload.yields)[0])
    return float(np.clip(1.0 - state.decode_step[index, 0] / yields / state.tpot[index, 0], 0.0, 1.0))
