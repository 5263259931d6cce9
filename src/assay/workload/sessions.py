"""Sessions: turns of one conversation or agent, with pauses in between and a context that grows.

A turn sends everything said so far plus something new, so all but the new part can be cached. When a turn is
sent depends on when the one before was answered; a session is therefore described by its gaps, and the
arrivals given with it are nominal: those of a server with a stated TTFT and TPOT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np

from assay.errors import BadFact, BadInput, NoEvidence
from assay.workload.arrivals import Floats, Ints, Requests, requests
from assay.workload.distributions import positive, rng_of
from assay.workload.generate import arrivals
from assay.workload.lengths import workload

_MOST = 100_000_000


@dataclass(frozen=True, slots=True)
class SessionShape:
    """What sessions look like.

    Attributes:
        turns: mean requests of a session.
        first: input tokens of the first request, the common prefix included.
        growth: mean tokens that a turn adds to the context: the answer, tool results, the next question.
        osl: mean output tokens of a turn, at most `growth`.
        gap_p50, gap_p99: median and 99th percentile of the time from an answer to the next request, s;
            log-normal.
        shared: tokens that all sessions have in common at the start (system prompt, tools).
        turns_cv, growth_cv: coefficients of variation; 0 = all equal, else geometric-like and log-normal.
        block_tokens: tokens of a prefix block.
        longest: context at which a session ends; None = no limit.
    """

    turns: float
    first: int
    growth: float
    osl: int
    gap_p50: float
    gap_p99: float
    shared: int = 0
    turns_cv: float = 0.0
    growth_cv: float = 0.0
    block_tokens: int = 16
    longest: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no session.

        Raises:
            BadInput: a figure out of range.
        """
        for name in ("turns", "first", "growth", "osl", "gap_p50", "gap_p99", "block_tokens"):
            positive(name, float(getattr(self, name)))
        for name in ("shared", "turns_cv", "growth_cv"):
            positive(name, float(getattr(self, name)), zero=True)
        if (
            self.turns < 1
            or self.shared > self.first
            or self.gap_p99 < self.gap_p50
            or self.osl > self.growth
        ):
            raise BadInput(
                "A session needs turns >= 1, shared <= first, osl <= growth and gap_p50 <= gap_p99.",
                "Check these four.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Requests of sessions, and when each follows the one before.

    Attributes:
        requests: nominal arrivals; `session` and `turn` say who follows whom.
        gap: time from the end of the previous turn to this request, s, shape (n,); NaN for first turns, which
            arrive when `requests.arrival` says.
    """

    requests: Requests
    gap: Floats

    def scaled(self, rate: float) -> Sessions:
        """Return the same sessions, their starts and pauses so many times as fast."""
        return Sessions(self.requests.scaled(rate=rate), self.gap / rate)


def shape(name: str, extra: Sequence[Path] = ()) -> SessionShape:
    """Return the published shape of the sessions of a workload.

    Args:
        name: workload.
        extra: folders of the user's facts.

    Raises:
        NoEvidence: nobody published one.
        BadFact: figures are missing from it.
        UnknownName: no such workload.
    """
    known = workload(name, extra)
    facts = known.facts.get("sessions")
    if not facts:
        raise NoEvidence(f"Workload {name!r} has no published sessions.", "agentic has.")
    try:
        turns, first, growth, *gap = (
            float(facts[key]["value"]) for key in ("turns", "first", "growth", "gap_p50", "gap_p99")
        )
        return SessionShape(turns, round(first), growth, known.osl, gap[0], gap[1])
    except (KeyError, TypeError, ValueError) as error:
        raise BadFact(f"The sessions of workload {name!r} are malformed: {error}.") from None


def sessions(
    kind: SessionShape, rate: float, count: int, *, ttft: float, tpot: float, seed: int = 0
) -> Sessions:
    """Return requests of sessions that begin as a Poisson process.

    Args:
        kind: what they look like.
        rate: sessions/s that begin.
        count: sessions.
        ttft, tpot: of the nominal server that places later turns in time, s.
        seed: of all that is drawn.

    Raises:
        BadInput: a figure that makes no sense, or more requests than memory holds.
    """
    positive("ttft", ttft, zero=True)
    positive("tpot", tpot, zero=True)
    if count < 1 or count * kind.turns > _MOST:
        raise BadInput(
            f"{count:,} sessions of {kind.turns:g} turns are no traffic.", "Write for example 1000."
        )
    starts, of_turns, of_growth, of_gaps = rng_of(seed).spawn(4)
    turns = _turns(kind, count, of_turns)
    owner = np.repeat(np.arange(count), turns)
    turn = np.arange(owner.size) - np.repeat(np.cumsum(turns) - turns, turns)
    added = np.where(turn > 0, _growth(kind, owner.size, of_growth), 0.0)
    isl = kind.first + np.rint(_running(added, turn)).astype(np.int64)
    gap = np.where(turn > 0, _gaps(kind, owner.size, of_gaps), np.nan)
    busy = ttft + tpot * (kind.osl - 1)
    begin = arrivals(rate, count, seed=starts)
    arrival = begin[owner] + _running(np.where(turn > 0, busy + np.nan_to_num(gap), 0.0), turn)
    kept = np.ones(owner.size, np.bool_) if kind.longest is None else isl + kind.osl <= kind.longest
    kept |= turn == 0
    order = np.flatnonzero(kept)[np.argsort(arrival[kept], kind="stable")]
    blocks = _blocks(kind, isl[order], owner[order])
    found = requests(
        arrival[order], isl[order], kind.osl, session=owner[order], turn=turn[order], blocks=blocks,
        block_tokens=kind.block_tokens,
    )  # fmt: skip
    return Sessions(found, gap[order])


def paced(trace: Requests, gap: Floats) -> Sessions:
    """Return a trace as sessions, from the gaps it measured (`Trace.measured["gap_s"]`).

    A later turn whose gap is not known, or whose session begins before the trace, comes at its own time; what
    follows it goes on behind it, as a session of its own.

    Raises:
        BadInput: as many gaps as requests are missing.
    """
    if gap.shape != trace.arrival.shape:
        raise BadInput(f"{gap.size} gaps for {len(trace)} requests.", "One a request; NaN where not known.")
    order = np.lexsort((trace.turn, trace.session))
    owner = trace.session[order]
    first = np.append(True, owner[1:] != owner[:-1])
    begins = first | ~np.isfinite(gap[order]) | (owner < 0)
    chain = np.cumsum(begins) - 1
    starts = np.flatnonzero(begins)
    fresh = int(trace.session.max(initial=-1)) + 1
    kept = first[starts]
    names = np.where(kept, owner[starts], fresh + np.cumsum(~kept) - 1)
    session, turn = np.empty_like(trace.session), np.empty_like(trace.turn)
    session[order] = names[chain]
    turn[order] = np.arange(len(order)) - starts[chain]
    return Sessions(replace(trace, session=session, turn=turn), np.where(turn > 0, gap, np.nan))


def _turns(kind: SessionShape, count: int, rng: np.random.Generator) -> Ints:
    if kind.turns_cv == 0:
        return np.full(count, round(kind.turns), np.int64)
    drawn = rng.gamma(1 / kind.turns_cv**2, (kind.turns - 0.5) * kind.turns_cv**2, count)
    return np.maximum(np.rint(drawn + 0.5), 1).astype(np.int64)


def _growth(kind: SessionShape, size: int, rng: np.random.Generator) -> Floats:
    """Return what each turn adds: the answer before it, and a log-normal rest with the mean that is left."""
    rest = kind.growth - kind.osl
    if kind.growth_cv == 0 or rest == 0:
        return np.full(size, float(kind.growth))
    sigma = math.sqrt(math.log1p((kind.growth_cv * kind.growth / rest) ** 2))
    return kind.osl + rng.lognormal(math.log(rest) - sigma**2 / 2, sigma, size)


def _gaps(kind: SessionShape, size: int, rng: np.random.Generator) -> Floats:
    sigma = math.log(kind.gap_p99 / kind.gap_p50) / NormalDist().inv_cdf(0.99)
    return rng.lognormal(math.log(kind.gap_p50), sigma, size)


def _running(values: Floats, turn: Ints) -> Floats:
    """Return running sums that start anew at each first turn."""
    total = np.cumsum(values)
    starts = np.flatnonzero(turn == 0)
    before = total[starts] - values[starts]
    return np.asarray(total - np.repeat(before, np.diff(starts, append=turn.size)))


def _blocks(kind: SessionShape, isl: Ints, owner: Ints) -> tuple[Ints, Ints]:
    """Return whole prefix blocks: common ones first, then those of the session, the same in every turn."""
    counts = isl // kind.block_tokens
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    position = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], counts)
    common = kind.shared // kind.block_tokens
    most = np.zeros(int(owner.max(initial=-1)) + 1, np.int64)
    np.maximum.at(most, owner, counts)
    base = common + np.cumsum(most) - most
    ids = np.where(position < common, position, np.repeat(base[owner], counts) + position)
    return offsets, ids
