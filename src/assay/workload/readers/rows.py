"""Columns of a trace between its file and `Requests`: what was read, and what is wrong with which rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.workload.arrivals import Floats, Ints
from assay.workload.readers.source import BadRow

#: Most rows that are named one by one; the rest are counted.
MOST_NAMED = 10_000
#: Input or output tokens that no context window holds.
LONGEST = 10_000_000
_SHOWN = 40
_RARE = 0.01


@dataclass(slots=True)
class Rows:
    """Rows of a chunk, as read.

    Attributes:
        line: line of each row, shape (n,).
        time: ns since 1970 or since the start of the trace; None = the format has no times.
        isl, osl: tokens; NaN = not given.
        session: name of the conversation; None or "" = none.
        turn: position in it; None = by time.
        counts, ids: prefix blocks of each row; None = none.
        block_tokens: tokens a block.
        priority: smaller is served first.
        measured: what the trace says of how it was served: `ttft_s`, `itl_s`, `e2e_s`, `cached_tokens`,
            `gap_s` (from the end of the previous turn to this request); NaN = not given.
        bad: rows left out so far.
    """

    line: Ints
    time: Ints | None
    isl: Floats
    osl: Floats
    session: Sequence[str] | None = None
    turn: Floats | None = None
    counts: Ints | None = None
    ids: Ints | None = None
    block_tokens: int = 0
    priority: Floats | None = None
    measured: dict[str, Floats] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)


def shown(value: object) -> str:
    """Return a value as short text, for a reason."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def keep(rows: Rows, good: NDArray[np.bool_]) -> Rows:
    """Return the rows of a mask."""
    if good.all():
        return rows
    index = np.flatnonzero(good)
    counts, ids = rows.counts, rows.ids
    if counts is not None and ids is not None:
        ids = ids[np.repeat(good, counts)]
        counts = counts[index]
    return Rows(
        line=rows.line[index],
        time=None if rows.time is None else rows.time[index],
        isl=rows.isl[index],
        osl=rows.osl[index],
        session=None if rows.session is None else [rows.session[row] for row in index.tolist()],
        turn=None if rows.turn is None else rows.turn[index],
        counts=counts,
        ids=ids,
        block_tokens=rows.block_tokens,
        priority=None if rows.priority is None else rows.priority[index],
        measured={name: values[index] for name, values in rows.measured.items()},
        bad=rows.bad,
    )


