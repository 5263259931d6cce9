"""All operators of one forward pass, merged over layers, and those of one draft (MTP) pass.

Exchange points:

* `attention.out`: output of every mixer, a partial sum under TP;
* `dense.out`: output of every dense FFN, a partial sum under TP;
* `moe.exchange`: routed experts. Under TP one all-reduce joins routed and shared outputs, so shared experts
  have no exchange of their own; with attention DP it is dispatch and combine, and shared experts are local.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from assay.llm import attention, compressed, experts, latent, recurrent, residual
from assay.llm.architecture import Architecture
from assay.llm.blocks import V4, Dense, Ffn, Gqa, Mixer, Mla, Moe
from assay.llm.linear import linear, stream
from assay.llm.operators import Operator


def operators(arch: Architecture) -> tuple[Operator, ...]:
    """Return the operators of the main model, identical ones merged, in forward order.

    Weights sum to all parameters of the model and its memory tables; with tied embeddings the one table
    belongs to `head`.
    """
    found = [_embedding(arch)]
    for (mixer, ffn, stage), count in _kinds(arch).items():
        layer = _block(arch, mixer, ffn)
        if stage != "all":
            layer = tuple(_late(arch, operator, first=stage == "first") for operator in layer)
        found.extend(replace(operator, count=operator.count * count) for operator in layer)
    found.extend(residual.memory_operators(arch))
    found.extend(residual.output(arch))
    found.append(_final(arch))
    found.append(_head(arch))
    return _merge(found)


def draft_operators(arch: Architecture) -> tuple[Operator, ...]:
    """Return the operators of one multi-token-prediction pass, with its read of embedding and head.

    `eh_proj` joins hidden state and token embedding (2d x d, norms 3d), then the module's block, then the
    LM head of the main model. Empty if the model has no such module.
    """
    if arch.mtp is None:
        return ()
    found = [
        replace(_embedding(arch), weights=0.0),
        *mtp_operators(arch),
        replace(_head(arch), prompt_rows=1.0),
    ]
    return _merge(found)


def mtp_operators(arch: Architecture) -> tuple[Operator, ...]:
    """Return the operators with the weights of one multi-token-prediction module; no embedding, no head."""
    if arch.mtp is None:
        return ()
    d = arch.hidden
    inner = 2 * d if arch.mtp.extra >= 2 * d * d else 0
    rest = arch.mtp.extra - inner * d
    found = [linear("mtp.join", "dense", inner, d)] if inner else []
    found.append(stream("mtp.norms", 3 * d, 2 * d, weights=rest))
    for mixer, ffn in arch.mtp.block:
        found.extend(_block(arch, mixer, ffn, norms=arch.mtp.norms))
    return _merge(found)


def _kinds(arch: Architecture) -> dict[tuple[str, str, str], int]:
    """Return how many layers there are of each (mixer, ffn, stage), in order of first appearance.

    Stage is `all` (runs every prompt row), or `first` and `late` for layers that run the last window only.
    """
    kinds: dict[tuple[str, str, str], int] = {}
    done, start = 0, arch.prefill_layers or sum(count for count, _, _ in arch.schedule)
    for count, mixer, ffn in arch.schedule:
        parts = {
            "all": min(count, max(start - done, 0)),
            "first": int(done <= start < done + count),
            "late": max(done + count - max(start + 1, done), 0),
        }
        for stage, number in parts.items():
            if number:
                kinds[mixer, ffn, stage] = kinds.get((mixer, ffn, stage), 0) + number
        done += count
    return kinds


def _embedding(arch: Architecture) -> Operator:
    return Operator(
        name="embedding",
        kind="gather",
        group="embedding",
        weights=0.0 if arch.tie else arch.vocab * arch.hidden,
        row_in=arch.hidden,
        row_out=arch.hidden,
        split="vocab",
    )


def _head(arch: Architecture) -> Operator:
    return linear(
        "head",
        "head",
        arch.hidden,
        arch.vocab,
        split="vocab",
        decode_rows=1.0,
        prefill_rows=0.0,
        prompt_rows=1.0,
    )


def _final(arch: Architecture) -> Operator:
    """Return the final norm; it also carries the parameters that belong to no block form."""
    extra = arch.extra_params - residual.memory_projection_weights(arch)
    return stream(
        "final.norm",
        2 * arch.hidden,
        arch.hidden,
        weights=arch.hidden + extra,
        prefill_rows=0.0,
        prompt_rows=1.0,
    )


def _block(arch: Architecture, mixer: str, ffn: str, norms: int | None = None) -> tuple[Operator, ...]:
    """Return the operators of one schedule entry: norms and residual, mixer, feed-forward."""
    d = arch.hidden
    found: list[Operator] = [_norms(arch, mixer, ffn, norms)]
    if mixer != "none":
        found.extend(mixer_operators(arch.attn[mixer], d))
        found.append(Operator("attention.out", "exchange", "attention", row_out=d))
    if ffn != "none":
        found.extend(ffn_operators(arch.ffn[ffn], d))
    if norms is None:
        found.extend(residual.operators(arch, sublayers=(mixer != "none") + (ffn != "none")))
    return tuple(found)


def _norms(arch: Architecture, mixer: str, ffn: str, norms: int | None) -> Operator:
    """Return the fused residual-add and norm passes of one entry: each reads 2d and writes 2d."""
    count = arch.norms_per_layer if norms is None else norms
    if arch.one_norm_per_block:
        count = 1
    if arch.no_norm_blocks and mixer == "none":
        count = 0
    d = arch.hidden
    passes = max(count, 1)
    return stream("norms", 2 * d * passes, 2 * d * passes, weights=d * count, launches=passes)


def mixer_operators(block: Mixer, hidden: int) -> tuple[Operator, ...]:
    """Return the operators of one mixer."""
    match block:
        case Gqa():
            found = attention.operators(block, hidden)
        case Mla():
            found = latent.operators(block, hidden)
        case V4():
            found = compressed.operators(block, hidden)
        case _:
            found = recurrent.operators(block, hidden)
    return found


def ffn_operators(block: Ffn, hidden: int) -> tuple[Operator, ...]:
    """Return the operators of one feed-forward with its exchange point."""
    match block:
        case Dense():
            return (
                *experts.dense("dense", "dense", hidden, block),
                Operator("dense.out", "exchange", "dense", row_out=hidden),
            )
        case Moe():
            # a dense FFN beside the experts is normalised before it is added, so it is reduced on its own
            dense = Operator("dense.out", "exchange", "dense", row_out=hidden)
            exchange = Operator(
                "moe.exchange",
                "exchange",
                "experts",
                row_out=block.latent or hidden,
                experts=block.n_routed,
                topk=block.real_topk,
            )
            return (*experts.moe(block, hidden), *((dense,) if block.parallel_dense else ()), exchange)


def _late(arch: Architecture, operator: Operator, *, first: bool) -> Operator:
    """Return the operator as run by the layers that see only the last window of a prompt.

    The entries that the first such layer writes for all later ones are computed for every row.
    """
    if first and operator.name in compressed.SHARED_ENTRIES:
        return operator
    if operator.prefill_rows == 0:
        return operator
    window = max((block.window for block in arch.attn.values() if isinstance(block, V4)), default=128)
    return replace(operator, prefill_rows=0.0, prompt_rows=float(window))


def _merge(found: Iterable[Operator]) -> tuple[Operator, ...]:
    """Add up the counts of identical operators, in order of first appearance; drop empty ones."""
    merged: dict[tuple[object, ...], Operator] = {}
    names = [f.name for f in fields(Operator) if f.name != "count"]
    for operator in found:
        key = tuple(_hashable(getattr(operator, name)) for name in names)
        if key in merged:
            merged[key] = replace(merged[key], count=merged[key].count + operator.count)
        else:
            merged[key] = operator
    return tuple(merged.values())


def _hashable(value: object) -> object:
    return tuple(sorted(value.items())) if isinstance(value, dict) else value
