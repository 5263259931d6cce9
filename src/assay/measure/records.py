"""Records: measured operating points in one form, whatever format they came in. SI units.

An importer makes one `Record` a point; `Records` holds them as columns. A record keeps what its source
published beside the normalised values, and says why it cannot be predicted when a name or a condition is
missing, so that nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from assay.study.conditions import Conditions, Setting

Floats = NDArray[np.float64]

#: Conditions that are numbers; names and units of `assay.study.conditions.Conditions`.
CONDITIONS = tuple(item.name for item in fields(Conditions)[2:])

#: Measured values, SI.
VALUES = (
    "tpot",  # mean time per output token, first token excluded, s
    "tpot_median",  # s
    "tpot_p99",  # s
    "ttft",  # mean time to first token, s
    "ttft_median",  # s
    "ttft_p99",  # s
    "e2e",  # mean time of a request, s
    "e2e_median",  # s
    "throughput",  # output tokens/s per chip over all chips (input tokens/s where the phase is prefill)
    "joules",  # energy per output token over all chips, J
)

#: Flags that set a point apart: it is scored, but not in the headline figures, and never fitted.
APART = (
    "littles",  # concurrency, latency and throughput contradict each other
    "above_roofline",  # the source's own check: faster than the chip's peak
    "below_floor",  # faster than physics allows for these conditions
    "no_requests",  # no request completed: every metric is zero
    "failed",  # some requests failed
    "cancelled",  # the run was cut short
    "tokens_mismatch",  # client and server count tokens more than 5 % apart
    "power_invalid",  # the power reading was rejected by its source
    "synthetic_acceptance",  # draft acceptance was set, not earned
    "duplicate",  # the same measurement is in the file already
    "threshold",  # a pass mark of a test, not a measurement
    "workers_assumed",  # the number of prefill or decode workers is not published
    "speculation_unknown",  # the source may have used speculation without saying so
)


@dataclass(frozen=True, slots=True)
class Record:
    """One measured operating point.

    Attributes:
        id: name of the point within its file.
        source: where it was published.
        evidence: class of evidence (`repo-csv`, `vendor-doc`, `blog` ...).
        accelerator, model, engine: names as grouped by the source.
        setting: what is predicted with; None if it cannot be.
        problem: why it cannot be predicted, "" if it can.
        conditions: name in `CONDITIONS` -> value, SI; absent = not stated.
        values: name in `VALUES` -> value, SI.
        published: figures as the source gives them, with its own names and units.
        flags: names in `APART`, and notes such as `half_chip`.
        workload: the workload in words.
        line: line of the file, 0 if it has none.
    """

    id: str
    source: str
    evidence: str
    accelerator: str
    model: str
    engine: str
    setting: Setting | None
    problem: str = ""
    conditions: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    published: Mapping[str, str | float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    workload: str = ""
    line: int = 0

    def flagged(self, *flags: str) -> Record:
        """Return the record with more flags."""
        return replace(self, flags=tuple(dict.fromkeys(self.flags + flags)))

    def refused(self, problem: str) -> Record:
        """Return the record as one that cannot be predicted; the first problem stays."""
        return replace(self, setting=None, problem=self.problem or problem)


@dataclass(frozen=True, slots=True)
class Records:
    """Measured operating points as columns of n rows.

    Attributes:
        rows: the records.
        files: the files they came from.
        rejected: lines that are not records, `file:line: why`.
    """

    rows: tuple[Record, ...]
    files: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> Floats:
        """Return a condition or value as an array (n,), NaN where not stated."""
        kind = "values" if name in VALUES else "conditions"
        return np.array([getattr(row, kind).get(name, np.nan) for row in self.rows], dtype=np.float64)

    def words(self, name: str) -> NDArray[np.str_]:
        """Return a text attribute (accelerator, model, engine, source, evidence ...) as an array (n,)."""
        return np.array([getattr(row, name) for row in self.rows], dtype=np.str_)

    def groups(self) -> NDArray[np.str_]:
        """Return `accelerator|model|engine` of each row, the group that points are kept back by."""
        return np.array([f"{row.accelerator}|{row.model}|{row.engine}" for row in self.rows], dtype=np.str_)

    def apart(self) -> NDArray[np.bool_]:
        """Return which rows carry a flag of `APART`."""
        known = set(APART)
        return np.array([bool(known & set(row.flags)) for row in self.rows], dtype=np.bool_)

    def take(self, index: Sequence[int] | NDArray[np.intp] | NDArray[np.bool_]) -> Records:
        """Return the rows at `index` (positions or a mask)."""
        picked = np.asarray(index)
        places = np.flatnonzero(picked) if picked.dtype == np.bool_ else picked.astype(np.intp)
        return replace(self, rows=tuple(self.rows[place] for place in places))

    def answerable(self) -> NDArray[np.bool_]:
        """Return which rows have a setting."""
        return np.array([row.setting is not None for row in self.rows], dtype=np.bool_)

    def conditions(self) -> tuple[Conditions, NDArray[np.intp]]:
        """Return the conditions of the answerable rows, and the position of each among all rows."""
        places = np.flatnonzero(self.answerable())
        rows = [self.rows[place] for place in places]
        settings = [row.setting for row in rows if row.setting is not None]
        columns = {
            name: [row.conditions.get(name, 0.0 if name in ("cached", "spread") else np.nan) for row in rows]
            for name in CONDITIONS
        }
        return Conditions.of(settings, columns), places

    @classmethod
    def join(cls, parts: Iterable[Records]) -> Records:
        """Return the rows of several sets as one."""
        listed = list(parts)
        return cls(
            tuple(row for part in listed for row in part.rows),
            tuple(name for part in listed for name in part.files),
            tuple(line for part in listed for line in part.rejected),
        )


def littles_ratio(records: Records) -> Floats:
    """Return requests in flight by Little's law over the stated concurrency, (n,); NaN where unknown.

    Where a rate is stated the concurrency is only a limit, and nothing can be said.

    Requests in flight = completed requests/s x time of a request. A run is consistent near 1; fill and
    drain of a finite run pull it below, a wrong basis (total for output, one chip for all) shows as a
    factor.
    """
    output = records.column("throughput")
    chips = np.array([row.setting.chips if row.setting else np.nan for row in records.rows])
    isl, osl = records.column("isl"), records.column("osl")
    tpot = _first(records.column("tpot"), records.column("tpot_median"))
    ttft = _first(records.column("ttft"), records.column("ttft_median"))
    e2e = _first(records.column("e2e"), records.column("e2e_median"), ttft + tpot * np.maximum(osl - 1, 0))
    phase = np.array([row.setting.phase if row.setting else "" for row in records.rows])
    tokens = np.where(phase == "prefill", isl, osl)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = output * chips / tokens * e2e / records.column("concurrency")
    return np.where(np.isfinite(records.column("rate")), np.nan, ratio)


def _first(*columns: Floats) -> Floats:
    out = columns[0]
    for column in columns[1:]:
        out = np.where(np.isnan(out), column, out)
    return out


def check(records: Records, tolerance: tuple[float, float] = (0.6, 1.6)) -> Records:
    """Flag rows whose concurrency, latency and throughput contradict each other (`littles`).

    Args:
        records: the rows.
        tolerance: bounds on `littles_ratio`.
    """
    ratio = littles_ratio(records)
    wrong = (ratio < tolerance[0]) | (ratio > tolerance[1])
    rows = tuple(row.flagged("littles") if bad else row for row, bad in zip(records.rows, wrong, strict=True))
    return replace(records, rows=rows)
