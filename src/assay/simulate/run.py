"""Run a cluster under traffic: feed the kernel, empty its log, keep what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.simulate import forms, rows
from assay.simulate import state as s
from assay.simulate.building import build
from assay.simulate.cluster import Cluster
from assay.simulate.compiled import Kernel, available, kernel, ready
from assay.simulate.faults import Event
from assay.simulate.sketch import Sketch
from assay.workload.arrivals import COLUMNS, Requests
from assay.workload.sessions import Sessions

#: Work (requests and prefix blocks) from which loading the compiled kernel pays, and compiling it.
WORTH_LOADING, WORTH_COMPILING = 5_000, 1_000_000
#: Longest request of a stream whose lengths are not known beforehand, tokens.
STREAM_LONGEST = 262_144
#: Longest request there may be, tokens: the kernel counts them in 32 bits.
MOST_TOKENS = 2**30
#: Requests that the kernel is given at a time.
PIECE = 32_768


@dataclass(frozen=True, slots=True)
class Limits:
    """Objective of one request, s; infinite = no limit."""

    ttft: float = float("inf")
    tpot: float = float("inf")
    e2e: float = float("inf")


@dataclass(slots=True)
class Tally:
    """What is kept of requests that ended: sketches always, every row only if asked."""

    limits: Limits
    request: float
    keep: bool = False
    ttft: Sketch = field(default_factory=Sketch)
    tpot: Sketch = field(default_factory=Sketch)
    e2e: Sketch = field(default_factory=Sketch)
    ended: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, dtype=np.int64))
    good: int = 0
    output_tokens: int = 0
    input_tokens: int = 0
    last: float = 0.0
    rows: list[NDArray[Any]] = field(default_factory=list)

    def take(self, log: Any, count: int) -> None:
        """Add the first `count` rows of the kernel's log."""
        part = forms.packed("log", log[:count]).copy()
        status = part["status"]
        self.ended += np.bincount(status, minlength=4)
        done = status == s.COMPLETED
        osl = part["osl"][done]
        ttft = part["first"][done] - part["arrival"][done] + self.request
        decode = part["end"][done] - part["first"][done]
        e2e = ttft + decode
        several = osl > 1
        tpot = decode[several] / (osl[several] - 1)
        self.ttft.add(ttft)
        self.tpot.add(tpot)
        self.e2e.add(e2e)
        within = (ttft <= self.limits.ttft) & (e2e <= self.limits.e2e)
        within[several] &= tpot <= self.limits.tpot
        self.good += int(within.sum())
        self.output_tokens += int(osl.sum())
        self.input_tokens += int(part["isl"][done].sum())
        if count:
            self.last = max(self.last, float(part["end"].max()))
        if self.keep:
            self.rows.append(part)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished (or interrupted) run: what ended, and the kernel's state.

    Attributes:
        tally: requests that ended.
        state: the kernel's last `assay.simulate.state.State`, in arrays.
        first: arrival of the first request, s.
        whole: whether everything was done; False after an interruption.
        compiled: whether numba ran it.
    """

    tally: Tally
    state: Any
    first: float
    whole: bool
    compiled: bool


def execute(  # noqa: PLR0913 - what runs, and how it is watched
    cluster: Cluster,
    traffic: Requests | Sessions | Iterable[Requests],
    *,
    users: int = 0,
    cached: float = 0.0,
    events: Sequence[Event] = (),
    limits: Limits | None = None,
    keep: bool = False,
    compiled: bool | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Run:
    """Run traffic through a cluster until every request has ended.

    Args:
        cluster: what serves.
        traffic: requests; or sessions, whose turns follow the end of the one before; or chunks of requests in
            order of time (then memory does not grow with their number).
        users: a closed loop of so many users that ask again as soon as they are answered, with the lengths of
            `traffic` in order; 0 = requests arrive when they say.
        cached: share of the input found in a prefix cache, for traffic without prefix blocks.
        events: failures, sorted by time.
        limits: objective that goodput counts.
        keep: keep every request for the full log.
        compiled: whether to use numba; None = where it is installed and the work is worth loading or making
            the compiled kernel.
        progress: told (what, share done).

    Raises:
        BadInput: no requests.
        DoesNotFit: the model leaves no memory for a cache.
    """
    gap = None
    if isinstance(traffic, Sessions):
        gap, traffic = traffic.gap, traffic.requests
    if len(cluster.pools) == 1 and any(event.kind == s.LINK for event in events):
        raise BadInput("The faults name a link between pools; there is one pool.", "Leave links out.")
    chunks = iter((traffic,) if isinstance(traffic, Requests) else traffic)
    first = next(chunks, None)
    if first is None or not len(first):
        raise BadInput("There are no requests to simulate.", "Give a trace with rows or a positive number.")
    single = isinstance(traffic, Requests)
    longest = _longest(first) if single else STREAM_LONGEST
    work = len(first) + (first.blocks[1].size if first.blocks is not None else 0)
    if compiled is None:
        enough = WORTH_LOADING if ready() else WORTH_COMPILING
        compiled = available() and (work >= enough or not single)
    code = kernel(compiled)
    request = cluster.pools[0].copy.engine.request
    distinct = np.unique(first.blocks[1]).size if single and first.blocks is not None else 0
    state = build(cluster, first, longest, users, events, distinct)
    if not compiled:
        state = forms.as_plain(state)
    tally = Tally(limits or Limits(), request, keep)
    ahead = chain((first,), chunks)
    pieces = ahead if users or gap is not None else (piece for chunk in ahead for piece in cut(chunk, PIECE))
    feed = Feed(pieces, request, cached, len(first) if single else 0, gap)
    state, whole = _loop(code, state, feed, tally, users, progress)
    start = float(first.arrival[0]) if not users else 0.0
    return Run(tally, forms.as_arrays(state), start, whole, compiled)


def cut(chunk: Requests, most: int) -> Iterator[Requests]:
    """Yield a chunk of requests in pieces of at most so many, in order; arrays are views."""
    for start in range(0, len(chunk), most):
        part = slice(start, start + most)
        blocks = None
        if chunk.blocks is not None:
            offsets = chunk.blocks[0][start : start + most + 1]
            blocks = (offsets - offsets[0], chunk.blocks[1][offsets[0] : offsets[-1]])
        columns = {name: getattr(chunk, name)[part] for name in COLUMNS}
        yield Requests(**columns, blocks=blocks, block_tokens=chunk.block_tokens)


def _longest(traffic: Requests) -> int:
    """Return the tokens of the longest request.

    Raises:
        BadInput: it is longer than the kernel counts.
    """
    longest = int((traffic.isl + traffic.osl).max())
    if longest > MOST_TOKENS:
        raise BadInput(
            f"A request of {longest:,} tokens is longer than any that is simulated.", "Leave it out."
        )
    return longest


@dataclass(slots=True)
class Feed:
    """Chunks of requests on their way into the kernel."""

    chunks: Iterator[Requests]
    request: float
    cached: float
    expected: int
    gap: NDArray[np.float64] | None = None
    given: int = 0
    ahead: Requests | None = None
    over: bool = False

    def refill(self, state: s.State) -> s.State:
        """Return the state with the next chunk; blocks of requests in flight are kept."""
        chunk = self.ahead if self.ahead is not None else next(self.chunks)
        self.ahead = next(self.chunks, None)
        self.given += len(chunk)
        count, block_tokens = len(chunk), forms.read(state, "setup", "block_tokens")
        offset, ids = np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        if chunk.blocks is not None and block_tokens:
            offset, ids = chunk.blocks[0], _held(state, scramble(chunk.blocks[1]))
        hit = np.minimum((chunk.isl * self.cached).astype(np.int64), chunk.isl - 1)
        coming = forms.rows(
            rows.ComingRow,
            count,
            arrival=chunk.arrival + self.request,
            number=np.arange(self.given - count, self.given),
            follow=-1,
            isl=chunk.isl,
            osl=chunk.osl,
            session=chunk.session,
            priority=np.clip(chunk.priority, 0, s.CLASSES - 1),
            hit=hit if chunk.blocks is None else 0,
            block=offset[:-1],
            blocks=np.diff(offset),
        )
        opening = count
        if self.gap is not None:
            coming, opening = _in_sessions(coming, chunk, self.gap + self.request)
        forms.write(state, "totals", "coming", 0)
        forms.write(state, "setup", "opening", opening)
        forms.write(state, "setup", "last", int(self.ahead is None))
        new: dict[str, Any] = {"coming": coming, "ids": ids}
        if not is_array(state.slots):
            new = {name: forms.plain(name, item) for name, item in new.items()}
        return state._replace(**new)


def _in_sessions(coming: NDArray[Any], chunk: Requests, gap: NDArray[np.float64]) -> tuple[NDArray[Any], int]:
    """Return the rows with those first that arrive by themselves, later turns behind, and their number."""
    later = np.isfinite(gap) & (chunk.turn > 0)
    order = np.concatenate([np.flatnonzero(~later), np.flatnonzero(later)])
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    by_turn = np.lexsort((chunk.turn, chunk.session))
    same = (chunk.session[by_turn[1:]] == chunk.session[by_turn[:-1]]) & later[by_turn[1:]]
    coming["follow"][by_turn[:-1][same]] = place[by_turn[1:][same]]
    coming["gap"] = np.where(later, gap, 0.0)
    return coming[order], int((~later).sum())


def _held(state: s.State, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids of a chunk with those of requests still in flight behind them, their places updated."""
    flight = state.flight
    used = set(range(len(state.slots))) - {
        int(slot) for slot in state.slots[: forms.read(state, "totals", "free")]
    }
    parts, at = [ids], len(ids)
    for slot in sorted(used):
        row: Any = flight[slot]
        if isinstance(row, np.void):
            start, count = int(row["block"]), int(row["blocks"])
            row["block"] = at
        else:
            start, count = row.block, row.blocks
            row.block = at
        parts.append(np.asarray(state.ids[start : start + count], dtype=np.int64))
        at += count
    return np.concatenate(parts)


