"""Traces of real traffic: any known format, told by its content, read into `Requests`.

Rows that cannot be used are named by line, each with its reason; the rest is kept, or the file is refused, by
choice. Rows that are doubtful but usable (times that go back, times that repeat) are kept and named apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from assay.errors import BadInput
from assay.workload.arrivals import Floats, Ints, Requests, requests, turns
from assay.workload.readers import agents, clock, rows, servegen
from assay.workload.readers.rows import MOST_NAMED, Order, Rows
from assay.workload.readers.source import BadRow, Source
from assay.workload.readers.text import TextReader

__all__ = ["FORMATS", "BadRow", "Trace", "chunks", "read"]

#: Name of a format -> what it is.
FORMATS: Mapping[str, str] = {
    "azure-2023": "Azure LLM inference trace 2023 (CSV)",
    "azure-2024": "Azure LLM inference trace 2024 (CSV)",
    "azure-lmm": "Azure multimodal trace 2025 (CSV)",
    "burstgpt": "BurstGPT (CSV)",
    "burstgpt-sessions": "BurstGPT with sessions and elapsed times (CSV)",
    "vidur": "Vidur request lengths (CSV)",
    "csv": "table with named columns (CSV)",
    "mooncake": "Mooncake (JSONL, 512-token prefix blocks)",
    "bailian": "Qwen-Bailian (JSONL, 16-token prefix blocks)",
    "dynamo": "Dynamo request trace v1 (JSONL)",
    "tracelab": "TraceLab rounds of agents (JSONL)",
    "opentelemetry": "OpenTelemetry GenAI spans (JSON)",
    "jsonl": "objects with named keys (JSONL)",
    "servegen": "ServeGen client statistics, drawn with a seed",
}
#: Requests drawn from statistics that hold more, unless the caller asks for another number.
MOST_DRAWN = 2_000_000
#: Formats whose lines are written when a request ends, so that starts out of order mean nothing.
_BY_END = {"dynamo", "opentelemetry", "tracelab"}
_TRACELAB_BLOCK = 16
_MOST_BLOCKS = 16_000_000
_EPOCH = 10**18
_LAST_TURN = 2**31 - 1
_NAMED_IN_ERRORS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A trace, or a chunk of one.

    Attributes:
        name: of the file.
        format: key of `FORMATS`.
        requests: the usable rows, times counted from the first.
        bad: rows left out, by line; the first 10,000 of them.
        noted: rows kept although their time goes back or repeats, likewise.
        notes: what was assumed or is doubtful, in words.
        rows: requests in the file, usable or not.
        dropped: requests left out.
        timed: whether the format has times; without, all requests arrive at 0.
        began: time of the first request as ISO 8601 UTC; "" where times are relative.
        measured: what the trace says of how it was served, one entry a request, NaN = not given: `ttft_s`,
            `itl_s`, `e2e_s`, `cached_tokens`, `gap_s` (from the end of the previous turn).
        line: of each request in the file, shape (n,); None where requests are drawn.
    """

    name: str
    format: str
    requests: Requests
    bad: tuple[BadRow, ...] = ()
    noted: tuple[BadRow, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int = 0
    dropped: int = 0
    timed: bool = True
    began: str = ""
    measured: Mapping[str, Floats] = field(default_factory=dict)
    line: Ints | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user says about a file.

    Attributes:
        on_bad: whether bad rows are left out or the file is refused.
        columns: what (`arrival`, `isl`, `osl`, `session` ...) -> its column; others are found by name.
        time_unit: of the arrivals: s, ms, us, ns, min, h or iso; "" = found out.
        seed: for formats that are drawn.
        start, end: slice to read, s from the first request.
        most: most requests to read; None = all (drawn formats: `MOST_DRAWN`).
    """

    on_bad: Literal["keep", "refuse"] = "keep"
    columns: Mapping[str, str] = field(default_factory=dict)
    time_unit: str = ""
    seed: int = 0
    start: float = 0.0
    end: float = float("inf")
    most: int | None = None

    def __post_init__(self) -> None:
        """Refuse a unit or a choice that does not exist.

        Raises:
            BadInput: as said.
        """
        if self.time_unit not in {"", "iso", *clock.NANOSECONDS}:
            raise BadInput(
                f"There is no unit of time {self.time_unit!r}.",
                f"Write {', '.join(clock.NANOSECONDS)} or iso.",
            )
        if self.on_bad not in {"keep", "refuse"}:
            raise BadInput(f"on_bad = {self.on_bad!r} is neither keep nor refuse.")
        if self.most is not None and self.most < 1:
            raise BadInput(f"most = {self.most:,} requests are none.", "Give at least 1.")
        if not 0 <= self.start < self.end:
            raise BadInput(
                f"The slice from {self.start:g} to {self.end:g} s is empty.", "Write for example 0s,1h."
            )


def read(path: str | Path, on_bad: Literal["keep", "refuse"] = "keep", **choice: Any) -> Trace:
    """Read a whole trace.

    Args:
        path: file, plain or gzip; for ServeGen a tar archive or a folder.
        on_bad: whether bad rows are left out and named, or the file is refused.
        choice: fields of `Choice`.

    Raises:
        BadInput: nothing usable in it, or bad rows where they are refused.
    """
    given = Choice(on_bad, **choice)
    reader = _reader(Path(path), given)
    if isinstance(reader, Trace):
        return reader
    parts: list[Rows] = []
    bad: list[BadRow] = []
    order, sessions, count, kept = Order(), _Sessions(), 0, 0
    for part in reader.chunks():
        count += part.line.size + len(part.bad)
        bad += part.bad
        part.bad = []
        _refuse(reader.name, bad, given)
        if reader.format not in _BY_END:
            order.see(part)
        sessions.add(part)
        parts.append(part)
        kept += part.line.size
        if given.most is not None and kept >= given.most:
            reader.notes.append(f"Read to row {count:,} of the file.")
            break
    count += len(reader.source.damage)
    bad += reader.source.damage
    _refuse(reader.name, bad, given)
    if not kept:
        raise BadInput(
            f"No usable row in {reader.name!r}: {_named(bad)}.", "`assay trace --help` lists formats."
        )
    whole = rows.joined(parts)
    trace = _trace(reader, whole, sessions.numbers(), given)
    if not len(trace.requests):
        raise _outside(reader.name, given)
    if reader.format == "tracelab":
        trace = _with_blocks(trace)
    return replace(
        trace,
        bad=tuple(sorted(bad, key=lambda row: row.line)[:MOST_NAMED]),
        noted=order.noted(),
        notes=(*reader.notes, *order.notes(), *trace.notes),
        rows=count,
        dropped=len(bad),
    )


def chunks(path: str | Path, on_bad: Literal["keep", "refuse"] = "keep", **choice: Any) -> Iterator[Trace]:
    """Yield a trace in chunks of bounded memory, for files larger than memory.

    Times are counted from the first usable row of the file; each chunk is sorted within itself. Sessions keep
    their numbers across chunks; turns that the file does not number, gaps, and TraceLab's prefix blocks need
    the whole file: turns and gaps are those within the chunk, the blocks are left out.

    Args:
        path, on_bad, choice: as for `read`; `most` is the caller's to apply.

    Raises:
        BadInput: as for `read`, once the place is reached.
    """
    given = Choice(on_bad, **choice)
    reader = _reader(Path(path), given)
    if isinstance(reader, Trace):
        yield reader
        return
    numbers: dict[str, int] = {}
    order, used = Order(), 0
    zero: int | None = None
    for part in reader.chunks():
        _refuse(reader.name, part.bad, given)
        if reader.format not in _BY_END:
            order.see(part)
        if part.line.size:
            zero = zero if zero is not None or part.time is None else int(part.time[0])
            session = None if part.session is None else rows.numbered(part.session, numbers)
            trace = _trace(reader, part, session, given, zero)
        else:
            trace = Trace(reader.name, reader.format, requests([], [], []))
        noted = order.noted()
        order.back, order.same = [], []
        bad = tuple(part.bad)
        used += len(trace.requests)
        yield replace(
            trace, bad=bad[:MOST_NAMED], noted=noted, rows=part.line.size + len(bad), dropped=len(bad)
        )
    _refuse(reader.name, reader.source.damage, given)
    if not used:
        raise BadInput(f"No usable row in {reader.name!r}.", "`assay trace --help` lists formats.")
    if reader.source.damage:
        damage = tuple(reader.source.damage)
        empty = requests([], [], [])
        yield Trace(reader.name, reader.format, empty, bad=damage, rows=len(damage), dropped=len(damage))


def within(found: Trace, longest: int, of: str) -> Trace:
    """Return a trace without the requests that a model's server refuses; they are named as bad rows.

    Args:
        found: the trace.
        longest: context of the model, tokens; 0 = not known, and nothing is left out.
        of: name of the model.

    Raises:
        BadInput: nothing is left.
    """
    whole = found.requests
    over = np.flatnonzero(whole.isl + whole.osl > longest) if longest else np.zeros(0, np.int64)
    if not over.size:
        return found
    bad = [
        BadRow(
            0 if found.line is None else int(found.line[place]),
            f"{whole.isl[place]:,} input and {whole.osl[place]:,} output tokens exceed the context of {of}, "
            f"{longest:,} tokens",
        )
        for place in over[:MOST_NAMED]
    ]
    if over.size == len(whole):
        raise BadInput(f"No request of {found.name!r} can be served: {_named(bad)}.", "Choose another model.")
    kept = np.ones(len(whole), np.bool_)
    kept[over] = False
    return replace(
        found,
        requests=whole.take(kept),
        bad=tuple(sorted([*found.bad, *bad], key=lambda row: row.line)[:MOST_NAMED]),
        dropped=found.dropped + int(over.size),
        measured={name: values[kept] for name, values in found.measured.items()},
        line=None if found.line is None else found.line[kept],
    )


class _Sessions:
    """Numbers of the sessions of all chunks."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.parts: list[Ints] = []

    def add(self, part: Rows) -> None:
        """Number the sessions of a chunk and forget their names."""
        names = part.session
        self.parts.append(
            np.full(part.line.size, -1, np.int64) if names is None else rows.numbered(names, self.known)
        )
        part.session = None

    def numbers(self) -> Ints | None:
        """Return the number of each row's session; None where there is none."""
        return np.concatenate(self.parts) if self.known else None


def _refuse(name: str, bad: list[BadRow], given: Choice) -> None:
    if bad and given.on_bad == "refuse":
        raise BadInput(
            f"{name!r} has bad rows: {_named(bad)}.", "Repair it, or keep the rest: --on-bad keep."
        )


def _named(bad: list[BadRow]) -> str:
    first = "; ".join(str(row) for row in sorted(bad, key=lambda row: row.line)[:_NAMED_IN_ERRORS])
    more = len(bad) - _NAMED_IN_ERRORS
    return f"{first}; and {more:,} more" if more > 0 else first or "it has a header and nothing else"


def _trace(
    reader: TextReader, whole: Rows, session: Ints | None, given: Choice, zero: int | None = None
) -> Trace:
    """Return the requests of some rows: sorted, sliced, numbered."""
    time = whole.time
    if time is not None:
        zero = int(time.min()) if zero is None else zero
        inside = (time - zero < given.end * 1e9) & ((time - zero >= given.start * 1e9) | (given.start == 0))
        if not inside.all():
            session = None if session is None else session[inside]
            whole = rows.keep(whole, inside)
            time = whole.time
    size = whole.line.size
    moment = np.zeros(size) if time is None or zero is None else (time - zero) / 1e9 - given.start
    order = np.argsort(moment, kind="stable")
    offsets = None
    if whole.counts is not None and whole.ids is not None and whole.block_tokens:
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(whole.counts)]), whole.ids
    found = requests(
        moment,
        whole.isl.astype(np.int64),
        whole.osl.astype(np.int64),
        session=session,
        turn=None if whole.turn is None else np.clip(np.nan_to_num(whole.turn), 0, _LAST_TURN),
        blocks=offsets,
        block_tokens=whole.block_tokens if offsets else 0,
        priority=None if whole.priority is None else np.clip(np.nan_to_num(whole.priority), -128, 127),
    )
    measured = {name: values[order] for name, values in whole.measured.items()}
    if session is not None and (whole.turn is None or not np.isfinite(whole.turn).all()):
        found = replace(found, turn=turns(found.session))
    notes: tuple[str, ...] = (
        () if whole.time is not None else ("The file has no times: all requests arrive at 0; give a rate.",)
    )
    if session is not None:
        measured["gap_s"], negative = agents.pauses(found.arrival, found.session, measured)
        notes += (f"{negative:,} negative pauses before a turn are not used.",) if negative else ()
    began = ""
    if zero is not None and zero >= _EPOCH:
        began = f"{np.datetime64(zero + round(given.start * 1e9), 'ns').astype('M8[ms]')}Z"
    return Trace(
        reader.name, reader.format, found, notes=notes, timed=whole.time is not None, began=began,
        measured=rows.known(measured), line=whole.line[order],
    )  # fmt: skip


