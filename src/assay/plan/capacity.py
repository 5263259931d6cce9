"""A capacity study: hours of traffic over candidate deployments, routers and autoscalers; which is cheapest.

Every run is written as one line of a results file as soon as it is done. Its key is a digest of everything
it depends on, so that a second call only runs what is missing or has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay import __version__
from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.errors import AssayError
from assay.plan.pace import Mean, mean, paced
from assay.plan.serving import chip_hour, cluster
from assay.plan.traffic import STREAMED, Traffic, arriving, hourly
from assay.simulate.confidence import means, over
from assay.simulate.deployment import Stated
from assay.simulate.faults import read as faults
from assay.simulate.outcome import outcome
from assay.simulate.parallel import each
from assay.simulate.run import Limits, execute
from assay.workload.arrivals import Requests

SCHEMA = "assay-capacity-1"
#: Figures of a run that its line keeps.
_KEPT = (
    "requests", "completed", "rejected", "failed", "unserved", "duration_s", "chips", "ttft_s", "tpot_s",
    "e2e_s", "goodput_per_s", "good_share", "output_tokens_per_s", "utilisation", "hit_rate",
    "usd_per_million_output_tokens",
)  # fmt: skip
_DAY, _HOUR = 86400.0, 3600.0


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked.

    Attributes:
        model: name.
        traffic: what arrives.
        candidates: deployments, each with its router and scaling: one row each.
        context: tokens of a usual prompt.
        limits: of one request, s: `ttft`, `tpot`, `e2e`; infinite = none.
        cached: share of the input found in a prefix cache, for traffic without prefix blocks.
        share: share of the requests that must be within them.
        seeds: runs of each candidate.
        price: kind of price.
        faults: file of failures, "" = none.
        calibrated: whether steps run at the calibrated pace, not at that of bare physics.
        facts: folders of the user's own facts.
        notes: what a reader must know of the study.
    """

    model: str
    traffic: Traffic
    candidates: tuple[Stated, ...]
    context: float
    limits: Limits
    cached: float = 0.0
    share: float = 0.99
    seeds: int = 1
    price: str = "list"
    faults: str = ""
    calibrated: bool = False
    facts: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One run: a candidate and a seed."""

    study: Study
    number: int
    seed: int

    @property
    def stated(self) -> Stated:
        """The candidate."""
        return self.study.candidates[self.number]

    def key(self, stamp: str) -> str:
        """Return a digest of all that the run depends on.

        Args:
            stamp: of the data: `stamp(study)`.
        """
        study = self.study
        parts = (
            stamp, study.model, asdict(study.traffic), self.stated.json(), study.context, study.cached,
            asdict(study.limits), study.price, study.calibrated, self.seed,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def stamp(study: Study) -> str:
    """Return a digest of the facts, the version and the files that a study reads."""
    files = [path for path in (study.traffic.trace, study.faults) if path]
    contents = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files]
    return " ".join([__version__, catalogue(study.facts).hash, *contents])


def cases(study: Study) -> tuple[Case, ...]:
    """Return all runs; the first seed of every candidate first, so that an early stop compares all."""
    return tuple(
        Case(study, number, seed) for seed in range(study.seeds) for number in range(len(study.candidates))
    )


def run(
    study: Study, results: Path, workers: int = 0, progress: Callable[[str, float], None] | None = None
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Yield every run with its figures: those the results file holds first, then new ones as they end.

    Args:
        study: what is asked.
        results: file with one run a line; made, or continued.
        workers: processes; 0 = one a processor.
        progress: told what is done and the share done.
    """
    every, mark = cases(study), stamp(study)
    known = kept(results)
    keys = [case.key(mark) for case in every]
    missing = [case for case, key in zip(every, keys, strict=True) if key not in known]
    yield from ((case, known[key]) for case, key in zip(every, keys, strict=True) if key in known)
    done = len(every) - len(missing)
    for place, figures in each(figured, missing, workers):
        case = missing[place]
        line = {"key": case.key(mark), "candidate": case.stated.label(), "seed": case.seed, **figures}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        done += 1
        if progress:
            progress(f"{done} of {len(every)} runs", done / len(every))
        yield case, line


