"""Time of a message between chips, by operation, size, ranks, topology and domain.

An operation is two protocols, each a straight line in the message size; the faster one counts. What a
payload is:

* `all_reduce`, `reduce_scatter`, `all_gather`: the full message, the bytes every rank holds before
  (reduce) or after (gather) the operation;
* `dispatch`, `combine`: the bytes that leave a rank when it sends one copy of a row to each *distinct* rank
  that holds one of its top-k experts, its own excluded (`away` counts them);
* `send`, `kv_transfer`: the bytes of the message, per sending chip.

`ranks` is the number of chips taking part, for `send` and `kv_transfer` the chips that both ends span: a
group larger than the scale-up domain crosses the NICs. Reference: Thakur, Rabenseifner and Gropp,
"Optimization of collective communication operations in MPICH", IJHPCA 19(1), 2005; figures and fits:
docs/concepts/timing.md and the data file `calibrations/collectives`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.errors import NoEvidence

Array = NDArray[np.float64]

#: Operations that have a link.
OPERATIONS = ("all_reduce", "reduce_scatter", "all_gather", "dispatch", "combine", "send", "kv_transfer")
#: Experts a token visits, where the caller does not say: the commonest top-k.
TOPK = 8.0


@dataclass(frozen=True, slots=True)
class Link:
    """Two protocols: seconds = min over both of latency + bytes / rate.

    Attributes:
        latency: s, shape (2, *ranks.shape); protocol 0 is made for small messages.
        rate: payload B/s per rank, same shape; infinite for a single rank.
    """

    latency: Array
    rate: Array

    def seconds(self, payload: ArrayLike) -> Array:
        """Return the time of `payload` bytes, s; nothing costs nothing."""
        size = np.asarray(payload, dtype=np.float64)
        return np.where(size > 0, np.min(self.latency + size / self.rate, axis=0), 0.0)


def away(ranks: ArrayLike, topk: ArrayLike = TOPK) -> Array:
    """Return the expected number of distinct other ranks that the top-k experts of a row sit on.

    `n (1 - (1 - 1/n)^k) (1 - 1/n)` for experts spread uniformly over n ranks.
    """
    n = np.maximum(np.asarray(ranks, dtype=np.float64), 1.0)
    copies = np.asarray(topk, dtype=np.float64)
    return np.asarray(n * (1.0 - (1.0 - 1.0 / n) ** copies) * (1.0 - 1.0 / n))


def wire(op: str, ranks: Array) -> Array:
    """Return bytes that pass a rank's link, one way, per payload byte behind a switch, (2, *ranks.shape).

    Protocol 0 of an all-reduce is one-shot (every rank reads all n buffers), protocol 1 a ring,
    2 (n - 1) / n; a gather or scatter moves (n - 1) / n, an exchange exactly its payload.
    """
    n = np.maximum(ranks, 1.0)
    ring = (n - 1.0) / n
    if op == "all_reduce":
        return np.stack([np.where(n > 1, n, 0.0), 2.0 * ring])
    if op in ("reduce_scatter", "all_gather"):
        return np.stack([ring, ring])
    return np.ones((2, *n.shape))


def floor(system: System, op: str, ranks: ArrayLike) -> Array:
    """Return the least seconds per payload byte that the links allow, s/B, shape of `ranks`.

    No algorithm moves less over a rank's own links; in-network reduction halves the ring's share.
    """
    n = np.maximum(np.asarray(ranks, dtype=np.float64), 1.0)
    inner = np.minimum(n, system.domain)
    links = _links(system, inner)
    moved = wire(op, inner)[1]
    if op == "all_reduce" and system.in_network_reduction:
        moved = np.minimum(moved, 1.0)
    least = np.where(inner > 1, moved / np.maximum(links, 1e-300), 0.0)
    outside = n > system.domain
    if op in ("send", "kv_transfer"):
        slow = 1.0 / (system.nic_bandwidth or np.inf)
        least = np.where(outside, slow, 1.0 / max(system.peer_bandwidth, 1e-300))
        return np.where(n > 1, least, 0.0)
    nic = _nic_wire(op, n, system, TOPK) / (system.nic_bandwidth or np.inf)
    return np.where(outside, np.maximum(_crowd(op, n, inner) * least, nic), least)


def link(system: System, op: str, ranks: ArrayLike, topk: float = TOPK) -> Link:
    """Return latency and payload rate of `op` over `ranks` chips of a system.

    Args:
        system: where the chips sit.
        op: one of `OPERATIONS`.
        ranks: chips taking part, any shape; one rank costs nothing.
        topk: copies of a row that dispatch and combine carry; kernels cross the NIC once per domain.

    Raises:
        NoEvidence: the operation is unknown, or ranks must talk over a link that has no published rate.
    """
    if op not in OPERATIONS:
        raise NoEvidence(f"No timing of operation {op!r}.", f"Known: {', '.join(OPERATIONS)}.")
    n = np.maximum(np.asarray(ranks, dtype=np.float64), 1.0)
    inner = np.minimum(n, system.domain)
    if np.any(inner > 1) and not system.link_bandwidth > 0:
        raise NoEvidence(
            f"{system.name} has no published scale-up rate.", "Use one chip, or give link_bw in a facts file."
        )
    latency, cost = _inside(system, op, inner)
    outside = n > system.domain
    if np.any(outside):
        far_latency, far_cost = _outside(system, op, n, topk)
        if op in ("send", "kv_transfer"):
            latency = np.where(outside, far_latency, latency)
            cost = np.where(outside, far_cost, cost)
        else:
            latency = latency + np.where(outside, far_latency, 0.0)
            cost = np.where(outside, np.maximum(_crowd(op, n, inner) * cost, far_cost), cost)
    single = n <= 1
    cost = np.where(single, 0.0, cost)
    rate = np.divide(1.0, cost, out=np.full_like(cost, np.inf), where=cost > 0)
    return Link(np.where(single, 0.0, latency), rate)


def kv_block_share(payload: ArrayLike) -> Array:
    """Return the share of the transfer rate that blocks of `payload` bytes reach; the best block is 1.

    A paged cache is sent block by block; small blocks bound the rate by operations per second.
    """
    curve = _table()["published"]["kv_transfer"]["block_curve"]
    sizes, shares = np.log(curve["bytes"]), np.asarray(curve["share"], dtype=np.float64)
    share = np.interp(np.log(np.maximum(payload, 1.0)), sizes, shares / shares.max())
    smallest = float(curve["bytes"][0])
    scale = np.minimum(np.asarray(payload, dtype=np.float64) / smallest, 1.0)
    return np.asarray(share * scale)


def _inside(system: System, op: str, n: Array) -> tuple[Array, Array]:
    """Return latency (s) and cost (s per payload byte) within a domain, each (2, *n.shape)."""
    if op in ("send", "kv_transfer"):
        return _peer(system, op, n)
    if system.topology == "mesh":
        return _mesh(system, op, n)
    if system.topology in ("torus2d", "torus3d", "ring"):
        return _torus(system, op, n)
    entry = _fitted(system)[op]
    ranks = np.asarray(entry["ranks"], dtype=np.float64)
    at, known = np.log2(n), np.log2(ranks)
    latency = np.stack([_extend(at, known, np.asarray(row)) for row in entry["latency"]])
    share = np.asarray(entry["share"])
    # between measured rank counts the cost is interpolated, beyond them the share stays
    inner = np.stack([np.interp(at, known, row) for row in wire(op, ranks) / share])
    last = share[:, -1].reshape(2, *(1,) * n.ndim)
    # without links there is one chip in a domain, and the cost inside is never used
    rate = system.link_bandwidth or 1.0
    return latency, np.where(n > ranks[-1], wire(op, n) / last, inner) / rate


def _extend(at: Array, known: Array, values: Array) -> Array:
    """Interpolate, and go on along the last slope beyond the measured rank counts (log2)."""
    inner = np.interp(at, known, values)
    if len(known) < 2:
        return np.asarray(inner)
    slope = (values[-1] - values[-2]) / (known[-1] - known[-2])
    return np.asarray(inner + slope * np.maximum(at - known[-1], 0.0))


def _fitted(system: System) -> Mapping[str, Any]:
    table = _table()
    topology = "pcie" if system.topology == "pcie" else "switch"
    generations = table["fitted"][topology]
    default = generations[table["published"]["default_generation"][topology]]
    own = generations.get(system.chip.generation, {})
    return {**default, **own}


def _peer(system: System, op: str, n: Array) -> tuple[Array, Array]:
    published = _table()["published"]
    figures = published["peer"]
    # a cache transfer starts in software, on either network
    start = published["network"][op]["latency"][0][0] if op == "kv_transfer" else figures["latency"]
    latency = np.full((2, *n.shape), start)
    rate = max(system.peer_bandwidth, 1e-300) * figures["share"]
    return latency, np.full((2, *n.shape), 1.0 / rate)


def _mesh(system: System, op: str, n: Array) -> tuple[Array, Array]:
    """Direct algorithms over one link per pair: a group uses n - 1 of a chip's links, never more.

    One-shot all-reduce moves the whole message over every link; the other operations move 1/n of it
    (twice for an all-reduce), an exchange 1/(n - 1) of its payload.
    """
    figures = _table()["published"]["mesh"]
    share, latency = np.asarray(figures["share"]), np.asarray(figures["latency"])
    parts = {
        "all_reduce": (np.ones_like(n), 2.0 / n),
        "reduce_scatter": (1.0 / n, 1.0 / n),
        "all_gather": (1.0 / n, 1.0 / n),
    }
    moved = np.stack(parts.get(op, (1.0 / np.maximum(n - 1.0, 1.0),) * 2))
    shape = (2, *(1,) * n.ndim)
    return np.broadcast_to(latency.reshape(shape), moved.shape), moved / (
        share.reshape(shape) * system.peer_bandwidth
    )


def _torus(system: System, op: str, n: Array) -> tuple[Array, Array]:
    """Rings along the axes of a compact block; an exchange is bound by the block's bisection."""
    figures = _table()["published"]["torus"]
    axes, wrapped = _block(system, n)
    side = n ** (1.0 / axes)
    hop = figures["hop_latency"] if system.hop_latency is None else system.hop_latency
    reach = axes * np.where(wrapped, side / 2.0, np.maximum(side - 1.0, 0.0))
    trips = 2.0 if op == "all_reduce" else 1.0
    latency = np.stack([start + reach * trips * hop for start in figures["latency"]])
    if op in ("dispatch", "combine"):
        crossing = side * n / (4.0 * np.maximum(n - 1.0, 1.0)) / np.where(wrapped, 2.0, 1.0)
        moved = np.maximum(crossing, 1.0 / np.where(wrapped, 2.0 * axes, axes))
        rate = system.peer_bandwidth
    else:
        moved, rate = wire(op, n)[1], 1.0
        moved = moved / _links(system, n)
    shape = (2, *(1,) * n.ndim)
    return latency, moved[None] / (np.asarray(figures["share"]).reshape(shape) * rate)


