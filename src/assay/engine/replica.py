"""A replica: a model in its formats, sharded by many layouts on a system; what fits, and the step it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.schema import System
from assay.engine.overheads import Engine
from assay.engine.redundancy import Copies, busiest, with_copies
from assay.engine.step import Step, Workload, compile_step
from assay.llm.architecture import Architecture
from assay.llm.formats import BYTES, weight_formats
from assay.llm.forward import draft_operators, operators
from assay.llm.layout import Layout
from assay.llm.memory import caches
from assay.llm.operators import Cache, Operator
from assay.llm.shard import Table, cache_bytes, shard

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model ready to be sharded: its operators and caches, computed once. Compared by identity.

    Attributes:
        name: name in the catalogue, or of the file.
        architecture: the architecture.
        operators: of one forward pass.
        caches: of one sequence.
    """

    name: str
    architecture: Architecture
    operators: tuple[Operator, ...]
    caches: tuple[Cache, ...]

    @classmethod
    def of(cls, name: str, architecture: Architecture) -> Model:
        """Count the operators and caches of an architecture."""
        return cls(name, architecture, tuple(operators(architecture)), tuple(caches(architecture)))


@dataclass(frozen=True, slots=True)
class Replica:
    """L layouts of one model in one pair of formats on one system.

    Attributes:
        model, system, engine: what runs, where, in what.
        table: the sharded model.
        weights, kv: formats chosen.
        usable: bytes of a chip that weights and cache may take.
        working: bytes of a chip for activations of the largest step, (L,).
        copies: redundant experts; None = none counted, and ranks as even as engines usually keep them.
    """

    model: Model
    system: System
    engine: Engine
    table: Table
    weights: str
    kv: str
    usable: float
    working: Array
    copies: Copies | None = None

    def capacity(self, context: ArrayLike) -> Array:
        """Return the sequences of `context` tokens that fit beside the weights, (L, N); 0 = none."""
        degrees = self.table.degrees
        each = cache_bytes(self.table, np.asarray(context, dtype=np.float64))
        room = (self.usable - self.table.weight_bytes - self.working)[:, None]
        fitting = np.floor(np.maximum(room, 0.0) / np.maximum(each, 1.0))
        # a pipeline stage holds the cache of all microbatches, a DP group only its own sequences
        return np.asarray(
            np.minimum(fitting, self.engine.sequences * degrees.pp[:, None]) * degrees.dp[:, None]
        )

    def step(self, workload: Workload, skew: Array | float) -> Step:
        """Compile the step of all layouts for a workload, with its draft passes where it speculates."""
        drafter = None
        busy = skew if self.copies is None else busiest(self.table, self.copies)
        if workload.drafts:
            drafter = _table(self.model, self.table.layouts, self.weights, self.kv, drafting=True)
        return compile_step(self.table, self.system, workload, busy, drafter)

    def memory(self, index: int, sequences: float, context: float) -> dict[str, float]:
        """Return bytes of one chip by term for one layout holding `sequences` of `context` tokens."""
        degrees = self.table.degrees
        local = np.ceil(sequences / float(degrees.dp[index]))
        cache = float(cache_bytes(self.table, np.array([[context]]))[index, 0]) * local
        capacity = self.system.chip.memory_bytes
        return {
            "weights": float(self.table.weight_bytes[index]),
            "cache": cache,
            "activations": float(self.working[index]),
            "reserved": capacity - self.usable,
            "capacity": capacity,
        }


def replica(
    model: Model,
    system: System,
    layouts: tuple[Layout, ...],
    weights: str,
    kv: str,
    engine: Engine,
    copies: Copies | None = None,
) -> Replica:
    """Shard a model by many layouts in one pair of formats.

    Args:
        model: the model.
        system: where it runs.
        layouts: L layouts.
        weights: choice of `assay.llm.formats.weight_formats` (native, bf16, fp8, fp4, int4, int8).
        kv: `bf16` or `fp8`.
        engine: its memory share and budget set what is left for the cache.
        copies: redundant experts to hold and to even ranks with.
    """
    table = _table(model, layouts, weights, kv)
    if copies is not None:
        table = with_copies(table, copies)
    return Replica(
        model=model,
        system=system,
        engine=engine,
        table=table,
        weights=weights,
        kv=kv,
        usable=system.chip.memory_bytes * engine.memory,
        working=working_bytes(table, engine.budget),
        copies=copies,
    )


@lru_cache(maxsize=512)
def _table(
    model: Model, layouts: tuple[Layout, ...], weights: str, kv: str, *, drafting: bool = False
) -> Table:
    groups = weight_formats(model.architecture, weights)
    run = drafter_operators(model) if drafting else model.operators
    shape = model.architecture
    return shard(run, model.caches, layouts, groups, BYTES, kv, shape.hidden, shape.num_layers)


def drafter_operators(model: Model) -> tuple[Operator, ...]:
    """Return the operators of one draft pass.

    A model without its own draft head is given one decoder layer's share of its operators, without routed
    experts, and its LM head: the size of EAGLE-type heads.
    """
    own = tuple(draft_operators(model.architecture))
    if own:
        return own
    part = 1.0 / model.architecture.num_layers
    return tuple(
        item if item.split == "vocab" else replace(item, count=item.count * part)
        for item in model.operators
        if item.kind not in ("experts", "gather") and not item.experts
    )


def working_bytes(table: Table, budget: float) -> Array:
    """Return activation bytes of the largest step on one chip, (L,).

    The residual stream in and out (bf16), the widest operator's input and output, and fp32 logits of one
    row a sequence are alive at once; CUDA graphs and workspaces are in the engine's reserved share.
    """
    degrees = table.degrees
    widest = np.zeros_like(degrees.tp)
    for kernel in table.kernels:
        if kernel.operator.kind in ("gemm", "experts") and kernel.operator.split != "vocab":
            each = kernel.row_bytes[:, 0] / max(kernel.operator.count, 1.0)
            widest = np.maximum(widest, each * (degrees.dp if kernel.stage_rows else 1.0))
    return np.asarray(budget * (4.0 * table.hidden + widest) / degrees.cp)


def default_kv(system: System, wanted: str) -> str:
    """Return the KV format: as asked, else fp8 where the chip computes fp8, else bf16."""
    if wanted:
        return wanted
    return "fp8" if system.chip.peak_flops.get("fp8") else "bf16"
