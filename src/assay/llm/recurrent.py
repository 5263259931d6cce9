"""Recurrent mixers: gated DeltaNet, Kimi delta attention, lightning attention, Mamba-2.

Decode reads and writes the state of every sequence; prefill scans in chunks.
Reference: docs/concepts/operators.md, "Recurrent mixers".
"""

from __future__ import annotations

from collections.abc import Mapping

from assay.llm.blocks import Gdn, Kda, Lightning, Mamba2
from assay.llm.linear import BF16, fixed, linear, stream
from assay.llm.operators import Cache, Operator

#: Bytes of one element of a recurrent state (fp32).
STATE = 4.0
#: Rows of one chunk of the parallel scan: delta rule, lightning, Mamba-2 SSD.
DELTA_CHUNK = 64
LIGHTNING_CHUNK = 256
SSD_CHUNK = 128
#: Inner width of the low-rank gates of Kimi delta attention.
GATE_RANK = 128


def _scan(
    name: str,
    step_flops: float,
    chunk_flops: float,
    state: Mapping[str, float],
    *,
    heads: int,
    rows: tuple[float, float],
    spill: float = 0,
) -> tuple[Operator, Operator]:
    """Return decode and prefill form of one recurrence.

    Args:
        name: prefix.
        step_flops: FLOPs of one recurrent update, all heads.
        chunk_flops: FLOPs per row of the chunked scan, all heads.
        state: bytes of the state of one sequence by KV format; decode reads and writes it.
        heads: heads that TP can divide.
        rows: elements read and written per row.
        spill: elements of chunk states written and read again per row of prefill.
    """
    decode = Operator(
        f"{name}.decode",
        "state_decode",
        "attention",
        flops=step_flops,
        row_in=rows[0],
        row_out=rows[1],
        state_bytes={kind: 2 * size for kind, size in state.items()},
        split="heads",
        heads=heads,
        prefill_rows=0,
        compute="bf16",
    )
    prefill = Operator(
        f"{name}.prefill",
        "state_prefill",
        "attention",
        flops=chunk_flops,
        row_in=rows[0] + spill,
        row_out=rows[1] + spill,
        split="heads",
        heads=heads,
        decode_rows=0,
        compute="bf16",
    )
    return decode, prefill


def _delta_chunk(key: int, value: int) -> float:
    """FLOPs per row and head of the chunked delta rule: `6*dk*dv + 2*C*(3*dk+2*dv) + 2/3*C^2`."""
    c = DELTA_CHUNK
    return 6 * key * value + 2 * c * (3 * key + 2 * value) + 2 / 3 * c * c


def gated_delta_state(block: Gdn) -> dict[str, float]:
    """Return state bytes of a sequence: `nv*dk*dv` fp32 and a convolution tail of K-1 rows in bf16."""
    channels = 2 * block.k_heads * block.k_dim + block.v_heads * block.v_dim
    return fixed(STATE * block.v_heads * block.k_dim * block.v_dim + BF16 * (block.conv - 1) * channels)


def gated_delta(block: Gdn, hidden: int) -> tuple[Operator, ...]:
    """Return one gated DeltaNet layer.

    Parameters: `d*(2*nk*dk + 2*nv*dv) + d*2*nv + nv*dv*d + K*(2*nk*dk + nv*dv) + 2*nv + dv`.
    """
    keys, values = block.k_heads * block.k_dim, block.v_heads * block.v_dim
    channels = 2 * keys + values
    inputs = linear(
        "gdn.in",
        "attention",
        hidden,
        channels + values + 2 * block.v_heads,
        split="heads",
        heads=block.k_heads,
    )
    conv = stream(
        "gdn.conv",
        channels + 2 * values,
        channels + values,
        weights=block.conv * channels + 2 * block.v_heads + block.v_dim,
        split="rows",
        launches=2,
    )
    scan = _scan(
        "gdn.state",
        7 * block.v_heads * block.k_dim * block.v_dim,
        block.v_heads * _delta_chunk(block.k_dim, block.v_dim),
        gated_delta_state(block),
        heads=block.k_heads,
        rows=(channels + 2 * block.v_heads, values),
        spill=block.v_heads * block.k_dim * block.v_dim / DELTA_CHUNK,
    )
    out = linear("gdn.out", "attention", values, hidden, split="heads", heads=block.k_heads)
    return inputs, conv, *scan, out


def kimi_delta_state(block: Kda) -> dict[str, float]:
    """Return state bytes of a sequence: `heads*dim^2` fp32 and a convolution tail of 3P channels in bf16."""
    return fixed(
        STATE * block.heads * block.dim * block.dim + BF16 * (block.conv - 1) * 3 * block.heads * block.dim
    )