def kept(results: Path) -> dict[str, dict[str, Any]]:
    """Return key -> line of a results file; a line cut short by a crash is passed over and overwritten."""
    if not results.exists():
        return {}
    found, text = {}, results.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        results.write_text(whole, encoding="utf-8")
    for line in whole.splitlines():
        try:
            row = json.loads(line)
            found[row["key"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return found


def figured(case: Case) -> dict[str, Any]:
    """Run a case and return its figures; `refused` says why there are none.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    study, known = case.study, catalogue(case.study.facts)
    try:
        serves = cluster(case.stated, study.model, known, context=study.context, facts=study.facts)
        arrives: Requests | Iterator[Requests]
        if study.traffic.expected > STREAMED:
            arrives, lost, span = hourly(study.traffic, case.seed), 0, study.traffic.length
            rate = study.traffic.expected / span
            load = Mean(study.traffic.isl, study.traffic.osl, study.cached, rate)
        else:
            longest = model(study.model, study.facts)[0].architecture.max_context or 0
            arrives, lost = arriving(study.traffic, case.seed, longest)
            span, load = arrives.span, mean(arrives, cached=study.cached)
        pace = None
        if study.calibrated:
            serves, pace = paced(serves, load)
        pool = serves.pools[0]
        events = (
            faults(Path(study.faults)).events(pool.replicas, pool.stages, span * 1.5 + _HOUR, case.seed)
            if study.faults
            else ()
        )
        done = execute(serves, arrives, cached=study.cached, events=events, limits=study.limits)
    except AssayError as error:
        return {"refused": str(error)}
    if not done.whole:
        raise KeyboardInterrupt
    price, note = chip_hour(case.stated, known, study.price)
    said = outcome(serves, done, price)
    per_day = _DAY / max(said.figures["duration_s"], 1.0)
    hours, watts = said.figures["chip_hours"], said.figures["watts_per_chip"]
    return {name: said.figures[name] for name in _KEPT} | {
        "usd_per_day": hours * price.usd_per_hour * per_day if price else None,
        "chip_hours_per_day": hours * per_day,
        "pace": pace.value if pace else None,
        "kwh_per_day": watts * hours * per_day / 1e3 if watts is not None else None,
        "notes": [item for item in (*said.notes, note, _left_out(lost)) if item],
    }


def _left_out(count: int) -> str:
    return (
        f"{count:,} rows of the trace cannot be used (`assay trace` names them) or exceed the context"
        if count
        else ""
    )


def compared(study: Study, found: Sequence[tuple[Case, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the study with a row a candidate, best first, as plain data.

    Candidates that keep enough requests within the limits come first, cheapest first (by chip-hours where a
    price is unpublished); then the others, by the share that they keep.

    Args:
        study: what was asked.
        found: runs that are done.
    """
    rows, refused = [], []
    for number, stated in enumerate(study.candidates):
        runs = [dict(figures) for case, figures in found if case.number == number]
        about = {"candidate": stated.label(), "router": stated.router, "replicas": copies(stated)}
        why = next((item["refused"] for item in runs if "refused" in item), "")
        if why:
            refused.append(about | {"reason": why})
        elif runs:
            rows.append(about | _row(study, runs))
    unpriced = any(row["usd_per_day"] is None for row in rows)
    cost = "chip_hours_per_day" if unpriced else "usd_per_day"
    rows.sort(key=lambda row: (not row["meets"], row[cost] if row["meets"] else -row["good_share"]))
    done = sum(1 for _ in found)
    return {
        "schema": SCHEMA,
        "model": study.model,
        "limits": {f"{name}_s": value for name, value in asdict(study.limits).items()},
        "share": study.share,
        "ranked_by": cost,
        "runs": {"done": done, "all": len(cases(study))},
        "best": rows[0] if rows and rows[0]["meets"] else None,
        "rows": rows,
        "refused": refused,
        "notes": list(study.notes),
    }


def copies(stated: Stated) -> str:
    """Return its replicas in short: `8`, `1-8` where it scales, `5+3` of two pools."""
    if stated.scaling is not None:
        return f"{stated.scaling.least}-{stated.scaling.greatest}"
    return "+".join(str(pool.replicas) for pool in stated.pools)


def _row(study: Study, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a candidate: means over its seeds."""
    for run in runs:
        del run["key"], run["candidate"], run["seed"]
    row = means(runs)
    row["notes"] = list(dict.fromkeys(note for run in runs for note in run["notes"]))
    row |= {"seeds": len(runs), "meets": row["good_share"] >= study.share}
    return row | ({"intervals": over(runs)} if len(runs) > 1 else {})
