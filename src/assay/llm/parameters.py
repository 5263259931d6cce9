"""Parameter counts of a model, summed over its operators: the single source of truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from assay.llm.architecture import Architecture
from assay.llm.forward import mtp_operators, operators
from assay.llm.operators import Operator

#: The basis of `Parameters.active`.
DEFINITION = (
    "parameters a token touches: all but the embedding table and the experts not chosen; the LM head counts,"
    " memory tables and MTP modules do not"
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of one model, in elements.

    Attributes:
        total: the main model: embedding, layers, head; without MTP modules and memory tables.
        embedding: the input table; with tied embeddings the one table.
        head: the LM head; 0 if tied.
        routed: routed experts, all of them.
        residual: mixers of a wide residual stream.
        mtp: all multi-token prediction modules, without copies of embedding and head.
        memory: token-indexed memory tables.
        active: per token, with the LM head, without the embedding table (decode FLOPs are twice this).
        active_with_embedding: `active` plus the embedding table.
        active_without_head: `active` less the LM head (less the shared table if tied).
        active_prefill: `active` of a prompt token, without the LM head.
        definition: what `active` counts, in words.
    """

    total: int
    embedding: int
    head: int
    routed: int
    residual: int
    mtp: int
    memory: int
    active: int
    active_with_embedding: int
    active_without_head: int
    active_prefill: int
    definition: str = DEFINITION


def counts(arch: Architecture) -> Parameters:
    """Return the parameter counts of a model, from the weights of its operators."""
    found = operators(arch)
    model = [o for o in found if o.group != "memory"]
    total = _sum(model)
    table = _sum(o for o in model if o.group in ("embedding", "head")) if arch.tie else 0
    embedding = table or _sum(o for o in model if o.group == "embedding")
    head = 0 if arch.tie else _sum(o for o in model if o.group == "head")
    # the part of each operator's weights that one token touches
    idle = sum(o.count * o.weights * (1 - o.topk / o.experts) for o in model if o.kind == "experts")
    active = total - round(idle) - (0 if arch.tie else embedding)
    mtp = arch.mtp.count * _sum(mtp_operators(arch)) if arch.mtp else 0
    return Parameters(
        total=total,
        embedding=embedding,
        head=head,
        routed=_sum(o for o in model if o.group == "experts"),
        residual=_sum(o for o in model if o.name.startswith("residual.")),
        mtp=mtp,
        memory=_sum(o for o in found if o.group == "memory"),
        active=active,
        active_with_embedding=active + (0 if arch.tie else embedding),
        active_without_head=active - (embedding if arch.tie else head),
        active_prefill=_prefill(model),
    )


def _prefill(model: Iterable[Operator]) -> int:
    """Return the parameters of the operators that run for every prompt row."""
    rows = [o for o in model if o.prefill_rows > 0 and o.kind != "gather"]
    return round(sum(o.count * o.weights * (o.topk / o.experts if o.kind == "experts" else 1) for o in rows))


def _sum(found: Iterable[Operator]) -> int:
    return round(sum(o.count * o.weights for o in found))
