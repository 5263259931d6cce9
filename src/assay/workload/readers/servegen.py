"""ServeGen: not requests but statistics of clients, from which requests are drawn with a seed.

A client has one row for every window of (mostly) 600 s: start, request rate, CV of the gaps, family (Gamma or
Weibull) with shape and scale; and histograms of lengths for windows of six hours. Rate times window is the
number of requests that were seen, so exactly that many are drawn, their gaps from the family and shape and
stretched to fill the window. Lengths are drawn from the histograms, input and output apart, as published.
Source: alibaba/ServeGen (Apache-2.0), arXiv 2505.09999.
"""

from __future__ import annotations

import ast
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.workload.arrivals import Floats, Ints
from assay.workload.readers.rows import Rows, shown
from assay.workload.readers.source import BadRow

_FILE = re.compile(r"chunk-(\d+)-(trace\.csv|dataset\.json)")
_WINDOW = 600.0
_LARGEST = 1 << 28
_FIELDS = 6
_FAMILIES = ("Gamma", "Weibull")
#: Histogram of tokens -> histogram of how many such parts a request has; None = one.
_INPUTS = {"input_tokens": None, "text_tokens": None, "image_tokens": "image_count",
           "audio_tokens": "audio_count", "video_tokens": "video_count"}  # fmt: skip
Histogram = tuple[Floats, Floats]


@dataclass(slots=True)
class Client:
    """One client.

    Attributes:
        start: of each window, s.
        rate: requests/s in it.
        weibull: whether the family is Weibull, else Gamma.
        shape: shape parameter of the gaps.
        lengths: start of a window of lengths, s -> field -> histogram (values, cumulated probability).
    """

    start: Floats
    rate: Floats
    weibull: NDArray[np.bool_]
    shape: Floats
    lengths: dict[float, dict[str, Histogram]] = field(default_factory=dict)


def is_folder(path: Path) -> bool:
    """Return whether a folder holds clients of ServeGen."""
    return path.is_dir() and any(_FILE.fullmatch(item.name) for item in path.iterdir())


def clients(path: Path, bad: list[BadRow]) -> list[Client]:
    """Return the clients of an archive or a folder, by number; what cannot be read joins `bad`.

    Raises:
        BadInput: no client in it.
    """
    found: dict[tuple[str, int], Client] = {}
    lengths: dict[tuple[str, int], dict[float, dict[str, Histogram]]] = {}
    for folder, name, data in _folder(path) if path.is_dir() else _archive(path, bad):
        match = _FILE.fullmatch(name)
        if match is None:
            continue
        key = folder, int(match[1])
        if match[2] == "trace.csv":
            found[key] = _windows(name, data, bad)
        else:
            lengths[key] = _lengths(name, data, bad)
    for key, client in found.items():
        client.lengths = lengths.get(key, {})
    if not found:
        raise BadInput(
            f"{path.name!r} holds no trace.",
            "Archives and folders are read if they hold ServeGen's chunk-*-trace.csv.",
        )
    return [found[key] for key in sorted(found)]


def _folder(path: Path) -> Iterator[tuple[str, str, bytes]]:
    for item in sorted(path.iterdir()):
        if _FILE.fullmatch(item.name) and item.stat().st_size <= _LARGEST:
            yield "", item.name, item.read_bytes()


def _archive(path: Path, bad: list[BadRow]) -> Iterator[tuple[str, str, bytes]]:
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                file = archive.extractfile(member) if member.isreg() and member.size <= _LARGEST else None
                if file is not None and _FILE.fullmatch(name):
                    yield folder, name, file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        bad.append(BadRow(0, f"the archive cannot be read to its end ({shown(str(error))})"))


def _windows(name: str, data: bytes, bad: list[BadRow]) -> Client:
    rows: list[tuple[float, float, bool, float]] = []
    for line, text in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        try:
            rows.append(_window(text.split(",")))
        except ValueError as error:
            bad.append(BadRow(line, f"{name}: {error}"))
    columns = np.array(rows, np.float64).reshape(-1, 4)
    return Client(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.bool_), columns[:, 3])


