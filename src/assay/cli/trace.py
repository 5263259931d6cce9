"""`assay trace`: what is in a trace of requests, and which of its rows cannot be used."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from assay.cli.flags import Name
from assay.errors import BadInput
from assay.report.trace import trace_json, trace_page
from assay.units import parse_quantity
from assay.workload.traces import read

_LARGEST_SEED = 2**63


def _between(_: Any, given: Sequence[Token]) -> tuple[float, float]:
    """Return start and end of a slice, s, from `10min,1h`; an end left out is the end of the trace."""
    text, flag = given[0].value, given[0].keyword or "--between"
    start, comma, end = text.partition(",")
    if not comma:
        raise BadInput(f"{flag} = {text!r} is not start,end.", "Write for example 0s,1h.")
    first = parse_quantity(start, "time", what=flag, zero=True) if start.strip() else 0.0
    last = parse_quantity(end, "time", what=flag) if end.strip() else math.inf
    return first, last


def _columns(_: Any, given: Sequence[Token]) -> dict[str, str]:
    """Return what -> column from `arrival=ts,isl=prompt,osl=answer`."""
    found: dict[str, str] = {}
    for token in given:
        for part in token.value.split(","):
            what, equals, name = part.partition("=")
            if not (equals and what.strip() and name.strip()):
                raise BadInput(
                    f"--columns has {part!r}.", "Write --columns arrival=ts,isl=prompt,osl=answer."
                )
            found[what.strip()] = name.strip()
    return found


def _speed(_: Any, given: Sequence[Token]) -> float:
    return parse_quantity(given[0].value, "count", what=given[0].keyword or "--speed")


def _whole(_: Any, given: Sequence[Token]) -> int:
    text, flag = given[0].value, given[0].keyword or ""
    value = parse_quantity(text, "count", what=flag, zero=True)
    if value != round(value) or value >= _LARGEST_SEED:
        raise BadInput(f"{flag} = {text!r} is not a whole number.", "Write for example 7.")
    return round(value)


Slice = Annotated[
    tuple[float, float], Parameter(converter=_between, n_tokens=1, accepts_keys=False, metavar="TIME,TIME")
]
Columns = Annotated[
    dict[str, str], Parameter(converter=_columns, n_tokens=1, accepts_keys=False, metavar="WHAT=COLUMN,...")
]
Speed = Annotated[float, Parameter(converter=_speed, n_tokens=1, accepts_keys=False, metavar="X")]
Whole = Annotated[int, Parameter(converter=_whole, n_tokens=1, accepts_keys=False, metavar="N")]


def trace(  # noqa: PLR0913 - one argument a flag
    file: Path,
    /,
    *,
    on_bad: Literal["keep", "refuse"] = "keep",
    between: Slice | None = None,
    speed: Speed = 1.0,
    columns: Columns | None = None,
    time_unit: Name | None = None,
    seed: Whole = 0,
    requests: Whole | None = None,
    json: bool = False,
) -> int:
    """Read a trace of requests: rate, lengths, bursts, reuse, bad rows.

    Args:
        file: a trace of any format assay knows, plain or gzip; ServeGen as tar.gz or folder.
        on_bad: keep what is usable and name the rest by line, or refuse a file with bad rows.
        between: only what arrives in this time from the first request: 0s,1h.
        speed: factor on the request rate.
        columns: names of columns assay does not know: arrival=ts,isl=prompt,osl=answer.
        time_unit: of the arrivals: s, ms, us, ns, min, h or iso, where the file does not say.
        seed: for formats that hold statistics instead of requests.
        requests: read at most about this many.
        json: write it as JSON, with every bad row.
    """
    start, end = between or (0.0, math.inf)
    found = read(
        file, on_bad, columns=columns or {}, time_unit=time_unit or "", seed=seed, start=start, end=end,
        most=requests,
    )  # fmt: skip
    faster = found.requests if speed == 1 else found.requests.scaled(rate=speed)
    if json:
        from assay.report.export import write_json

        write_json(trace_json(found, faster), sys.stdout)
    else:
        from assay.report.terminal import put

        put(trace_page(found, faster))
    return 0
