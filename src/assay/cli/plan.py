"""`assay plan`: which platform and deployment serve a model best under an SLO."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay.cli.emit import check_emit, show
from assay.cli.flags import (
    Caching,
    Caps,
    Count,
    Experts,
    Facts,
    Lengths,
    Limit,
    Name,
    Names,
    Pue,
    Rate,
    Stack,
    Ways,
)
from assay.cli.progress import progress
from assay.cli.question import ask
from assay.errors import BadInput, NotMet
from assay.plan import answer
from assay.plan.api import against_api as hosted
from assay.plan.evidence import cited
from assay.report.panels import shortfall
from assay.study.answer import Answer
from assay.study.question import Question

if TYPE_CHECKING:
    from assay.plan.confirm import Confirmation

_USUAL = Lengths()
_EXPERTS = Experts()
_CACHING = Caching()
_WAYS = Ways()
_STACK = Stack()
_CAPS = Caps()


def plan(  # noqa: PLR0913 - one argument a flag
    model: Name,
    /,
    *,
    lengths: Lengths = _USUAL,
    caching: Caching = _CACHING,
    on: Names = (),
    ttft: Limit | None = None,
    tpot: Limit | None = None,
    rate: Rate | None = None,
    concurrency: Count | None = None,
    chips: Count | None = None,
    objective: Literal["cost", "throughput", "latency", "energy"] = "cost",
    price: Literal["own", "contract", "list", "spot"] = "list",
    stack: Stack = _STACK,
    ways: Ways = _WAYS,
    experts: Experts = _EXPERTS,
    caps: Caps = _CAPS,
    pue: Pue | None = None,
    top: Count = 1,
    facts: Facts = (),
    against_api: bool = False,
    evidence: bool = False,
    json: bool = False,
    csv: Name | None = None,
    emit: Name | None = None,
    confirm: Count | None = None,
) -> int:
    """Rank platforms and deployments for a model, a workload and an SLO.

    Args:
        model: name, Hugging Face id, or path of a config.json.
        lengths: what a request looks like.
        caching: what a prefix cache may hold.
        on: systems, `a,b` or `all`.
        ttft: greatest mean time to first token: 2s, 500ms, none.
        tpot: greatest mean time per output token: 30ms, none.
        rate: requests per second to carry: 5, 300/min.
        concurrency: requests in flight in one replica.
        chips: greatest number of chips in one replica.
        objective: what rows are ranked by.
        price: which prices count.
        stack: engine and number formats.
        ways: how the model may be served.
        experts: redundant experts.
        caps: what the whole deployment may take.
        pue: energy of the facility over that of its machines: 1.2.
        top: rows a platform.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        against_api: set the best row against what hosts ask for the model's tokens.
        evidence: list the nearest measured points of each row, with source and distance.
        json: write the answer as JSON.
        csv: write the rows as CSV, into a file or, without one, to standard output.
        emit: also write what runs the best row, for vllm, sglang, trtllm, dynamo, lws, kserve, llm-d.
        confirm: run so many of the best rows through the simulator at their load; 1 without a number.
    """
    check_emit(emit, stack.engine, json=json, csv=csv)
    question = ask(
        model,
        lengths,
        caching=caching,
        ttft=ttft,
        tpot=tpot,
        facts=facts,
        platforms=on,
        rate=rate,
        concurrency=concurrency,
        chips=chips,
        objective=objective,
        price=price,
        top=top,
        pue=pue,
        **(stack.given() | ways.given() | experts.given() | caps.given()),
    )
    found, simulated = answered(question, confirm, facts, against=against_api)
    write(cited(found) if evidence else found, json=json, csv=csv, evidence=evidence, simulated=simulated)
    return settled(found, emit, facts)


def answered(
    question: Question, confirm: int | None, facts: tuple[Path, ...], *, against: bool
) -> tuple[Answer, tuple[Confirmation, ...]]:
    """Return the answer, against the hosts of its model where asked, and what the simulator says of it."""
    with progress() as report:
        found = answer(question, facts=facts, progress=report)
        simulated = confirmed(found, confirm, facts, report)
    return (hosted(found, facts=facts) if against else found), simulated


def settled(found: Answer, emit: str | None, facts: tuple[Path, ...]) -> int:
    """Write what runs the best row, where it is asked; return the exit code.

    Raises:
        NotMet: no row meets the limits.
    """
    if found.best() is None:
        raise NotMet(shortfall(found))
    if emit:
        show(found, emit, facts=facts)
    return 0


def confirmed(
    found: Answer, count: int | None, facts: tuple[Path, ...], report: Callable[[str, float], None]
) -> tuple[Confirmation, ...]:
    """Return what the simulator says of the best rows; nothing where it is not asked."""
    if not count:
        return ()
    from assay.plan.confirm import confirm

    return confirm(found, count, facts=facts, progress=report)


def write(
    found: Answer,
    *,
    json: bool,
    csv: str | None,
    page: str = "plan",
    evidence: bool = False,
    simulated: Sequence[Confirmation] = (),
) -> None:
    """Print an answer: as JSON, as CSV, or as the page of a verb (plan or estimate), and its evidence."""
    from assay.report.export import write_csv, write_json

    if csv == "-" and json:
        raise BadInput("--json and --csv both write to standard output.", "Give --csv a file.")
    if csv and csv != "-":
        with Path(csv).open("w", encoding="utf-8", newline="") as file:
            write_csv(found, file)
    elif csv:
        write_csv(found, sys.stdout)
    if json:
        write_json(
            found.json() | ({"confirmed": [item.json() for item in simulated]} if simulated else {}),
            sys.stdout,
        )
    elif csv != "-":
        from assay.report.evidence import evidence_page
        from assay.report.explain import estimate_page
        from assay.report.terminal import plan_page, put, terminal

        put(estimate_page(found) if page == "estimate" else plan_page(found, terminal().width))
        if evidence:
            put(evidence_page(found))
        if simulated:
            from assay.report.confirm import confirm_page

            put(confirm_page(simulated))
