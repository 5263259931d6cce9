"""SRAM dataflow chips: weights resident in SRAM, layers pipelined over groups of chips, a scheduled fabric.

Such a chip (Groq LPU, Cerebras WSE) is not a GPU with more bandwidth. Capacity decides the chip count N; the
N chips form S stages of n = N / S chips, and a token crosses all of them in T(m), m sequences together. A
stage is taken for t(m) of that (`assay.timing.pipeline`), so one sequence alone needs T(1) for a token, up to
T(1) / t(1) of them progress at once, and beyond that the busiest stage bounds:

    TPOT = max(T(m) + S u t_c / 2, q t(m) + (B / osl) w)        q m = B,  q <= T(1) / t(1)
    rate = min(B / (TPOT + TTFT / osl), 1 / (t(m) / m + w / osl))

with B sequences in flight, w the stage time of one prompt, u the share of it, t_c that of one chunk. A wafer
is divisible: every exchange block has a region of its own, so S is their number and n < 1. Symbols,
assumptions, evidence: docs/concepts/dataflow.md. Figures and ranges: data/calibrations/dataflow.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.schema import System
from assay.errors import BadInput
from assay.estimate import Estimate
from assay.llm.operators import Operator
from assay.timing.pipeline import (
    ACTIVATION_BYTES,
    Machine,
    Pass,
    Work,
    coverage,
    decode_bytes,
    decode_flops,
    decode_pass,
    gather,
    prefill_pass,
    prompt_flops,
)
from assay.timing.sram import Parameters, parameters

Array = NDArray[np.float64]

#: Candidates for the prompt rows that pass a stage together, and for the chips of a stage.
CHUNKS, GROUPS = 2.0 ** np.arange(14), 2.0 ** np.arange(9)


@dataclass(frozen=True, slots=True)
class DataflowResult:
    """A pipeline on a dataflow system at P operating points; arrays have shape (P,).

    Attributes:
        concurrency: sequences in flight.
        chips: chips of the machine; `chips_low` and `chips_high` over the range of the usable SRAM share.
        fits: whether the model fits `chips` and these are within the largest machine described in public.
        stages, chips_per_stage: the split with the least time per output token.
        microbatch: sequences that pass a stage together.
        tpot: time between output tokens of one sequence, s.
        ttft: prompt to first token, s, without waiting behind other prompts (see `prefill_load`).
        output_rate: output tokens per second of the whole machine; its floor is the greatest possible.
        prefill_load: share of the stage time that decoding leaves, used by prompts; near 1 they queue.
        limited_by: the largest part of the time between tokens.
        parts: s per output token: read, compute, step, fabric, wait.
        compute_utilisation, memory_utilisation, link_utilisation: of peak rates, mean over chips.
        expert_share: share of the resident routed experts that one decode pass reads (1 if there are none).
        memory: bytes: weights, cache, activations, capacity (usable on all chips).
        basis, warnings: rung of `assay.estimate.BASES`, and what is assumed, in sentences.
    """

    concurrency: Array
    chips: Array
    chips_low: Array
    chips_high: Array
    fits: NDArray[np.bool_]
    stages: Array
    chips_per_stage: Array
    microbatch: Array
    tpot: Estimate
    ttft: Estimate
    output_rate: Estimate
    prefill_load: Array
    limited_by: NDArray[np.str_]
    parts: Mapping[str, Array]
    compute_utilisation: Array
    memory_utilisation: Array
    link_utilisation: Array
    expert_share: Array
    memory: Mapping[str, Array]
    basis: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """What a dataflow machine keeps in SRAM: the model, and the cache of every sequence in flight.

    Attributes:
        operators: the unsharded operators of a forward pass.
        weight_bytes_of: weight group -> bytes per stored element, scales included; 2 where missing.
        kv_bytes_per_token: cache that a sequence of isl + osl tokens holds, over its tokens, B; (P,) or one.
        state_bytes: fixed state of a sequence, B.
        kv_format: number format of the cache, a key of `Operator.cache_bytes`.
    """

    operators: Sequence[Operator]
    weight_bytes_of: Mapping[str, float]
    kv_bytes_per_token: ArrayLike
    state_bytes: float = 0.0
    kv_format: str = "bf16"


def plan_pipeline(
    model: Resident,
    system: System,
    isl: ArrayLike,
    osl: ArrayLike,
    concurrency: ArrayLike,
    *,
    chips: int | None = None,
    table: Parameters | None = None,
    prefilled: bool = False,
) -> DataflowResult:
    """Place a model on a dataflow system and return its speed at each operating point.

    Args:
        model: operators, formats and cache.
        system: where it runs; its chip's kind is `dataflow`.
        isl: input tokens.
        osl: output tokens.
        concurrency: sequences in flight; it broadcasts with `isl` and `osl` to (P,).
        chips: size of the machine; None = as many as the model and its cache need, in whole nodes.
        table: figures to use instead of the chip's own (calibration).
        prefilled: whether other chips prefill, and the machine only decodes; `ttft` is then one step.

    Raises:
        BadInput: a length, concurrency or chip count below one, or not finite.
        NoEvidence: no rate published or assumed for the chip's arithmetic.
    """
    points = [np.asarray(item, dtype=np.float64) for item in (isl, osl, concurrency, chips or 1)]
    if any(item.size == 0 or not np.all(np.isfinite(item)) or np.any(item < 1) for item in points):
        raise BadInput("Input length, output length, concurrency and chips must be finite and at least 1.")
    lengths, outputs, sequences = (np.atleast_1d(item) for item in np.broadcast_arrays(*points[:3]))
    table = table or parameters(system.chip)
    work = gather(model.operators, model.weight_bytes_of, model.kv_format, lengths, outputs)
    if prefilled:
        work = replace(work, prefill=0.0 * work.prefill, prompt=0.0 * work.prompt)
    per_sequence = np.asarray(model.kv_bytes_per_token) * (lengths + outputs) + model.state_bytes
    held = {
        "weights": np.full_like(sequences, work.resident),
        "cache": sequences * per_sequence,
        "activations": sequences * ACTIVATION_BYTES * work.width,
    }
    node = float(max(system.node, 1))
    usable = np.array(table.sram)[:, None] * system.chip.memory_bytes
    needed = np.ceil(sum(held.values()) / usable / node) * node
    count = needed[1] if chips is None else np.full_like(sequences, float(chips))
    held["capacity"] = count * usable[1]
    ask = _Ask(work, table, system, outputs, sequences, count)
    machine = _split(ask)
    return _result(ask, machine, needed, held)


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked of a machine: everything but the split."""

    work: Work
    table: Parameters
    system: System
    osl: Array
    sequences: Array
    chips: Array