def _block(system: System, n: Array) -> tuple[Array, Array]:
    """Return the axes a group of n chips spans, and whether its rings close (whole axes only)."""
    most = {"torus3d": 3.0, "torus2d": 2.0}.get(system.topology, 1.0)
    axes = np.clip(np.floor(np.log2(np.maximum(n, 2.0)) + 1e-9), 1.0, most)
    closes = _table()["published"]["torus"]["wraps_from"].get(system.topology, system.domain)
    return axes, n >= np.minimum(closes, system.domain)


def _links(system: System, n: Array) -> Array:
    """Return the rate at which a rank can send to the others of its group, B/s."""
    if system.topology == "mesh":
        return np.maximum(n - 1.0, 1.0) * system.peer_bandwidth
    if system.topology in ("torus2d", "torus3d", "ring"):
        axes, wrapped = _block(system, n)
        return np.asarray(axes * np.where(wrapped, 2.0, 1.0) * system.peer_bandwidth)
    return np.full_like(n, system.link_bandwidth)


def _outside(system: System, op: str, n: Array, topk: float) -> tuple[Array, Array]:
    """Return what crossing domains adds in latency, and the NIC's s per payload byte, (2, *n.shape)."""
    if not system.nic_bandwidth:
        raise NoEvidence(
            f"{system.name} has no published scale-out rate: a group may not exceed {system.domain} chips.",
            "Plan within one domain, or give nic_bandwidth in a facts file.",
        )
    figures = _table()["published"]["network"][op]
    domains = np.ceil(n / system.domain)
    latency = np.stack(
        [np.asarray(first + step * np.log2(np.maximum(domains, 2.0))) for first, step in figures["latency"]]
    )
    sent = np.stack([_nic_wire(op, n, system, topk, direct=direct) for direct in figures["direct"]])
    share = np.asarray(figures["share"]).reshape(2, *(1,) * n.ndim)
    return latency, sent / (share * system.nic_bandwidth)