def _window(parts: Sequence[str]) -> tuple[float, float, bool, float]:
    """Return start, rate, whether Weibull, and shape of one row.

    Raises:
        ValueError: what is wrong with it.
    """
    if len(parts) != _FIELDS:
        raise ValueError(f"{len(parts)} fields instead of {_FIELDS}")
    start, rate = float(parts[0]), float(parts[1])
    if not (0 <= start < np.inf and 0 <= rate < np.inf):
        raise ValueError(f"start {shown(parts[0])} or rate {shown(parts[1])} is not a number from 0 up")
    shape = float(parts[4] or 0) if rate else 1.0
    if rate and (parts[3] not in _FAMILIES or not 0 < shape < np.inf):
        raise ValueError(f"no arrivals of family {shown(parts[3])} and shape {shown(parts[4])}")
    return start, rate, parts[3] == _FAMILIES[1], shape


def _lengths(name: str, data: bytes, bad: list[BadRow]) -> dict[float, dict[str, Histogram]]:
    try:
        windows = json.loads(data)
        items = {float(start): dict(fields) for start, fields in windows.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        bad.append(BadRow(0, f"{name}: not a dataset of ServeGen ({shown(str(error))})"))
        return {}
    found: dict[float, dict[str, Histogram]] = {}
    wanted = {*_INPUTS, *(count for count in _INPUTS.values() if count), "output_tokens"}
    for start, fields in sorted(items.items()):
        try:
            parsed = {key: _histogram(fields[key]) for key in wanted if key in fields}
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, AttributeError) as error:
            bad.append(
                BadRow(0, f"{name}: the histograms of window {start:g} cannot be read ({shown(str(error))})")
            )
            continue
        full = {key: histogram for key, histogram in parsed.items() if histogram is not None}
        if "output_tokens" in full and ("input_tokens" in full or "text_tokens" in full):
            found[start] = full
    return found


def _histogram(text: str) -> Histogram | None:
    """Return values and cumulated probabilities of `{value: probability, ...}`; None for an empty one."""
    inner = text.strip().removeprefix("{").removesuffix("}")
    if not inner.strip():
        return None
    try:
        numbers = np.array(inner.replace(":", ",").split(","), np.float64)
        values, weights = numbers[::2], numbers[1::2]
    except ValueError:
        table: Mapping[Any, Any] = ast.literal_eval(text)
        values, weights = np.array(list(table), np.float64), np.array(list(table.values()), np.float64)
    if values.shape != weights.shape or not np.isfinite(values).all() or not (weights >= 0).all():
        raise ValueError("values or probabilities are not numbers from 0 up")
    total = np.cumsum(weights)
    if not (np.isfinite(total[-1]) and total[-1] > 0):
        raise ValueError("the probabilities add up to nothing")
    return values, total / total[-1]


@dataclass(frozen=True, slots=True)
class Draw:
    """Requests drawn from clients.

    Attributes:
        rows: columns, sorted by time; `line` holds the number of the client, 1 first.
        expected: requests the statistics count in all.
        unknown: requests drawn whose client publishes no lengths; they are left out.
        end: end of what was drawn, s.
    """

    rows: Rows
    expected: int
    unknown: int
    end: float


def draw(known: Sequence[Client], seed: int, start: float, end: float, most: int) -> Draw:
    """Return requests of all clients in [start, end), s, at most about `most`: then the end comes earlier."""
    rng = np.random.default_rng(seed)
    windows = [_counted(client) for client in known]
    starts, counts = (np.concatenate(columns) for columns in zip(*windows, strict=True))
    expected = int(counts.sum())
    inside = (starts + _WINDOW > start) & (starts < end)
    order = np.argsort(starts[inside], kind="stable")
    cumulated = np.cumsum(counts[inside][order])
    if cumulated.size and cumulated[-1] > most:
        cut = int(np.searchsorted(cumulated, most, side="right"))
        end = float(starts[inside][order][cut])
        end = end if end > start and end > float(starts[inside][order][0]) else start + _WINDOW
    parts = [_client(client, rng, start, end) for client in known]
    time = np.concatenate([part[0] for part in parts])
    isl, osl = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    line = np.concatenate([np.full(part[0].size, number, np.int64) for number, part in enumerate(parts, 1)])
    published = np.isfinite(isl) & np.isfinite(osl)
    index = np.flatnonzero(published)
    index = index[np.argsort(time[index], kind="stable")]
    nanoseconds = np.rint((time[index] - start) * 1e9).astype(np.int64)
    return Draw(
        Rows(line[index], nanoseconds, isl[index], osl[index]), expected, int((~published).sum()), end
    )