def scramble(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids with well-mixed low bits, one to one, non-negative (the finaliser of SplitMix64).

    Reference: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    z = ids.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z & np.uint64(0x7FFF_FFFF_FFFF_FFFF)).astype(np.int64)


def _loop(
    code: Kernel,
    state: s.State,
    feed: Feed,
    tally: Tally,
    users: int,
    progress: Callable[[str, float], None] | None,
) -> tuple[s.State, bool]:
    state = feed.refill(state)
    try:
        asking = min(users, feed.given)
        while True:
            reason = code.serve(state, asking)
            asking = 0
            tally.take(state.log, forms.read(state, "totals", "logged"))
            forms.write(state, "totals", "logged", 0)
            if reason == s.DONE:
                return state, True
            if reason == s.MORE_REQUESTS:
                state = feed.refill(state)
            elif reason == s.MORE_SLOTS:
                grow(state)
            elif progress is not None:
                share = int(tally.ended.sum()) / feed.expected if feed.expected else 0.0
                progress(f"{int(tally.ended.sum()):,} requests", min(share, 1.0))
    except KeyboardInterrupt:
        tally.take(state.log, forms.read(state, "totals", "logged"))
        return state, False


def is_array(items: Any) -> bool:
    """Return whether a field of the state has its compiled form."""
    return isinstance(items, np.ndarray)


def grow(state: s.State) -> None:
    """Make room for twice as many requests in flight; no slot is free."""
    size = len(state.slots)
    for name in ("flight", "slots", "later_at", "later_slot", "log"):
        forms.lengthen(state, name, size)
    slots: Any = state.slots
    slots[:size] = range(2 * size - 1, size - 1, -1)
    forms.write(state, "totals", "free", size)
