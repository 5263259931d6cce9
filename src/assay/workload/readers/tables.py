"""Delimited text with a header: Azure, BurstGPT, Vidur, and any table whose columns say what they are."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.workload.arrivals import Floats, Ints
from assay.workload.readers import clock
from assay.workload.readers.rows import Rows, keep, shown
from assay.workload.readers.source import BadRow

#: What a column holds -> names it goes by, in lower case with `_` between words.
NAMES: Mapping[str, tuple[str, ...]] = {
    "arrival": (
        "arrival", "arrival_time", "arrived_at", "timestamp", "time", "ts", "start", "start_time",
        "request_time",         "request_start_time", "created_at", "sent_at", "datetime", "date",
    ),
    "isl": (
        "isl", "input_tokens", "input_length", "input_len", "prompt_tokens", "prompt_length", "prompt_len",
        "context_tokens", "contexttokens", "request_tokens", "num_prefill_tokens", "num_input_tokens",
        "tokens_in", "gen_ai_usage_input_tokens", "gen_ai_usage_prompt_tokens",
    ),
    "osl": (
        "osl", "output_tokens", "output_length", "output_len", "completion_tokens", "generated_tokens",
        "generatedtokens", "response_tokens", "num_decode_tokens", "num_output_tokens", "tokens_out",
        "gen_ai_usage_output_tokens", "gen_ai_usage_completion_tokens",
    ),
    "session": ("session", "session_id", "conversation_id", "gen_ai_conversation_id"),
    "turn": ("turn", "turn_index"),
    "priority": ("priority",),
    "ttft_s": ("ttft", "ttft_s", "time_to_first_token"),
    "e2e_s": ("e2e", "e2e_s", "latency_s", "elapsed_time"),
    "cached_tokens": ("cached_tokens",),
    "gap_s": ("gap_s", "pause_s", "think_s", "think_time_s", "tool_duration_s"),
}  # fmt: skip
NEEDED = ("isl", "osl")
#: What a trace may say of how it was served, and of the pause before a turn.
MEASURED = ("ttft_s", "e2e_s", "cached_tokens", "gap_s")
_UNITS = re.compile(r"(.+)_(ns|us|ms|s|sec|seconds)")
_SIZES = {"sec": "s", "seconds": "s"}
_SERVEGEN = re.compile(r"[\d.]+,[\d.eE+-]+,[\d.eE+-]*,(Gamma|Weibull|),[\d.eE+-]*,[\d.eE+-]*")


@dataclass(slots=True)
class Layout:
    """Where a table keeps what.

    Attributes:
        format: name of the format.
        width: fields of a row.
        delimiter: between fields.
        columns: what -> index of its column.
        titles: what -> title of its column, for reasons.
        unit: of the times: `iso`, or a key of `clock.NANOSECONDS`; "" = not seen yet.
        header: line of the header.
        notes: what was assumed.
    """

    format: str
    width: int
    delimiter: str
    columns: dict[str, int]
    titles: dict[str, str]
    unit: str
    header: int
    notes: list[str] = field(default_factory=list)


def plain(name: str) -> str:
    """Return the name of a column in lower case with `_` between words."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def resolve(
    names: Sequence[str], given: Mapping[str, str], time_unit: str, file: str
) -> tuple[dict[str, int], str]:
    """Return (what -> index of its name, unit of the times or "").

    Args:
        names: of the columns or keys.
        given: what -> name, from the user.
        time_unit: from the user, "" = find out.
        file: for errors.

    Raises:
        BadInput: a name of the user's that is not there, or no token counts.
    """
    words = [plain(name) for name in names]
    found: dict[str, int] = {}
    unit = time_unit
    for what, name in given.items():
        if what not in NAMES:
            raise BadInput(f"There is no column {what!r} in a trace.", f"Name {', '.join(NAMES)}.")
        if plain(name) not in words:
            raise BadInput(f"{file!r} has no column {name!r}.", f"It has {_some(names)}.")
        found[what] = words.index(plain(name))
    for what, aliases in NAMES.items():
        for alias in aliases:
            if what in found:
                break
            if alias in words:
                found[what] = words.index(alias)
    if "arrival" not in found:
        for index, word in enumerate(words):
            match = _UNITS.fullmatch(word)
            if match and match[1] in NAMES["arrival"]:
                found["arrival"], unit = index, unit or _SIZES.get(match[2], match[2])
                break
    elif not unit and (match := _UNITS.fullmatch(words[found["arrival"]])):
        unit = _SIZES.get(match[2], match[2])
    missing = [what for what in NEEDED if what not in found]
    if missing:
        raise BadInput(
            f"{file!r} has no column for {' and '.join(missing)}; it has {_some(names)}.",
            "Name them: --columns arrival=...,isl=...,osl=...",
        )
    return found, unit


def _some(names: Sequence[str]) -> str:
    text = ", ".join(shown(name) for name in names[:12])
    return f"{text} and {len(names) - 12} more" if len(names) > 12 else text


