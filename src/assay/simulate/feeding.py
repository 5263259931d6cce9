"""Traffic on its way into the kernel: in pieces, by sessions, of several models as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.simulate import forms, rows
from assay.simulate import state as s
from assay.workload.arrivals import COLUMNS, Requests

Ints = NDArray[np.int64]
#: Requests that the kernel is given at a time.
PIECE = 32_768
#: What tells the prefix blocks of one model from those of another.
_APART = 0x1B873593CC9E2D51


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


@dataclass(slots=True)
class Source:
    """Traffic of one model.

    Attributes:
        chunks: its requests in order of time.
        request: s that the engine handles a request before it can be scheduled.
        cached: share of the input found in a prefix cache, for traffic without prefix blocks.
        block_tokens: tokens of its prefix blocks, 0 = they are not used.
        gap: s from the end of a turn to the next, NaN where a request arrives by itself; None = all do.
        given: requests handed on so far.
    """

    chunks: Iterator[Requests]
    request: float
    cached: float = 0.0
    block_tokens: int = 0
    gap: NDArray[np.float64] | None = None
    given: int = 0

    def rows_of(self, chunk: Requests, model: int) -> tuple[NDArray[Any], int, Ints]:
        """Return the rows of a chunk, how many of the first arrive by themselves, and its block ids."""
        self.given += len(chunk)
        count = len(chunk)
        offset, ids = np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        if chunk.blocks is not None and self.block_tokens:
            offset, ids = chunk.blocks[0], scramble(chunk.blocks[1], model)
        hit = np.minimum((chunk.isl * self.cached).astype(np.int64), chunk.isl - 1)
        made = forms.rows(
            rows.ComingRow,
            count,
            arrival=chunk.arrival + self.request,
            number=np.arange(self.given - count, self.given),
            model=model,
            follow=-1,
            isl=chunk.isl,
            osl=chunk.osl,
            session=chunk.session,
            priority=np.clip(chunk.priority, 0, s.CLASSES - 1),
            hit=hit if chunk.blocks is None else 0,
            block=offset[:-1],
            blocks=np.diff(offset),
        )
        if self.gap is None:
            return made, count, ids
        return *_in_sessions(made, chunk, self.gap + self.request), ids


@dataclass(slots=True)
class Feed:
    """Traffic of one model in chunks, or of several models, whole."""

    sources: Sequence[Source]
    ahead: Requests | None = None

    @property
    def given(self) -> int:
        """Requests handed on so far."""
        return sum(source.given for source in self.sources)

    def refill(self, state: s.State) -> s.State:
        """Return the state with what comes next; blocks of requests in flight are kept."""
        parts: list[tuple[NDArray[Any], int, Ints]]
        if len(self.sources) == 1:
            source = self.sources[0]
            chunk = self.ahead if self.ahead is not None else next(source.chunks)
            self.ahead = next(source.chunks, None)
            parts = [source.rows_of(chunk, 0)]
        else:
            parts = [source.rows_of(next(source.chunks), k) for k, source in enumerate(self.sources)]
        coming, opening, ids = parts[0] if len(parts) == 1 else merged(parts)
        if any(source.block_tokens for source in self.sources):
            ids = _held(state, ids)
        forms.write(state, "totals", "coming", 0)
        forms.write(state, "setup", "opening", opening)
        forms.write(state, "setup", "last", int(self.ahead is None))
        new: dict[str, Any] = {"coming": coming, "ids": ids}
        slots: Any = state.slots
        if not isinstance(slots, np.ndarray):
            new = {name: forms.plain(name, item) for name, item in new.items()}
        return state._replace(**new)


def merged(parts: Sequence[tuple[NDArray[Any], int, Ints]]) -> tuple[NDArray[Any], int, Ints]:
    """Return the traffic of several models as one: by arrival, numbered anew; later turns stand behind."""
    starts = np.cumsum([0, *(len(coming) for coming, _, _ in parts)])
    bases = np.cumsum([0, *(ids.size for _, _, ids in parts)])
    coming = np.concatenate([coming for coming, _, _ in parts])
    alone = np.concatenate([np.arange(len(part)) < opening for part, opening, _ in parts])
    for start, end, base in zip(starts[:-1], starts[1:], bases[:-1], strict=True):
        mine = coming[start:end]
        mine["block"] += base
        mine["follow"] = np.where(mine["follow"] >= 0, mine["follow"] + start, -1)
    order = np.lexsort((coming["arrival"], ~alone))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    coming["follow"] = np.where(coming["follow"] >= 0, place[coming["follow"]], -1)
    coming["number"][np.argsort(coming["arrival"], kind="stable")] = np.arange(len(coming))
    return coming[order], int(alone.sum()), np.concatenate([ids for _, _, ids in parts])


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


def _held(state: s.State, ids: Ints) -> Ints:
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


def scramble(ids: Ints, model: int = 0) -> Ints:
    """Return ids with well-mixed low bits, one to one, non-negative (the finaliser of SplitMix64).

    Equal ids of different models become different ones.

    Reference: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    z = ids.astype(np.uint64) ^ np.uint64(model * _APART % 2**63)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z & np.uint64(0x7FFF_FFFF_FFFF_FFFF)).astype(np.int64)
