"""Run a cluster under traffic: feed the kernel, empty its log, keep what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.simulate import forms
from assay.simulate import state as s
from assay.simulate.building import Ahead, build
from assay.simulate.cluster import Cluster, Fleet, Member
from assay.simulate.compiled import Kernel, available, kernel, ready
from assay.simulate.faults import Event
from assay.simulate.feeding import PIECE, Feed, Source, cut
from assay.simulate.sketch import Sketch
from assay.workload.arrivals import Requests
from assay.workload.sessions import Sessions

#: Work (requests and prefix blocks) from which loading the compiled kernel pays, and compiling it.
WORTH_LOADING, WORTH_COMPILING = 5_000, 1_000_000
#: Longest request of a stream whose lengths are not known beforehand, tokens.
STREAM_LONGEST = 262_144
#: Longest request there may be, tokens: the kernel counts them in 32 bits.
MOST_TOKENS = 2**30


_NOBODY = ("There are no requests to simulate.", "Give a trace with rows or a positive number.")


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

    def take(self, rows: NDArray[Any]) -> None:
        """Add rows of the kernel's log."""
        status = rows["status"]
        self.ended += np.bincount(status, minlength=4)
        done = status == s.COMPLETED
        osl = rows["osl"][done]
        ttft = rows["first"][done] - rows["arrival"][done] + self.request
        decode = rows["end"][done] - rows["first"][done]
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
        self.input_tokens += int(rows["isl"][done].sum())
        if len(rows):
            self.last = max(self.last, float(rows["end"].max()))
        if self.keep:
            self.rows.append(rows)

    def join(self, other: Tally) -> None:
        """Add what another one was given."""
        for one, more in ((self.ttft, other.ttft), (self.tpot, other.tpot), (self.e2e, other.e2e)):
            one.join(more)
        self.ended += other.ended
        self.good += other.good
        self.output_tokens += other.output_tokens
        self.input_tokens += other.input_tokens
        self.last = max(self.last, other.last)
        self.rows += other.rows


@dataclass(frozen=True, slots=True)
class Run:
    """A finished (or interrupted) run: what ended, and the kernel's state.

    Attributes:
        tallies: requests of each model that ended.
        state: the kernel's last `assay.simulate.state.State`, in arrays.
        first: arrival of the first request, s.
        whole: whether everything was done; False after an interruption.
        compiled: whether numba ran it.
    """

    tallies: tuple[Tally, ...]
    state: Any
    first: float
    whole: bool
    compiled: bool

    @property
    def tally(self) -> Tally:
        """Requests that ended, of all models."""
        if len(self.tallies) == 1:
            return self.tallies[0]
        every = Tally(Limits(), 0.0, self.tallies[0].keep)
        for one in self.tallies:
            every.join(one)
        return every

    def of(self, model: int) -> Run:
        """Return what one model sees of a run of several: its requests, pools and units."""
        state = self.state
        row = state.models[model : model + 1]
        first, pools = int(row["first"][0]), int(row["pools"][0])
        mine = (state.units["pool"] >= first) & (state.units["pool"] < first + pools)
        units = state.units[mine]
        units["pool"] -= first
        view = state._replace(
            models=row,
            pools=state.pools[first : first + pools],
            units=units,
            gaps=state.gaps[model * s.GAPS : (model + 1) * s.GAPS],
        )
        return replace(self, tallies=self.tallies[model : model + 1], state=view)


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
        raise BadInput(*_NOBODY)
    single = isinstance(traffic, Requests)
    known = ahead(first) if single else replace(ahead(first), longest=STREAM_LONGEST, distinct=0)
    code = _kernel(compiled, work(first) if single else WORTH_COMPILING)
    request = cluster.pools[0].copy.engine.request
    arriving = chain((first,), chunks)
    pieces = arriving if users or gap is not None else (p for chunk in arriving for p in cut(chunk, PIECE))
    feed = Feed((Source(pieces, request, cached, known.block_tokens * cluster.prefix_cache, gap),))
    state = build(Fleet((Member(cluster.pools[0].copy.model.name, cluster),)), (known,), users, events)
    tallies = (Tally(limits or Limits(), request, keep),)
    state, whole = _loop(code, state, feed, tallies, users, _telling(progress, len(first) if single else 0))
    start = float(first.arrival[0]) if not users else 0.0
    return Run(tallies, forms.as_arrays(state), start, whole, code.compiled)


@dataclass(frozen=True, slots=True)
class Load:
    """What one model of a fleet is asked.

    Attributes:
        traffic: its requests, or sessions.
        limits: objective that its goodput counts.
        cached: share of the input found in a prefix cache, for traffic without prefix blocks.
    """

    traffic: Requests | Sessions
    limits: Limits = field(default_factory=Limits)
    cached: float = 0.0