def _with_blocks(found: Trace) -> Trace:
    """Return a TraceLab trace with prefix blocks: of 16 tokens, larger where those would be too many."""
    block, whole = _TRACELAB_BLOCK, found.requests
    while whole.isl.sum() / block > _MOST_BLOCKS:
        block *= 2
    notes = found.notes
    if block > _TRACELAB_BLOCK:
        notes = (*notes, f"Prefixes are told apart in blocks of {block:,} tokens, since the trace is long.")
    cached = found.measured.get("cached_tokens", np.zeros(len(whole)))
    counts, ids = agents.prefix_blocks(whole.isl, whole.session, cached, block)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return replace(found, requests=replace(whole, blocks=(offsets, ids), block_tokens=block), notes=notes)


def _reader(path: Path, given: Choice) -> TextReader | Trace:
    """Return a reader of a text file, or the trace drawn from statistics."""
    if servegen.is_folder(path):
        return _drawn(path, given)
    source = Source(path)
    return _drawn(path, given) if source.tar else TextReader(source, given.columns, given.time_unit)


def _drawn(path: Path, given: Choice) -> Trace:
    bad: list[BadRow] = []
    known = servegen.clients(path, bad)
    _refuse(path.name, bad, given)
    most = MOST_DRAWN if given.most is None else given.most
    drawn = servegen.draw(known, given.seed, given.start, given.end, most)
    size = drawn.rows.line.size
    if not size:
        raise _outside(path.name, given)
    notes = [f"Drawn with seed {given.seed} from {len(known)} clients that sent {drawn.expected:,} requests."]
    if drawn.unknown:
        share = drawn.unknown / (size + drawn.unknown)
        notes.append(f"{share:.0%} of the requests drawn have no published lengths and are left out.")
    if drawn.end < given.end and size + drawn.unknown < drawn.expected:
        notes.append(f"Drawn up to {drawn.end:,.0f} s, for about {most:,} requests.")
    found = requests(_seconds(drawn.rows), drawn.rows.isl.astype(np.int64), drawn.rows.osl.astype(np.int64))
    return Trace(path.name, "servegen", found, tuple(bad), (), tuple(notes), size + len(bad), len(bad))


def _outside(name: str, given: Choice) -> BadInput:
    return BadInput(
        f"{name!r} has no request between {given.start:g} and {given.end:g} s.", "Choose another slice."
    )


def _seconds(found: Rows) -> Floats:
    return np.zeros(0) if found.time is None else found.time / 1e9
