"""`assay coverage`: which model runs where, measured or only predicted, and what could replace a platform."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Literal

from assay.catalogue.load import catalogue
from assay.cli.flags import Facts, Lengths, Limit, Name, Names
from assay.cli.progress import progress

_USUAL = Lengths()


def coverage(  # noqa: PLR0913 - one argument a flag
    model: Name | None = None,
    /,
    *,
    lengths: Lengths = _USUAL,
    on: Names = (),
    ttft: Limit | None = None,
    tpot: Limit | None = None,
    price: Literal["own", "contract", "list", "spot"] = "list",
    everything: bool = False,
    facts: Facts = (),
    json: bool = False,
) -> int:
    """Show which model runs on which platform: measured, predicted only, or not, and what could replace it.

    Args:
        model: one model, planned on every platform with its alternatives; all measured ones without it.
        lengths: what a request looks like.
        on: systems, `a,b` or `all`.
        ttft: greatest mean time to first token: 2s, 500ms, none.
        tpot: greatest mean time per output token: 30ms, none.
        price: which prices count.
        everything: also models and platforms of which nothing was measured.
        facts: folder of your own facts; may be repeated.
        json: write it as JSON.
    """
    if model is None:
        return _overview(on, facts, everything=everything, json=json)
    from assay.claims.coverage import locks, planned
    from assay.cli.question import ask
    from assay.plan import answer

    question = ask(model, lengths, ttft=ttft, tpot=tpot, facts=facts, platforms=on, price=price)
    with progress() as report:
        found = answer(question, facts=facts, progress=report)
    known = catalogue(facts)
    cells, alternatives = planned(found, known), locks(found, known)
    if json:
        from assay.report.export import write_json

        body = {"cells": [cell.json() for cell in cells], "lock_in": [lock.json() for lock in alternatives]}
        write_json({"question": question.json()} | body, sys.stdout)
        return 0
    from assay.report.coverage import page
    from assay.report.terminal import put, terminal

    put(page(cells, alternatives, datetime.now(UTC).date(), terminal().width))
    return 0


def _overview(on: Names, facts: Facts, *, everything: bool, json: bool) -> int:
    from assay.claims.coverage import cells
    from assay.claims.engines import MEASURED, RUNS

    known = catalogue(facts)
    rows = known.table("measurements/coverage")["rows"]
    seen = [{str(row[key]) for row in rows} for key in ("model", "system")]
    models = [name for name in known.models() if everything or name in seen[0]]
    systems = [known.system_id(name) for name in on] or [
        name for name in known.systems() if everything or name in seen[1]
    ]
    found = cells(models, systems, known)
    if on and not everything:
        there = {cell.model for cell in found if cell.state in (MEASURED, RUNS)}
        found = tuple(cell for cell in found if cell.model in there)
    if json:
        from assay.report.export import write_json

        write_json({"cells": [cell.json() for cell in found]}, sys.stdout)
        return 0
    from assay.report.coverage import overview
    from assay.report.terminal import put, terminal

    put(overview(found, terminal().width))
    return 0