def execute_fleet(
    fleet: Fleet,
    loads: Sequence[Load],
    *,
    events: Sequence[Event] = (),
    keep: bool = False,
    compiled: bool | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Run:
    """Run the traffic of several models until every request has ended.

    Args:
        fleet: what serves.
        loads: what each model is asked, in the order of the fleet; times count from one start.
        events: failures by unit (see `Fleet`), sorted by time.
        keep, compiled, progress: as for `execute`.

    Raises:
        BadInput: no requests.
        DoesNotFit: a model leaves no memory for a cache.
    """
    plain = [load.traffic.requests if isinstance(load.traffic, Sessions) else load.traffic for load in loads]
    if not all(len(traffic) for traffic in plain):
        raise BadInput(*_NOBODY)
    known = [ahead(traffic) for traffic in plain]
    sources, tallies = [], []
    for member, load, traffic, one in zip(fleet.members, loads, plain, known, strict=True):
        cluster = member.cluster
        request = cluster.pools[0].copy.engine.request
        gap = load.traffic.gap if isinstance(load.traffic, Sessions) else None
        tokens = one.block_tokens * cluster.prefix_cache
        sources.append(Source(iter((traffic,)), request, load.cached, tokens, gap))
        tallies.append(Tally(load.limits, request, keep))
    code = _kernel(compiled, sum(work(traffic) for traffic in plain))
    state = build(fleet, known, 0, events)
    count = sum(len(traffic) for traffic in plain)
    state, whole = _loop(code, state, Feed(sources), tallies, 0, _telling(progress, count))
    start = min(float(traffic.arrival[0]) for traffic in plain)
    return Run(tuple(tallies), forms.as_arrays(state), start, whole, code.compiled)


def ahead(traffic: Requests) -> Ahead:
    """Return what is known of requests before they come.

    Raises:
        BadInput: one is longer than the kernel counts.
    """
    distinct = np.unique(traffic.blocks[1]).size if traffic.blocks is not None else 0
    return Ahead(_longest(traffic), traffic.block_tokens, traffic.span, distinct)


def work(traffic: Requests) -> int:
    """Return requests and prefix blocks."""
    return len(traffic) + (traffic.blocks[1].size if traffic.blocks is not None else 0)


def _kernel(compiled: bool | None, size: int) -> Kernel:
    """Return the kernel asked for, or the one that pays for so much work."""
    if compiled is None:
        compiled = available() and size >= (WORTH_LOADING if ready() else WORTH_COMPILING)
    return kernel(compiled)


def _telling(progress: Callable[[str, float], None] | None, expected: int) -> Callable[[int], None]:
    """Return what is called with the requests that have ended."""

    def tell(ended: int) -> None:
        if progress is not None:
            progress(f"{ended:,} requests", min(ended / expected, 1.0) if expected else 0.0)

    return tell


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


def _loop(
    code: Kernel,
    state: s.State,
    feed: Feed,
    tallies: Sequence[Tally],
    users: int,
    tell: Callable[[int], None],
) -> tuple[s.State, bool]:
    """Run until everything is done; return the state and whether it is."""
    if not code.compiled:
        state = forms.as_plain(state)
    state = feed.refill(state)
    try:
        asking = min(users, feed.given)
        while True:
            reason = code.serve(state, asking)
            asking = 0
            _drain(state, tallies)
            if reason == s.DONE:
                return state, True
            if reason == s.MORE_REQUESTS:
                state = feed.refill(state)
            elif reason == s.MORE_SLOTS:
                grow(state)
            else:
                tell(sum(int(tally.ended.sum()) for tally in tallies))
    except KeyboardInterrupt:
        _drain(state, tallies)
        return state, False


def _drain(state: s.State, tallies: Sequence[Tally]) -> None:
    """Hand the kernel's log to the tallies and empty it."""
    count = forms.read(state, "totals", "logged")
    part = forms.packed("log", state.log[:count]).copy()
    forms.write(state, "totals", "logged", 0)
    for model, tally in enumerate(tallies):
        tally.take(part if len(tallies) == 1 else part[part["model"] == model])


def grow(state: s.State) -> None:
    """Make room for half as many requests in flight again; no slot is free."""
    size = len(state.slots)
    more = size // 2
    for name in ("flight", "slots", "later_at", "later_slot", "log"):
        forms.lengthen(state, name, more)
    slots: Any = state.slots
    slots[:more] = range(size + more - 1, size - 1, -1)
    forms.write(state, "totals", "free", more)
