"""The floor of a kernel and of a message, and the one formula that turns work into time.

Pure functions: arrays in, arrays out, SI units. The floor is the roofline of Williams, Waterman and
Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM 52(4),
2009: a kernel takes at least the larger of its arithmetic at peak rate and its traffic at peak bandwidth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Exponent that joins the compute time and the memory time of one kernel. Infinity is perfect overlap (the
#: roofline), one is none; chosen from the measured kernels (docs/concepts/timing.md).
ORDER = 4


def floor_seconds(
    flops: ArrayLike, moved: ArrayLike, peak: ArrayLike, bandwidth: ArrayLike
) -> NDArray[np.float64]:
    """Return the least time a chip can take for a kernel, s.

    Args:
        flops: arithmetic of the kernel, FLOP.
        moved: bytes it must read and write, B.
        peak: dense rate of the number format, FLOP/s.
        bandwidth: rate of the memory, B/s.

    All arguments broadcast.
    """
    compute = _array(flops) / _array(peak)
    return np.asarray(np.maximum(compute, _array(moved) / _array(bandwidth)))


def message_floor(sent: ArrayLike, link: ArrayLike) -> NDArray[np.float64]:
    """Return the least time of a message of `sent` bytes over a link of `link` B/s one way, s."""
    return np.asarray(_array(sent) / _array(link))


def kernel_seconds(
    flops: ArrayLike,
    moved: ArrayLike,
    rows: ArrayLike,
    *,
    compute_rate: ArrayLike,
    memory_rate: ArrayLike,
    rows_half: ArrayLike = 0.0,
    overhead: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    """Return the time of one kernel with calibrated rates, s.

    `((flops (1 + rows_half / rows) / compute_rate)^p + (moved / memory_rate)^p)^(1/p) + overhead` with
    p = `ORDER`: never below the roofline of the two rates, and at most `2^(1/p)` above it.

    Args:
        flops: arithmetic, FLOP.
        moved: bytes read and written, B.
        rows: tokens that share the weights (per expert for a grouped GEMM); at least 1 is used.
        compute_rate: peak rate times the reached share, FLOP/s.
        memory_rate: bandwidth times the reached share, B/s.
        rows_half: rows at which half of `compute_rate` is reached.
        overhead: fixed cost of a kernel, s.
    """
    fill = 1.0 + _array(rows_half) / np.maximum(_array(rows), 1.0)
    compute = _array(flops) * fill / _array(compute_rate)
    memory = _array(moved) / _array(memory_rate)
    long, short = np.maximum(compute, memory), np.minimum(compute, memory)
    ratio = np.divide(short, long, out=np.zeros_like(long), where=long > 0)
    return np.asarray(long * (1.0 + ratio**ORDER) ** (1.0 / ORDER) + _array(overhead))


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
