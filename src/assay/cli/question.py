"""From flags to a Question: workload by name or by lengths, limits stated or by default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from assay.catalogue.load import catalogue
from assay.cli.flags import Caching, Lengths
from assay.errors import BadInput
from assay.llm.formats import CHOICES
from assay.study.question import Caches, Question
from assay.workload.lengths import DEFAULT, workload
from assay.workload.slo import default_slo

_NO_CACHE = Caching()

#: KV formats that caches are counted in.
KV = ("bf16", "fp8")


def ask(
    name: str,
    lengths: Lengths,
    *,
    ttft: float | None = None,
    tpot: float | None = None,
    facts: Sequence[Path] = (),
    limits: bool = True,
    caching: Caching = _NO_CACHE,
    **given: Any,
) -> Question:
    """Return the question that the flags state, defaults filled in.

    A limit that is not stated is the workload's; an infinite one (`--ttft none`) is lifted.

    Args:
        name: model.
        lengths: workload and lengths; lengths override the workload's.
        ttft: stated limit, s; None = not stated.
        tpot: stated limit, s; None = not stated.
        facts: folders of the user's facts.
        limits: whether limits apply at all.
        caching: the prefix cache; a trace also gives the lengths that are not stated.
        **given: other fields of `Question`; None = its default.

    Raises:
        UnknownName: no such workload.
        BadInput: an unknown engine or number format, a load or a cached share stated twice.
    """
    if given.get("rate") is not None and given.get("concurrency") is not None:
        raise BadInput("--rate and --concurrency both state the load.", "Give one of them.")
    if given.get("acceptance") and given.get("speculation", "none") == "none":
        raise BadInput("--acceptance states what drafts yield, but none are made.", "Add --speculation mtp.")
    _known("engine", given.get("engine"), catalogue(facts).table("engines/engines")["engines"])
    _known("weight format", given.get("weights"), CHOICES)
    _known("KV format", given.get("kv"), KV)
    caches = caching.given()
    lengths = _of_trace(lengths, caches)
    alone = lengths.isl is not None and lengths.osl is not None and lengths.workload is None
    base = workload(lengths.workload or DEFAULT, facts)
    isl = base.isl if lengths.isl is None else lengths.isl
    osl = base.osl if lengths.osl is None else lengths.osl
    cached = (0.0 if alone else base.cached) if lengths.cached is None else lengths.cached
    own = (isl, osl, cached) != (base.isl, base.osl, base.cached)
    label = "" if own else base.name
    usual = default_slo(label, isl, cached, facts)
    return Question(
        model=name,
        isl=isl,
        osl=osl,
        cached=cached,
        ttft=_limit(ttft, usual.ttft) if limits else None,
        tpot=_limit(tpot, usual.tpot) if limits else None,
        workload=label,
        caches=caches,
        **{key: value for key, value in given.items() if value is not None},
    )


def _of_trace(lengths: Lengths, caches: Caches | None) -> Lengths:
    """Return the lengths of a question with a prefix cache: those of its trace where none are stated."""
    if caches is None:
        return lengths
    if lengths.cached is not None:
        raise BadInput("--cached and a prefix cache both say what is cached.", "Give one of them.")
    lengths = replace(lengths, cached=0.0)
    if not caches.trace or lengths.workload is not None:
        return lengths
    from assay.plan.caches import traffic

    requests = traffic(caches.trace)
    isl, osl = (max(round(float(each.mean())), 1) for each in (requests.isl, requests.osl))
    return replace(lengths, isl=lengths.isl or isl, osl=lengths.osl or osl)


def _known(what: str, name: str | None, known: Iterable[str]) -> None:
    if name and name not in known:
        raise BadInput(f"No {what} {name!r}.", f"Known: {', '.join(known)}.")


def _limit(stated: float | None, usual: float | None) -> float | None:
    if stated is None:
        return usual
    return stated if isfinite(stated) else None
