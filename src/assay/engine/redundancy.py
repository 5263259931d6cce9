"""Redundant experts: copies of the busiest experts, what they even out and what memory they take.

The load of experts is uneven by far more than chance, and stays so over many steps. Copies share the load
of an expert; the slots of all ranks are then filled so that ranks are even (DeepSeek's EPLB, global
policy: https://github.com/deepseek-ai/EPLB). Without a recorded distribution the loads are log-normal with
the variation that was measured; what placing them leaves is the excess load of the busiest rank.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log1p, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.load import catalogue
from assay.llm.shard import Table

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Copies:
    """Redundant experts of a deployment.

    Attributes:
        redundant: copies beside the experts of one layer, before they are rounded up to fill every rank.
        variation: standard deviation of the experts' loads over their mean.
    """

    redundant: int
    variation: float


def measured_variation() -> float:
    """Return the measured variation of expert loads within a layer, standard deviation over mean."""
    return float(catalogue().table("engines/experts")["variation"]["value"])


def tried() -> tuple[int, ...]:
    """Return the numbers of redundant experts that a plan tries."""
    return tuple(int(count) for count in catalogue().table("engines/experts")["redundant"]["value"])


def spare_slots(experts: int, redundant: int, ranks: int) -> int:
    """Return the copies that fill every rank evenly, at least `redundant`: engines ask for whole slots."""
    return -(-(experts + redundant) // ranks) * ranks - experts


@lru_cache(maxsize=64)
def expert_loads(experts: int, variation: float) -> tuple[float, ...]:
    """Return loads of a layer's experts, mean 1, greatest first: the quantiles of a log-normal."""
    sigma = sqrt(log1p(variation**2))
    normal = NormalDist()
    loads = np.exp([sigma * normal.inv_cdf((place + 0.5) / experts) for place in reversed(range(experts))])
    return tuple(float(load) for load in loads / loads.mean())


@lru_cache(maxsize=512)
def excess(experts: int, redundant: int, ranks: int, variation: float) -> float:
    """Return the load of the busiest rank over the mean, less one, with experts copied and placed evenly.

    Args:
        experts: routed experts of a layer.
        redundant: copies; with the experts they fill all ranks evenly.
        ranks: ranks that hold them.
        variation: standard deviation of the experts' loads over their mean.
    """
    loads = expert_loads(experts, variation)
    # each copy goes to the expert with the most load a copy
    heap = [(-load, load, 1) for load in loads]
    heapq.heapify(heap)
    for _ in range(redundant):
        _, load, count = heap[0]
        heapq.heapreplace(heap, (-load / (count + 1), load, count + 1))
    slots = sorted((load / count for _, load, count in heap for _ in range(count)), reverse=True)
    # the heaviest slot left goes to the lightest rank with a place left
    free = len(slots) // ranks
    lightest = [(0.0, rank, free) for rank in range(ranks)]
    heapq.heapify(lightest)
    full: list[float] = []
    for slot in slots:
        held, rank, left = heapq.heappop(lightest)
        if left == 1:
            full.append(held + slot)
        else:
            heapq.heappush(lightest, (held + slot, rank, left - 1))
    return max(full) * ranks / experts - 1.0


def experts_of(table: Table) -> int:
    """Return the routed experts of a layer, 0 for a dense model."""
    return max((kernel.operator.experts for kernel in table.kernels), default=0)


def slots_of(table: Table, copies: Copies) -> Array:
    """Return the redundant experts of each layout, (L, 1): none where experts are not spread."""
    experts = experts_of(table)
    counts = [
        spare_slots(experts, copies.redundant, int(ranks)) if ranks > 1 and experts else 0
        for ranks in table.degrees.ep
    ]
    return np.array(counts, dtype=np.float64)[:, None]


def busiest(table: Table, copies: Copies) -> Array:
    """Return the excess load of the busiest rank of each layout beyond chance, (L, 1)."""
    experts, slots = experts_of(table), slots_of(table, copies)[:, 0]
    found = [
        excess(experts, int(count), int(ranks), copies.variation) if ranks > 1 and experts else 0.0
        for count, ranks in zip(slots, table.degrees.ep, strict=True)
    ]
    return np.array(found, dtype=np.float64)[:, None]


def copy_bytes(table: Table, copies: Copies) -> Array:
    """Return bytes on one chip that redundant experts take, (L,)."""
    share = slots_of(table, copies) / max(experts_of(table), 1)
    held = sum((kernel.weight_bytes for kernel in table.kernels if kernel.operator.experts), 0.0 * share)
    return np.asarray((held * share)[:, 0])


def with_copies(table: Table, copies: Copies) -> Table:
    """Return the sharded model with its redundant experts: resident, and read like any other expert."""
    grown = 1.0 + slots_of(table, copies) / max(experts_of(table), 1)
    kernels = tuple(
        replace(kernel, weight_bytes=kernel.weight_bytes * grown) if kernel.operator.experts else kernel
        for kernel in table.kernels
    )
    return replace(table, kernels=kernels, weight_bytes=table.weight_bytes + copy_bytes(table, copies))
