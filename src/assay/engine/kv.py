"""The prefix cache of a replica: bytes a token, room beside running sequences, tiers and their bandwidth.

What is cached of a prompt lies on the chips as a running sequence does, so that every chip keeps and loads
its own part. A recurrent state cannot be cut at any token: it is kept as a snapshot every so many tokens,
and a hit ends at one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.replica import Replica
from assay.errors import NoEvidence
from assay.llm.operators import Cache
from assay.llm.shard import Table, cache_bytes
from assay.units import parse_quantity

Array = NDArray[np.float64]

#: Tokens of the smallest block that engines cache; snapshots lie at a multiple of it.
BLOCK = 16


def position_bytes(table: Table) -> Array:
    """Return bytes on one chip that one cached token takes, states apart, (L, 1).

    A sliding window keeps every token of a cached prefix, since a later prompt may leave it anywhere.
    """
    kept = tuple(replace(item, window=inf, state_bytes={}) for item in table.caches)
    return cache_bytes(replace(table, caches=kept), np.ones((1, 1)))


def snapshot_bytes(table: Table) -> Array:
    """Return bytes on one chip of one snapshot of all recurrent states, (L, 1); 0 without any."""
    states = tuple(replace(item, position_bytes={}) for item in table.caches if item.state_bytes)
    return cache_bytes(replace(table, caches=states), np.ones((1, 1)))


def snapshot_tokens(caches: Sequence[Cache], kv_format: str) -> int:
    """Return the tokens between two snapshots that an engine chooses, 0 for a model without a state.

    vLLM's rule for hybrid models: blocks of one size for all layers, as short as lets the block of an
    attention layer hold the state of a recurrent one, in multiples of 16 tokens (528 for Qwen3.5 4B:
    https://github.com/vllm-project/vllm/issues/40696). A model with states alone has no such rule.

    Raises:
        NoEvidence: states, but no layer whose cache grows.
    """
    states = [size for item in caches if (size := _bytes(item.state_bytes, kv_format))]
    if not states:
        return 0
    grows = [size / item.stride for item in caches if (size := _bytes(item.position_bytes, kv_format))]
    if not grows:
        raise NoEvidence(
            "No layer of this model has a cache that grows: nothing says how often its state is kept.",
            "Give the tokens between two snapshots with --snapshot.",
        )
    return int(np.ceil(max(states) / max(grows) / BLOCK)) * BLOCK


def _bytes(sizes: Mapping[str, float], kv_format: str) -> float:
    return float(sizes.get(kv_format, sizes.get("bf16", 0.0)))


def room(copy: Replica, sequences: ArrayLike, context: float) -> Array:
    """Return bytes of one chip left beside weights, activations and running sequences, (L, N).

    Args:
        copy: the replica.
        sequences: running sequences of the replica, over all attention-DP groups.
        context: mean tokens each of them holds.
    """
    each = cache_bytes(copy.table, np.array([[context]]))
    free = (copy.usable - copy.table.weight_bytes - copy.working)[:, None]
    running = np.asarray(sequences, dtype=np.float64) / copy.table.degrees.dp[:, None]
    return np.asarray(np.maximum(free - running * each, 0.0))


def host_bandwidth(system: System) -> float:
    """Return the rate from host memory to one chip, B/s: as measured on the chip, else its datasheet's.

    Raises:
        NoEvidence: nobody has published it.
    """
    rows = catalogue().table("measurements/achievable")["rows"]
    for row in rows:
        if row["chip"] == system.chip.id and row["category"] == "host_link":
            return parse_quantity(f"{row['value']} {row['unit']}", "bandwidth", what="host_link")
    for facts in (system.facts, system.chip.facts):
        fact = facts.get("host_link")
        if fact is not None and isinstance(fact.value, int | float):
            return parse_quantity(f"{fact.value} {fact.unit}", "bandwidth", what="host_link")
    raise NoEvidence(
        f"The rate between host memory and a chip of {system.name} is not published.",
        "Give it with --kv-host-bandwidth.",
    )