def layout(head: str, file: str, given: Mapping[str, str], time_unit: str) -> Layout:
    """Return the layout of a table from its first lines.

    Raises:
        BadInput: no header, or not enough columns.
    """
    lines = head.removeprefix("\ufeff").split("\n")
    place = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if place is None:
        raise BadInput(f"{file!r} holds no text.", "Give a CSV or JSONL trace.")
    header = lines[place].rstrip("\r")
    if _SERVEGEN.fullmatch(header.strip()):
        raise BadInput(
            f"{file!r} is one client of ServeGen without its lengths.",
            "Give the folder or the tar.gz that holds chunk-*-trace.csv and chunk-*-dataset.json.",
        )
    delimiter = max(",;\t", key=header.count)
    titles = _quoted(delimiter)(header)
    columns, unit = resolve(titles, given, time_unit, file)
    used = {what: titles[index].strip() for what, index in columns.items()}
    return Layout(_name(titles), len(titles), delimiter, columns, used, unit, place + 1)


def _name(titles: Sequence[str]) -> str:
    words = {plain(title) for title in titles}
    if {"timestamp", "contexttokens", "generatedtokens"} <= words:
        return "azure-lmm" if "numimages" in words else "azure"
    if {"timestamp", "request_tokens", "response_tokens"} <= words:
        return "burstgpt-sessions" if "session_id" in words else "burstgpt"
    if {"num_prefill_tokens", "num_decode_tokens"} <= words:
        return "vidur"
    return "csv"


def read_rows(lines: Sequence[str], first: int, table: Layout) -> Rows:
    """Return the rows of some lines; those that cannot be read are in `bad`.

    Args:
        lines: without their ends.
        first: line number of the first.
        table: layout; its unit of time is settled by the first row.
    """
    bad: list[BadRow] = []
    numbers, fields = _split(lines, first, table, bad)
    line = np.array(numbers, np.int64)
    good = np.ones(line.size, np.bool_)
    columns = list(zip(*fields, strict=True)) if fields else [()] * table.width

    def refuse(what: str, wrong: NDArray[np.bool_], problem: str) -> None:
        for row in np.flatnonzero(wrong & good):
            value = columns[table.columns[what]][row]
            reason = (
                f"{table.titles[what]} is {shown(value)}, {problem}"
                if value.strip()
                else f"no {table.titles[what]}"
            )
            bad.append(BadRow(int(line[row]), reason))
        np.logical_and(good, ~wrong, out=good)

    def numeric(what: str, *, needed: bool) -> Floats:
        values, wrong = _floats(columns[table.columns[what]])
        if needed:
            refuse(what, wrong, "not a number")
        return values

    time = None
    if "arrival" in table.columns and line.size:
        time, wrong, problem = _times(columns[table.columns["arrival"]], table)
        refuse("arrival", wrong, problem)
    isl, osl = numeric("isl", needed=True), numeric("osl", needed=True)
    optional = {
        what: numeric(what, needed=False) for what in table.columns if what in {"turn", "priority", *MEASURED}
    }
    session = (
        [name.strip() for name in columns[table.columns["session"]]] if "session" in table.columns else None
    )
    rows = Rows(line, time, isl, osl, session, optional.pop("turn", None), bad=bad)
    rows.priority, rows.measured = optional.pop("priority", None), optional
    if time is None and "arrival" in table.columns:
        rows.time = np.zeros(line.size, np.int64)
    return keep(rows, good)


def _split(
    lines: Sequence[str], first: int, table: Layout, bad: list[BadRow]
) -> tuple[Sequence[int], Sequence[Sequence[str]]]:
    """Return numbers and fields of the lines that have as many fields as the header."""
    start = max(table.header + 1 - first, 0)
    texts = lines[start:]
    quoted = any('"' in text for text in texts)
    split: Callable[[str], list[str]] = _quoted(table.delimiter) if quoted else _unquoted(table.delimiter)
    fields = [split(text) for text in texts]
    if all(len(row) == table.width for row in fields) and (table.width > 1 or all(texts)):
        return range(first + start, first + len(lines)), fields
    numbers, whole = [], []
    for number, (text, row) in enumerate(zip(texts, fields, strict=True), first + start):
        if len(row) == table.width:
            numbers.append(number)
            whole.append(row)
        elif text.strip() and not text.startswith("#"):
            bad.append(BadRow(number, f"{len(row)} fields instead of {table.width}"))
    return numbers, whole


def _unquoted(delimiter: str) -> Callable[[str], list[str]]:
    return lambda text: text.split(delimiter)


def _quoted(delimiter: str) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        if '"' not in text:
            return text.split(delimiter)
        try:
            return next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            return []

    return split


def _floats(texts: Sequence[str]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return numbers (NaN where there is none) and which texts are no finite number."""
    try:
        values = np.fromiter(map(float, texts), np.float64, count=len(texts))
    except ValueError:
        values = np.fromiter(map(_float, texts), np.float64, count=len(texts))
    return values, ~np.isfinite(values)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _times(texts: Sequence[str], table: Layout) -> tuple[Ints, NDArray[np.bool_], str]:
    """Return ns, which are no times, and what is wrong with those; settles the unit by the first row."""
    if not table.unit:
        table.unit = _unit(texts, table)
    if table.unit == "iso":
        time, good = clock.from_iso(texts)
        return time, ~good, "not an ISO 8601 time"
    values, _ = _floats(texts)
    time, good = clock.from_numbers(values, table.unit)
    return time, ~good, f"not a time in {table.unit} (a number, not negative)"


def _unit(texts: Sequence[str], table: Layout) -> str:
    first = next((text for text in texts if clock.is_iso(text) or np.isfinite(_float(text))), "0")
    if clock.is_iso(first):
        return "iso"
    unit = clock.epoch_unit(float(first))
    if unit == "s" and table.format == "csv":
        table.notes.append(f"{table.titles['arrival']} has no unit; taken as seconds.")
    return unit
