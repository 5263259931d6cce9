"""One platform's answer to a question: candidates, rows, front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.quality import quality_note
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import Price, System
from assay.engine.models import is_file
from assay.engine.overheads import engine
from assay.engine.replica import Model
from assay.engine.speculation import Speculation
from assay.errors import DoesNotFit
from assay.estimate import BASES
from assay.llm.formats import native_formats, native_label
from assay.llm.layout import Layout
from assay.plan import finer
from assay.plan.caches import Hits, delayed, hits, prefilling, settled, stated
from assay.plan.choice import Choice, choose
from assay.plan.crossover import remarks
from assay.plan.disaggregate import Pairs, Sides, pairs, shortlist, sides
from assay.plan.experts import redundancy_note, redundant_of
from assay.plan.finer import Places, Second, seconds
from assay.plan.inputs import cache_of
from assay.plan.moves import limited_by
from assay.plan.pareto import front
from assay.plan.place import Place, Way, place_of
from assay.plan.points import ENERGY, Points, gather, gather_pairs
from assay.plan.predict import skew
from assay.plan.space import formats
from assay.plan.speculate import label, options
from assay.plan.sweep import Lengths, Sweep, candidates, refuse, surpassed, sweep
from assay.study.answer import FIGURES, Row
from assay.study.conditions import Pool
from assay.study.deployment import Deployment
from assay.study.question import Question

Floats = NDArray[np.float64]

#: Candidates kept a pair of formats before the measured corrections are applied.
MOST_CANDIDATES = 64
MOST_PAIRS = 48
MOST_FRONT = 24


@dataclass(frozen=True, slots=True)
class Platform:
    """What one platform answers: rows best first, and its Pareto front.

    `choices` are the candidates behind the rows; a dataflow platform has none.
    """

    rows: tuple[Row, ...]
    front: tuple[Mapping[str, Any], ...]
    choices: tuple[Choice, ...] = ()


def ask(question: Question, model: Model, system: System, facts: Catalogue) -> Platform:
    """Answer a question for one platform with GPUs, TPUs or the like.

    Raises:
        DoesNotFit: no legal layout holds the model.
        NoEvidence: a fact of the chip that is needed is not published.
    """
    place, notes = place_of(question, model, system, facts)
    together: list[Points] = []
    again: tuple[list[Second], list[Second]] = ([], [])
    swept: list[Sweep] = []
    refused: DoesNotFit | None = None
    tried = formats(system.chip, question.weights, native_formats(model.architecture)["experts"])
    ways = place.ways(options(question.speculation, model, question.acceptance))
    sweeps = {weights: [_sweep(place, system, weights, way) for way in ways] for weights in tried}
    for weights, found_all in sweeps.items():
        rivals = [item for other, items in sweeps.items() if other != weights for item in items]
        for way, found in zip(ways, found_all, strict=True):
            if not np.any(found.fits):
                refused = refused or refuse(found)
            elif question.top == 1 and surpassed(found, rivals):
                continue
            elif question.serving != "disaggregated":
                points, used = _together(place, weights, way, found)
                together.append(points)
                swept.append(used)
                if question.caches is None:
                    again[0].append(_closer(place, points, used))
            if question.serving != "aggregated" and question.osl > 1:
                plain = next(item for item in found_all if item.copy.copies == way[1])
                again[1].extend(_disaggregated(place, weights, plain, found))
    together += seconds(again[0], question)
    apart = [item.first for item in again[1]] + seconds(again[1], question)
    groups = together + apart
    if not groups:
        raise refused or DoesNotFit(_nothing(question, model, system))
    chosen = choose(groups, question)
    if question.rate is not None:
        chosen = [settle(choice, question, place.price) for choice in chosen]
    rows = [build(choice, question, notes) for choice in chosen]
    if rows:
        rows[0] = replace(rows[0], notes=remarks(question, chosen[0], together, apart, swept) + rows[0].notes)
    return Platform(tuple(rows), pareto(groups), tuple(chosen))


def _nothing(question: Question, model: Model, system: System) -> str:
    if question.serving == "disaggregated":
        return f"No disaggregated deployment of {model.name} on {system.name}: two pools need more chips."
    return f"No legal layout of {model.name} on {system.name}."


def _sweep(
    place: Place,
    system: System,
    weights: str,
    way: Way,
    lengths: Lengths | None = None,
    chosen: tuple[Layout, ...] = (),
    batch: Floats | None = None,
) -> Sweep:
    return sweep(
        place.model,
        system,
        chosen or place.chosen(system, way[1]),
        weights,
        place.kv,
        engine(place.question.engine),
        lengths or place.lengths,
        skew(),
        concurrency=place.question.concurrency,
        drafting=way[0],
        batch=batch,
        copies=way[1],
    )


def _together(place: Place, weights: str, way: Way, found: Sweep) -> tuple[Points, Sweep]:
    """Return the aggregated candidates of a sweep and the sweep that is compared with others.

    With a prefix cache they are looked for twice, without any hit and with those of a replica that runs one
    request; then each point gets the hits that its own room allows.
    """
    question, asked = place.question, place.question.caches

    def pick(swept: Sweep) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return candidates(swept, question.ttft, question.tpot, MOST_CANDIDATES)

    def run(cached: Floats | float, fetch: Floats | float) -> Sweep:
        lengths = Lengths(question.isl, question.osl, cached, fetch)
        return _sweep(place, place.system, weights, way, lengths, chosen, batch)

    if asked is None:
        return gather(found, *pick(found), place.price, question.engine), found
    chosen: tuple[Layout, ...] = ()
    batch: Floats | None = None
    most = hits(asked, found)
    fuller = run(most.cached, most.fetch)
    both = [(swept, *pick(swept)) for swept in (found, fuller)]
    batch = np.concatenate([swept.state.batch[row, column] for swept, row, column in both])[:, None]
    chosen = tuple(found.copy.table.layouts[int(k)] for _, row, _ in both for k in row)
    each = np.concatenate([swept.state.throughput[row, column] for swept, row, column in both])
    exact, known = settled(asked, run, np.maximum(np.ceil((question.rate or 0.0) / each), 1.0))
    rows, first = np.arange(len(chosen)), np.zeros(len(chosen), dtype=np.intp)
    return gather(exact, rows, first, place.price, question.engine, hits=known), fuller


def _closer(place: Place, points: Points, used: Sweep) -> Second:
    """Return a second look at the aggregated candidates of a sweep, whose hits are stated."""

    def gathered(near: Sweep, places: Places) -> Points:
        return gather(near, places[0], places[1], place.price, place.question.engine)

    return finer.together(used, points, place.question, gathered)


def _disaggregated(place: Place, weights: str, plain: Sweep, found: Sweep) -> list[Second]:
    """Return the disaggregated candidates in one pair of formats, with a second look: none, or one group.

    Args:
        place: where the question is answered.
        weights: weight format.
        plain: sweep without drafts, whose compiled step times prompts; `found`: the one that decodes.
    """
    question, settings = place.question, engine(place.question.engine)
    first, alone = plain, (None, found.copy.copies)
    if not place.chosen(place.first, found.copy.copies):
        return []
    if place.first.id != place.system.id:
        first = _sweep(place, place.first, weights, alone)
    if plain.step.workload.drafts:
        first = _sweep(place, place.first, weights, alone)

    def run(cached: Floats | float, fetch: Floats | float) -> Sweep:
        return _sweep(place, place.first, weights, alone, Lengths(question.isl, question.osl, cached, fetch))

    known: Hits | None = None
    if question.caches is not None:
        first, known = prefilling(question, run)
    both = sides(first, found, settings, place.limit)
    if both is None:
        return []
    known = known.take(both.rows[0]) if known is not None else None

    def match(pools: Sides) -> Pairs:
        made = pairs(pools, place.limit, rate=question.rate, concurrency=question.concurrency)
        return made if known is None else delayed(made, known.fetch)

    def points(pools: Sides, made: Pairs, places: Places) -> Points:
        prices, offered = (place.first_price, place.price), question.rate is not None
        kept = None if known is None else known.take(places[0])
        return gather_pairs(pools, made, places, prices, question.engine, offered=offered, hits=kept)

    matches = match(both)
    places = shortlist(matches, question.osl, question.ttft, question.tpot, MOST_PAIRS)
    if not len(places[0]):
        return []
    coarse = points(both, matches, places)
    return [finer.apart((both, matches), coarse, question, settings, match, points)]


def settle(choice: Choice, question: Question, price: Price | None) -> Choice:
    """Return the choice at its share of the asked rate, not at the most it could carry.

    With a prefix cache copies are added where fewer hits than at another batch leave them too few.
    """
    points, index = choice.points, choice.index
    if points.side is not None:  # its pools are sized for the rate
        return choice
    copy = points.found.copy
    work = points.found.step.workload
    drafting = Speculation(int(work.drafts), np.atleast_1d(work.yields), int(work.drafts))

    def run(cached: Floats | float, fetch: Floats | float) -> Sweep:
        return sweep(
            copy.model,
            copy.system,
            (points.layouts[index],),
            copy.weights,
            copy.kv,
            copy.engine,
            Lengths(question.isl, question.osl, cached, fetch),
            skew(),
            rate=(question.rate or 0.0) / replicas,
            drafting=drafting,
            copies=copy.copies,
        )

    replicas = choice.replicas
    found, known = stated(question, run, replicas)
    while known is not None and not np.isfinite(found.state.ttft[0, 0]) and replicas < 2 * choice.replicas:
        replicas += 1
        found, known = stated(question, run, replicas)
    first = np.zeros(1, dtype=np.intp)
    points = gather(found, first, first, price, question.engine, offered=True, hits=known)
    return replace(choice, points=points, index=0, replicas=replicas)


def build(choice: Choice, question: Question, notes: tuple[str, ...]) -> Row:
    """Return the row of a choice, without its moves (`assay.plan.moves` costs a few sweeps)."""
    points, index = choice.points, choice.index
    copy = points.found.copy
    figures = {name: points.one(name, index) for name in FIGURES if name in points.figures}
    layout = points.layouts[index]
    batch = float(points.outcome.state.batch[index, 0])
    ranked = [item for name, item in figures.items() if name != ENERGY or question.objective == "energy"]
    basis = max((item.basis for item in ranked), key=BASES.index)
    power = points.system.power_watts
    extra: tuple[str, ...] = () if choice.meets else (f"misses the limits by a factor of {choice.miss:.3g}",)
    quality = None if is_file(question.model) else quality_note(copy.model.name, copy.weights)
    extra += (quality,) if quality else ()
    extra += redundancy_note(copy, layout)
    return Row(
        deployment=deployment(choice, question),
        concurrency=float(points.concurrency[index]),
        chips=choice.chips,
        figures=figures,
        fits=True,
        meets=choice.meets,
        limited_by=limited_by(points, index),
        basis=basis,
        memory=copy.memory(copy.table.layouts.index(layout), batch, question.isl + question.osl / 2),
        power_watts=power * choice.chips if power else None,
        notes=notes + extra,
        cache=cache_of(points, index, question) if question.caches is not None else {},
    )


def deployment(choice: Choice, question: Question) -> Deployment:
    """Return what a choice runs where."""
    points, index, side = choice.points, choice.index, choice.points.side
    copy = points.found.copy
    prefill, other, replicas, copied = None, "", choice.replicas + choice.spares, 0
    if side is not None:
        pool = side.pool(index)
        prefill = Pool(pool.layout, pool.replicas * choice.replicas + choice.spares)
        replicas = int(side.decode[index]) * choice.replicas + choice.spares
        copied = redundant_of(side.copy, pool.layout)
        other = side.copy.system.id if side.copy.system.id != copy.system.id else ""
    return Deployment(
        system=points.system.id,
        system_name=points.system.name,
        layout=points.layouts[index],
        weights=copy.weights if copy.weights != "native" else native_label(copy.model.architecture),
        kv=copy.kv,
        replicas=replicas,
        engine=question.engine,
        prefill=prefill,
        prefill_system=other,
        speculation=label(copy.model, points.found.step.workload.drafts),
        redundant=redundant_of(copy, points.layouts[index]),
        prefill_redundant=copied,
    )


def pareto(groups: list[Points]) -> tuple[Mapping[str, Any], ...]:
    """Return the front of all candidates of a platform, fastest user first."""
    per_user = np.concatenate([item.value("output_tokens_per_s_per_user") for item in groups])
    per_chip = np.concatenate([item.value("output_tokens_per_s_per_chip") for item in groups])
    kept = front(per_user, per_chip)
    if len(kept) > MOST_FRONT:
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, MOST_FRONT).round().astype(np.intp))]
    made: dict[int, Mapping[str, Any]] = {}
    start = 0
    for item in groups:
        inside = kept[(kept >= start) & (kept < start + len(item.layouts))]
        made |= zip(inside.tolist(), plain(item, inside - start), strict=True)
        start += len(item.layouts)
    return tuple(made[place] for place in kept.tolist())


def plain(points: Points, index: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Return points of a front as plain data."""
    copy, n = points.found.copy, len(points.layouts)
    question = Question(copy.model.name)
    names = [name for name in FIGURES if name in points.figures]
    figures = zip(*(points.figures[name].rows(index, n) for name in names), strict=True)
    return [
        {
            "concurrency": float(points.concurrency[place]),
            "chips": int(points.chips[place]),
            "deployment": made.label(),
            "serving": made.serving,
            "weights": copy.weights,
            "kv": copy.kv,
        }
        | dict(zip(names, row, strict=True))
        for place, row in zip(index.tolist(), figures, strict=True)
        for made in [deployment(Choice(points, place, 1, True, 0.0), question)]
    ]
