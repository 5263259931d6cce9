"""Traffic made from traffic: times without rounding, several traces mixed to a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from assay.errors import BadInput
from assay.workload.arrivals import Requests, concat


def spread(requests: Requests, seed: int = 0) -> Requests:
    """Return the requests with times that were rounded spread over the time to the next one.

    Requests at one time are placed at random, in their order, between it and the next different time (the
    last ones over the mean step). Rounded times, such as the 3-s clumps of Mooncake's traces, would otherwise
    show up as queueing that never was.

    Args:
        requests: traffic.
        seed: of the places.
    """
    if len(requests) < 2 or requests.span == 0:
        return requests
    times, counts = np.unique(requests.arrival, return_counts=True)
    step = np.diff(times, append=times[-1] + np.diff(times).mean())
    owner = np.repeat(np.arange(times.size), counts)
    place = np.random.default_rng(seed).random(owner.size)
    place = np.where(counts[owner] > 1, place, 0.0)
    moved = requests.arrival + place * step[owner]
    order = np.lexsort((moved, owner))
    return replace(requests, arrival=moved[order])


def mixed(parts: Sequence[Requests], rates: Sequence[float] | None = None) -> Requests:
    """Return several traces at once, each from time 0, cut where the shortest ends.

    Args:
        parts: traces; their sessions and prefix blocks stay apart.
        rates: requests/s that each is brought to; None leaves them as they are.

    Raises:
        BadInput: no traces, as many rates as traces are missing, or a rate for a trace without times.
    """
    if not parts or (rates is not None and len(rates) != len(parts)):
        raise BadInput(
            f"{len(parts)} traces and {len(rates or ())} rates do not go together.", "One rate a trace."
        )
    if any(not len(part) for part in parts):
        raise BadInput("A trace to mix is empty.", "Leave it out.")
    if rates is not None:
        parts = [at_rate(part, rate) for part, rate in zip(parts, rates, strict=True)]
    starts = [replace(part, arrival=part.arrival - part.arrival[0]) for part in parts]
    end = min(part.span for part in starts)
    return concat([part.between(0.0, np.nextafter(end, np.inf)) for part in starts])


def at_rate(requests: Requests, rate: float) -> Requests:
    """Return the requests with all gaps scaled so that their mean rate is `rate`, requests/s.

    Raises:
        BadInput: the trace has no times, or the rate is not positive.
    """
    if requests.span == 0:
        raise BadInput("A trace without times has no rate to scale.", "Generate arrivals for its lengths.")
    return requests.scaled(rate=rate * requests.span / len(requests))


def shared_prefix(requests: Requests, cached: float, block_tokens: int = 16) -> Requests:
    """Return the requests with prefix blocks of which a share is common to all: one long system prompt.

    The simplest traffic with a given hit rate; every replica soon holds the prompt, so routing matters less.

    Args:
        requests: traffic; blocks it has are replaced.
        cached: share of the input tokens of each request that is common, 0 to 1; whole blocks only.
        block_tokens: tokens a block.

    Raises:
        BadInput: a share outside 0 to 1, or no block size.
    """
    if not 0 <= cached <= 1 or block_tokens < 1:
        raise BadInput(f"cached = {cached:g} with blocks of {block_tokens} tokens makes no prefix.")
    counts = requests.isl // block_tokens
    common = (requests.isl * cached).astype(np.int64) // block_tokens
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    position = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    own = np.int64(common.max(initial=0)) + np.arange(position.size)
    ids = np.where(position < np.repeat(common, counts), position, own)
    return replace(requests, blocks=(offsets, ids), block_tokens=block_tokens)
