"""Where a step goes: floor, shares by resource, and the table of operators behind `--explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.engine.routing import coverage
from assay.engine.step import (
    Batch,
    Cost,
    Step,
    Tokens,
    draft_seconds,
    kernel_times,
    message_times,
    messages,
    tokens_of,
)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One step by resource; arrays (L, N).

    Attributes:
        memory, compute, link, overhead: s bound by each (a kernel counts for what bounds it; of the expert
            exchange, what two-batch overlap does not hide).
        draft: s of the draft passes before a speculative step.
        flops: FLOPs of the busiest chip. `moved`: bytes to and from its memory. `sent`: payload bytes.
        weights: bytes of `moved` that are weights; `cache` bytes that are cache and state.
        floor: least s that physics allows for the step, see `floor`.
    """

    memory: Array
    compute: Array
    link: Array
    overhead: Array
    draft: Array
    flops: Array
    moved: Array
    sent: Array
    weights: Array
    cache: Array
    floor: Array

    @property
    def seconds(self) -> Array:
        """Return the whole step, s."""
        return self.memory + self.compute + self.link + self.overhead + self.draft

    def take(self, rows: NDArray[np.intp]) -> Breakdown:
        """Return the split of the layouts at `rows`."""
        return Breakdown(*(getattr(self, name)[rows] for name in self.__slots__))


def breakdown(step: Step, batch: Batch) -> Breakdown:
    """Split one step by resource.

    The floor is what no schedule can beat on these chips: all kernels overlap perfectly, run at datasheet
    rates and move only weights, cache and state; all tokens visit the same experts; links carry each
    payload once at their one-way rate. It is the largest of the three sums.
    """
    local = tokens_of(step, batch.decode, batch.prompt, batch.finished)
    stage = tokens_of(step, batch.decode_stage, batch.prompt_stage, batch.finished_stage)
    zero = np.zeros(
        np.broadcast_shapes(
            step.overhead.shape, local[0].shape, np.shape(0.0 if batch.prompt is None else batch.prompt)
        )
    )
    memory, compute, link = zero.copy(), zero.copy(), zero.copy()
    flops, moved, weights, cache = zero.copy(), zero.copy(), zero.copy(), zero.copy()
    peak_time, bus_time, sent = zero.copy(), zero.copy(), zero.copy()
    for cost in step.costs:
        tokens = stage if cost.kernel.stage_rows else local
        t_compute, t_memory = kernel_times(step, cost, tokens)
        joined = (t_compute**4 + t_memory**4) ** 0.25
        compute = compute + np.where(t_compute >= t_memory, joined, 0.0)
        memory = memory + np.where(t_compute < t_memory, joined, 0.0)
        parts = _physical(step, cost, tokens)
        flops, weights, cache = flops + parts[0], weights + parts[1], cache + parts[2]
        moved = moved + parts[1] + parts[2] + parts[3]
        peak_time = peak_time + parts[0] / cost.rates.peak
        # beams of one request could read what they share once
        bus_time = bus_time + (parts[4] + parts[2] / step.workload.beams) / cost.rates.bandwidth
    for item in step.traffic:
        link = link + message_times(item, local)
        rows = local[0] * item.rows[0]
        if local[1] is not None and local[2] is not None:
            rows = rows + local[1] * item.rows[1] + local[2] * item.rows[2]
        sent = sent + rows * item.message.row_bytes * item.message.launches
    if (exchange := messages(step, local)[1]) is not None:
        link = link - step.overlap * np.minimum(exchange, memory + compute + step.overhead)
    # in-network reduction and multicast let a payload cross a link once where a ring sends it twice
    links = max(step.system.link_bandwidth, step.system.nic_bandwidth or 0.0)
    wire = sent / 2 / links if links > 0 else zero
    return Breakdown(
        memory=memory,
        compute=compute,
        link=link,
        overhead=step.overhead + zero,
        draft=draft_seconds(step, batch) + zero,
        flops=flops,
        moved=moved,
        sent=sent,
        weights=weights,
        cache=cache,
        floor=np.maximum(np.maximum(peak_time, bus_time), wire),
    )


