"""One engine step on the busiest chip: decode, prefill, or both in one batch (chunked prefill).

`compile_step` folds a sharded model, a chip's rates and a workload into a few coefficients a kernel; the
compiled step then costs a handful of array operations a kernel for any number of operating points.

For a kernel with n rows, F FLOPs and W weight bytes, the time is

    t_c = F (n + n_half) / R_c          t_m = (W + A n + C s T) / R_m
    t   = (t_c^4 + t_m^4)^(1/4) + t_0

with A activation bytes a row, C cache bytes a position, s sequences with T visible positions each (see
`assay.timing.roofline.kernel_seconds`). Arrays are (L, N): L layouts, N operating points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.schema import System
from assay.engine.routing import coverage, imbalance, overlap_share
from assay.llm.operators import Operator
from assay.llm.shard import Kernel, Message, Table
from assay.timing.collectives import link
from assay.timing.rates import Rates, rates

Array = NDArray[np.float64]

#: Decode tokens, prompt tokens and finished prompts of one step; None where it has none.
Tokens: TypeAlias = tuple[Array, Array | None, Array | None]
#: (cap, stride) -> positions seen per decode token, prompt token and finished prompt (see `visible`).
Seen: TypeAlias = dict[tuple[float, float], tuple[Array, ...]]


@dataclass(frozen=True, slots=True)
class Workload:
    """Lengths of the requests that the steps serve.

    Attributes:
        isl, osl: input and output tokens.
        cached: share of the input found in a prefix cache, 0 to 1.
        chunk: largest prompt chunk of one step, tokens.
        drafts, yields: draft tokens verified with each decode token, tokens gained by both (1 without).
        beams: sequences of a request that a beam search decodes; each reads its whole cache.
        fetch: s to bring cached input from host memory or SSD before a prompt starts.
    """

    isl: Array | float
    osl: Array | float
    cached: Array | float = 0.0
    chunk: float = 8192.0
    drafts: float = 0.0
    yields: Array | float = 1.0
    beams: float = 1.0
    fetch: Array | float = 0.0

    def take(self, rows: NDArray[np.intp]) -> Workload:
        """Return the workload of the layouts at `rows`, where cached input differs between layouts."""
        return replace(self, cached=_part(self.cached, rows), fetch=_part(self.fetch, rows))

    @property
    def fresh(self) -> Array:
        """Input tokens that must be computed, at least one."""
        return np.maximum(np.asarray(self.isl, dtype=np.float64) * (1.0 - np.asarray(self.cached)), 1.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """A kernel with everything that does not change between operating points folded in, s per unit.

    `compute = compute_0 + sum(rows * compute_rows)`, likewise memory; the three entries of each are per
    decode token, per prompt token, per finished prompt. `expert` holds what expert coverage needs.
    """

    kernel: Kernel
    rates: Rates
    compute_0: Array
    compute: tuple[Array, ...]
    memory_0: Array
    memory: tuple[Array, ...]

    @property
    def arithmetic(self) -> bool:
        """Whether the kernel computes anything, or depends on which experts are visited."""
        operator = self.kernel.operator
        return bool(operator.experts or operator.flops or operator.pair_flops)

    def take(self, rows: NDArray[np.intp]) -> Cost:
        """Return the cost of the layouts at `rows`."""
        return Cost(
            kernel=self.kernel.take(rows),
            rates=self.rates,
            compute_0=self.compute_0[rows],
            compute=tuple([part[rows] for part in self.compute]),
            memory_0=self.memory_0[rows],
            memory=tuple([part[rows] for part in self.memory]),
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """A message folded likewise: seconds are `launches * min_k(latency_k + bytes / rate_k)`."""

    message: Message
    latency: Array
    seconds_per_row: Array
    rows: tuple[float, float, float]

    def take(self, rows: NDArray[np.intp]) -> Traffic:
        """Return the traffic of the layouts at `rows`."""
        return Traffic(
            message=self.message.take(rows),
            latency=self.latency[:, rows],
            seconds_per_row=self.seconds_per_row[:, rows],
            rows=self.rows,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A compiled step: evaluate it with `seconds`.

    Attributes:
        table, system, workload: what it was compiled from.
        costs, traffic: kernels and messages, folded.
        overhead: s of kernel launches, (L, 1).
        joined: the costs that have arithmetic; `linear` sums the others, which only move bytes: s, and s
            per decode token, prompt token and finished prompt.
        skew: excess load of the busiest expert rank beyond chance.
        drafter: one draft pass, run `workload.drafts` times before a speculative step; None without drafts.
        overlap: share of the expert exchange that two-batch overlap hides, (L, 1); 0 where it is not used.
    """

    table: Table
    system: System
    workload: Workload
    costs: tuple[Cost, ...]
    traffic: tuple[Traffic, ...]
    overhead: Array
    skew: Array | float
    joined: tuple[Cost, ...]
    linear: tuple[Array, ...]
    drafter: Step | None = None
    overlap: Array | float = 0.0

    def take(self, rows: NDArray[np.intp]) -> Step:
        """Return the step of the layouts at `rows`."""
        costs = tuple(cost.take(rows) for cost in self.costs)
        return replace(
            self,
            table=self.table.take(rows, tuple(cost.kernel for cost in costs)),
            workload=self.workload.take(rows),
            costs=costs,
            joined=tuple(cost for cost in costs if cost.arithmetic),
            linear=tuple(part[rows] for part in self.linear),
            traffic=tuple(item.take(rows) for item in self.traffic),
            overhead=self.overhead[rows],
            drafter=self.drafter.take(rows) if self.drafter else None,
            skew=_part(self.skew, rows),
            overlap=_part(self.overlap, rows),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step carries in one pipeline stage, arrays broadcastable to (L, N).

    Attributes:
        decode: decode sequences of the busiest attention-DP group.
        decode_stage: decode sequences of all groups of the stage.
        prompt: prompt tokens of the busiest group; `prompt_stage` of all groups. None = a decode-only step.
        finished: prompts that end in this step in the busiest group; `finished_stage` in all.
    """

    decode: ArrayLike
    decode_stage: ArrayLike
    prompt: ArrayLike | None = None
    prompt_stage: ArrayLike | None = None
    finished: ArrayLike = 0.0
    finished_stage: ArrayLike = 0.0


def visible(start: ArrayLike, end: ArrayLike, cap: float, stride: float = 1.0) -> Array:
    """Return the mean over contexts t in [start, end] of min(t / stride, cap), positions.

    Exact integral of the clipped line; `start == end` gives the value there.
    """
    low = np.asarray(start, dtype=np.float64) / stride
    high = np.maximum(np.asarray(end, dtype=np.float64) / stride, low)
    below_low, below_high = np.minimum(low, cap), np.minimum(high, cap)
    if np.isinf(cap):
        return np.asarray((low + high) / 2)
    area = (below_high**2 - below_low**2) / 2 + cap * ((high - below_high) - (low - below_low))
    span = high - low
    return np.where(span > 0, area / np.where(span > 0, span, 1.0), below_low)


def compile_step(
    table: Table, system: System, workload: Workload, skew: Array | float = 0.0, drafter: Table | None = None
) -> Step:
    """Fold a sharded model, a system and a workload into a step.

    Args:
        table: the sharded model.
        system: where it runs.
        workload: lengths, prefix-cache share, chunk, drafts.
        skew: excess load of the busiest expert rank beyond chance, as a share (0 = uniform routing).
        drafter: the draft model sharded by the same layouts, for speculative decoding.
    """
    drafting = None
    if drafter is not None:
        drafting = compile_step(drafter, system, replace(workload, drafts=0.0, yields=1.0), skew)
    known: Seen = {}
    costs = tuple([_cost(kernel, table, system, workload, known) for kernel in table.kernels])
    traffic = tuple(_traffic(message, system) for message in table.messages if np.any(message.launches > 0))
    overhead = sum(
        (cost.kernel.launches * cost.rates.overhead for cost in costs), np.zeros((len(table.layouts), 1))
    )
    joined = tuple(cost for cost in costs if cost.arithmetic)
    linear = _sum([cost for cost in costs if not cost.arithmetic], np.zeros_like(overhead))
    # two batches take turns where experts are spread over the NICs, as DeepEP-type engines do
    far = (table.degrees.ep > system.domain)[:, None]
    overlap = np.asarray(far * overlap_share(), dtype=np.float64) if np.any(far) else 0.0
    return Step(table, system, workload, costs, traffic, overhead, skew, joined, linear, drafting, overlap)


def _sum(costs: Sequence[Cost], zero: Array) -> tuple[Array, ...]:
    """Return the seconds of kernels that only move bytes: constant, and per token of each kind."""
    each = (sum((cost.memory[k] for cost in costs), zero) for k in range(3))
    return sum((cost.memory_0 for cost in costs), zero), *each


def _cost(kernel: Kernel, table: Table, system: System, workload: Workload, known: Seen) -> Cost:
    operator = kernel.operator
    rate = rates(system, operator.kind, kernel.weight_format, operator.compute)
    isl = np.asarray(workload.isl, dtype=np.float64)
    start = isl * np.asarray(workload.cached)
    chunks = np.ceil(workload.fresh / workload.chunk)
    # positions cached before a chunk, per prompt token: the mean prefix of a chunk over its length
    prefix = start * chunks / workload.fresh + (chunks - 1) / 2
    line = (operator.cap, operator.stride)
    if line not in known:
        spans = ((isl, isl + np.asarray(workload.osl, dtype=np.float64)), (start, isl), (isl, isl))
        known[line] = tuple(visible(first, last, *line) for first, last in spans)
    seen = known[line]
    per_token = 1.0 / (1.0 + workload.drafts)
    rows = (operator.decode_rows, operator.prefill_rows, operator.prompt_rows)
    pairs = kernel.pair_flops * (1.0 + rate.rows_half / _query_rows(operator, table, workload))
    compute = [n * (kernel.flops + pairs * t) for n, t in zip(rows, seen, strict=True)]
    compute[1] = compute[1] + operator.prefill_rows * kernel.prefix_flops * prefix
    memory = [n * kernel.row_bytes for n in rows]
    if operator.decode_rows:
        # a recurrent state is read once, and written for every draft that may be rejected
        copies = 1.0 + workload.drafts / 2.0
        memory[0] = memory[0] + per_token * (kernel.cache_bytes * seen[0] + copies * kernel.state_bytes)
    return Cost(
        kernel=kernel,
        rates=rate,
        compute_0=kernel.flops * rate.rows_half / kernel.fill / rate.compute_rate,
        compute=tuple([item / rate.compute_rate for item in compute]),
        # a gather reads the rows it needs, counted in its row bytes, never the table
        memory_0=kernel.weight_bytes / rate.memory_rate * (operator.kind != "gather"),
        memory=tuple([item / rate.memory_rate for item in memory]),
    )


def _query_rows(operator: Operator, table: Table, workload: Workload) -> Array:
    """Return the query rows that share one key in an attention core, (L, N): what fills its matrix units.

    In decode the query heads of one KV head times the tokens verified together; in prefill the tokens of a
    prompt's chunk.
    """
    if operator.kind != "attention_decode":
        return np.minimum(workload.fresh, workload.chunk)
    # an index is replicated: all its heads score one key on every TP rank
    tp = table.degrees.tp[:, None] if operator.split != "none" else np.ones((1, 1))
    queries = np.ceil(max(operator.heads, 1) / tp)
    keys = np.ceil(max(operator.kv_heads, 1) / tp)
    return np.asarray(queries / keys * (1.0 + workload.drafts))


def _part(value: Array | float, rows: NDArray[np.intp]) -> Array | float:
    """Return the rows of an array over layouts; one that all layouts share as it is."""
    return value[rows] if isinstance(value, np.ndarray) and value.ndim == 2 and len(value) > 1 else value


def _traffic(message: Message, system: System) -> Traffic:
    fabric = link(system, message.op, message.ranks[:, 0].astype(np.int64))
    rate = np.where(fabric.rate > 0, fabric.rate, np.inf)
    return Traffic(
        message=message,
        latency=fabric.latency[:, :, None] * message.launches,
        seconds_per_row=message.row_bytes * message.launches / rate[:, :, None],
        rows=(message.decode_rows, message.prefill_rows, message.prompt_rows),
    )


def seconds(step: Step, batch: Batch) -> Array:
    """Return the time of one pass through all layers on the busiest chips, s, (L, N).

    With pipeline parallelism this is the time of one microbatch through all stages, each as slow as the
    longest: stages hold whole layers.
    """
    local = tokens_of(step, batch.decode, batch.prompt, batch.finished)
    stage = tokens_of(step, batch.decode_stage, batch.prompt_stage, batch.finished_stage)
    decode, prompt, finished = local
    total = step.overhead + step.linear[0] + decode * step.linear[1]
    if prompt is not None and finished is not None:
        total = total + prompt * step.linear[2] + finished * step.linear[3]
    for cost in step.joined:
        if prompt is None and not cost.kernel.operator.decode_rows:
            continue
        compute, memory = kernel_times(step, cost, stage if cost.kernel.stage_rows else local)
        compute = compute * compute
        memory = memory * memory
        total = total + np.sqrt(np.sqrt(compute * compute + memory * memory))
    total = total * step.table.uneven[:, None]
    sent, exchange = messages(step, local)
    if exchange is not None:
        total = total - step.overlap * np.minimum(exchange, total)
    total = total + sent
    if step.drafter is not None:
        total = total + draft_seconds(step, batch)
    return np.asarray(total)


def draft_seconds(step: Step, batch: Batch) -> Array:
    """Return the time of the draft passes before a speculative step, s, (L, N); none without drafts."""
    if step.drafter is None:
        return np.zeros_like(step.overhead)
    return step.workload.drafts * seconds(step.drafter, Batch(batch.decode, batch.decode_stage))


def messages(step: Step, tokens: Tokens) -> tuple[Array, Array | None]:
    """Return s of all messages, and of what two-batch overlap may hide: None where nothing overlaps.

    The two halves of a batch take turns, so that the expert exchange of one runs behind the kernels of the
    other. Of the exchange only what grows with the batch can hide, not its latencies:
    `hidden = overlap x min(exchange, kernels)`.
    """
    total, exchange = np.zeros_like(step.overhead), np.zeros_like(step.overhead)
    overlapped = isinstance(step.overlap, np.ndarray)
    for item in step.traffic:
        spent = message_times(item, tokens)
        total = total + spent
        if overlapped and item.message.op in ("dispatch", "combine"):
            exchange = exchange + (spent - item.latency[0])
    return total, exchange if overlapped else None


def tokens_of(step: Step, decode: ArrayLike, prompt: ArrayLike | None, finished: ArrayLike) -> Tokens:
    """Return decode tokens, prompt tokens and finished prompts; None where there are none."""
    sequences = np.asarray(decode, dtype=np.float64) * (1.0 + step.workload.drafts) * step.workload.beams
    if prompt is None:
        return sequences, None, None
    return sequences, np.asarray(prompt, dtype=np.float64), np.asarray(finished, dtype=np.float64)


def kernel_times(step: Step, cost: Cost, tokens: Tokens) -> tuple[Array, Array]:
    """Return compute and memory seconds of one kernel, before they are joined and without overhead."""
    operator = cost.kernel.operator
    decode, prompt, finished = tokens
    compute = decode * cost.compute[0]
    memory = decode * cost.memory[0]
    rows: Array = decode * operator.decode_rows
    if prompt is not None and finished is not None:
        compute = compute + prompt * cost.compute[1] + finished * cost.compute[2]
        memory = memory + prompt * cost.memory[1] + finished * cost.memory[2]
        rows = rows + prompt * operator.prefill_rows + finished * operator.prompt_rows
    if operator.experts:
        seen = coverage(rows, operator.experts, operator.topk)
        worst = imbalance(rows, operator.topk, step.table.degrees.ep[:, None], step.skew)
        return worst * compute + seen * cost.compute_0, worst * (memory + 0.0) + seen * cost.memory_0
    if operator.decode_rows and operator.prefill_rows:
        return compute + cost.compute_0, memory + cost.memory_0
    # a kernel of one phase does not run when the step has no rows for it
    active = rows > 0
    return compute + active * cost.compute_0, memory + active * cost.memory_0


def message_rows(item: Traffic, tokens: Tokens) -> Array:
    """Return the rows that one message carries."""
    decode, prompt, finished = tokens
    rows: Array = decode * item.rows[0]
    if prompt is not None and finished is not None:
        rows = rows + prompt * item.rows[1] + finished * item.rows[2]
    return rows


def message_times(item: Traffic, tokens: Tokens) -> Array:
    """Return seconds of one collective: the faster of its protocols."""
    rows = message_rows(item, tokens)
    return np.asarray(np.min(item.latency + rows * item.seconds_per_row, axis=0))
