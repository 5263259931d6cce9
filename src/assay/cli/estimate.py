"""`assay estimate`: one deployment at one load, and with --explain its steps by operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from assay.cli.emit import check_emit, show, startable
from assay.cli.flags import Caching, Chances, Count, Experts, Facts, Lengths, Name, Pue, Rate
from assay.cli.plan import write
from assay.cli.question import ask
from assay.errors import NotMet
from assay.plan import estimate as predict
from assay.study.answer import Answer

_USUAL = Lengths()
_EXPERTS = Experts()
_CACHING = Caching()


def estimate(  # noqa: PLR0913 - one argument a flag
    model: Name,
    /,
    *,
    lengths: Lengths = _USUAL,
    caching: Caching = _CACHING,
    on: Name,
    layout: Name = "auto",
    concurrency: Count | None = None,
    rate: Rate | None = None,
    weights: Name | None = None,
    kv: Name | None = None,
    engine: Name | None = None,
    price: Literal["own", "contract", "list", "spot"] = "list",
    prefill_on: Name | None = None,
    speculation: Literal["none", "mtp"] = "none",
    acceptance: Chances = (),
    experts: Experts = _EXPERTS,
    pue: Pue | None = None,
    facts: Facts = (),
    explain: bool = False,
    evidence: bool = False,
    json: bool = False,
    csv: Name | None = None,
    emit: Name | None = None,
) -> int:
    """Predict one deployment at one load.

    Args:
        model: name, Hugging Face id, or path of a config.json.
        lengths: what a request looks like.
        caching: what a prefix cache may hold.
        on: system.
        layout: parallel degrees of the replica: tp8, tep8, dep16, dp4tp2ep8, tp8pp2; or of a prefill and a
            decode pool with their replicas: 4xtp4+1xdep32.
        concurrency: requests in flight.
        rate: requests per second, instead of a concurrency.
        weights: weight format: native, bf16, fp8, fp4, int4.
        kv: KV cache format: bf16, fp8.
        engine: serving engine: vllm, sglang, trtllm; without it, the best of those measured on the chip.
        price: which prices count.
        prefill_on: system of the prefill pool, where the layout has one; the same system without it.
        speculation: whether to draft tokens.
        acceptance: chance of each draft once those before it were accepted, as many as are drafted: 0.85,0.7.
        experts: redundant experts.
        pue: energy of the facility over that of its machines: 1.2.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        explain: show the decode step and the prefill by operator: FLOPs, bytes, seconds, bound.
        evidence: list the nearest measured points, with source and distance.
        json: write the answer as JSON.
        csv: write the row as CSV, into a file or, without one, to standard output.
        emit: also write what runs it, for vllm, sglang, trtllm, dynamo, lws, kserve, llm-d.
    """
    check_emit(emit, engine, json=json, csv=csv)
    question = ask(
        model,
        lengths,
        caching=caching,
        facts=facts,
        limits=False,
        rate=rate,
        concurrency=concurrency,
        weights=weights,
        kv=kv,
        engine=engine,
        price=price,
        prefill_platform=prefill_on,
        speculation=speculation,
        acceptance=acceptance,
        pue=pue,
        **experts.given(),
    )
    found = predict(question, on, layout, explain=explain, facts=facts, startable=startable(emit))
    write(found, json=json, csv=csv, page="estimate", evidence=evidence)
    return settled(found, emit, facts)


def settled(found: Answer, emit: str | None, facts: Sequence[Path]) -> int:
    """Write what runs the deployment, where it is asked; return the exit code.

    Raises:
        NotMet: the deployment does not carry the rate that is asked of it.
    """
    row = found.rows[0]
    if row.capacity.get("saturated"):
        raise NotMet(row.notes[0])
    if emit:
        show(found, emit, facts=facts)
    return 0
