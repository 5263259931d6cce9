"""The page and the JSON of `assay trace`: what is in a trace of requests, and which rows cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number
from assay.report.panels import grid
from assay.units import show
from assay.workload.arrivals import Floats, Requests
from assay.workload.readers.source import BadRow
from assay.workload.reuse import HitCurve
from assay.workload.statistics import Lengths, Summary, summary
from assay.workload.traces import FORMATS, Trace

#: Version of the JSON that `trace_json` writes.
SCHEMA = "assay-trace-1"
_SHOWN = 8
_SHARES = (0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
_PERCENTILES = (50, 90, 99)


def trace_json(trace: Trace, requests: Requests) -> dict[str, Any]:
    """Return everything known of a trace; seconds and tokens.

    Args:
        trace: as read.
        requests: those of the trace, or what was made of them (faster, sliced).
    """
    found = summary(requests)
    return {
        "schema": SCHEMA,
        "name": trace.name,
        "format": trace.format,
        "about": FORMATS[trace.format],
        "rows": trace.rows,
        "requests": found.count,
        "dropped": trace.dropped,
        "timed": trace.timed,
        "began": trace.began or None,
        "span_s": found.span,
        "rate_per_s": found.rate,
        "cv": found.cv,
        "dispersion": {f"{size:g}s": value for size, value in found.dispersion.items()},
        "peak_per_s": {f"{size:g}s": value for size, value in found.peak.items()},
        "isl": _lengths_json(found.isl),
        "osl": _lengths_json(found.osl),
        "sessions": found.sessions,
        "turns": found.turns,
        "reuse": _reuse_json(found.reuse),
        "measured": {name: _measured(values) for name, values in trace.measured.items()},
        "notes": list(trace.notes),
        "bad": [{"line": row.line, "reason": row.reason} for row in trace.bad],
        "noted": [{"line": row.line, "reason": row.reason} for row in trace.noted],
    }


def _lengths_json(lengths: Lengths) -> dict[str, float]:
    return {name: getattr(lengths, name) for name in ("mean", "p50", "p90", "p99", "max")}


def _reuse_json(curve: HitCurve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    capacities = [int(curve.capacity_for(share)) for share in _SHARES] if curve.needed.size else []
    return {
        "block_tokens": curve.block_tokens,
        "blocks": curve.blocks,
        "unique_blocks": curve.unique,
        "hit_infinite": curve.infinite,
        "requests_hit": curve.requests_hit,
        "curve": [
            {
                "capacity_blocks": capacity,
                "capacity_tokens": capacity * curve.block_tokens,
                "hit": float(curve.at(capacity)),
            }
            for capacity in capacities
        ],
    }


def _measured(values: Floats) -> dict[str, float]:
    known = values[np.isfinite(values)]
    points = np.percentile(known, _PERCENTILES)
    return {"count": int(known.size), "mean": float(known.mean())} | {
        f"p{point}": float(value) for point, value in zip(_PERCENTILES, points, strict=True)
    }


def trace_page(trace: Trace, requests: Requests) -> Iterator[RenderableType]:
    """Yield the parts of the page of a trace; arguments as for `trace_json`."""
    found = summary(requests)
    yield Text.assemble((trace.name, "bold"), f"  {FORMATS[trace.format]}")
    rows = f"{trace.rows:,} rows, {trace.dropped:,} left out" if trace.dropped else "every row usable"
    began = f", from {trace.began}" if trace.began else ""
    yield Text(f"{found.count:,} requests over {_time(found.span)}{began} · {rows}")
    yield Text("\nArrivals", style="bold")
    yield _arrivals(found)
    yield Text("\nLengths, tokens", style="bold")
    yield _lengths(found)
    if found.sessions:
        yield Text(f"\n{found.sessions:,} sessions of {number(found.turns)} requests on average")
    if found.reuse is not None:
        yield Text("\nPrefix reuse, LRU, one cache for all requests", style="bold")
        yield from _reuse(found.reuse)
    if trace.measured:
        yield Text("\nMeasured when it was served", style="bold")
        yield _served(trace.measured)
    for note in trace.notes:
        yield Text(f"! {note}", style="yellow")
    yield from _rows("Left out", trace.bad, trace.dropped)
    yield from _rows("Kept, but doubtful", trace.noted, len(trace.noted))


def _time(seconds: float) -> str:
    return show(seconds, "s") if seconds < 7200 else f"{number(seconds / 3600)} h"


def _arrivals(found: Summary) -> RenderableType:
    table = grid("left", "right", "left")
    table.add_row("mean rate", number(found.rate), Text("requests/s", style="dim"))
    table.add_row("CV of gaps", number(found.cv), Text("1 = Poisson", style="dim"))
    for title, values, unit in (
        ("dispersion of counts", found.dispersion, "1 = Poisson"),
        ("greatest rate", found.peak, "requests/s"),
    ):
        cells = " / ".join(number(value) for value in values.values())
        bins = " / ".join(f"{size:g}" for size in values)
        table.add_row(title, cells, Text(f"{unit}, in {bins} s", style="dim"))
    return table


def _lengths(found: Summary) -> RenderableType:
    table = grid("left", "right", "right", "right", "right", "right")
    table.add_row(*(Text(title, style="dim") for title in ("", "mean", "p50", "p90", "p99", "max")))
    for title, lengths in (("input", found.isl), ("output", found.osl)):
        figures = (lengths.mean, lengths.p50, lengths.p90, lengths.p99, lengths.max)
        table.add_row(title, *(f"{value:,.0f}" if isfinite(value) else "–" for value in figures))
    return table


def _reuse(curve: HitCurve) -> Iterator[RenderableType]:
    yield Text(
        f"{number(curve.infinite * 100)} % of the input tokens can be found in a cache that forgets nothing; "
        f"{curve.blocks:,} blocks of {curve.block_tokens} tokens, {curve.unique:,} different"
    )
    if not curve.needed.size:
        return
    table = grid("left", "right", "right", "right", "right", "right", "right")
    capacities = [int(curve.capacity_for(share)) for share in _SHARES]
    table.add_row("cache, tokens", *(number(size * curve.block_tokens) for size in capacities))
    table.add_row("hit, % of input", *(number(float(curve.at(size)) * 100) for size in capacities))
    yield table


def _served(measured: Mapping[str, Floats]) -> RenderableType:
    table = grid("left", "right", "right", "right", "right")
    table.add_row(*(Text(title, style="dim") for title in ("", "mean", "p50", "p90", "p99")))
    for name, values in measured.items():
        figures = _measured(values)
        table.add_row(name, *(number(figures[key]) for key in ("mean", "p50", "p90", "p99")))
    return table


def _rows(title: str, rows: Sequence[BadRow], count: int) -> Iterator[RenderableType]:
    if not rows:
        return
    yield Text(f"\n{title}", style="bold")
    for row in rows[:_SHOWN]:
        yield Text(f"  {row}")
    if count > _SHOWN:
        yield Text(f"  and {count - min(_SHOWN, len(rows)):,} more; --json names them", style="dim")
