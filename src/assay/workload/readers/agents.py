"""Traces of agents: turns of a session with tool calls in between, and a context that grows.

Dynamo's request trace (`dynamo.request.trace.v1`) and TraceLab's rounds. Both say when a turn ended, so the
gap to the next one (tools, thinking) is known and a session can be replayed in closed loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from assay.workload.arrivals import Floats, Ints
from assay.workload.readers.records import Row, Unreadable, block_ids, nanoseconds, number, optional
from assay.workload.readers.rows import shown

DYNAMO_SCHEMA = "dynamo.request.trace.v1"
_MILLI = 1e-3
#: Events that a model answers to; the request goes out once the last of them is there.
_INPUTS = ("user_message", "tool_result")


def dynamo(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the row of a `request_end` event; other events (tools) are no requests."""
    event = record.get("event")
    if not isinstance(event, dict) or event.get("schema") != DYNAMO_SCHEMA:
        raise Unreadable(f"no event of schema {DYNAMO_SCHEMA}")
    if event.get("event_type") != "request_end":
        return
    request = event.get("request")
    if not isinstance(request, dict):
        raise Unreadable("request_end without a request")
    replay = request.get("replay")
    replay = replay if isinstance(replay, dict) else {}
    context = event.get("agent_context")
    session = context.get("session_id") if isinstance(context, dict) else None
    yield Row(
        nanoseconds(request, "request_received_ms", "ms"),
        number(request, "input_tokens"),
        number(request, "output_tokens"),
        session="" if session is None else str(session),
        blocks=block_ids(replay, "input_sequence_hashes"),
        block_tokens=_whole(replay, "trace_block_size"),
        measured={
            "ttft_s": optional(request, "ttft_ms", _MILLI),
            "itl_s": optional(request, "avg_itl_ms", _MILLI),
            "e2e_s": optional(request, "total_time_ms", _MILLI),
            "cached_tokens": optional(request, "cached_tokens"),
        },
    )


def tracelab(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield the row of a round: the request goes out with its last input, and ends with its last event."""
    events = record.get("timing_events")
    if not isinstance(events, list) or not events or not all(isinstance(event, dict) for event in events):
        raise Unreadable(f"timing_events is {shown(events)}, not a list of events")
    inputs = 0
    while inputs + 1 < len(events) and events[inputs + 1].get("event_type") in _INPUTS:
        inputs += 1
    start = nanoseconds(events[inputs], "timestamp", "iso")
    end = max(nanoseconds(event, "timestamp", "iso") for event in events)
    yield Row(
        start,
        number(record, "input_tokens_total"),
        number(record, "output_tokens"),
        session=str(record.get("session_id") or ""),
        turn=optional(record, "round_index"),
        measured={"e2e_s": (end - start) * 1e-9, "cached_tokens": optional(record, "prefix_tokens")},
    )


def _whole(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key, 0)
    if type(value) is not int or value < 0:
        raise Unreadable(f"{key} is {shown(value)}, not a whole number")
    return value


def session_gaps(arrival: Floats, session: Ints, e2e: Floats) -> Floats:
    """Return the time from the end of the previous turn to each request, s.

    Args:
        arrival: s, ascending.
        session: -1 = none.
        e2e: how long each request took, s; NaN = not known.

    Returns:
        NaN for the first turn of a session, and where the end is not known; never negative: parallel requests
        of one session wait for nothing.
    """
    gap = np.full(arrival.size, np.nan)
    order = np.argsort(session, kind="stable")
    before, after = order[:-1], order[1:]
    follows = (session[after] == session[before]) & (session[after] >= 0)
    ends = arrival[before] + e2e[before]
    gap[after[follows]] = np.maximum(arrival[after] - ends, 0.0)[follows]
    return gap


def pauses(arrival: Floats, session: Ints, measured: Mapping[str, Floats]) -> tuple[Floats, int]:
    """Return the pause before each turn, s, as stated or else from the ends of turns; and the negative ones.

    Args:
        arrival: s, ascending.
        session: -1 = none.
        measured: `gap_s` and `e2e_s`, where the trace has them.
    """
    none = np.full(arrival.size, np.nan)
    stated = measured.get("gap_s", none)
    wrong = stated < 0
    gaps = session_gaps(arrival, session, measured.get("e2e_s", none))
    return np.where(np.isfinite(stated) & ~wrong, stated, gaps), int(wrong.sum())


def prefix_blocks(isl: Ints, session: Ints, cached: Floats, block_tokens: int) -> tuple[Ints, Ints]:
    """Return (counts, ids) of blocks that share within a session what its provider found cached.

    A turn shares its first `cached` tokens with the turn before, as far as that one reached; the first turn
    of a session shares nothing, since the file does not say with whom. Whole blocks only.

    Args:
        isl: input tokens, by arrival.
        session: -1 = none.
        cached: input tokens found cached, NaN = none.
        block_tokens: tokens a block.
    """
    counts = isl // block_tokens
    shared = np.nan_to_num(cached).astype(np.int64) // block_tokens
    last: dict[int, Ints] = {}
    parts: list[Ints] = []
    fresh = 0
    for row, (name, count) in enumerate(zip(session.tolist(), counts.tolist(), strict=True)):
        previous = last.get(name, np.empty(0, np.int64)) if name >= 0 else np.empty(0, np.int64)
        reused = previous[: min(int(shared[row]), count)]
        own = np.arange(fresh, fresh + count - reused.size)
        fresh += own.size
        part = np.concatenate([reused, own])
        parts.append(part)
        last[name] = part
    return counts, np.concatenate(parts) if parts else np.empty(0, np.int64)
