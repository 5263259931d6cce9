"""`assay emit`: the commands and manifests that would run one deployment, and the load test for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay.cli.flags import Caching, Chances, Count, Experts, Facts, Lengths, Name, Rate, Tokens
from assay.cli.question import ask
from assay.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.report.launch.files import Files
    from assay.study.answer import Answer

#: Targets that are engines themselves.
ENGINES = ("vllm", "sglang", "trtllm")
_USUAL = Lengths()
_EXPERTS = Experts()
_NO_CACHE = Caching()


def emit(  # noqa: PLR0913 - one argument a flag
    model: Name,
    /,
    *,
    lengths: Lengths = _USUAL,
    on: Name,
    layout: Name,
    target: Name,
    concurrency: Count | None = None,
    rate: Rate | None = None,
    weights: Name | None = None,
    kv: Name | None = None,
    engine: Name | None = None,
    prefill_on: Name | None = None,
    speculation: Literal["none", "mtp"] = "none",
    acceptance: Chances = (),
    experts: Experts = _EXPERTS,
    caching: Caching = _NO_CACHE,
    longest: Tokens | None = None,
    price: Literal["own", "contract", "list", "spot"] = "list",
    facts: Facts = (),
    out: Name | None = None,
    json: bool = False,
) -> int:
    """Write the commands and manifests that would run one deployment.

    Args:
        model: name, Hugging Face id, or path of a config.json.
        lengths: what a request looks like.
        on: system.
        layout: parallel degrees of the replica: tp8, tep8, dep16, dp4tp2ep8, tp8pp2; or of a prefill and a
            decode pool with their replicas: 4xtp4+1xdep32.
        target: vllm, sglang, trtllm, dynamo, lws, kserve, llm-d.
        concurrency: requests in flight.
        rate: requests per second, instead of a concurrency.
        weights: weight format: native, bf16, fp8, fp4, int4.
        kv: KV cache format: bf16, fp8.
        engine: serving engine that a cluster target starts: vllm, sglang, trtllm.
        prefill_on: system of the prefill pool, where the layout has one; the same system without it.
        speculation: whether to draft tokens.
        acceptance: chance of each draft once those before it were accepted, as many as are drafted: 0.85,0.7.
        experts: redundant experts.
        caching: the prefix cache and its tiers.
        longest: longest request to serve, prompt and answer; without it, the trace's or workload's longest.
        price: which prices count.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        out: folder to write the files into, instead of standard output.
        json: write the files as JSON.
    """
    if out and json:
        raise BadInput("--out and --json both say where the files go.", "Give one of them.")
    known_target(target)
    question = ask(
        model,
        lengths,
        facts=facts,
        limits=False,
        caching=caching,
        rate=rate,
        concurrency=concurrency,
        weights=weights,
        kv=kv,
        engine=engine,
        price=price,
        prefill_platform=prefill_on,
        speculation=speculation,
        acceptance=acceptance,
        **experts.given(),
    )
    from assay.plan import estimate as predict

    found = predict(question, on, layout, facts=facts, startable=startable(target))
    show(found, target, engine or "", facts, stated=longest, out=out, json=json)
    return 0


def startable(target: str | None) -> tuple[str, ...]:
    """Return the engines that a known target can start, the usual one first; none for no target."""
    if not target:
        return ()
    from assay.report.launch.emit import STARTS

    return STARTS.get(target, (target,))


def known_target(target: str) -> None:
    """Refuse a target that nobody writes files for, before anything is computed.

    Raises:
        BadInput: no such target.
    """
    from assay.report.launch.emit import TARGETS

    if target not in TARGETS:
        raise BadInput(f"No target {target!r}.", f"Choose one of {', '.join(TARGETS)}.")


def check_emit(target: str | None, engine: str | None = None, *, json: bool, csv: str | None) -> None:
    """Refuse what `--emit` of plan and estimate cannot do, before anything is computed.

    Raises:
        BadInput: no such target, another engine than the one predicted, or another format that wants
            standard output for itself.
    """
    if not target:
        return
    known_target(target)
    if engine and target in ENGINES and engine != target:
        raise BadInput(
            f"--emit {target} starts another engine than --engine {engine} predicts.",
            f"Write --engine {target}, or --emit {engine}.",
        )
    if json or csv == "-":
        other = "--json" if json else "--csv"
        raise BadInput(
            f"--emit and {other} both write to standard output.", "`assay emit` writes files alone."
        )


def show(
    found: Answer,
    target: str,
    engine: str = "",
    facts: Sequence[Path] = (),
    *,
    stated: int | None = None,
    out: str | None = None,
    json: bool = False,
) -> None:
    """Write the files of an answer's best row: to standard output, as JSON, or into a folder."""
    from assay.report.launch.emit import best

    files = best(found, target, engine=engine, facts=facts, stated=stated)
    for sentence in files.warnings:
        print(f"assay: {sentence}", file=sys.stderr)
    if json:
        from assay.report.export import write_json

        write_json(dict(files.json()), sys.stdout)
    elif out:
        _list(files, Path(out))
    else:
        sys.stdout.write(files.text())


def _list(files: Files, folder: Path) -> None:
    for path in files.write(folder):
        print(path)