def _counted(client: Client) -> tuple[Floats, Floats]:
    return client.start, np.rint(client.rate * _WINDOW)


def _client(
    client: Client, rng: np.random.Generator, start: float, end: float
) -> tuple[Floats, Floats, Floats]:
    """Return times (s), input and output tokens of one client in [start, end)."""
    inside = (client.start + _WINDOW > start) & (client.start < end) & (client.rate > 0)
    first = client.start[inside]
    counts = np.rint(client.rate[inside] * _WINDOW).astype(np.int64)
    time = _times(first, counts, client.weibull[inside], client.shape[inside], rng)
    time = time[(time >= start) & (time < end)]
    isl, osl = np.full(time.size, np.nan), np.full(time.size, np.nan)
    if client.lengths and time.size:
        begins = np.array(list(client.lengths))
        window = np.clip(np.searchsorted(begins, time, side="right") - 1, 0, None)
        for place in np.unique(window):
            chosen = np.flatnonzero(window == place)
            fields = client.lengths[float(begins[place])]
            isl[chosen] = _inputs(fields, chosen.size, rng)
            osl[chosen] = _drawn(fields["output_tokens"], chosen.size, rng)
    return time, isl, osl


def _times(
    first: Floats, counts: Ints, weibull: NDArray[np.bool_], shape: Floats, rng: np.random.Generator
) -> Floats:
    """Return the times of all windows: n requests cut a window into n + 1 gaps."""
    gaps_of = counts + 1
    owner = np.repeat(np.arange(counts.size), gaps_of)
    gaps = np.empty(owner.size)
    for family in (False, True):
        chosen = weibull[owner] == family
        shapes = shape[owner[chosen]]
        gaps[chosen] = rng.weibull(shapes) if family else rng.standard_gamma(shapes)
    gaps = np.maximum(gaps, np.finfo(np.float64).tiny)
    ends = np.cumsum(gaps_of)
    passed = np.cumsum(gaps)
    before = np.concatenate([[0.0], passed[ends[:-1] - 1]]) if counts.size else np.empty(0)
    total = passed[ends - 1] - before if counts.size else np.empty(0)
    share = (passed - before[owner]) / np.maximum(total[owner], np.finfo(np.float64).tiny)
    inner = np.ones(owner.size, np.bool_)
    inner[ends - 1] = False
    return np.asarray(first[owner[inner]] + _WINDOW * np.clip(share[inner], 0.0, 1.0 - 1e-12))


def _inputs(fields: Mapping[str, Histogram], size: int, rng: np.random.Generator) -> Floats:
    """Return input tokens: text, and for each image, clip or video its own draw."""
    total = np.zeros(size)
    for name, counter in _INPUTS.items():
        if name not in fields:
            continue
        if counter is None or counter not in fields:
            total += _drawn(fields[name], size, rng)
            continue
        parts = _drawn(fields[counter], size, rng).astype(np.int64)
        owner = np.repeat(np.arange(size), parts)
        total += np.bincount(owner, weights=_drawn(fields[name], owner.size, rng), minlength=size)
    return total


def _drawn(histogram: Histogram, size: int, rng: np.random.Generator) -> Floats:
    values, cumulated = histogram
    return values[np.minimum(np.searchsorted(cumulated, rng.random(size), side="right"), values.size - 1)]
