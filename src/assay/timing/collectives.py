"""Time of a message between chips, by operation, size, ranks, topology and domain. (starting version)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.schema import System

Floats = NDArray[np.float64]
OPERATIONS = ("all_reduce", "reduce_scatter", "all_gather", "dispatch", "combine", "send", "kv_transfer")


@dataclass(frozen=True, slots=True)
class Link:
    """Two protocols of one operation: time = min over them of latency + bytes / rate.

    Attributes:
        latency: s, shape (2, *ranks.shape); protocol 0 is the low-latency one.
        rate: B/s of payload per rank, same shape.
    """

    latency: Floats
    rate: Floats

    def seconds(self, payload: ArrayLike) -> Floats:
        """Return the time of `payload` bytes, s; zero bytes cost nothing."""
        size = np.asarray(payload, dtype=np.float64)
        time = np.minimum(self.latency[0] + size / self.rate[0], self.latency[1] + size / self.rate[1])
        return np.where(size > 0, time, 0.0)


def link(system: System, op: str, ranks: ArrayLike, copies: float = 1.0) -> Link:
    """Return the link of `op` over `ranks` chips of `system`. Payload convention:

    all_reduce, reduce_scatter, all_gather: the full (unscattered) message; dispatch, combine: bytes that
    leave a rank; send, kv_transfer: bytes of the message. `copies`: destinations of a token (top-k), for
    kernels that cross the NIC once per node.
    """
    n = np.asarray(ranks, dtype=np.float64)
    inside = np.minimum(n, system.domain)
    if op in ("send", "kv_transfer"):
        factor = np.ones_like(n)
        share, base, step = np.array([0.83, 0.83]), np.array([5e-6, 5e-6]), np.zeros(2)
    elif op in ("dispatch", "combine"):
        factor = np.ones_like(n)
        share, base, step = np.array([0.6, 0.75]), np.array([15e-6, 40e-6]), np.array([2e-7, 2e-7])
    else:
        factor = (2.0 if op == "all_reduce" else 1.0) * (inside - 1) / np.maximum(inside, 1)
        share, base, step = np.array([0.3, 0.8]), np.array([5e-6, 14e-6]), np.array([5e-7, 1e-6])
    shape = (2,) + (1,) * n.ndim
    rate = share.reshape(shape) * system.link_bandwidth / np.maximum(factor, 1e-12)
    latency = base.reshape(shape) + step.reshape(shape) * np.minimum(inside - 1, 8)
    outside = n > system.domain
    if np.any(outside):
        nic = (system.nic_bandwidth or 12.5e9) * 0.8
        if op in ("all_reduce", "reduce_scatter", "all_gather"):
            domains = np.ceil(n / system.domain)
            cross = (2.0 if op == "all_reduce" else 1.0) * (domains - 1) / domains / inside
            rate = np.where(outside, 1.0 / (1.0 / rate + cross / nic), rate)
        else:
            rate = np.where(outside, np.minimum(rate, nic * (n - 1) / np.maximum(n - inside, 1)), rate)
        latency = np.where(outside, latency + 12e-6, latency)
    single = n <= 1
    return Link(np.where(single, 0.0, latency), np.where(single, np.inf, rate))
