"""Sharding: one operator table on the busiest chip, for many layouts at once.

`shard` turns the unsharded operators of a model into rows whose coefficients are arrays over layouts.
A *local* row counts tokens of one attention-DP group, a *stage* row counts the tokens of all groups of a
pipeline stage (routed experts see them all). Costs are summed over the instances of an operator, so that a
row is the whole model's share of one kernel, all pipeline stages in series.

What is replicated and what is sent:

* TP divides heads, columns and the vocabulary; KV heads are replicated once TP exceeds them, the latent of
  MLA always; router, norms and low-rank down-projections are replicated. Each attention output and each
  dense FFN output is all-reduced over the TP ranks; logits are gathered.
* EP divides the experts over `ep` chips of a stage, the remaining factor splits their columns. With
  attention DP every token is dispatched to the chips of its experts and combined back, and shared experts
  are reduced over the TP ranks of a group; without it all chips hold all tokens and one all-reduce joins
  the partial sums.
* DP replicates attention, dense and shared-expert weights, and splits the sequences.
* CP splits prompt tokens, and the cache of every sequence; weights are replicated.
* PP divides the layers; one activation is sent per boundary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from assay.llm.layout import Layout
from assay.llm.operators import Cache, Operator

Array = NDArray[np.float64]

#: Bytes of one exchanged activation element: reduced in bf16; experts receive fp8 and return bf16.
REDUCE_BYTES = 2.0
DISPATCH_BYTES = 1.0
COMBINE_BYTES = 2.0
ACTIVATION_BYTES = 2.0


@dataclass(frozen=True, slots=True)
class Degrees:
    """Parallel degrees of L layouts, each an array of shape (L,)."""

    tp: Array
    pp: Array
    ep: Array
    dp: Array
    cp: Array

    @classmethod
    def of(cls, layouts: Sequence[Layout]) -> Degrees:
        """Collect the degrees of `layouts`."""
        columns = np.array([(x.tp, x.pp, x.ep, x.dp, x.cp) for x in layouts], dtype=np.float64).T
        return cls(*columns)

    def take(self, rows: NDArray[np.intp]) -> Degrees:
        """Return the degrees of the layouts at `rows`."""
        return Degrees(self.tp[rows], self.pp[rows], self.ep[rows], self.dp[rows], self.cp[rows])

    @property
    def stage(self) -> Array:
        """Chips of one pipeline stage, (L,)."""
        return self.tp * self.dp * self.cp

    @property
    def chips(self) -> Array:
        """Chips of one replica, (L,)."""
        return self.stage * self.pp


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator on the busiest chip; arrays are (L, 1), summed over its instances.

    Attributes:
        operator: the unsharded operator.
        stage_rows: whether its rows are the tokens of the whole stage (experts), not of one DP group.
        weight_format: storage format of its weights.
        launches: kernels started in one pass.
        flops, pair_flops, prefix_flops: FLOPs per row, per (row, position), per prefix position.
        weight_bytes: bytes of weights on the chip (experts: all resident ones).
        row_bytes: activation and stream bytes per row.
        cache_bytes: cache bytes per (sequence, visible position).
        state_bytes: state bytes per sequence.
        fill: rows that one GEMM sees per row of the table (1, or top-k / experts).
    """

    operator: Operator
    stage_rows: bool
    weight_format: str
    launches: Array
    flops: Array
    pair_flops: Array
    prefix_flops: Array
    weight_bytes: Array
    row_bytes: Array
    cache_bytes: Array
    state_bytes: Array
    fill: float

    def take(self, rows: NDArray[np.intp]) -> Kernel:
        """Return the kernel of the layouts at `rows`."""
        return _rows_of(self, rows)


@dataclass(frozen=True, slots=True)
class Message:
    """One collective on the busiest chip; arrays are (L, 1), summed over its instances.

    Attributes:
        name: where it stands (`attention.out`).
        op: all_reduce, all_gather, dispatch, combine or send.
        ranks: chips taking part.
        launches: how often it runs in one pass (0 where the layout does not need it).
        row_bytes: payload per row and launch, in the convention of `timing.collectives`.
        decode_rows, prefill_rows, prompt_rows: rows per decode token, prompt token, finished prompt.
    """

    name: str
    op: str
    ranks: Array
    launches: Array
    row_bytes: Array
    decode_rows: float
    prefill_rows: float
    prompt_rows: float

    def take(self, rows: NDArray[np.intp]) -> Message:
        """Return the message of the layouts at `rows`."""
        return _rows_of(self, rows)


Part = TypeVar("Part", Kernel, Message)


def _rows_of(part: Part, rows: NDArray[np.intp]) -> Part:
    make: Any = type(part)
    values = [getattr(part, name) for name in make.__slots__]
    made: Part = make(*[value[rows] if isinstance(value, np.ndarray) else value for value in values])
    return made


