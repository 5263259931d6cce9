"""Residual streams wider than one hidden vector, and token-indexed memory tables.

Reference: docs/concepts/operators.md, "Residual streams" and "Memory tables".
"""

from __future__ import annotations

from math import ceil

from assay.llm.architecture import Architecture
from assay.llm.linear import linear, stream
from assay.llm.operators import Operator


def operators(arch: Architecture, sublayers: int) -> tuple[Operator, ...]:
    """Return the residual mixers of one schedule entry with `sublayers` mixers and feed-forwards."""
    if arch.residual is None or not sublayers:
        return ()
    d, n = arch.hidden, arch.residual.mult
    weights = mixer_weights(arch)
    match arch.residual.kind:
        case "attn_res":
            # block residuals stored so far, averaged over depth
            stored = (ceil(arch.num_layers / arch.residual.block) + 2) / 2
            flops, row_in, row_out = 4 * stored * d, stored * d, d
        case "raw":
            flops, row_in, row_out = 2 * weights, n * d + d, n * d + d
        case _:
            flops = 2 * weights + 2 * (2 * n + n * n) * d
            row_in = row_out = n * d + d
    mixer = stream("residual.mixer", row_in, row_out, weights=weights, flops=flops, count=sublayers)
    return (mixer,)


def mixer_weights(arch: Architecture) -> int:
    """Return parameters of one residual mixer (one a sublayer).

    mHC `(2+N)*N*N*d + (2+N)*N + 3`; iHC `2*N*N*d + 2*N + 2`; attention residuals 2 vectors; others an
    equal share of the stated total.
    """
    residual, d = arch.residual, arch.hidden
    if residual is None:
        return 0
    n = residual.mult
    match residual.kind:
        case "mhc" | "mhc_nohead":
            return (2 + n) * n * n * d + (2 + n) * n + 3
        case "ihc":
            return 2 * n * n * d + 2 * n + 2
        case "attn_res":
            return 2 * d
        case _:
            return residual.params // _sublayers(arch)


def output(arch: Architecture) -> tuple[Operator, ...]:
    """Return the mixer that joins the streams before the final norm: `N*N*d + N + 1`, or 2d."""
    residual, d = arch.residual, arch.hidden
    if residual is None or residual.kind == "mhc_nohead":
        return ()
    n = residual.mult
    match residual.kind:
        case "mhc" | "ihc":
            weights = n * n * d + n + 1
        case "attn_res":
            weights = 2 * d
        case _:
            weights = residual.params - mixer_weights(arch) * _sublayers(arch)
    return (stream("residual.output", n * d, d, weights=weights, flops=2 * weights),)


def _sublayers(arch: Architecture) -> int:
    return sum(count * ((mixer != "none") + (ffn != "none")) for count, mixer, ffn in arch.schedule)


def memory_operators(arch: Architecture) -> tuple[Operator, ...]:
    """Return the row reads of memory tables and the projection of what was read.

    A token reads `rows_read_per_token` rows; each layer with a memory projects its share of them to keys
    for every residual stream and one value: (rows * row_dim) x (N + 1)*d. Per-layer embeddings (`ple`) of
    width p are joined by a projection, a gate and an output of d x p in each layer.
    """
    memory = arch.extra_memory
    if memory is None:
        return ()
    rows = memory.rows_read_per_token
    held = sum(memory.rows) if isinstance(memory.rows, tuple) else memory.rows
    read = Operator(
        "memory.rows",
        "gather",
        "memory",
        weights=memory.table_params,
        row_in=rows * memory.row_dim,
        row_out=rows * memory.row_dim,
        split="experts",
        experts=held,
        topk=rows,
    )
    inner, outer = _projection(arch)
    if not inner:
        return (read,)
    return read, linear("memory.project", "dense", inner, outer, split="columns", count=_memory_layers(arch))


def memory_projection_weights(arch: Architecture) -> int:
    """Return parameters of the memory projections: the part of `extra_params` that is a linear."""
    inner, outer = _projection(arch)
    return inner * outer * _memory_layers(arch)


def _memory_layers(arch: Architecture) -> int:
    layers = arch.extra_memory.layers if arch.extra_memory else 0
    return len(layers) if isinstance(layers, tuple) else layers


def _projection(arch: Architecture) -> tuple[int, int]:
    """Return K and N of one memory projection; zeros if the stated extra parameters do not hold it."""
    memory, layers = arch.extra_memory, _memory_layers(arch)
    if memory is None or not layers:
        return 0, 0
    if memory.kind == "ple":
        return arch.hidden, 3 * memory.row_dim
    inner = memory.rows_read_per_token // layers * memory.row_dim
    outer = ((arch.residual.mult if arch.residual else 1) + 1) * arch.hidden
    return (inner, outer) if inner * outer * layers <= arch.extra_params else (0, 0)
