"""From flags to a Question: workload by name or by lengths, limits stated or by default."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from assay.catalogue.load import catalogue
from assay.cli.flags import Lengths
from assay.errors import BadInput
from assay.llm.formats import CHOICES
from assay.study.question import Question
from assay.workload.lengths import DEFAULT, workload
from assay.workload.slo import default_slo

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
        **given: other fields of `Question`; None = its default.

    Raises:
        UnknownName: no such workload.
        BadInput: an unknown engine or number format.
    """
    _known("engine", given.get("engine"), catalogue(facts).table("engines/engines")["engines"])
    _known("weight format", given.get("weights"), CHOICES)
    _known("KV format", given.get("kv"), KV)
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
        **{key: value for key, value in given.items() if value is not None},
    )


def _known(what: str, name: str | None, known: Iterable[str]) -> None:
    if name and name not in known:
        raise BadInput(f"No {what} {name!r}.", f"Known: {', '.join(known)}.")


def _limit(stated: float | None, usual: float | None) -> float | None:
    if stated is None:
        return usual
    return stated if isfinite(stated) else None
