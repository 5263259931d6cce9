"""Check a claim: evaluate its expressions, compare its peaks, or sweep what it leaves open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.catalogue.fields import CHIP_DIMENSIONS
from assay.catalogue.query import Catalogue
from assay.claims.arithmetic import Evaluator, Used
from assay.claims.claim import Check, Claim
from assay.claims.denominator import units
from assay.claims.evidence import Measured, measured
from assay.claims.factor import Bench, Grid, grid, sides
from assay.claims.ledger import Ledger, ledger, peak
from assay.claims.quantity import Quantity, joined
from assay.claims.verdict import UNTESTED, Result, Verdict, compare, judge, judge_arithmetic, judge_peak
from assay.engine.models import model as load_model
from assay.errors import BadFact, BadInput, DoesNotFit, NoEvidence, UnknownName

Progress = Callable[[str, float], None]

#: What a ratio of peaks leaves out: fields of a chip shown beside it.
IGNORED = (
    "memory_capacity",
    "memory_bandwidth",
    "bf16",
    "fp16",
    "fp8",
    "fp4",
    "int8",
    "link_bandwidth",
    "tdp",
)
#: Tolerance of a ratio of peaks.
PEAK_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Ignored:
    """One figure behind a ratio of peaks: the subject's over the baseline's.

    Attributes:
        baseline: id of the baseline's chip.
        field: what is compared.
        ratio: with the range of published values.
    """

    baseline: str
    field: str
    ratio: Quantity


@dataclass(frozen=True, slots=True)
class Assessment:
    """What checking one claim found.

    Attributes:
        claim: the claim.
        verdict: what can be said.
        results: its deciding expressions; `beside`: those shown with them.
        used: facts of all expressions.
        ratios: baseline, ratio and state: of a peak; of a speed, against the fastest user of each platform.
        ignored: of a peak, what stands behind the ratio.
        map: of a performance claim: the factor over the open conditions.
        evidence: measured factors, the same conditions first.
        ledger: where the factor comes from; None if it was not asked for.
        notes: what could not be computed.
    """

    claim: Claim
    verdict: Verdict
    results: tuple[Result, ...] = ()
    beside: tuple[Result, ...] = ()
    used: tuple[Used, ...] = ()
    ratios: tuple[tuple[str, Quantity | None, str], ...] = ()
    ignored: tuple[Ignored, ...] = ()
    map: Grid | None = None
    evidence: tuple[Measured, ...] = ()
    ledger: Ledger | None = None
    notes: tuple[str, ...] = field(default=())

    def json(self) -> dict[str, Any]:
        """Return the assessment in the names of the script contract."""
        verdict = self.verdict
        return {
            "id": self.claim.id,
            "verdict": verdict.word,
            "factor_claimed": self.claim.factor,
            "factor_best": _number(verdict.best),
            "factor_median": _number(verdict.median),
            "region": [item.json() for item in verdict.regions],
            "ledger": self.ledger.json() if self.ledger else None,
            "evidence": [item.json() for item in self.evidence],
            "text": self.claim.text,
            "who": self.claim.who,
            "when": self.claim.when,
            "kind": self.claim.kind,
            "denominator": self.claim.denominator,
            "sentence": verdict.sentence,
            "missing": verdict.missing,
            "against": [_against(*row) for row in self.ratios],
            "ignored": [
                {"baseline": row.baseline, "field": row.field, "ratio": row.ratio.value}
                for row in self.ignored
            ],
            "checks": [_result(item) for item in (*self.results, *self.beside)],
            "notes": list(self.notes),
        }


def _against(name: str, ratio: Quantity | None, state: str) -> dict[str, Any]:
    span = None if ratio is None else {"value": ratio.value, "low": ratio.low, "high": ratio.high}
    return {"baseline": name, "ratio": span, "state": state}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _result(item: Result) -> dict[str, Any]:
    value = item.value
    span = None if value is None else {"value": value.value, "low": value.low, "high": value.high}
    wanted = None if item.wanted is None else item.wanted.value
    return {
        "name": item.check.name,
        "expression": item.check.expression,
        "value": span,
        "relation": item.check.relation,
        "wanted": wanted,
        "state": item.state,
        "reason": item.reason,
    }


def assess(claim: Claim, bench: Bench, *, split: bool = True) -> Assessment:
    """Check one claim.

    Args:
        claim: the claim.
        bench: the catalogue, and fronts that other claims computed already.
        split: whether to work out the ledger of a factor of performance.

    Raises:
        BadInput: an expression or a condition that cannot be read; names claim and field.
        UnknownName: a platform, model or fact that is not there.
    """
    try:
        _resolve(claim, bench.facts)
        if claim.kind == "performance":
            return _performance(claim, bench, split=split)
        if claim.kind == "peak":
            return _peak(claim, bench)
        return _arithmetic(claim, bench)
    except (UnknownName, BadFact, BadInput) as error:
        raise BadInput(f"{claim.file}: {claim.id}: {error.message}", error.hint) from None


def assess_all(
    claims: Iterable[Claim], bench: Bench, *, split: bool = False, progress: Progress | None = None
) -> tuple[Assessment, ...]:
    """Check several claims; see `assess`."""
    listed = list(claims)
    found = []
    for done, claim in enumerate(listed):
        if progress:
            progress(claim.id, done / len(listed))
        found.append(assess(claim, bench, split=split))
    return tuple(found)


def _resolve(claim: Claim, facts: Catalogue) -> None:
    """Refuse by its field a name that the catalogue does not know, and a baseline that is the subject.

    Raises:
        BadInput: names the field.
    """
    if claim.kind not in ("peak", "performance"):
        return
    ident = facts.chip_id if claim.kind == "peak" else facts.system_id
    subject = _named("subject", claim.subject, ident)
    for place, name in (("baseline", claim.baseline), *(("against", item) for item in claim.against)):
        if _named(place, name, ident) == subject:
            raise BadInput(f"{place}: {name} is the subject itself.", "Name another platform.")
    for part in ("stated", "tested"):
        for name in getattr(claim, part).get("model", ()):
            _named(f"{part}.model", name, lambda wanted: load_model(wanted, facts.extra)[0].name)


def _named(place: str, name: str, ident: Callable[[str], str]) -> str:
    try:
        return ident(name)
    except (UnknownName, BadFact, BadInput) as error:
        raise BadInput(f"{place}: {error.message}", error.hint) from None


def _evaluate(check: Check, evaluator: Evaluator) -> Result:
    try:
        value = evaluator(check.expression)
        wanted = (
            evaluator(str(check.equals))
            if isinstance(check.equals, str)
            else Quantity.exact(float(check.equals))
        )
    except NoEvidence as error:
        return Result(check, None, None, "missing", error.message)
    return Result(check, value, wanted, compare(check, value, wanted))


def _checks(name: str, checks: Sequence[Check], evaluator: Evaluator) -> tuple[Result, ...]:
    """Evaluate checks; what is wrong with one is told with its place in the field `name`."""
    found = []
    for place, check in enumerate(checks, 1):
        try:
            found.append(_evaluate(check, evaluator))
        except (UnknownName, BadFact, BadInput) as error:
            raise BadInput(f"{name}[{place}] ({check.name}): {error.message}", error.hint) from None
    return tuple(found)


def _arithmetic(claim: Claim, bench: Bench) -> Assessment:
    evaluator = Evaluator(bench.facts)
    results = _checks("checks", claim.checks, evaluator)
    beside = _checks("beside", claim.beside, evaluator)
    return Assessment(
        claim, judge_arithmetic(claim, results), results=results, beside=beside, used=tuple(evaluator.used)
    )


def _peak(claim: Claim, bench: Bench) -> Assessment:
    if claim.resource not in CHIP_DIMENSIONS:
        raise BadInput(
            f"resource: {claim.resource!r} is no figure of a chip.", "Write memory_bandwidth, fp8 ..."
        )
    evaluator = Evaluator(bench.facts)
    subject = bench.facts.chip_id(claim.subject)
    rivals = tuple(dict.fromkeys(bench.facts.chip_id(name) for name in (claim.baseline, *claim.against)))
    ask = Check(claim.resource, "", claim.factor, tolerance=PEAK_TOLERANCE)
    ratios: list[tuple[str, Quantity | None, str]] = []
    for rival in rivals:
        ratio = _ratio(evaluator, subject, rival, claim.resource)
        state = compare(ask, ratio, Quantity.exact(claim.factor)) if ratio else "missing"
        ratios.append((rival, ratio, state))
    ignored = tuple(
        Ignored(rival, name, ratio)
        for rival in rivals
        for name in IGNORED
        if name != claim.resource
        and (ratio := _ratio(Evaluator(bench.facts), subject, rival, name)) is not None
    )
    verdict = judge_peak(claim, ratios)
    first = ratios[0][1]
    return Assessment(
        claim,
        verdict,
        beside=_checks("beside", claim.beside, evaluator),
        used=tuple(evaluator.used),
        ratios=tuple(ratios),
        ignored=ignored,
        ledger=peak(first.value, claim.resource) if first else None,
    )


def _ratio(evaluator: Evaluator, subject: str, rival: str, name: str) -> Quantity | None:
    try:
        return evaluator(f"chip({subject}).{name} / chip({rival}).{name}")
    except (NoEvidence, BadInput):
        return None


def _performance(claim: Claim, bench: Bench, *, split: bool) -> Assessment:
    evaluator = Evaluator(bench.facts)
    beside = _checks("beside", claim.beside, evaluator)
    evidence: tuple[Measured, ...] = ()
    try:
        systems = (bench.facts.system(claim.subject), bench.facts.system(claim.baseline))
        evidence = measured(claim, units(claim, systems, bench.facts), bench.facts)
        found = grid(claim, bench)
    except (NoEvidence, DoesNotFit) as error:
        verdict = Verdict(UNTESTED, error.message, missing=error.message)
        return Assessment(
            claim, verdict, beside=beside, used=tuple(evaluator.used), evidence=evidence, notes=(error.hint,)
        )
    return Assessment(
        claim,
        judge(claim, found, evidence),
        beside=beside,
        used=tuple(evaluator.used),
        ratios=_fastest(claim, bench, found) if claim.metric == "interactivity" else (),
        map=found,
        evidence=evidence,
        ledger=ledger(claim, found, bench) if split else None,
        notes=found.notes,
    )


def _fastest(claim: Claim, bench: Bench, found: Grid) -> tuple[tuple[str, Quantity | None, str], ...]:
    """Return the factor against the fastest single user of each platform that the baseline may mean."""
    row = found.rows[0]
    rows: list[tuple[str, Quantity | None, str]] = []
    mine: Quantity | None = None
    ask = Check(claim.metric, "", claim.factor, relation=">=", tolerance=PEAK_TOLERANCE)
    for name in (claim.subject, claim.baseline, *claim.against):
        system = bench.facts.system(name)
        try:
            side, _ = sides(claim, row, "best", (system, system), bench.facts)
            speed = Quantity(*(float(item) for item in bench.points(side).fastest))
        except (NoEvidence, DoesNotFit):
            rows.append((system.id, None, "missing"))
            continue
        if mine is None:
            mine = speed
            continue
        ratio = joined(mine, Quantity(1.0 / speed.value, 1.0 / speed.high, 1.0 / speed.low))
        rows.append((system.id, ratio, compare(ask, ratio, Quantity.exact(claim.factor))))
    return tuple(rows)
