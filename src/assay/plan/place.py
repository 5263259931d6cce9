"""Where a question is answered: a platform with its prices, legal layouts, and what is tried on them."""

from __future__ import annotations

from dataclasses import dataclass

from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.redundancy import Copies
from assay.engine.replica import Model, default_kv
from assay.engine.speculation import Speculation
from assay.engine.split import networked
from assay.errors import BadInput, NoEvidence
from assay.llm.layout import Layout
from assay.plan.experts import copies_of
from assay.plan.space import layouts, shape
from assay.plan.sweep import Lengths
from assay.study.question import Question

#: A deployment sized for a rate may have any number of replicas.
UNBOUNDED = 1e6
#: Drafts and redundant experts, tried together.
Way = tuple[Speculation | None, Copies | None]


def price_of(facts: Catalogue, system: System, kind: str) -> tuple[Price | None, str]:
    """Return the price of a chip-hour of the wanted kind and a note.

    A price the user states for a chip stands for every kind. None if nobody has published one.
    """
    try:
        return facts.price(system.chip.id, kind), ""
    except NoEvidence as error:
        stated = [price for price in facts.prices(system.chip.id) if price.source == "user"]
        if stated:
            return stated[
                0
            ], f"the price is the one stated in your facts, whatever its kind ({stated[0].kind})"
        return None, error.message


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question is answered: a platform, its prices, its legal layouts, formats apart.

    Attributes:
        question, model, system: what is asked of what.
        first: system of the prefill pool of disaggregated deployments.
        price, first_price: USD per chip-hour of the platform and of the prefill pool.
        legal: layouts of a replica, and those of the prefill pool.
        kv: KV format.
    """

    question: Question
    model: Model
    system: System
    first: System
    price: Price | None
    first_price: Price | None
    legal: tuple[tuple[Layout, ...], tuple[Layout, ...]]
    kv: str

    @property
    def lengths(self) -> Lengths:
        """The workload."""
        return Lengths(self.question.isl, self.question.osl, self.question.cached)

    def chosen(self, system: System, copies: Copies | None) -> tuple[Layout, ...]:
        """Return the layouts of one pool: with copies those that spread experts, else the others."""
        every = self.legal[system.id == self.first.id and system.id != self.system.id]
        if not self.question.redundant:
            return every
        return tuple(layout for layout in every if (layout.ep > 1) == (copies is not None))

    def ways(self, drafts: tuple[Speculation | None, ...]) -> list[Way]:
        """Return the combinations of drafts and redundant experts that are tried."""
        copied = [None, *copies_of(self.question)]
        return [(way, item) for item in copied for way in drafts if self.chosen(self.system, item)]

    @property
    def limit(self) -> float:
        """Greatest number of chips of a disaggregated deployment."""
        asked, most = self.question.chips, self.system.max_chips
        if self.first.id != self.system.id:
            most += self.first.max_chips
        if self.question.rate is not None:
            return float(asked or UNBOUNDED)
        return float(min(asked or most, most))


def place_of(
    question: Question, model: Model, system: System, facts: Catalogue
) -> tuple[Place, tuple[str, ...]]:
    """Return where a question is answered, and what a reader must know about the system.

    Raises:
        NoEvidence: a cap on power or money that nobody can check.
        BadInput: a prefill system that cannot be one.
    """
    price, note = price_of(facts, system, question.price)
    if question.power is not None and not system.power_watts:
        raise NoEvidence(
            f"The provisioned power of {system.name} is not published: a power cap cannot be checked."
        )
    if question.budget is not None and price is None:
        raise NoEvidence(f"{note} A budget cannot be checked.")
    first, first_price = system, price
    if question.prefill_platform:
        first = facts.system(question.prefill_platform)
        if first.chip.kind == "dataflow":
            raise BadInput(
                f"{first.name} cannot prefill for another system: its weights stay resident in SRAM.",
                "Name a system with GPUs, TPUs or the like.",
            )
        if first.id != system.id and question.serving != "aggregated":
            networked((first, system))
        first_price, _ = price_of(facts, first, question.price)
    bounds = shape(model.architecture)
    legal = tuple(layouts(bounds, system, question.chips))
    other = legal if first.id == system.id else tuple(layouts(bounds, first, question.chips))
    kv = default_kv(system, question.kv)
    notes = tuple(system.warnings) + ((note,) if note else ())
    return Place(question, model, system, first, price, first_price, (legal, other), kv), notes
