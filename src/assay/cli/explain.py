"""`assay explain`: why the best deployment is the best one."""

from __future__ import annotations

import sys
from typing import Literal

from assay.cli.flags import Count, Facts, Lengths, Limit, Name, Names, Rate
from assay.cli.question import ask
from assay.errors import BadInput
from assay.plan.why import why

_USUAL = Lengths()


def explain(  # noqa: PLR0913 - one argument a flag
    model: Name,
    /,
    *,
    lengths: Lengths = _USUAL,
    on: Names = (),
    ttft: Limit | None = None,
    tpot: Limit | None = None,
    rate: Rate | None = None,
    concurrency: Count | None = None,
    chips: Count | None = None,
    objective: Literal["cost", "throughput", "latency", "energy"] = "cost",
    price: Literal["own", "contract", "list", "spot"] = "list",
    engine: Name | None = None,
    weights: Name | None = None,
    kv: Name | None = None,
    serving: Literal["aggregated", "disaggregated", "both"] = "both",
    speculation: Literal["none", "mtp", "auto"] = "none",
    facts: Facts = (),
    json: bool = False,
) -> int:
    """Say why the best deployment wins: where its steps go, what would move it, what lost and why.

    Args:
        model: name, Hugging Face id, or path of a config.json.
        lengths: what a request looks like.
        on: systems, `a,b` or `all`.
        ttft: greatest mean time to first token: 2s, 500ms, none.
        tpot: greatest mean time per output token: 30ms, none.
        rate: requests per second to carry: 5, 300/min.
        concurrency: requests in flight in one replica.
        chips: greatest number of chips in one replica.
        objective: what rows are ranked by.
        price: which prices count.
        engine: serving engine: vllm, sglang, trtllm.
        weights: weight format: native, bf16, fp8, fp4, int4.
        kv: KV cache format: bf16, fp8.
        serving: whether replicas prefill and decode together, in two pools, or what is better.
        speculation: draft tokens: never, always, or where it helps.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        json: write the answer as JSON, with the reasons under `why`.
    """
    if rate is not None and concurrency is not None:
        raise BadInput("--rate and --concurrency both state the load.", "Give one of them.")
    question = ask(
        model,
        lengths,
        ttft=ttft,
        tpot=tpot,
        facts=facts,
        platforms=on,
        rate=rate,
        concurrency=concurrency,
        chips=chips,
        objective=objective,
        price=price,
        engine=engine,
        weights=weights,
        kv=kv,
        serving=serving,
        speculation=speculation,
    )
    found = why(question, facts=facts)
    if json:
        from assay.report.export import write_json

        write_json(found.json(), sys.stdout)
        return 0
    from assay.report.terminal import put
    from assay.report.why import why_page

    put(why_page(found.answer, found.json()["why"]))
    return 0
