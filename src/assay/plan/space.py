"""The space of deployments: which layouts are legal for a model on a system, and which formats.

A layout is legal when heads, layers and experts can be divided that way, TP stays inside one scale-up
domain, and the chips exist. Groups are powers of two, plus the whole domain where that is none (72).
"""

from __future__ import annotations

from dataclasses import dataclass

from assay.catalogue.schema import Chip, System
from assay.errors import BadInput
from assay.llm.architecture import Architecture
from assay.llm.layout import Layout
from assay.timing.rates import native

#: Pipeline stages engines are run with.
STAGES = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Shape:
    """What bounds the parallel degrees of a model.

    Attributes:
        heads: most query heads of any layer.
        layers: number of layers.
        experts: routed experts of a layer, 0 for a dense model.
    """

    heads: int
    layers: int
    experts: int


def shape(architecture: Architecture) -> Shape:
    """Read the bounds off an architecture."""
    heads = [
        int(getattr(block, "heads", 0) or getattr(block, "v_heads", 0))
        for block in architecture.attn.values()
    ]
    experts = [int(getattr(block, "n_routed", 0)) for block in architecture.ffn.values()]
    return Shape(max([*heads, 1]), architecture.num_layers, max([*experts, 0]))


def forbidden(layout: Layout, bounds: Shape, system: System) -> str:
    """Return why a model and a system do not allow a layout, as `Layout TP16 ...` goes on; "" if they do.

    Engines refuse query heads that TP does not divide; key and value heads fewer than ranks are copied
    (vLLM, `ModelConfig.verify_with_parallel_config`).
    """
    problems = (
        (
            layout.chips > system.max_chips,
            f"needs {layout.chips} chips; {system.name} is planned up to {system.max_chips}",
        ),
        (
            layout.tp > system.domain,
            f"spreads TP over {layout.tp} chips; a scale-up domain of {system.name} has {system.domain}",
        ),
        (layout.ep > 1 and not bounds.experts, f"has EP{layout.ep}, but this is a dense model"),
        (
            bool(bounds.experts) and layout.ep > bounds.experts,
            f"spreads {bounds.experts} experts over {layout.ep} chips",
        ),
        (layout.pp > bounds.layers, f"has {layout.pp} stages for {bounds.layers} layers"),
        (
            not divides(layout.tp, bounds),
            f"cannot divide {bounds.heads} attention heads by {layout.tp} TP ranks",
        ),
    )
    return next((text for wrong, text in problems if wrong), "")


def divides(tp: int, bounds: Shape) -> bool:
    """Return whether TP ranks divide the query heads."""
    return bounds.heads % tp == 0


def sizes(limit: int, domain: int) -> list[int]:
    """Return group sizes up to `limit`: powers of two, and the domain itself."""
    found = {1 << k for k in range(limit.bit_length()) if 1 << k <= limit}
    if domain <= limit:
        found.add(domain)
    return sorted(found)


def layouts(bounds: Shape, system: System, chips: int | None = None) -> list[Layout]:
    """Enumerate the layouts of one replica of a model on a system.

    Args:
        bounds: what bounds the degrees.
        system: the system.
        chips: greatest number of chips, None = what the system offers.

    Raises:
        BadInput: fewer than one chip.
    """
    limit = min(chips or system.max_chips, system.max_chips)
    if limit < 1:
        raise BadInput(f"A replica needs at least one chip, not {chips}.")
    groups = sizes(limit, system.domain)
    inside = [g for g in groups if g <= system.domain]
    found: set[Layout] = set()
    for tp in inside:
        if tp & (tp - 1) or not divides(tp, bounds):
            continue
        found.add(Layout(tp=tp))
        for pp in STAGES:
            if tp * pp <= limit and pp <= bounds.layers // 2 and tp * pp > system.node // 2:
                found.add(Layout(tp=tp, pp=pp))
        if bounds.experts and tp > 1 and tp <= bounds.experts:
            found.add(Layout(tp=tp, ep=tp))
    if bounds.experts:
        found.update(_data_parallel(bounds, groups, inside))
    return sorted(found, key=lambda item: (item.chips, item.pp, item.dp, item.ep))


def _data_parallel(bounds: Shape, groups: list[int], inside: list[int]) -> list[Layout]:
    """Return layouts with attention data parallelism and experts over the whole group."""
    found = []
    for stage in groups:
        if stage < 2 or stage > bounds.experts:
            continue
        for tp in (1, 2, 4, 8):
            if stage % tp or stage // tp < 2 or not divides(tp, bounds) or tp not in inside:
                continue
            found.append(Layout(tp=tp, dp=stage // tp, ep=stage))
    return found


def formats(chip: Chip, wanted: str, stored: str, *, quantised: bool = True) -> list[str]:
    """Return the weight formats worth trying on a chip.

    Args:
        chip: the chip.
        wanted: a format the user asked for, "" to choose.
        stored: the format most of the checkpoint is stored in.
        quantised: whether a narrower format than the checkpoint's may be proposed.
    """
    if wanted:
        return [wanted]
    found = ["native"]
    if not quantised:
        return found
    rank = {"bf16": 0, "fp16": 0, "fp8": 1, "mxfp8": 1, "int8": 1}.get(stored, 2)
    if rank < 1:
        found += ["fp8"] if native(chip, "fp8") else ["int8"] if native(chip, "int8") else []
    if rank < 2 and native(chip, "nvfp4"):
        found.append("fp4")
    if rank == 1 and not native(chip, "fp8") and native(chip, "int8"):
        found.append("int8")
    return found
