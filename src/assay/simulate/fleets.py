"""A fleet of several models as its users state it: what serves each, what each is asked; in YAML or JSON.

```yaml
system: h200                        # fields of a pool may stand here, for all models
duration: 1h
shared: {replicas: 4, load: 50GB/s} # models without replicas of their own take turns on these
models:
  - {model: llama-3.1-70b, layout: tp4, replicas: 2, traffic: {rate: 3, isl: 2k, osl: 300}}
  - {model: qwen3-32b, layout: tp4, traffic: {rate: 0.05}, limits: {ttft: 5s}}
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.errors import BadInput
from assay.simulate.deployment import POOL, WHOLE, Stated, stated
from assay.study.fields import Fields, load

FLEET = ("models", "shared", "duration")
SHARED = ("replicas", "switch", "load", "target")
MODEL = ("model", "name", "traffic", "limits", "switch", "patience")
TRAFFIC = ("trace", "speed", "rate", "requests", "isl", "osl", "workload", "cached")
LIMITS = ("ttft", "tpot", "e2e")


@dataclass(frozen=True, slots=True)
class StatedTraffic:
    """What a model is asked; 0 or "" = not stated.

    Attributes:
        trace: file of requests; `speed`: play it so many times faster.
        rate: requests/s, as a Poisson process; `requests`: how many.
        isl, osl, workload: how long they are. `cached`: share of the input found in a prefix cache.
    """

    trace: Path | None = None
    speed: float = 1.0
    rate: float = 0.0
    requests: int = 0
    isl: int = 0
    osl: int = 0
    workload: str = ""
    cached: float = 0.0


@dataclass(frozen=True, slots=True)
class StatedModel:
    """A model and what serves it.

    Attributes:
        model, name: model, and what to call it.
        serves: its pools; `shared`: whether they are chips that others use too.
        traffic: what it is asked.
        ttft, tpot, e2e: limits, s; 0 = not stated.
        switch: s until it is loaded where another was; None = by the bandwidth stated for all.
        patience: s that other models' requests may overtake its own; None = what its limit on TTFT leaves.
    """

    model: str
    name: str
    serves: Stated
    shared: bool
    traffic: StatedTraffic
    ttft: float = 0.0
    tpot: float = 0.0
    e2e: float = 0.0
    switch: float | None = None
    patience: float | None = None


@dataclass(frozen=True, slots=True)
class StatedFleet:
    """Several models, as stated; those that share chips stand behind the others.

    Attributes:
        models: what they are.
        duration: s of traffic; 0 = each has its number of requests.
        load: B/s from where the weights lie to one chip; 0 = not stated.
        target: requests that a shared replica shall have before a model is loaded on one more; 0 = as many as
            it runs at once.
    """

    models: tuple[StatedModel, ...]
    duration: float = 0.0
    load: float = 0.0
    target: float = 0.0

    def with_shared(self, replicas: int) -> StatedFleet:
        """Return the fleet with so many shared replicas."""
        return replace(
            self, models=tuple(one if not one.shared else _copies(one, replicas) for one in self.models)
        )

    def apart(self) -> StatedFleet:
        """Return the fleet with chips of its own for every model."""
        return replace(self, models=tuple(replace(one, shared=False) for one in self.models))


def _copies(one: StatedModel, replicas: int) -> StatedModel:
    pools = tuple(replace(pool, replicas=replicas) for pool in one.serves.pools)
    return replace(one, serves=replace(one.serves, pools=pools))


def read(path: Path, **default: Any) -> StatedFleet | None:
    """Read a fleet from a YAML or JSON file; None if it states one deployment without models.

    Args:
        path: the file.
        default: fields of a pool that hold where it does not state them.

    Raises:
        BadInput: not readable, or a field that cannot be used; says which.
    """
    data = load(path)
    if not isinstance(data, Mapping) or "models" not in data:
        return None
    where = str(path)
    given = Fields(data, where, (*FLEET, *POOL))
    given.need("models")
    for field in ("replicas", "role"):
        if field in given:
            raise BadInput(f"{given.name(field)} does not go for all models.", "Write it at each model.")
    common = {name: value for name, value in given.data.items() if name in POOL and value is not None}
    shared = Fields(data.get("shared") or {}, given.name("shared"), SHARED)
    if "shared" in given:
        shared.need("replicas")
    copies = shared.count("replicas")
    every = shared.quantity("switch", "time", zero=True) if "switch" in shared else None
    models = [
        _model(item, given.name(f"model {place}"), common, copies, every, path.parent, default)
        for place, item in enumerate(given.items("models"), 1)
    ]
    names = [one.name for one in models]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where} has two models called {name!r}.", "Give each a `name`.")
    if copies and not any(one.shared for one in models):
        raise BadInput(
            f"{shared.where}: no model shares chips.",
            "Leave replicas, pools and scaling out of those that do.",
        )
    fleet = StatedFleet(
        tuple(sorted(models, key=lambda one: one.shared)),
        given.quantity("duration", "time"),
        shared.quantity("load", "bandwidth"),
        shared.quantity("target", "count"),
    )
    for one in fleet.models:
        if not one.traffic.requests and not fleet.duration and one.traffic.trace is None:
            raise BadInput(
                f"{where}: how long is {one.name} asked?",
                "State `duration: 1h`, or `requests` in its traffic.",
            )
    return fleet


def _model(
    data: Any,
    where: str,
    common: Mapping[str, Any],
    copies: int,
    switch: float | None,
    folder: Path,
    default: Mapping[str, Any],
) -> StatedModel:
    given = Fields(data, where, (*MODEL, *WHOLE, *POOL))
    given.need("model", "traffic")
    own = {name: value for name, value in given.data.items() if name not in MODEL}
    shared = not any(name in given for name in ("replicas", "pools", "scaling"))
    if shared and not copies:
        raise BadInput(
            f"{where} has no replicas, pools or scaling, and the file no `shared` chips.",
            "Write `replicas: 1`, or `shared: {replicas: 2}` beside `models`.",
        )
    if shared:
        own["replicas"] = copies
    usual = {name: value for name, value in common.items() if name != "layout" or "pools" not in given}
    serves = stated({**usual, **own}, where, **default)
    limits = Fields(given.data.get("limits") or {}, given.name("limits"), LIMITS)
    if "switch" in given:
        switch = given.quantity("switch", "time", zero=True)
    model = given.text("model")
    return StatedModel(
        model,
        given.text("name", model),
        serves,
        shared,
        _traffic(given.data["traffic"], given.name("traffic"), folder),
        **{name: limits.quantity(name, "time") for name in LIMITS},
        switch=switch,
        patience=given.quantity("patience", "time", zero=True) if "patience" in given else None,
    )


def _traffic(data: Any, where: str, folder: Path) -> StatedTraffic:
    given = Fields(data, where, TRAFFIC)
    if ("trace" in given) == ("rate" in given):
        raise BadInput(f"{where} needs a trace or a rate, one of them.", "Write for example {rate: 2}.")
    if "trace" in given and any(name in given for name in ("isl", "osl", "workload")):
        raise BadInput(f"{where} has a trace, which says how long requests are.", "Leave the lengths out.")
    cached = given.data.get("cached", 0.0)
    if isinstance(cached, bool) or not isinstance(cached, int | float) or not 0 <= cached < 1:
        raise BadInput(f"{given.name('cached')} = {cached!r:.60} is not a share.", "Write for example 0.5.")
    return StatedTraffic(
        folder / given.text("trace") if "trace" in given else None,
        given.quantity("speed", "count", 1.0),
        given.quantity("rate", "rate"),
        given.count("requests"),
        round(given.quantity("isl", "tokens")),
        round(given.quantity("osl", "tokens")),
        given.text("workload"),
        float(cached),
    )
