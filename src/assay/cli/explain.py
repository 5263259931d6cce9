"""`assay explain`: why the best deployment is the best one."""

from __future__ import annotations

import sys
from typing import Literal

from assay.cli.flags import Caching, Count, Experts, Facts, Lengths, Limit, Name, Names, Rate, Stack, Ways
from assay.cli.question import ask
from assay.plan.why import Why, why

_USUAL = Lengths()
_EXPERTS = Experts()
_CACHING = Caching()
_WAYS = Ways()
_STACK = Stack()


def explain(  # noqa: PLR0913 - one argument a flag
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
    facts: Facts = (),
    json: bool = False,
) -> int:
    """Say why the best deployment wins: where its steps go, what would move it, what lost and why.

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
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        json: write the answer as JSON, with the reasons under `why`.
    """
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
        **stack.given(),
        **ways.given(),
        **experts.given(),
    )
    show(why(question, facts=facts), json=json)
    return 0


def show(found: Why, *, json: bool) -> None:
    """Print why a deployment won, as a page or as JSON."""
    if json:
        from assay.report.export import write_json

        write_json(found.json(), sys.stdout)
    else:
        from assay.report.terminal import put
        from assay.report.why import why_page

        put(why_page(found.answer, found.json()["why"]))