def kimi_delta(block: Kda, hidden: int) -> tuple[Operator, ...]:
    """Return one Kimi delta attention layer, P = heads * dim.

    Parameters: `3*d*P + 3*P*K + d*heads + P*d + P + heads + dim`, a decay gate and an output gate, each
    `d*128 + 128*P`, or `d*P` full rank.
    """
    h, p = block.heads, block.heads * block.dim
    full = block.full_rank_f + block.full_rank_g
    low = 2 - full
    found = [linear("kda.in", "attention", hidden, (3 + full) * p + h, split="heads", heads=h)]
    if low:
        found.append(linear("kda.gate_a", "attention", hidden, low * GATE_RANK))
        found.append(_gates(low, p, h))
    found.append(
        stream(
            "kda.conv", 4 * p, 4 * p, weights=3 * p * block.conv + p + h + block.dim, split="rows", launches=2
        )
    )
    scan = _scan(
        "kda.state",
        7 * h * block.dim**2,
        h * _delta_chunk(block.dim, block.dim),
        kimi_delta_state(block),
        heads=h,
        rows=(4 * p + h, p),
        spill=h * block.dim**2 / DELTA_CHUNK,
    )
    return (*found, *scan, linear("kda.out", "attention", p, hidden, split="heads", heads=h))


def _gates(low: int, width: int, heads: int) -> Operator:
    """Return the second halves of the low-rank gates: `low` GEMMs of 128 x P."""
    return linear("kda.gate_b", "attention", GATE_RANK, low * width, split="heads", heads=heads)


def lightning_state(block: Lightning) -> dict[str, float]:
    """Return state bytes of a sequence: `heads*dim^2` fp32."""
    return fixed(STATE * block.heads * block.dim**2)


def lightning(block: Lightning, hidden: int) -> tuple[Operator, ...]:
    """Return one lightning attention layer, P = heads * dim: `d*3P + d*P + P*d + P` parameters."""
    h, p, c = block.heads, block.heads * block.dim, LIGHTNING_CHUNK
    return (
        linear("lightning.in", "attention", hidden, 4 * p, split="heads", heads=h),
        *_scan(
            "lightning.state",
            5 * h * block.dim**2,
            4 * c * p + 4 * block.dim * p,
            lightning_state(block),
            heads=h,
            rows=(3 * p, p),
            spill=h * block.dim**2 / c,
        ),
        stream("lightning.gate", 2 * p, p, weights=p, split="rows"),
        linear("lightning.out", "attention", p, hidden, split="heads", heads=h),
    )


def mamba2_state(block: Mamba2) -> dict[str, float]:
    """Return state bytes of a sequence: `d_inner*N` fp32 and K-1 rows of the convolution in bf16."""
    inner = block.heads * block.dim
    channels = inner + 2 * block.groups * block.state
    return fixed(STATE * inner * block.state + BF16 * channels * (block.conv - 1))


def mamba2(block: Mamba2, hidden: int) -> tuple[Operator, ...]:
    """Return one Mamba-2 layer, d_inner = heads * dim, cd = d_inner + 2*G*N.

    Parameters: `d*(d_inner + cd + nh) + cd*K + cd + 3*nh + d_inner + d_inner*d`.
    """
    h, n, g = block.heads, block.state, block.groups
    inner = h * block.dim
    channels = inner + 2 * g * n
    small = channels * block.conv + (channels if block.conv_bias else 0) + 3 * h + inner
    chunk = SSD_CHUNK * 2 * (n * g + block.dim * h) + 4 * block.dim * n * h
    return (
        linear("mamba.in", "attention", hidden, inner + channels + h, split="heads", heads=h),
        stream("mamba.conv", channels + 2 * inner, channels + inner, weights=small, split="rows", launches=2),
        *_scan(
            "mamba.state",
            5 * inner * n,
            chunk,
            mamba2_state(block),
            heads=h,
            rows=(channels + h, inner),
            spill=inner * n / SSD_CHUNK,
        ),
        linear("mamba.out", "attention", inner, hidden, split="heads", heads=h),
    )


def operators(block: Gdn | Kda | Lightning | Mamba2, hidden: int) -> tuple[Operator, ...]:
    """Return the operators of one recurrent layer."""
    match block:
        case Gdn():
            return gated_delta(block, hidden)
        case Kda():
            return kimi_delta(block, hidden)
        case Lightning():
            return lightning(block, hidden)
        case Mamba2():
            return mamba2(block, hidden)


def state(block: Gdn | Kda | Lightning | Mamba2) -> Cache:
    """Return the recurrent state that one layer keeps for every sequence."""
    match block:
        case Gdn():
            return Cache("gdn.state", 1, state_bytes=gated_delta_state(block), kv_heads=block.k_heads)
        case Kda():
            return Cache("kda.state", 1, state_bytes=kimi_delta_state(block), kv_heads=block.heads)
        case Lightning():
            return Cache("lightning.state", 1, state_bytes=lightning_state(block), kv_heads=block.heads)
        case Mamba2():
            return Cache("mamba.state", 1, state_bytes=mamba2_state(block), kv_heads=block.heads)