def checked(rows: Rows) -> Rows:
    """Return the rows whose tokens can be served; the others join `bad`, each with its reason."""
    good = np.ones(rows.line.size, np.bool_)
    for name, values in (("input", rows.isl), ("output", rows.osl)):
        with np.errstate(invalid="ignore"):
            fits = np.isfinite(values) & (values >= 1) & (values <= LONGEST) & (values == np.rint(values))
        for row in np.flatnonzero(good & ~fits):
            rows.bad.append(BadRow(int(rows.line[row]), _tokens_reason(float(values[row]), name)))
        good &= fits
    if rows.counts is not None and rows.block_tokens:
        most = -(-np.where(good, rows.isl, 0).astype(np.int64) // rows.block_tokens)
        for row in np.flatnonzero(good & (rows.counts > most)):
            blocks = f"{rows.counts[row]} prefix blocks of {rows.block_tokens} tokens"
            rows.bad.append(BadRow(int(rows.line[row]), f"{blocks} for {rows.isl[row]:,.0f} input tokens"))
        good &= rows.counts <= most
    return keep(rows, good)


def _tokens_reason(value: float, name: str) -> str:
    if np.isnan(value):
        return f"no {name} tokens"
    if value == 0:
        return f"0 {name} tokens"
    if value < 0:
        return f"{value:,.0f} {name} tokens, a negative number"
    if value > LONGEST:
        return f"{value:,.0f} {name} tokens, longer than any context window"
    return f"{value:g} {name} tokens, not a whole number"


@dataclass(slots=True)
class Order:
    """Watches times across chunks: rows that go back, rows that repeat the time of the row before.

    Attributes:
        latest: greatest time so far, ns.
        last: time of the last row, ns.
        back: rows earlier than one before them, the first `MOST_NAMED`.
        same: rows at the time of the row before them, likewise.
        backs, sames, rows: how many of each.
    """

    latest: int = -1
    last: int = -1
    back: list[BadRow] = field(default_factory=list)
    same: list[BadRow] = field(default_factory=list)
    backs: int = 0
    sames: int = 0
    rows: int = 0

    def see(self, rows: Rows) -> None:
        """Take in the rows of a chunk."""
        if rows.time is None or not rows.time.size:
            return
        time = rows.time
        latest = np.maximum.accumulate(np.concatenate([[self.latest], time]))
        back = np.flatnonzero(time < latest[:-1])
        same = np.flatnonzero(np.diff(np.concatenate([[self.last], time])) == 0)
        for row in back[: MOST_NAMED - len(self.back)]:
            ago = (latest[row] - time[row]) / 1e9
            self.back.append(BadRow(int(rows.line[row]), f"the time goes back by {ago:g} s; sorted"))
        for row in same[: MOST_NAMED - len(self.same)]:
            self.same.append(BadRow(int(rows.line[row]), "same time as the row before"))
        self.backs, self.sames = self.backs + back.size, self.sames + same.size
        self.rows += time.size
        self.latest, self.last = int(latest[-1]), int(time[-1])

    def noted(self) -> tuple[BadRow, ...]:
        """Return the doubtful rows by line; repeated times only where they are rare."""
        rare = self.sames <= _RARE * self.rows
        return tuple(sorted([*self.back, *(self.same if rare else ())], key=lambda row: row.line))

    def notes(self) -> list[str]:
        """Return the same in words."""
        found = []
        if self.backs:
            first = self.back[0].line
            found.append(
                f"Times go back at {self.backs:,} rows, the first at line {first:,}; the rows were sorted."
            )
        if self.sames > _RARE * self.rows:
            share = self.sames / self.rows
            found.append(
                f"{share:.0%} of the rows have the time of the row before: times are rounded. Spread them "
                "before judging TTFT."
            )
        elif self.sames:
            found.append(f"Times repeat at {self.sames:,} rows, the first at line {self.same[0].line:,}.")
        return found


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the chunks as one; columns that only some have are filled with "not given"."""
    names = dict.fromkeys(name for part in parts for name in part.measured)
    timed = [part.time for part in parts if part.time is not None]
    has_blocks = any(part.counts is not None for part in parts)
    return Rows(
        line=np.concatenate([part.line for part in parts]),
        time=np.concatenate(timed) if len(timed) == len(parts) else None,
        isl=np.concatenate([part.isl for part in parts]),
        osl=np.concatenate([part.osl for part in parts]),
        turn=_filled([part.turn for part in parts], parts),
        counts=_counts(parts) if has_blocks else None,
        ids=np.concatenate([part.ids for part in parts if part.ids is not None]) if has_blocks else None,
        block_tokens=max(part.block_tokens for part in parts),
        priority=_filled([part.priority for part in parts], parts),
        measured={
            name: filled
            for name in names
            if (filled := _filled([part.measured.get(name) for part in parts], parts)) is not None
        },
    )


def _filled(columns: Sequence[Floats | None], parts: Sequence[Rows]) -> Floats | None:
    if all(column is None for column in columns):
        return None
    missing = [np.full(part.line.size, np.nan) for part in parts]
    return np.concatenate(
        [empty if column is None else column for column, empty in zip(columns, missing, strict=True)]
    )


def _counts(parts: Sequence[Rows]) -> Ints:
    return np.concatenate(
        [np.zeros(part.line.size, np.int64) if part.counts is None else part.counts for part in parts]
    )


def numbered(names: Sequence[str], known: dict[str, int]) -> Ints:
    """Return a number for each name of a conversation, the same in every chunk; "" = -1.

    Args:
        names: of one chunk.
        known: numbers given so far; grows.
    """
    number = known.setdefault
    return np.fromiter(
        (-1 if not name else number(name, len(known)) for name in names), np.int64, count=len(names)
    )


def known(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the measured columns that hold at least one figure."""
    return {name: values for name, values in columns.items() if np.isfinite(values).any()}