def _nic_wire(op: str, n: Array, system: System, topk: float, *, direct: bool = False) -> Array:
    """Return bytes through a chip's NIC per payload byte.

    Reductions first shrink the message to its share of the domain; an exchange sends one copy per domain,
    or with `direct` one per destination rank.
    """
    domains = np.maximum(np.ceil(n / system.domain), 1.0)
    inner = np.minimum(n, system.domain)
    ring = (domains - 1.0) / domains / inner
    if op == "all_reduce":
        return np.asarray(2.0 * ring)
    if op in ("reduce_scatter", "all_gather"):
        return np.asarray(ring)
    if op in ("send", "kv_transfer"):
        return np.ones_like(n)
    crossing = (n - inner) / np.maximum(n - 1.0, 1.0)
    if direct:
        return np.asarray(crossing)
    once = away(domains, topk) / np.maximum(away(n, topk), 1e-300)
    return np.asarray(np.minimum(crossing, once))


def _crowd(op: str, n: Array, inner: Array) -> Array:
    """Return the share of the payload that stays inside the domain."""
    if op in ("dispatch", "combine"):
        return np.asarray((inner - 1.0) / np.maximum(n - 1.0, 1.0))
    return np.ones_like(n)


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = catalogue().table("calibrations/collectives")
    return table