@dataclass(frozen=True, slots=True)
class _Run:
    """How a machine answers, arrays (V, P); seconds and tokens per second."""

    tpot: Array
    ttft: Array
    rate: Array
    load: Array
    microbatch: Array
    step: Pass


def _machine(ask: _Ask, stages: Array, rows: slice) -> Machine:
    chip = ask.system.chip
    return Machine(
        divisible=ask.table.mapping == "regions",
        node=float(max(ask.system.node, 1)),
        bandwidth=chip.memory_bandwidth,
        peak=ask.table.peak,
        link=ask.system.link_bandwidth,
        figures={name: values[rows] for name, values in ask.table.figures.items()},
        chips=ask.chips,
        stages=stages,
    )


def _split(ask: _Ask) -> Machine:
    """Choose, at each point, the number of stages with the least time per output token."""
    blocks = max(ask.work.blocks + ask.work.expert_blocks, 1.0)
    if ask.table.mapping == "regions":
        return _machine(ask, np.full_like(ask.chips, blocks), slice(None))
    groups = GROUPS[max(ask.system.domain, 1) >= GROUPS][:, None]
    stages = np.minimum(np.ceil(ask.chips / groups), blocks)
    tpot = _run(ask, _machine(ask, stages, slice(0, 1))).tpot
    best = np.take_along_axis(stages, np.argmin(tpot, axis=0)[None, :], axis=0)[0]
    return _machine(ask, best, slice(None))


