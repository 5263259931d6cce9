"""From the flags of `assay simulate` to requests: a trace, a rate, users, or sessions."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.cli.flags import Lengths
from assay.cli.simulate_flags import Load, Talk
from assay.engine.replica import Model
from assay.errors import BadInput
from assay.study.question import Question
from assay.workload.arrivals import Requests
from assay.workload.generate import open_loop
from assay.workload.lengths import DEFAULT
from assay.workload.sessions import Sessions, SessionShape, paced, sessions, shape
from assay.workload.traces import Trace, read, within

#: Requests of a run that does not say how many.
USUAL = 1000
_NAMED = 3


def arriving(
    load: Load, talk: Talk, lengths: Lengths, prepared: Model
) -> tuple[Requests | Sessions | None, Lengths]:
    """Return the requests of a trace, if there is one, and the lengths that stand for its mean.

    Raises:
        BadInput: no load, or more than one.
    """
    given = {"--trace": load.trace, "--rate": load.rate, "--concurrency": load.concurrency}
    given["--session-rate"] = load.session_rate
    stated = [flag for flag, value in given.items() if value is not None]
    if len(stated) != 1:
        what = "No load is given." if not stated else f"More than one load is given: {' and '.join(stated)}."
        raise BadInput(what, "Give one of --trace FILE, --rate R, --concurrency N or --session-rate R.")
    if talk.given() and load.session_rate is None:
        raise BadInput(
            f"{talk.given()[0]} goes with --session-rate.", "Give the sessions that begin a second."
        )
    if load.trace is None:
        if load.speed != 1.0:
            raise BadInput("--speed goes with --trace.", "Give a higher --rate instead.")
        if load.columns or load.time_unit or load.on_bad != "keep" or load.sessions:
            raise BadInput(
                "--columns, --time-unit, --on-bad and --sessions go with --trace.", "Leave them out."
            )
        return None, lengths
    found = traced(load.trace, load, prepared)
    traffic = found.requests
    mean = Lengths(isl=max(round(float(traffic.isl.mean())), 1), osl=max(round(float(traffic.osl.mean())), 1))
    return followed(found, load), replace(mean, cached=lengths.cached or 0.0)


def followed(found: Trace, load: Load) -> Requests | Sessions:
    """Return a trace as it is played: later turns behind the answers before them, or all at their own times.

    Turns wait where the trace says when the turns before them ended, unless the flags say otherwise.

    Raises:
        BadInput: turns shall wait, and the trace does not say how long.
    """
    gap = found.measured.get("gap_s")
    known = gap is not None and bool(np.isfinite(gap).any())
    if load.sessions == "open" or (load.sessions is None and not known):
        return found.requests.scaled(rate=load.speed)
    if gap is None or not known:
        raise BadInput(
            f"{found.name!r} does not say when its turns ended, so no pause before the next one is known.",
            "Give a trace with sessions and e2e_s or gap_s, or --sessions open.",
        )
    played = paced(found.requests, gap)
    later = int((played.requests.turn > 0).sum())
    print(
        f"assay: {later:,} of {len(found.requests):,} requests wait for the answer before them and the "
        "pause that the trace measured (--sessions open: they come when the trace says).",
        file=sys.stderr,
    )
    return played.scaled(load.speed)


def traced(path: Path, load: Load, prepared: Model) -> Trace:
    """Return what of a trace the model can serve; what is wrong is said on stderr, by line.

    Raises:
        BadInput: no such file, or nothing usable in it.
    """
    if not path.exists():
        raise BadInput(f"--trace {str(path)!r} does not exist.", "Give a file.")
    found = within(
        read(
            path, load.on_bad, columns=load.columns or {}, time_unit=load.time_unit or "", seed=load.seed,
            most=load.requests,
        ),
        prepared.architecture.max_context or 0,
        prepared.name,
    )  # fmt: skip
    for note in found.notes:
        print(f"assay: {note}", file=sys.stderr)
    if found.dropped:
        named = "; ".join(str(row) for row in found.bad[:_NAMED])
        more = f"; and {found.dropped - _NAMED:,} more" if found.dropped > _NAMED else ""
        print(
            f"assay: {found.dropped:,} of {found.rows:,} rows were left out: {named}{more}.", file=sys.stderr
        )
    return found


def drawn(load: Load, question: Question, rate: float | None = None) -> Requests:
    """Return requests of the asked lengths: a Poisson process, or as a closed loop's users ask for them."""
    users = load.concurrency or 0
    count = load.requests or max(USUAL, 10 * users)
    return open_loop(rate or load.rate or 1.0, count, question.isl, question.osl, seed=load.seed)


def talking(load: Load, shape_of: SessionShape, question: Question, rate: float | None = None) -> Sessions:
    """Return sessions whose number makes about as many requests as asked.

    Until they are simulated, later turns stand where a server that just meets the limits would place them.
    """
    count = max(math.ceil((load.requests or USUAL) / shape_of.turns), 1)
    return sessions(
        shape_of,
        rate or load.session_rate or 1.0,
        count,
        ttft=question.ttft or 0.0,
        tpot=question.tpot or 0.0,
        seed=load.seed,
    )


def session_shape(talk: Talk, lengths: Lengths, longest: int | None, facts: Sequence[Path]) -> SessionShape:
    """Return what a session looks like: as published for the workload, with the flags on top.

    Args:
        talk, lengths: the flags.
        longest: context of the model, at which a session ends.
        facts: folders of the user's own facts.

    Raises:
        NoEvidence: nothing is published for the workload, and the flags do not say all of it.
        BadInput: figures that are no session.
    """
    own: dict[str, Any] = {
        "turns": talk.turns,
        "first": lengths.isl,
        "growth": talk.growth,
        "osl": lengths.osl,
        "gap_p50": talk.think,
        "gap_p99": talk.think_p99 if talk.think_p99 is not None else talk.think,
        "shared": talk.shared,
        "longest": longest,
    }
    stated = {name: value for name, value in own.items() if value is not None}
    flags = {"--turns": "turns", "--isl": "first", "--growth": "growth", "--osl": "osl", "--think": "gap_p50"}
    missing = [flag for flag, name in flags.items() if name not in stated]
    if lengths.workload is None and missing:
        raise BadInput(
            f"Sessions need {', '.join(missing)} too.",
            "Or name a workload with sessions: --workload agentic.",
        )
    base = shape(lengths.workload or DEFAULT, facts) if missing else None
    if base is not None:
        return replace(base, **stated)
    return SessionShape(**stated)
