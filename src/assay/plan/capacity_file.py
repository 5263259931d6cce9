"""Read a capacity study from YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import BadInput
from assay.plan.capacity import Study
from assay.plan.traffic import of_fields
from assay.simulate.cluster import ROUTERS
from assay.simulate.deployment import POOL, Stated, of_scaling, stated
from assay.simulate.run import Limits
from assay.study.fields import Fields, load
from assay.study.question import PRICES
from assay.workload.lengths import DEFAULT, workload
from assay.workload.slo import default_slo

FIELDS = (
    "model", "workload", "isl", "osl", "cached", "traffic", "limits", "share", "price", "seeds", "faults",
    "candidates", "routers", "scaling", "calibrated",
)  # fmt: skip
_LIMITS = ("ttft", "tpot", "e2e")


def read(path: Path, facts: Sequence[Path] = ()) -> Study:
    """Read a study; files it names are relative to it.

    Args:
        path: YAML or JSON.
        facts: folders of the user's own facts.

    Raises:
        BadInput: not readable, or a field that cannot be used; says which.
        UnknownName: no such model, system or workload.
    """
    given = Fields(load(path), str(path), FIELDS)
    given.need("model", "traffic", "candidates")
    extra = tuple(facts)
    base = workload(given.text("workload", DEFAULT), extra)
    isl = round(given.quantity("isl", "tokens", base.isl))
    osl = round(given.quantity("osl", "tokens", base.osl))
    own = (isl, osl) != (base.isl, base.osl)
    cached = given.quantity("cached", "fraction", 0.0 if own else base.cached, zero=True)
    if cached >= 1:
        raise BadInput(f"{given.name('cached')} = {cached:g} leaves no new input token.", "Write 50%.")
    lengths = {"workload": "" if own else base.name, "isl": isl, "osl": osl, "facts": extra}
    candidates, notes = _candidates(given, extra)
    share = given.quantity("share", "fraction", 0.99)
    if share > 1:
        raise BadInput(f"{given.name('share')} = {share:g} is more than all requests.", "Write 99%.")
    return Study(
        model=given.text("model"),
        traffic=of_fields(given.data["traffic"], given.name("traffic"), path.parent, lengths),
        candidates=candidates,
        context=float(isl),
        cached=cached,
        limits=_limits(given, default_slo("" if own else base.name, isl, cached, extra)),
        share=share,
        seeds=given.count("seeds", 1),
        price=given.text("price", "list", PRICES),
        calibrated=given.flag("calibrated", default=False),
        faults=_file(given, "faults", path.parent),
        facts=extra,
        notes=notes,
    )


def _file(given: Fields, field: str, folder: Path) -> str:
    """Return the path of a file that a field names, "" where it is absent."""
    path = folder / given.text(field)
    if field in given and not path.is_file():
        raise BadInput(f"{given.name(field)} = {str(path)!r} does not exist.", "Give a file.")
    return str(path) if field in given else ""


def _limits(given: Fields, usual: Any) -> Limits:
    stated = Fields(given.data.get("limits") or {}, given.name("limits"), _LIMITS)
    found = {"ttft": usual.ttft or inf, "tpot": usual.tpot or inf, "e2e": inf}
    for name in _LIMITS:
        if name in stated:
            lifted = str(stated.data[name]).lower() == "none"
            found[name] = inf if lifted else stated.quantity(name, "time")
    if not any(isfinite(value) for value in found.values()):
        raise BadInput(f"{given.name('limits')} has none: every candidate would do.", "Keep one limit.")
    return Limits(**found)


def _candidates(given: Fields, facts: Sequence[Path]) -> tuple[tuple[Stated, ...], tuple[str, ...]]:
    """Return candidates x routers x scaling, and notes on what was left out."""
    known = catalogue(tuple(facts))
    routers = given.items("routers")
    for place, router in enumerate(routers, 1):
        if router not in ROUTERS:
            raise BadInput(
                f"{given.name('routers')}: {place} is {router!r}.", f"Known: {', '.join(ROUTERS)}."
            )
    scalings = given.items("scaling") or [None]
    found: list[Stated] = []
    notes: list[str] = []
    for place, item in enumerate(given.items("candidates"), 1):
        where = given.name(f"candidate {place}")
        one = stated(item, where)
        if not all(pool.system for pool in one.pools):
            raise BadInput(f"{where} names no system.", f"Write system: h200. Fields: {', '.join(POOL)}.")
        for pool in one.pools:
            known.system(pool.system)
        for way in _scaled(one, scalings, given.name("scaling"), notes):
            found += [replace(way, router=router) for router in routers] or [way]
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(notes))


def _scaled(one: Stated, scalings: Sequence[Any], where: str, notes: list[str]) -> Iterator[Stated]:
    """Yield a candidate with each way to scale it; `none` and what cannot scale stay as stated."""
    for place, item in enumerate(scalings, 1):
        if item is None or item == "none" or one.scaling is not None:
            yield one
        elif len(one.pools) > 1 or one.pools[0].layout.pp > 1:
            notes.append(f"{one.label()} is not autoscaled: it has two pools or pipeline stages")
            yield one
        else:
            data = {"max": one.pools[0].replicas, **item} if isinstance(item, Mapping) else item
            scaling = of_scaling(data, f"{where}: {place}")
            pools = tuple(replace(pool, replicas=scaling.greatest) for pool in one.pools)
            yield replace(one, pools=pools, scaling=scaling)