def _run(ask: _Ask, machine: Machine) -> _Run:
    work, sequences = ask.work, ask.sequences
    shape = np.broadcast_shapes(machine.stages.shape, machine.figures["step_seconds"].shape, sequences.shape)
    flight = np.ones(shape)
    for _ in range(4):  # to the fixed point q = T(B / q) / t(B / q)
        step = decode_pass(work, machine, sequences / flight)
        flight = np.minimum(sequences, np.maximum(step.total / step.busy, 1.0))
    microbatch = sequences / flight
    step = decode_pass(work, machine, microbatch)
    if not work.prompts:
        tpot = np.maximum(step.total, flight * step.busy)
        rate = np.minimum(sequences / tpot, microbatch / step.busy)
        return _Run(tpot, tpot, rate, np.zeros(shape), microbatch, step)
    first, prompt, chunk = _prompt(work, machine, shape)
    decode, prompts = flight * step.busy, sequences / ask.osl * prompt
    wait = machine.stages * prompts / np.maximum(step.total, decode + prompts) * chunk / 2
    tpot = np.maximum(step.total + wait, decode + prompts)
    free = np.maximum(1.0 - (1.0 - 1.0 / sequences) * decode / tpot, 1e-6)
    # a prompt gets what the other sequences leave, and at least one chunk between two of their tokens
    ttft = first + np.minimum(prompt * (1.0 / free - 1.0), prompt / chunk * decode)
    capacity = 1.0 / (step.busy / microbatch + prompt / ask.osl)
    rate = np.minimum(sequences / (tpot + ttft / ask.osl), capacity)
    load = np.minimum(rate / ask.osl * prompt / free, 1.0)
    return _Run(tpot, ttft, rate, load, microbatch, step)