@dataclass(frozen=True, slots=True)
class Table:
    """A model sharded by L layouts: kernels, messages, memory of one chip.

    Attributes:
        layouts: the layouts, L of them.
        degrees: their degrees as arrays.
        kernels, messages: what one pass runs.
        weight_bytes: resident weights of one chip, (L,).
        caches: what one sequence keeps, unsharded; `kv_format` its number format.
        hidden: model width, elements.
        uneven: time of the longest pipeline stage over the mean, (L,).
    """

    layouts: tuple[Layout, ...]
    degrees: Degrees
    kernels: tuple[Kernel, ...]
    messages: tuple[Message, ...]
    weight_bytes: Array
    caches: tuple[Cache, ...]
    kv_format: str
    hidden: float
    uneven: Array

    def take(self, rows: NDArray[np.intp], kernels: tuple[Kernel, ...] | None = None) -> Table:
        """Return the table of the layouts at `rows`; `kernels` where they were taken already."""
        return replace(
            self,
            layouts=tuple(self.layouts[int(row)] for row in rows),
            degrees=self.degrees.take(rows),
            kernels=kernels or tuple(kernel.take(rows) for kernel in self.kernels),
            messages=tuple(message.take(rows) for message in self.messages),
            weight_bytes=self.weight_bytes[rows],
            uneven=self.uneven[rows],
        )


def shard(
    operators: Sequence[Operator],
    caches: Sequence[Cache],
    layouts: Sequence[Layout],
    weight_format: Mapping[str, str],
    element_bytes: Mapping[str, float],
    kv_format: str,
    hidden: int,
    layers: int,
) -> Table:
    """Shard a model by many layouts.

    Args:
        operators: of one forward pass (`assay.llm.forward.operators`).
        caches: of the model (`assay.llm.memory.caches`).
        layouts: L layouts.
        weight_format: weight group -> storage format.
        element_bytes: storage format -> bytes per element, scales included.
        kv_format: `bf16` or `fp8`.
        hidden: model width, elements.
        layers: of the model; a pipeline stage holds whole layers.
    """
    degrees = Degrees.of(layouts)
    kernels: list[Kernel] = []
    messages: list[Message] = []
    always = any(item.name.startswith(("moe.shared", "moe.dense")) for item in operators)
    for operator in operators:
        if operator.kind == "exchange":
            messages.extend(_exchange(operator, degrees))
            if operator.experts and always:
                messages.append(_shared(operator, degrees, hidden))
            continue
        kernels.append(_kernel(operator, degrees, weight_format, element_bytes, kv_format))
        if operator.split == "vocab" and operator.kind == "gemm":
            messages.append(_logits(operator, degrees))
    messages.append(_stages(hidden, degrees))
    # `_kernel` sums over instances of all stages; a chip holds one stage of them.
    resident = sum((k.weight_bytes[:, 0] for k in kernels), np.zeros(len(layouts))) / degrees.pp
    return Table(
        layouts=tuple(layouts),
        degrees=degrees,
        kernels=tuple(kernels),
        messages=tuple(messages),
        weight_bytes=resident,
        caches=tuple(caches),
        kv_format=kv_format,
        hidden=float(hidden),
        uneven=np.ceil(layers / degrees.pp) * degrees.pp / layers,
    )


def share(operator: Operator, degrees: Degrees) -> tuple[Array, Array]:
    """Return the share of an operator's weights and of a row's work that the busiest chip has, (L,) each.

    Heads that do not divide are rounded up: 12 heads on TP8 leave two on the busiest chip.
    """
    tp, one = degrees.tp, np.ones_like(degrees.tp)
    if operator.split == "experts":
        experts = max(operator.experts, 1)
        held = np.ceil(experts / degrees.ep) / experts / (degrees.stage / degrees.ep)
        return held, one / degrees.stage
    if operator.split == "kv_heads" and operator.kv_heads:
        part = np.ceil(operator.kv_heads / tp) / operator.kv_heads
    elif operator.split == "heads" and operator.heads:
        part = np.ceil(operator.heads / tp) / operator.heads
    elif operator.split in ("heads", "kv_heads", "columns", "rows", "vocab"):
        part = one / tp
    else:
        part = one
    return part, part


def _kernel(
    operator: Operator,
    degrees: Degrees,
    weight_format: Mapping[str, str],
    element_bytes: Mapping[str, float],
    kv_format: str,
) -> Kernel:
    weights, work = share(operator, degrees)
    kind = weight_format.get(operator.group, "bf16")
    heads = operator.kv_heads or 1
    cache_share = np.ceil(heads / degrees.tp) / heads / degrees.cp
    is_experts = operator.split == "experts"
    # a column-split operator reads whole rows and writes its part; a row-split one the other way round
    reads = work if operator.split in ("rows", "experts") else np.ones_like(work)
    writes = np.ones_like(work) if operator.split in ("rows", "none") else work
    moved = (operator.row_in * reads + operator.row_out * writes) * ACTIVATION_BYTES
    moved = moved + operator.stream_bytes * (work if is_experts else 1.0)
    positions = work / degrees.cp if operator.kind.startswith("attention") else work

    def column(values: Array) -> Array:
        return np.asarray(operator.count * values)[:, None]

    return Kernel(
        operator=operator,
        stage_rows=is_experts,
        weight_format=kind,
        launches=column(operator.launches * np.ones_like(work)),
        flops=column(operator.flops * work),
        pair_flops=column(operator.pair_flops * positions),
        prefix_flops=column(operator.prefix_flops * positions),
        weight_bytes=column(operator.weights * element_bytes[kind] * weights),
        row_bytes=column(moved),
        cache_bytes=column(_by_format(operator.cache_bytes, kv_format) * cache_share),
        state_bytes=column(_by_format(operator.state_bytes, kv_format) * work),
        fill=operator.topk / operator.experts if is_experts and operator.experts else 1.0,
    )


