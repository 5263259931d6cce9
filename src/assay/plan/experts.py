"""Redundant experts in a plan: which numbers are tried, what they cost and even out, said in a sentence."""

from __future__ import annotations

from assay.engine.redundancy import Copies, excess, experts_of, measured_variation, spare_slots
from assay.engine.replica import Replica
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.study.question import Question
from assay.units import show


def copies_of(question: Question) -> tuple[Copies, ...]:
    """Return the redundant experts that a question tries; none where it leaves balancing to the engine."""
    variation = measured_variation() if question.variation is None else question.variation
    return tuple(Copies(count, variation) for count in question.redundant)


def only_copies(question: Question, layout: Layout) -> Copies | None:
    """Return the redundant experts of a stated layout, None where its experts are not spread.

    Raises:
        BadInput: several numbers of copies for one deployment.
    """
    if len(question.redundant) > 1:
        raise BadInput(
            "One deployment has one number of redundant experts.", "`assay plan` tries several of them."
        )
    return copies_of(question)[0] if question.redundant and layout.ep > 1 else None


def redundant_of(copy: Replica, layout: Layout) -> int:
    """Return the copies that a layout holds of each layer's experts."""
    if copy.copies is None or layout.ep == 1:
        return 0
    return spare_slots(experts_of(copy.table), copy.copies.redundant, layout.ep)


def redundancy_note(copy: Replica, layout: Layout) -> tuple[str, ...]:
    """Return what the redundant experts of a layout take and even out, as a sentence; nothing without."""
    if copy.copies is None or layout.ep == 1:
        return ()
    experts, count, ranks = experts_of(copy.table), redundant_of(copy, layout), layout.ep
    row, variation = copy.table.layouts.index(layout), copy.copies.variation
    held = sum(float(kernel.weight_bytes[row, 0]) for kernel in copy.table.kernels if kernel.operator.experts)
    even = 1.0 + excess(experts, count, ranks, variation)
    bare = 1.0 + excess(experts, spare_slots(experts, 0, ranks), ranks, variation)
    size = show(held * count / (experts + count), "B")
    return (
        f"{count} redundant experts a layer take {size} a chip: the busiest rank has {even:.3g} times the "
        f"mean load beyond chance, {bare:.3g} times with experts placed as evenly but not copied",
    )
