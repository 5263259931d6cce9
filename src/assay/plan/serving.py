"""From a deployment as stated to a cluster that can be simulated, and what its chips cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import Model, default_kv
from assay.errors import BadInput
from assay.plan.estimate import legal
from assay.plan.place import price_of
from assay.simulate.cluster import Cluster, Pool
from assay.simulate.deploy import deploy, handover
from assay.simulate.deployment import Stated, StatedPool


def cluster(
    stated: Stated, name: str, known: Catalogue, *, context: float, facts: Sequence[Path] = ()
) -> Cluster:
    """Return the cluster of a deployment.

    Args:
        stated: the deployment; every pool names its system.
        name: model.
        known: the facts.
        context: tokens of a usual prompt, whose cache is handed over between pools.
        facts: folders of the user's own facts.

    Raises:
        UnknownName: no such model or system.
        BadInput: an unknown engine, a layout that is not legal, or a chip that does not batch.
        DoesNotFit, NoEvidence: the model does not fit, or a link is not published.
    """
    prepared, _ = model(name, tuple(facts))
    pools = tuple(_pool(pool, prepared, known) for pool in stated.pools)
    options: dict[str, Any] = {
        "router": stated.router,
        "most_waiting": stated.most_waiting,
        "prefix_cache": stated.prefix_cache,
        "scaling": stated.scaling,
        "ttft_limit": stated.ttft_limit,
        "over_limit": stated.over_limit,
    }
    if len(pools) > 1:
        options["transfer"] = handover(pools[0], pools[1], context)
    return Cluster(pools, **options)


def chip_hour(stated: Stated, known: Catalogue, kind: str) -> tuple[Price | None, str]:
    """Return the mean price of a chip-hour over all pools and a note; None if one is unpublished.

    Args:
        stated: the deployment.
        known: the facts.
        kind: own, contract, list or spot.
    """
    found = [price_of(known, known.system(pool.system), kind) for pool in stated.pools]
    prices = [price for price, _ in found if price is not None]
    note = next((note for _, note in found if note), "")
    if len(prices) < len(found):
        return None, note
    chips = [pool.layout.chips * pool.replicas for pool in stated.pools]
    total = sum(price.usd_per_hour * count for price, count in zip(prices, chips, strict=True))
    return replace(prices[-1], usd_per_hour=total / sum(chips)), note


def _pool(pool: StatedPool, prepared: Model, known: Catalogue) -> Pool:
    system = known.system(pool.system)
    if system.chip.kind == "dataflow":
        raise BadInput(
            f"{system.name} pipelines its layers over chips; the simulator knows batching engines only.",
            "`assay estimate` answers for it.",
        )
    engines = known.table("engines/engines")["engines"]
    if pool.engine and pool.engine not in engines:
        raise BadInput(f"No engine {pool.engine!r}.", f"Known: {', '.join(engines)}.")
    return deploy(
        prepared,
        system,
        legal(pool.layout.label(), prepared, system),
        engine(pool.engine),
        weights=pool.weights or "native",
        kv=default_kv(system, pool.kv),
        replicas=pool.replicas,
        role=pool.role,
        budget=pool.budget,
        sequences=pool.sequences,
        drafts=pool.drafts,
        acceptance=pool.acceptance or None,
        tiers=pool.tiers,
        swap=pool.preempt == "swap",
    )
