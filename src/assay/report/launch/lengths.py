"""The longest request that a server admits: stated, or of the trace, or of the workload, or assumed.

Engines refuse to start where the cache cannot hold one request of that length, so it is cut to the room that
the row leaves: bytes a token at the row's own load, M = cache / (sequences x mean positions), against what
weights, activations, states and reserve leave of a chip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from assay.plan.caches import traffic
from assay.report.launch.arguments import rule
from assay.study.question import Question
from assay.workload.lengths import workload

#: Prompt and answer of a request, as a workload's file names them.
_ENDS = ("isl", "osl")


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest request, tokens, why it is that, and what it should have been if it is cut (else 0)."""

    tokens: int
    why: str
    wanted: int = 0


def longest(
    question: Question,
    window: int,
    *,
    stated: int | None = None,
    room: float | None = None,
    facts: Sequence[Path] = (),
) -> Longest:
    """Return the longest request that is served, prompt and answer together.

    Args:
        question: lengths, and the trace or workload they come from.
        window: longest context of the model, tokens; 0 = unpublished.
        stated: what the user asked for, tokens.
        room: tokens that the cache of one attention group holds; None = nobody knows.
        facts: folders of the user's own facts.
    """
    wanted, why = _asked(question, stated, facts)
    step = int(rule("length_step"))
    tokens = wanted if stated else ceil(wanted / step) * step
    cut = ""
    if window and tokens > window:
        tokens, cut = window, "; cut to the model's context"
    if room is not None and tokens > room:
        tokens, cut = max(int(room // step), 1) * step, "; cut to what the cache of a group holds"
    return Longest(tokens, why + cut, wanted if tokens < wanted else 0)


def _asked(question: Question, stated: int | None, facts: Sequence[Path]) -> tuple[int, str]:
    """Return the longest request and where it comes from."""
    if stated:
        return stated, "as stated with --longest"
    if question.caches is not None and question.caches.trace:
        requests = traffic(question.caches.trace)
        most = int((requests.isl + requests.osl).max())
        return most, f"longest of the {len(requests.isl):,} requests of {Path(question.caches.trace).name}"
    known = _published(question, facts)
    if known:
        return known, f"longest prompt and longest answer of workload {question.workload}"
    factor = rule("length_headroom")
    mean = f"{question.isl} + {question.osl} tokens a request on average"
    return ceil(factor * (question.isl + question.osl)), f"{mean}, times {factor:g}; --longest states it"


def _published(question: Question, facts: Sequence[Path]) -> int:
    """Return the longest request of the question's workload, 0 if its longest is unpublished."""
    if not question.workload:
        return 0
    file = workload(question.workload, facts).facts
    known = [
        {float(key): value for key, value in file[name].get("percentiles", {}).items()} for name in _ENDS
    ]
    return sum(int(ends[100.0]) for ends in known) if all(100.0 in ends for ends in known) else 0


def room(memory: Mapping[str, float], sequences: float, positions: float) -> float | None:
    """Return the tokens that the cache of one attention group holds; None where the row does not say.

    Args:
        memory: bytes of a chip by term, as in `Row.memory`.
        sequences: requests in flight of the group.
        positions: mean tokens that each of them holds.
    """
    cache = memory.get("cache", 0.0)
    if not cache or sequences < 1:
        return None
    others = sum(value for name, value in memory.items() if name not in ("capacity", "cache"))
    return (memory["capacity"] - others) / (cache / (sequences * positions))
