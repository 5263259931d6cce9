"""Requests as a struct of arrays: when each arrives, how long it is, what it shares with others.

The one form in which readers, generators and the simulator hand traffic to each other. Every array has one
entry a request and is sorted by arrival; operations return new `Requests` and never change one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Offsets (n + 1,) into block ids, and the ids of all requests in order.
Blocks = tuple[Ints, Ints]


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Traffic, sorted by arrival.

    Attributes:
        arrival: s since the start of the trace, ascending, shape (n,).
        isl: input tokens, at least 1.
        osl: output tokens, at least 1.
        session: requests of one conversation share a number; -1 = none.
        turn: position within the session, 0 first.
        blocks: offsets (n + 1,) and prefix block ids: equal ids mean equal text from the first token to the
            end of the block. A request has at most ceil(isl / block_tokens) of them. None = not known.
        block_tokens: tokens a block; 0 = no blocks.
        priority: smaller is served first; 0 is usual.
    """

    arrival: Floats
    isl: Ints
    osl: Ints
    session: Ints
    turn: NDArray[np.int32]
    blocks: Blocks | None
    block_tokens: int
    priority: NDArray[np.int8]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            BadInput: wrong shape, not finite, not sorted, no tokens, or offsets that do not fit the ids.
        """
        size = self.arrival.shape
        for name in ("isl", "osl", "session", "turn", "priority"):
            if getattr(self, name).shape != size or len(size) != 1:
                raise BadInput(f"{name} has shape {getattr(self, name).shape}, arrival has {size}.")
        if size[0] and not (np.isfinite(self.arrival[[0, -1]]).all() and (np.diff(self.arrival) >= 0).all()):
            raise BadInput("Arrivals are not finite and ascending.", "Build them with `requests()`.")
        if size[0] and min(self.isl.min(), self.osl.min()) < 1:
            raise BadInput("A request without input or output tokens.", "Give each at least one.")
        if (self.blocks is None) != (self.block_tokens == 0):
            raise BadInput(f"block_tokens = {self.block_tokens} does not go with the blocks given.")
        if self.blocks is not None:
            offsets, ids = self.blocks
            if offsets.shape != (size[0] + 1,) or offsets[0] != 0 or offsets[-1] != ids.size:
                raise BadInput("Offsets of the prefix blocks do not fit the requests and ids.")

    def __len__(self) -> int:
        """Return the number of requests."""
        return int(self.arrival.size)

    @property
    def span(self) -> float:
        """Time from the first to the last arrival, s."""
        return float(self.arrival[-1] - self.arrival[0]) if len(self) else 0.0

    def take(self, chosen: ArrayLike) -> Requests:
        """Return some of the requests, in order of arrival.

        Args:
            chosen: a mask of shape (n,), or indices (repeats allowed, any order).
        """
        index = np.asarray(chosen)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64).ravel()
        if index.size and (np.diff(index) < 0).any():
            index = np.sort(index, kind="stable")
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        return Requests(**columns, blocks=_gather(self.blocks, index), block_tokens=self.block_tokens)

    def between(self, start: float, end: float) -> Requests:
        """Return the requests that arrive in [start, end), s, times counted from `start`."""
        first, last = np.searchsorted(self.arrival, [start, end])
        part = self.take(np.arange(first, last))
        return replace(part, arrival=part.arrival - start)

    def scaled(self, rate: float = 1.0, isl: float = 1.0, osl: float = 1.0) -> Requests:
        """Return the same traffic faster or slower, and with longer or shorter requests.

        Prefix blocks keep their size and are stretched with the input, so that the share of tokens reused
        stays what it was; of shorter prompts only whole blocks are shared.

        Args:
            rate: factor on the request rate; 2 halves all gaps.
            isl, osl: factors on input and output tokens; results are rounded and at least 1.

        Raises:
            BadInput: a factor that is not positive and finite, or that makes more tokens than 63 bits hold.
        """
        for name, factor in (("rate", rate), ("isl", isl), ("osl", osl)):
            if not (np.isfinite(factor) and factor > 0):
                raise BadInput(
                    f"Factor on {name} = {factor} is not positive and finite.", "Write for example 2."
                )
        start = self.arrival[0] if len(self) else 0.0
        longer = _times(self.isl, isl)
        return replace(
            self,
            arrival=self.arrival if rate == 1 else start + (self.arrival - start) / rate,
            isl=longer,
            osl=_times(self.osl, osl),
            blocks=self.blocks if isl == 1 else _stretch(self.blocks, isl, longer, self.block_tokens),
        )

    def with_block_tokens(self, block_tokens: int) -> Requests:
        """Return the same traffic with prefix blocks of another size, such as the engine's 16 tokens.

        Smaller blocks split a block; larger ones merge several. A reader's partial last block stays partial.

        Args:
            block_tokens: tokens a block; 0 forgets the blocks.

        Raises:
            BadInput: a negative size.
        """
        if block_tokens < 0:
            raise BadInput(f"block_tokens = {block_tokens} is negative.", "Write for example 16.")
        if self.blocks is None or block_tokens in {0, self.block_tokens}:
            same = self.blocks is not None and block_tokens > 0
            return replace(
                self, blocks=self.blocks if same else None, block_tokens=block_tokens if same else 0
            )
        factor = self.block_tokens / block_tokens
        return replace(
            self, blocks=_stretch(self.blocks, factor, self.isl, block_tokens), block_tokens=block_tokens
        )


#: Columns of `Requests` with one entry a request.
COLUMNS = ("arrival", "isl", "osl", "session", "turn", "priority")


def requests(
    arrival: ArrayLike,
    isl: ArrayLike,
    osl: ArrayLike,
    *,
    session: ArrayLike | None = None,
    turn: ArrayLike | None = None,
    blocks: Blocks | None = None,
    block_tokens: int = 0,
    priority: ArrayLike | None = None,
) -> Requests:
    """Return `Requests` from arrays in any order; ties keep the order given.

    Args:
        arrival: s, shape (n,).
        isl, osl: tokens; a single number stands for every request.
        session, turn, priority: as in `Requests`; left out = -1, 0, 0.
        blocks: offsets and ids of prefix blocks.
        block_tokens: tokens a block.

    Raises:
        BadInput: as for `Requests`.
    """
    times = np.asarray(arrival, dtype=np.float64).ravel()
    columns: dict[str, Any] = {
        "arrival": times,
        "isl": _column(isl, times.size, np.int64),
        "osl": _column(osl, times.size, np.int64),
        "session": _column(-1 if session is None else session, times.size, np.int64),
        "turn": _column(0 if turn is None else turn, times.size, np.int32),
        "priority": _column(0 if priority is None else priority, times.size, np.int8),
    }
    if times.size and not np.isfinite(times).all():
        raise BadInput("An arrival is not a finite number of seconds.")
    if (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        blocks = _gather(blocks, order)
    return Requests(**columns, blocks=blocks, block_tokens=block_tokens)


def concat(parts: Sequence[Requests], *, distinct: bool = True) -> Requests:
    """Return several traces as one, sorted by arrival.

    Args:
        parts: traces on one time axis.
        distinct: sessions and prefix blocks of different parts are different, so they are renumbered;
            False where the parts are pieces of one trace.

    Raises:
        BadInput: no parts.
    """
    if not parts:
        raise BadInput("There is nothing to join.", "Give at least one trace.")
    sizes = {part.block_tokens for part in parts if part.block_tokens}
    size = min(sizes, default=0)
    parts = [part.with_block_tokens(size) if part.block_tokens else part for part in parts]
    columns = {name: [getattr(part, name) for part in parts] for name in COLUMNS}
    if distinct:
        columns["session"] = _renumber(columns["session"])
    ids = [part.blocks[1] if part.blocks else np.empty(0, np.int64) for part in parts]
    counts = [np.diff(part.blocks[0]) if part.blocks else np.zeros(len(part), np.int64) for part in parts]
    blocks = None
    if size:
        blocks = (_offsets(np.concatenate(counts)), np.concatenate(_renumber(ids) if distinct else ids))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return requests(**joined, blocks=blocks, block_tokens=size)


def turns(session: Ints) -> NDArray[np.int32]:
    """Return the position of each request within its session, by order; 0 where there is none (-1)."""
    order = np.argsort(session, kind="stable")
    ordered = session[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-2))
    position = np.arange(session.size) - np.repeat(starts, np.diff(starts, append=session.size))
    found = np.empty(session.size, np.int32)
    found[order] = np.where(ordered < 0, 0, position)
    return found


def _column(values: ArrayLike, size: int, kind: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim == 0:
        return np.full(size, array, dtype=kind)
    return np.ascontiguousarray(array.astype(kind, copy=False))


def _renumber(groups: Sequence[Ints]) -> list[Ints]:
    """Return the groups with numbers that no two groups share; -1 stays what it is."""
    found: list[Ints] = []
    start = 0
    for group in groups:
        known, dense = np.unique(group, return_inverse=True)
        none = int(known.size > 0 and known[0] == -1)
        dense = dense.ravel().astype(np.int64) - none
        found.append(np.where(dense < 0, -1, dense + start))
        start += known.size - none
    return found


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _gather(blocks: Blocks | None, index: Ints) -> Blocks | None:
    """Return the blocks of the requests `index`."""
    if blocks is None:
        return None
    offsets, ids = blocks
    counts = np.diff(offsets)[index]
    new = _offsets(counts)
    return new, ids[_ramp(counts) + np.repeat(offsets[:-1][index], counts)]


def _ramp(counts: Ints) -> Ints:
    """Return 0..count-1 for each count, one after another."""
    return np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(_offsets(counts)[:-1], counts)


def _times(values: Ints, factor: float) -> Ints:
    if factor == 1:
        return values
    longer = np.rint(values * factor)
    if longer.size and longer.max() >= 2.0**62:
        raise BadInput(
            f"Factor {factor} makes a request of {longer.max():.3g} tokens.", "Write a smaller one."
        )
    return np.asarray(np.maximum(longer, 1), dtype=np.int64)


def _stretch(blocks: Blocks | None, factor: float, isl: Ints, block_tokens: int) -> Blocks | None:
    """Return blocks of a prompt that is `factor` times as many blocks long.

    A new block is named by the last old block it covers and its own position: two requests share it exactly
    if they share that old block, so shared text stays shared. Requests whose blocks covered only part of the
    input keep that part.
    """
    if blocks is None:
        return None
    offsets, ids = blocks
    old = np.diff(offsets)
    new = np.minimum(np.ceil(old * factor), -(-isl // block_tokens)).astype(np.int64)
    new = np.where(old > 0, np.maximum(new, 1), 0)
    position = _ramp(new)
    last = np.ceil((position + 1) / factor - 1e-9).astype(np.int64) - 1
    last = np.clip(last, 0, np.repeat(old, new) - 1)
    parent = ids[np.repeat(offsets[:-1], new) + last]
    width = int(position.max(initial=0)) + 1
    pairs = np.unique(parent, return_inverse=True)[1].ravel() * width + position
    return _offsets(new), np.unique(pairs, return_inverse=True)[1].ravel().astype(np.int64)