def _prompt(work: Work, machine: Machine, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Return time to the first token, stage time of the prompt, and stage time of one of its chunks.

    The chunks follow one another through the stages: the first crosses all, each other adds the busiest. Of
    the chunk sizes the one with the earliest first token is taken.
    """
    runs = []
    for size in CHUNKS[np.max(work.isl) * 2 > CHUNKS]:
        chunk = np.broadcast_to(np.minimum(size, work.isl), shape)
        run = prefill_pass(work, machine, chunk)
        chunks = work.isl / chunk
        first = run.total + np.maximum(np.ceil(chunks) - 1.0, 0.0) * run.busy
        runs.append((first, chunks * run.busy, run.busy))
    columns = [np.stack(column) for column in zip(*runs, strict=True)]
    best = np.argmin(columns[0], axis=0)[None]
    first, prompt, chunk = (np.take_along_axis(column, best, axis=0)[0] for column in columns)
    return first, prompt, chunk


def _floors(ask: _Ask) -> tuple[Array, Array, Array]:
    """Return the least TPOT and TTFT, s, and the greatest output rate, 1/s, at peak rates alone, (P,)."""
    work, chip, sequences = ask.work, ask.system.chip, ask.sequences
    bandwidth = ask.chips * chip.spread.get("memory_bandwidth", (0.0, chip.memory_bandwidth))[1]
    arithmetic = ask.chips * ask.table.ceiling
    used = coverage(sequences * work.decode, work.experts, work.topk) * (work.decode > 0)
    kept = (work.decode > 0) * (work.cache * work.seen + work.state)
    moved = (work.weights * used + sequences * kept).sum(axis=(0, 1))
    flops = decode_flops(work, np.ones_like(sequences)).sum(axis=(0, 1))
    prompts = prompt_flops(work).sum(axis=(0, 1))
    touched = coverage(work.isl * work.prefill + work.prompt, work.experts, work.topk)
    loaded = (work.weights * touched * (work.prefill + work.prompt > 0)).sum(axis=(0, 1))
    tpot = np.maximum(moved / bandwidth, sequences * flops / arithmetic)
    ttft = np.maximum(loaded / bandwidth, prompts / arithmetic) if work.prompts else tpot
    rate = sequences / np.maximum(moved / bandwidth, sequences * (flops + prompts / ask.osl) / arithmetic)
    return tpot, ttft, rate


def _estimate(values: Array, floor: Array, basis: str, *, most: bool = False) -> Estimate:
    """Return row 0 with the interval that the other rows span; each row moves one figure.

    The figures are independent, so their effects add as squares: ln(high / value)^2 is the sum of
    ln(x_i / value)^2 over the rows above it, likewise below. With `most`, `floor` is an upper bound.
    """
    value = values[0]
    effects = np.log(values / value)
    high = value * np.exp(np.sqrt((np.maximum(effects, 0.0) ** 2).sum(axis=0)))
    low = value * np.exp(-np.sqrt((np.minimum(effects, 0.0) ** 2).sum(axis=0)))
    bound = np.minimum if most else np.maximum
    return Estimate(bound(value, floor), bound(low, floor), bound(high, floor), floor, basis)


#: Part of a token's time -> what limits it.
LIMITS = {
    "read": "SRAM bandwidth",
    "compute": "arithmetic",
    "step": "exchange latency",
    "fabric": "fabric",
    "wait": "busiest stage",
}


def _result(ask: _Ask, machine: Machine, needed: Array, held: Mapping[str, Array]) -> DataflowResult:
    run = _run(ask, machine)
    work, table, sequences = ask.work, ask.table, ask.sequences
    tpot, ttft, rate = _floors(ask)
    parts = {name: np.broadcast_to(getattr(run.step, name), run.tpot.shape)[0] for name in tuple(LIMITS)[:-1]}
    parts["wait"] = run.tpot[0] - run.step.total[0]
    largest = np.argmax(np.stack(list(parts.values())), axis=0)
    routed = work.experts[:, 0, 0] > 0
    microbatch = run.microbatch[0]
    flops = decode_flops(work, np.ones_like(sequences)).sum(axis=(0, 1))
    moved = decode_bytes(work, microbatch).sum(axis=(0, 1)) / microbatch
    prompts = prompt_flops(work).sum(axis=(0, 1))
    each = run.rate[0] / ask.chips
    shares = coverage(microbatch * work.decode[routed], work.experts[routed], work.topk[routed])
    sent = 2 * work.sent * (1 + work.prompts * work.isl / ask.osl)
    return DataflowResult(
        concurrency=sequences,
        chips=ask.chips,
        chips_low=needed[0],
        chips_high=needed[2],
        fits=(needed[1] <= ask.chips) & (ask.chips <= max(table.max_chips, ask.system.max_chips)),
        stages=machine.stages,
        chips_per_stage=machine.group,
        microbatch=microbatch,
        tpot=_estimate(run.tpot, tpot, table.basis),
        ttft=_estimate(run.ttft, ttft, table.basis),
        output_rate=_estimate(run.rate, rate, table.basis, most=True),
        prefill_load=run.load[0],
        limited_by=np.array(list(LIMITS.values()))[largest],
        parts=parts,
        compute_utilisation=each * (flops + prompts / ask.osl) / table.peak,
        memory_utilisation=each * moved / ask.system.chip.memory_bandwidth,
        link_utilisation=np.minimum(each * sent / max(machine.link, 1.0), 1.0),
        expert_share=shares.mean(axis=(0, 1)) if np.any(routed) else np.ones_like(sequences),
        memory=dict(held),
        basis=table.basis,
        warnings=table.warnings,
    )
