"""From a model, a system and a layout to a pool that can be simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.overheads import Engine
from assay.engine.replica import Model, replica
from assay.engine.speculation import usual_yield
from assay.engine.split import crossing
from assay.errors import NoEvidence
from assay.llm.layout import Layout
from assay.simulate.cluster import Pool
from assay.simulate.policies import policy
from assay.simulate.tiers import Tier


def deploy(  # noqa: PLR0913 - what runs where, each by its name
    model: Model,
    system: System,
    layout: Layout,
    engine: Engine,
    *,
    weights: str,
    kv: str,
    replicas: int = 1,
    role: str = "both",
    budget: int = 0,
    sequences: int = 0,
    drafts: int = 0,
    acceptance: float | None = None,
    capacity: int = 0,
    tiers: tuple[Tier, ...] = (),
    swap: bool = False,
) -> Pool:
    """Return a pool of equal replicas.

    Args:
        model, system, layout, engine: what runs where, in what.
        weights, kv: formats.
        replicas: how many.
        role: both, prefill or decode.
        budget, sequences: tokens of a step and sequences of a rank instead of the engine's own; 0 = its own.
        drafts: draft tokens of a decode step, 0 = no speculation.
        acceptance: tokens a decode step yields; None = the usual figure for so many drafts.
        capacity: tokens of cache of a unit instead of what the memory holds.
        tiers, swap: tiers of the cache behind a replica, and whether preempted requests are swapped there.
    """
    settings = replace(
        engine, budget=float(budget or engine.budget), sequences=float(sequences or engine.sequences)
    )
    copy = replica(model, system, (layout,), weights, kv, settings)
    yields = 1.0
    if drafts and role != "prefill":
        yields = acceptance or usual_yield(drafts, model.name)
    return Pool(
        copy=copy,
        policy=policy(settings),
        replicas=replicas,
        role=role,
        skew=float(catalogue().table("engines/experts")["skew"]["value"]),
        drafts=drafts if role != "prefill" else 0,
        yields=yields,
        capacity=capacity,
        tiers=tiers,
        swap=swap,
    )


def handover(prefill: Pool, decode: Pool, context: float) -> tuple[float, float]:
    """Return (s, s a token) to hand a cache over, between pools that share a scale-up domain or not.

    Args:
        prefill, decode: the pools.
        context: tokens of a usual prompt.

    Raises:
        NoEvidence: the link they need is not published.
    """
    systems = (prefill.copy.system, decode.copy.system)
    way = crossing(prefill.copy.table, decode.copy.table, systems, np.array([[context]]))
    inside = systems[0].id == systems[1].id and prefill.chips + decode.chips <= systems[0].domain
    latency, busy = way.over(np.array(inside).reshape(1, 1, 1, 1))
    if not np.isfinite(busy).all():
        where = "scale-up link" if inside else "network"
        raise NoEvidence(
            f"The {where} of {systems[0].name} is not published, so the cache cannot be handed over.",
            "Add it to the facts of the system.",
        )
    return float(latency.ravel()[0]), float(busy.ravel()[0]) / context