def _physical(step: Step, cost: Cost, tokens: Tokens) -> tuple[Array, Array, Array, Array, Array]:
    """Return FLOPs, weight bytes, cache bytes, activation bytes, and the least weight bytes of a kernel."""
    operator, kernel, rates = cost.kernel.operator, cost.kernel, cost.rates
    decode, prompt, finished = tokens
    flops = decode * cost.compute[0]
    traffic = decode * cost.memory[0]
    activations = decode * operator.decode_rows * kernel.row_bytes
    rows = decode * operator.decode_rows
    if prompt is not None and finished is not None:
        flops = flops + prompt * cost.compute[1] + finished * cost.compute[2]
        traffic = traffic + prompt * cost.memory[1] + finished * cost.memory[2]
        extra = prompt * operator.prefill_rows + finished * operator.prompt_rows
        rows, activations = rows + extra, activations + extra * kernel.row_bytes
    active = (rows > 0) & (operator.kind != "gather")
    touched, least = active * 1.0, active * 1.0
    if operator.experts:
        touched = coverage(rows, operator.experts, operator.topk)
        least = active * min(operator.topk / operator.experts, 1.0)
    moved = traffic * rates.memory_rate
    return (
        flops * rates.compute_rate,
        touched * kernel.weight_bytes,
        np.maximum(moved - activations, 0.0),
        activations,
        least * kernel.weight_bytes,
    )


def explain(step: Step, batch: Batch, phase: str) -> list[dict[str, Any]]:
    """Return one row an operator for one layout and one operating point, heaviest first.

    Each row has `phase operator kind count format flops bytes seconds bound share`; the last rows are the
    collectives (bound `link`) and the kernel launches (bound `launch`).
    """
    local = tokens_of(step, batch.decode, batch.prompt, batch.finished)
    stage = tokens_of(step, batch.decode_stage, batch.prompt_stage, batch.finished_stage)
    rows: list[dict[str, Any]] = []
    for cost in step.costs:
        tokens = stage if cost.kernel.stage_rows else local
        t_compute, t_memory = (float(item[0, 0]) for item in kernel_times(step, cost, tokens))
        if t_compute + t_memory <= 0:
            continue
        parts = [float(np.ravel(item)[0]) for item in _physical(step, cost, tokens)]
        rows.append(
            {
                "phase": phase,
                "operator": cost.kernel.operator.name,
                "kind": cost.kernel.operator.kind,
                "count": cost.kernel.operator.count,
                "format": cost.rates.compute_format,
                "flops": parts[0],
                "bytes": parts[1] + parts[2] + parts[3],
                "seconds": (t_compute**4 + t_memory**4) ** 0.25,
                "bound": "compute" if t_compute >= t_memory else "memory",
            }
        )
    spent = ((item.message, float(message_times(item, local)[0, 0])) for item in step.traffic)
    rows.extend(_link_row(message.name, message.op, phase, each) for message, each in spent if each > 0)
    if (exchange := messages(step, local)[1]) is not None:
        busy = sum(row["seconds"] for row in rows if row["bound"] != "link") + step.overhead
        _hide(rows, float(np.ravel(step.overlap * np.minimum(exchange, busy))[0]))
    if (drafts := float(np.ravel(draft_seconds(step, batch))[0])) > 0:
        rows.append(_link_row("draft passes", "draft", phase, drafts) | {"bound": "draft"})
    rows.append(
        {"phase": phase, "operator": "kernel launches", "kind": "launch", "count": None, "format": ""}
        | {"flops": 0.0, "bytes": 0.0, "seconds": float(step.overhead[0, 0]), "bound": "launch"}
    )
    total = sum(row["seconds"] for row in rows)
    for row in rows:
        row["share"] = row["seconds"] / total
    return sorted(rows, key=lambda row: -row["seconds"])


def _hide(rows: list[dict[str, Any]], hidden: float) -> None:
    """Take what two-batch overlap hides from the dispatch and combine rows, in proportion."""
    exchange = [row for row in rows if row["kind"] in ("dispatch", "combine")]
    total = sum(row["seconds"] for row in exchange)
    for row in exchange:
        row["seconds"] *= 1.0 - hidden / total


def _link_row(name: str, op: str, phase: str, spent: float) -> dict[str, Any]:
    return {
        "phase": phase,
        "operator": name,
        "kind": op,
        "count": None,
        "format": "",
        "flops": 0.0,
        "bytes": 0.0,
        "seconds": spent,
        "bound": "link",
    }
