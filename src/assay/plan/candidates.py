"""What one engine offers on a platform: aggregated and disaggregated points, with second looks at them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.catalogue.schema import System
from assay.engine.overheads import engine
from assay.errors import DoesNotFit
from assay.llm.formats import native_formats
from assay.llm.layout import Layout
from assay.plan import finer
from assay.plan.caches import Hits, delayed, hits, prefilling, settled
from assay.plan.disaggregate import Pairs, Sides, pairs, shortlist, sides
from assay.plan.finer import Places, Second
from assay.plan.place import Place, Way
from assay.plan.points import Points, gather, gather_pairs
from assay.plan.predict import skew
from assay.plan.space import formats
from assay.plan.speculate import options
from assay.plan.sweep import Lengths, Sweep, candidates, refuse, surpassed, sweep

Floats = NDArray[np.float64]

#: Candidates kept a pair of formats before the measured corrections are applied.
MOST_CANDIDATES = 64
MOST_PAIRS = 48


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of one engine on a platform.

    Attributes:
        engine: name of the engine, "" for none in particular.
        together: aggregated points. `near`: second looks at them.
        apart: disaggregated points, each group with its second look.
        swept: sweeps of the aggregated layouts.
    """

    engine: str
    together: list[Points] = field(default_factory=list)
    near: list[Second] = field(default_factory=list)
    apart: list[Second] = field(default_factory=list)
    swept: list[Sweep] = field(default_factory=list)


def offered(place: Place) -> Candidates:
    """Return the candidates of a place with the engine of its question.

    Raises:
        DoesNotFit: no legal layout holds the model.
    """
    question, model, system = place.question, place.model, place.system
    made = Candidates(question.engine)
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
                made.together.append(points)
                made.swept.append(used)
                if question.caches is None:
                    made.near.append(_closer(place, points, used))
            if question.serving != "aggregated" and question.osl > 1:
                plain = next(item for item in found_all if item.copy.copies == way[1])
                made.apart.extend(_disaggregated(place, weights, plain, found))
    if refused is not None and not made.together and not made.apart:
        raise refused
    return made


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