def _by_format(table: Mapping[str, float], kv_format: str) -> float:
    if not table:
        return 0.0
    return float(table.get(kv_format, table.get("bf16", 0.0)))


def _exchange(operator: Operator, degrees: Degrees) -> list[Message]:
    """Turn one exchange point into the collectives that each layout needs."""
    width, count = operator.row_out, operator.count
    rows = (operator.decode_rows, operator.prefill_rows, operator.prompt_rows)
    if not operator.experts:
        needed = np.where(degrees.tp > 1, count, 0.0)
        return [
            _message(operator.name, "all_reduce", degrees.tp, needed, width * REDUCE_BYTES / degrees.cp, rows)
        ]
    split = degrees.dp * degrees.cp > 1
    reduce = np.where(~split & (degrees.stage > 1), count, 0.0)
    # expected number of distinct chips that the top-k experts of a token sit on, its own excluded
    away = degrees.ep * (1 - (1 - 1 / degrees.ep) ** operator.topk) * (1 - 1 / degrees.ep)
    sent = np.where(split & (degrees.ep > 1), count, 0.0)
    payload = width * away / degrees.tp
    gathered = np.where(split & (degrees.ep <= 1), count, 0.0)
    return [
        _message(operator.name, "all_reduce", degrees.stage, reduce, width * REDUCE_BYTES, rows),
        _message(f"{operator.name}.dispatch", "dispatch", degrees.ep, sent, payload * DISPATCH_BYTES, rows),
        _message(f"{operator.name}.combine", "combine", degrees.ep, sent, payload * COMBINE_BYTES, rows),
        # no EP: every chip holds columns of all experts, so all tokens of the stage are gathered and reduced
        _message(
            f"{operator.name}.gather",
            "all_reduce",
            degrees.stage,
            gathered,
            width * REDUCE_BYTES * degrees.dp,
            rows,
        ),
    ]


def _shared(operator: Operator, degrees: Degrees, hidden: int) -> Message:
    """Return the reduction of shared experts: with attention DP no all-reduce of the mixture joins them."""
    needed = np.where((degrees.dp * degrees.cp > 1) & (degrees.tp > 1), operator.count, 0.0)
    rows = (operator.decode_rows, operator.prefill_rows, operator.prompt_rows)
    return _message("moe.shared.out", "all_reduce", degrees.tp, needed, hidden * REDUCE_BYTES, rows)


def _logits(operator: Operator, degrees: Degrees) -> Message:
    needed = np.where(degrees.tp > 1, operator.count, 0.0)
    rows = (operator.decode_rows, operator.prefill_rows, operator.prompt_rows)
    return _message("head.gather", "all_gather", degrees.tp, needed, operator.outer * REDUCE_BYTES, rows)


def _stages(hidden: int, degrees: Degrees) -> Message:
    payload = hidden * ACTIVATION_BYTES / degrees.tp / degrees.cp
    return _message("stage.send", "send", np.minimum(degrees.pp, 2), degrees.pp - 1, payload, (1.0, 1.0, 0.0))


def _message(
    name: str,
    op: str,
    ranks: Array,
    launches: Array,
    row_bytes: Array | float,
    rows: tuple[float, float, float],
) -> Message:
    payload = np.broadcast_to(np.asarray(row_bytes, dtype=np.float64), ranks.shape)
    return Message(name, op, ranks[:, None], np.asarray(launches)[:, None], payload[:, None], *rows)


def cache_bytes(table: Table, context: Array) -> Array:
    """Return cache and state bytes that one sequence of `context` tokens holds on one chip.

    A DP group keeps only its own sequences; TP divides the KV heads (a latent has one and is replicated);
    CP divides the positions; a pipeline stage keeps its layers.

    Args:
        table: the sharded model.
        context: tokens in cache, broadcastable to (L, N).

    Returns:
        Bytes, (L, N).
    """
    degrees = table.degrees
    total = np.zeros(np.broadcast_shapes((len(table.layouts), 1), np.shape(context)))
    for cache in table.caches:
        part = (np.ceil(cache.kv_heads / degrees.tp) / cache.kv_heads / degrees.pp)[:, None]
        stored = np.minimum(context / cache.stride, cache.window) / degrees.cp[:, None]
        position = _by_format(cache.position_bytes, table.kv_format)
        state = _by_format(cache.state_bytes, table.kv_format)
        total = total + cache.count * part * (position * stored + state)
    return total
