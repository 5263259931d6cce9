"""One pass of tokens through a pipeline of SRAM chips: reading, arithmetic, exchange points, hops.

    T(m) = sum_i max(bytes_i(m) / (n r BW), flops_i(m) / (n c peak))    read weights and cache, multiply
         + X (tau + hops(n) h) + sent(m, n) / link                       X exchange points
         + S (h + m d b / (n link))                                      from stage to stage
    t(m) = (T(m) - idle share of tau and hops - stage to stage) / S * imbalance

m rows pass S stages of n chips; see docs/concepts/dataflow.md for every symbol. Operators are the leading
axis of all arrays; the other two are variants of the figures (or of the split) and operating points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.llm.operators import Operator

Array = NDArray[np.float64]

#: Bytes of an activation element in SRAM and on the fabric.
ACTIVATION_BYTES = 2.0
#: Weights wider than this many bytes per element, and operators that say so, need 16-bit arithmetic.
WIDE = 1.5


@dataclass(frozen=True, slots=True)
class Work:
    """All operators as arrays (K, 1, 1), instances summed; exchange points apart.

    Attributes:
        weights: bytes read when all of them are used; `experts`, `topk` say how many are.
        flops, row_bytes: per row. pair: FLOPs per row and visible position. cache: bytes per sequence and
            visible position. state: bytes per sequence. prefix: FLOPs per cached position and prompt chunk.
        wide: whether the arithmetic is 16 bits wide.
        decode, prefill, prompt: rows per decode token, per prompt token, per prompt.
        seen, seen_prompt: visible positions in decode and in prefill, (K, 1, P).
        isl: input tokens, (P,).
        resident: bytes of all weights.
        blocks, expert_blocks: exchange points of a pass, without and with routed experts.
        width: elements of the widest activation sent. sent: bytes of all exchange points, per row.
    """

    weights: Array
    flops: Array
    row_bytes: Array
    pair: Array
    cache: Array
    state: Array
    prefix: Array
    experts: Array
    topk: Array
    wide: NDArray[np.bool_]
    decode: Array
    prefill: Array
    prompt: Array
    seen: Array
    seen_prompt: Array
    isl: Array
    resident: float
    blocks: float
    expert_blocks: float
    width: float
    sent: float

    @property
    def prompts(self) -> bool:
        """Whether prompts are computed here; other chips may prefill."""
        return bool(np.any(self.prefill) or np.any(self.prompt))


@dataclass(frozen=True, slots=True)
class Machine:
    """A dataflow machine and its split; SI units, arrays broadcast to (V, P).

    Attributes:
        divisible: whether a stage is a region of a chip (a wafer) rather than a group of chips.
        node: chips with direct links to each other.
        bandwidth, peak, link: of one chip, B/s, FLOP/s, B/s one way.
        figures: name -> (V, 1); see `assay.timing.sram.Parameters`.
        chips, stages: N and S.
    """

    divisible: bool
    node: float
    bandwidth: float
    peak: float
    link: float
    figures: Mapping[str, Array]
    chips: Array
    stages: Array

    @property
    def group(self) -> Array:
        """Chips of a stage, n; a fraction where stages share a wafer."""
        return np.asarray(self.chips / self.stages)


@dataclass(frozen=True, slots=True)
class Pass:
    """Time of one pass, s, arrays (V, P): `total` = read + compute + step + fabric; `busy`: busiest stage."""

    total: Array
    busy: Array
    read: Array
    compute: Array
    step: Array
    fabric: Array


def gather(
    operators: Sequence[Operator],
    weight_bytes_of: Mapping[str, float],
    kv_format: str,
    isl: Array,
    osl: Array,
) -> Work:
    """Collect the operators of a model into arrays.

    Args:
        operators: unsharded operators of a forward pass.
        weight_bytes_of: weight group -> bytes per stored element; 2 where a group is missing.
        kv_format: key of `Operator.cache_bytes` and `state_bytes`; `bf16` where it is missing.
        isl: input tokens, (P,).
        osl: output tokens, (P,).
    """
    kernels = [item for item in operators if item.kind != "exchange"]
    joins = [item for item in operators if item.kind == "exchange"]
    count = _column([item.count for item in kernels])
    element = [weight_bytes_of.get(item.group, ACTIVATION_BYTES) for item in kernels]
    stored = count * _column([item.weights * size for item, size in zip(kernels, element, strict=True)])
    cap, stride = _column([item.cap for item in kernels]), _column([item.stride for item in kernels])
    moved = [ACTIVATION_BYTES * (item.row_in + item.row_out) + item.stream_bytes for item in kernels]
    return Work(
        weights=stored * _column([item.kind != "gather" for item in kernels]),
        flops=count * _column([item.flops for item in kernels]),
        row_bytes=count * _column(moved),
        pair=count * _column([item.pair_flops for item in kernels]),
        cache=count * _column([_of(item.cache_bytes, kv_format) for item in kernels]),
        state=count * _column([_of(item.state_bytes, kv_format) for item in kernels]),
        prefix=count * _column([item.prefix_flops for item in kernels]),
        experts=_column([item.experts if item.kind == "experts" else 0 for item in kernels]),
        topk=_column([item.topk for item in kernels]),
        wide=_column([k.compute == "bf16" or b > WIDE for k, b in zip(kernels, element, strict=True)]) > 0,
        decode=_column([item.decode_rows for item in kernels]),
        prefill=_column([item.prefill_rows for item in kernels]),
        prompt=_column([item.prompt_rows for item in kernels]),
        seen=visible(isl, isl + osl, cap, stride),
        seen_prompt=visible(np.zeros_like(isl), isl, cap, stride),
        isl=isl,
        resident=float(stored.sum()),
        blocks=sum(item.count for item in joins if not item.experts),
        expert_blocks=sum(item.count for item in joins if item.experts),
        width=max((item.row_out for item in operators if item.kind in ("exchange", "gather")), default=0.0),
        sent=sum(item.count * item.row_out for item in joins) * ACTIVATION_BYTES,
    )


def _column(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)[:, None, None]


def _of(table: Mapping[str, float], kv_format: str) -> float:
    return float(table.get(kv_format, table.get("bf16", 0.0))) if table else 0.0


def visible(start: Array, end: Array, cap: Array, stride: Array) -> Array:
    """Return the mean over contexts t in [start, end] of min(t / stride, cap), positions."""
    low, high = start / stride, end / stride
    under = np.minimum(low, cap), np.minimum(high, cap)
    bound = np.where(np.isinf(cap), 0.0, cap)
    over = np.where(np.isinf(cap), 0.0, (high - under[1]) - (low - under[0]))
    span = high - low
    mean = ((under[1] ** 2 - under[0] ** 2) / 2 + bound * over) / np.where(span > 0, span, 1.0)
    return np.asarray(np.where(span > 0, mean, under[0]))


def coverage(rows: Array, experts: Array, topk: Array) -> Array:
    """Return the expected share of experts that `rows` tokens visit, 1 - (1 - k / E)^rows; 1 without any."""
    share = np.where(experts > 0, topk / np.maximum(experts, 1.0), 1.0)
    return np.asarray(-np.expm1(rows * np.log1p(-np.minimum(share, 1 - 1e-12))))


def busiest_group(experts: float, groups: ArrayLike, share: ArrayLike) -> Array:
    """Return the expected number of active experts in the busiest of `groups` that share `experts` evenly.

    Each expert is active with probability `share`, independently: with F the binomial distribution over the
    E / G experts of one group, E[max] = sum_x (1 - F(x)^G). Example: 8 of 384 experts active, 64 groups of
    6: 1.34, though the mean is 0.125; the other groups idle.
    """
    number = np.minimum(np.asarray(groups, dtype=np.float64), experts)
    size = np.round(experts / number)
    active = np.clip(np.asarray(share, dtype=np.float64), 0.0, 1 - 1e-9)
    mass = np.exp(size * np.log1p(-active))
    below, total = mass, 1.0 - mass**number
    for x in range(1, int(np.max(size))):
        mass = mass * np.maximum(size - x + 1, 0.0) / x * active / (1 - active)
        below = np.minimum(below + mass, 1.0)
        total = total + np.where(x < size, 1.0 - below**number, 0.0)
    return np.asarray(total)


def decode_bytes(work: Work, rows: Array) -> Array:
    """Return bytes read by each operator in a decode pass of `rows` sequences, (K, V, P)."""
    runs = work.decode > 0
    used = coverage(rows * work.decode, work.experts, work.topk)
    kept = work.cache * work.seen + work.state
    return np.asarray(runs * (work.weights * used + rows * (work.decode * work.row_bytes + kept)))


def decode_flops(work: Work, rows: Array) -> Array:
    """Return FLOPs of each operator in a decode pass of `rows` sequences, (K, V, P)."""
    return np.asarray(rows * work.decode * (work.flops + work.pair * work.seen))


def prompt_flops(work: Work) -> Array:
    """Return FLOPs of each operator over a whole prompt without cached prefix, (K, 1, P)."""
    rows = work.isl * work.prefill + work.prompt
    return np.asarray(rows * (work.flops + work.pair * work.seen_prompt))


def decode_pass(work: Work, machine: Machine, rows: Array) -> Pass:
    """Return the time of a decode pass of `rows` sequences, (V, P)."""
    share = coverage(rows * work.decode, work.experts, work.topk)
    return _pass(work, machine, rows, decode_bytes(work, rows), decode_flops(work, rows), share)


def prefill_pass(work: Work, machine: Machine, chunk: Array) -> Pass:
    """Return the time of a pass of `chunk` rows of one prompt, mean over its chunks, (V, P)."""
    rows = chunk * work.prefill + chunk / work.isl * work.prompt
    share = coverage(rows, work.experts, work.topk)
    moved = work.weights * share * (rows > 0) + rows * work.row_bytes
    prefix = np.maximum(work.isl - chunk, 0.0) / 2
    flops = rows * (work.flops + work.pair * work.seen_prompt) + work.prefill * work.prefix * prefix
    return _pass(work, machine, chunk, moved, flops, share)


def _pass(work: Work, machine: Machine, rows: Array, moved: Array, flops: Array, share: Array) -> Pass:
    figures, group, stages = machine.figures, machine.group, machine.stages
    reading = moved / (group * figures["read_share"] * machine.bandwidth)
    reading = reading * _placement(work, machine, share)
    slow = np.where(work.wide, figures["wide_factor"], 1.0)
    computing = flops * slow / (group * figures["compute_share"] * machine.peak)
    bound = reading >= computing
    read = np.where(bound, reading, 0.0).sum(axis=0)
    compute = np.where(bound, 0.0, computing).sum(axis=0)
    joins = work.blocks + work.expert_blocks * figures["expert_steps"]
    wire, hops, across = _fabric(work, machine, rows)
    step = joins * figures["step_seconds"]
    wait = joins * hops * figures["hop_seconds"]
    whole = np.maximum(work.blocks + work.expert_blocks, 1.0)
    imbalance = 1.0 if machine.divisible else np.ceil(whole / stages - 1e-9) * stages / whole
    busy = (read + compute + wire + figures["step_busy"] * (step + wait)) / stages * imbalance
    fabric = wire + wait + across
    return Pass(read + compute + step + fabric, busy, read, compute, step + 0.0 * read, fabric)


def _placement(work: Work, machine: Machine, share: Array) -> Array:
    """Return the slow-down of reading experts when they are not split over all chips of a stage, (K, V, P).

    `expert_spread` 1: every expert is split over all chips, none idles. 0: every expert lies whole on its
    chips, and a pass takes as long as the busiest of them.
    """
    spread = machine.figures["expert_spread"]
    routed = work.experts > 0
    if np.all(spread == 1.0) or not np.any(routed):
        return np.ones((1, 1, 1))
    shape = np.broadcast_shapes(share.shape, (1, *spread.shape), machine.group.shape)
    slow = np.ones(shape)
    for index in np.flatnonzero(routed[:, 0, 0]):
        experts = float(work.experts[index, 0, 0])
        chips = np.full_like(machine.group, experts) if machine.divisible else machine.group
        places = np.clip(chips, 1.0, experts)
        used = share[index]
        whole = busiest_group(experts, places, used) * places / (experts * used)
        slow[index] = spread + (1.0 - spread) * np.maximum(whole, 1.0)
    return slow


def _fabric(work: Work, machine: Machine, rows: Array) -> tuple[Array, Array, Array]:
    """Return seconds on the wire of all exchange points, hops of one, and seconds from stage to stage.

    An exchange is a reduce-scatter and an all-gather: two one-hop rounds inside a node, and between the
    nodes of a larger group two more of three hops for the part each chip then holds (a dragonfly).
    """
    figures, group, stages = machine.figures, machine.group, machine.stages
    link = machine.link * figures["link_share"]
    row = rows * work.width * ACTIVATION_BYTES
    if machine.divisible:
        crossings = np.where(machine.chips > 1, machine.chips, 0.0)
        across = crossings * (figures["hop_seconds"] + row / link)
        return np.zeros_like(across), np.zeros_like(across), across
    inside = np.clip(group, 1.0, machine.node)
    nodes = np.maximum(group / machine.node, 1.0)
    near = 2.0 * (inside - 1.0) / inside / link
    far = 2.0 * (nodes - 1.0) / nodes / inside / (link * figures["global_share"])
    wire = rows * work.sent * (near + far)
    hops = 2.0 * (inside > 1.0) + 6.0 * (nodes > 1.0)
    crossing = figures["hop_seconds"] + row / (np.maximum(group, 1.0) * link)
    across = np.where(stages > 1, stages, 0.0) * crossing
    return wire, hops, across
