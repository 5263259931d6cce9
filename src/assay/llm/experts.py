"""Feed-forward blocks: dense, and mixture of experts with shared, latent, identity and hash-routed experts.

Reference: docs/concepts/operators.md, "Feed-forward and experts".
"""

from __future__ import annotations

from assay.llm.blocks import Dense, Moe
from assay.llm.linear import linear, stream
from assay.llm.operators import Operator


def dense(name: str, group: str, hidden: int, block: Dense) -> tuple[Operator, ...]:
    """Return a dense FFN: SwiGLU `3*d*I`, ungated `2*d*I`, plus biases.

    Args:
        name: prefix of the operators.
        group: weight group.
        hidden: width of the residual stream, elements.
        block: shapes.
    """
    wide = block.intermediate * (1 if block.ungated else 2)
    up, down = (wide, hidden) if block.bias else (0, 0)
    return (
        linear(f"{name}.up", group, hidden, wide, bias=up, split="columns"),
        stream(f"{name}.act", wide, block.intermediate, split="rows"),
        linear(f"{name}.down", group, block.intermediate, hidden, bias=down, split="rows"),
    )


def moe(block: Moe, hidden: int) -> tuple[Operator, ...]:
    """Return a mixture of experts.

    Parameters: `E*3*m*I + shared + d*(E + zero + extra)`, with m = latent width or d; a latent adds
    `d*l + l*d`, a gate on the shared expert `d`. A row runs `3*m*I` in each of its top-k experts. Identity
    experts only enter the router; hash routing replaces the choice, not the scores, so its operators are
    the same.

    Args:
        block: shapes.
        hidden: width of the residual stream, elements.
    """
    outputs = block.n_routed + block.n_zero + block.router_extra + block.shared_gate
    found = [linear("moe.router", "router", hidden, outputs, bias=_small(block))]
    if block.latent:
        found.append(linear("moe.latent.down", "shared", hidden, block.latent))
        found.append(linear("moe.latent.up", "shared", block.latent, hidden))
    found.extend(_experts(block, block.latent or hidden))
    if block.n_shared and block.shared_intermediate:
        shared = Dense(block.n_shared * block.shared_intermediate, ungated=block.ungated)
        found.extend(dense("moe.shared", "shared", hidden, shared))
    if block.parallel_dense:
        found.extend(dense("moe.dense", "dense", hidden, Dense(block.parallel_dense)))
    return tuple(found)


def _small(block: Moe) -> float:
    """Return the vectors of the block: router bias, latent norms, and what the facts call small extras."""
    return (
        (block.n_routed if block.router_bias else 0) + block.latent_norms * block.latent + block.small_extra
    )


def _experts(block: Moe, width: int) -> tuple[Operator, ...]:
    """Return the two grouped GEMMs of the routed experts and the pass between them."""
    e, k, i = block.n_routed, block.real_topk, block.intermediate
    wide = i * (1 if block.ungated else 2)
    bias = 1 if block.bias else 0

    def grouped(name: str, inner: int, outer: int) -> Operator:
        return Operator(
            name=name,
            kind="experts",
            group="experts",
            weights=e * (inner * outer + bias * outer),
            flops=2 * k * inner * outer,
            inner=inner,
            outer=outer,
            row_in=k * inner,
            row_out=k * outer,
            split="experts",
            experts=e,
            topk=k,
        )

    # permute copies k rows in and the finalisation reads k rows out
    act = stream(
        "moe.act",
        k * (wide + width),
        k * (i + width),
        split="experts",
        experts=e,
        topk=k,
        launches=3,
    )
    return grouped("moe.experts.up", width, wide), act, grouped("moe.experts.down", i, width)
