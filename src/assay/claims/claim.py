"""A claim is data: who said what of whom, against what, under which stated and open conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("arithmetic", "consistency", "peak", "performance")
METRICS = ("throughput", "interactivity")
DENOMINATORS = ("chip", "system", "rack", "MW", "USD", "user", "none")
RELATIONS = ("=", ">=", "<=")
#: Conditions that `stated` and `tested` fix, and how each is read.
CONDITIONS = ("model", "lengths", "interactivity", "weights", "deployment", "price", "chips")
#: Ways the two sides are deployed.
DEPLOYMENTS = ("best", "alike", "uneven")
PRICES = ("own", "contract", "list", "spot", "purchase")
#: Words of `open`.
OPEN = (*CONDITIONS, "baseline", "denominator", "software", "workload", "power", "precision", "quality")


@dataclass(frozen=True, slots=True)
class Check:
    """One expression and what it should be.

    Attributes:
        name: what it is, in words.
        expression: over named facts, see `assay.claims.arithmetic`.
        equals: number or expression it is compared with.
        relation: one of `RELATIONS`.
        tolerance: relative play that still counts as equal.
        dimension: dimension of both, for display ("" = a plain number).
        says: what it means for the claim when it does not hold, or of the number.
    """

    name: str
    expression: str
    equals: float | str = 1.0
    relation: str = "="
    tolerance: float = 0.05
    dimension: str = ""
    says: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        id, text, who, when: name, the claim in one sentence, its author, its date.
        sources: keys of sources, or words.
        kind: one of `KINDS`.
        subject, baseline: catalogue names for peaks and performance, words otherwise.
        against: further baselines that an open baseline may mean; of throughput only their measurements are
            shown.
        metric: `METRICS` for performance; words otherwise.
        factor: what is claimed.
        bound: "up to" where the claim says so, else "".
        denominator: one of `DENOMINATORS`.
        stated: conditions that the claim fixes; `tested`: what is swept for those it leaves open.
        open: names of conditions left open.
        resource: field of the chip that a peak compares.
        checks: what decides an arithmetic claim; `beside`: what is shown with it.
        about: what a reader must know.
        file: where it was read.
    """

    id: str
    text: str
    who: str
    when: str
    sources: tuple[str, ...]
    kind: str
    subject: str
    metric: str
    factor: float
    denominator: str
    baseline: str = ""
    against: tuple[str, ...] = ()
    bound: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    tested: Mapping[str, Any] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    resource: str = ""
    checks: tuple[Check, ...] = ()
    beside: tuple[Check, ...] = ()
    about: str = ""
    file: str = ""

    def condition(self, name: str) -> Any:
        """Return a condition as stated, else as tested, else None."""
        return self.stated.get(name, self.tested.get(name))
