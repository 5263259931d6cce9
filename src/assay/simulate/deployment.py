"""A deployment to simulate as its users state it: pools, router, scaling; in YAML, JSON or a plan's row.

```yaml
system: h200
engine: vllm            # fields of a pool may stand here, for all pools
router: prefix
pools:
  - {role: prefill, layout: tp4, replicas: 5}
  - {role: decode, layout: tp4, replicas: 3, drafts: 3}
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assay.errors import BadInput
from assay.llm.formats import CHOICES
from assay.llm.layout import Layout
from assay.simulate.cluster import OVER_LIMIT, ROLES, ROUTERS, Scaling
from assay.simulate.policies import table
from assay.simulate.tiers import Tier, parse
from assay.study.fields import Fields, load

#: KV formats that caches are counted in.
KV = ("bf16", "fp8")
POOL = (
    "role", "layout", "replicas", "system", "engine", "weights", "kv", "budget", "sequences", "drafts",
    "acceptance", "kv_tiers", "preempt",
)  # fmt: skip
WHOLE = (
    "name", "pools", "router", "most_waiting", "prefix_cache", "scaling", "ttft_limit", "over_limit",
)  # fmt: skip
PREEMPT = ("recompute", "swap")
SCALING = ("min", "max", "target", "cold_start", "every", "window")
#: Fields of the deployment of a plan's row; one with another is not simulated as if it lacked it.
ROW = (
    "system", "system_name", "layout", "weights", "kv", "replicas", "engine", "prefill", "prefill_system",
    "speculation", "label", "serving",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StatedPool:
    """Equal replicas, as stated.

    Attributes:
        layout: parallel degrees of one.
        replicas: how many.
        role: both, prefill or decode.
        system: where they run; "" = the system of the question.
        engine: serving engine; "" = the question's.
        weights, kv: formats; "" = the question's, or the model's own.
        budget, sequences: tokens of a step and sequences of a rank instead of the engine's own; 0 = its own.
        drafts: draft tokens of a decode step.
        acceptance: tokens a decode step yields; 0 = the usual figure for so many drafts.
        tiers: where blocks that leave the cache are kept, nearest first.
        preempt: `recompute` or `swap` what is preempted, into the first tier.
    """

    layout: Layout
    replicas: int = 1
    role: str = "both"
    system: str = ""
    engine: str = ""
    weights: str = ""
    kv: str = ""
    budget: int = 0
    sequences: int = 0
    drafts: int = 0
    acceptance: float = 0.0
    tiers: tuple[Tier, ...] = ()
    preempt: str = "recompute"


@dataclass(frozen=True, slots=True)
class Stated:
    """A deployment, as stated.

    Attributes:
        pools: one that does both, or a prefill and a decode pool.
        router: one of `assay.simulate.cluster.ROUTERS`.
        most_waiting: waiting requests of a unit beyond which new ones are refused; 0 = no limit.
        prefix_cache: whether blocks are shared between requests.
        scaling: autoscaling.
        ttft_limit: s to the first token that admission aims at; 0 = none.
        over_limit: what happens to a request whose predicted TTFT is beyond it: serve, reject, defer.
        name: what to call it; "" = its label.
    """

    pools: tuple[StatedPool, ...]
    router: str = "least-load"
    most_waiting: int = 0
    prefix_cache: bool = True
    scaling: Scaling | None = None
    ttft_limit: float = 0.0
    over_limit: str = "serve"
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot serve.

        Raises:
            BadInput: an unknown router, roles that do not go together, or scaling of what cannot be scaled.
        """
        if self.router not in ROUTERS:
            raise BadInput(f"No router {self.router!r}.", f"Known: {', '.join(ROUTERS)}.")
        roles = tuple(pool.role for pool in self.pools)
        if roles not in {("both",), ("prefill", "decode")}:
            raise BadInput(
                f"Pools with roles {', '.join(roles) or 'none'} do not make a deployment.",
                "Give one pool, or one with role prefill and then one with role decode.",
            )
        if self.scaling is None:
            return
        if len(roles) > 1 or self.pools[0].layout.pp > 1:
            raise BadInput(
                "Autoscaling is of one pool of replicas without pipeline stages.",
                "Leave it out, or choose such a layout.",
            )
        if self.scaling.greatest != self.pools[0].replicas:
            raise BadInput("The pool has as many replicas as autoscaling may start.")

    def label(self) -> str:
        """Return its name, or `2xTP2 prefill -> 3xTP1 decode`, `1-8xTP4`."""
        return self.name or " -> ".join(self._pool(pool) for pool in self.pools).removesuffix(" both")

    def _pool(self, pool: StatedPool) -> str:
        copies = f"{pool.replicas}x" if pool.replicas > 1 else ""
        if self.scaling is not None:
            copies = f"{self.scaling.least}-{self.scaling.greatest}x"
        return f"{copies}{pool.layout.label()} {pool.role}"

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def read(path: Path, **default: Any) -> Stated:
    """Read a deployment from a YAML or JSON file, or from what `assay plan --json` wrote.

    Args:
        path: the file; of an answer with several rows the first is taken.
        default: fields of a pool that hold where it does not state them.

    Raises:
        BadInput: not readable, or a field that cannot be used; says which.
    """
    return stated(load(path), str(path), **default)


def stated(data: Any, where: str, **default: Any) -> Stated:
    """Return the deployment that plain data states; arguments and errors as for `read`."""
    if isinstance(data, Mapping) and "rows" in data and "schema" in data:
        rows = data["rows"]
        if not isinstance(rows, list) or not rows:
            raise BadInput(f"{where}: rows is empty: the plan found no deployment.", "Plan again.")
        data, where = rows[0], f"{where}: row 1"
    if isinstance(data, Mapping) and "deployment" in data and "layout" in data:
        return of_row(data["layout"], f"{where}: layout", **default)
    given = Fields(data, where, (*WHOLE, *POOL))
    pools = given.items("pools")
    if pools and ("layout" in given or "replicas" in given or "role" in given):
        raise BadInput(f"{where} has pools and a layout or replicas of its own.", "Write them in the pools.")
    if not pools:
        given.need("layout")
    own = {name: value for name, value in given.data.items() if name in POOL and value is not None}
    parts = [(item, given.name(f"pool {place}")) for place, item in enumerate(pools, 1)] or [({}, where)]
    found = tuple(_pool(item, place, own, default) for item, place in parts)
    scaling = None
    if "scaling" in given:
        scaling = of_scaling(given.data["scaling"], given.name("scaling"))
        if "replicas" in given or any("replicas" in item for item, _ in parts):
            raise BadInput(
                f"{where} has both replicas and scaling.", "Leave replicas out: scaling has min and max."
            )
        found = tuple(replace(pool, replicas=scaling.greatest) for pool in found)
    try:
        return Stated(
            found,
            router=given.text("router", "least-load", ROUTERS),
            most_waiting=given.count("most_waiting"),
            prefix_cache=given.flag("prefix_cache", default=True),
            scaling=scaling,
            ttft_limit=given.quantity("ttft_limit", "time"),
            over_limit=given.text("over_limit", "serve", OVER_LIMIT),
            name=given.text("name"),
        )
    except BadInput as error:
        raise BadInput(f"{where}: {error.message}", error.hint) from None


def of_row(data: Any, where: str, **default: Any) -> Stated:
    """Return the deployment of a row of a plan, its `layout` in the JSON.

    Raises:
        BadInput: not such a row, or one with something that the simulator does not know.
    """
    strange = [name for name in data if name not in ROW and data[name]] if isinstance(data, Mapping) else []
    if strange:
        raise BadInput(
            f"{where} has {strange[0]} = {data[strange[0]]!r:.60}, which the simulator does not know.",
            "`assay estimate` answers for it.",
        )
    try:
        drafts = re.fullmatch(r"(?:[A-Z]+(\d+))?", data["speculation"])
        shared = {
            "kv": data["kv"],
            # anything but a choice is the checkpoint's own formats in words
            "weights": data["weights"] if data["weights"] in CHOICES else "native",
            "engine": data["engine"] or default.get("engine", ""),
        }
        last = StatedPool(
            Layout(**data["layout"]),
            replicas=int(data["replicas"]),
            role="decode" if data["prefill"] else "both",
            system=data["system"],
            drafts=int(drafts[1] or 0) if drafts else 0,
            **shared,
        )
        if not data["prefill"]:
            return Stated((last,))
        first = StatedPool(
            Layout(**data["prefill"]["layout"]),
            replicas=int(data["prefill"]["replicas"]),
            role="prefill",
            system=data["prefill_system"] or data["system"],
            **shared,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{where} is not of a plan's row ({error}).", "`assay plan --json` writes it."
        ) from None
    return Stated((first, last))


def scaling_of(
    least: int,
    greatest: int,
    target: float,
    cold_start: float,
    every: float = 0.0,
    window: float | None = None,
) -> Scaling:
    """Return autoscaling.

    Args:
        least, greatest: replicas at least and at most.
        target: requests in flight that one replica shall have.
        cold_start: s until a started replica serves.
        every: s between decisions; 0 = as Kubernetes does.
        window: s in which no decision may have wanted a replica that stops; None = as Kubernetes does.

    Raises:
        BadInput: fewer at most than at least.
    """
    if greatest < least:
        raise BadInput(f"At most {greatest} replicas are fewer than at least {least}.", "Swap them.")
    usual = {name: float(entry["value"]) for name, entry in table()["scaling"].items()}
    held = usual["window"] if window is None else window
    return Scaling(every or usual["every"], target, least, greatest, cold_start, held)


def _pool(data: Any, where: str, own: Mapping[str, Any], default: Mapping[str, Any]) -> StatedPool:
    given = Fields({**own, **Fields(data, where, POOL).data}, where, POOL)
    given.need("layout")
    try:
        layout = Layout.parse(given.text("layout"))
    except BadInput as error:
        raise BadInput(f"{given.name('layout')}: {error.message}", error.hint) from None
    acceptance, drafts = given.quantity("acceptance", "count"), given.count("drafts", zero=True)
    if acceptance and not 1 <= acceptance <= drafts + 1:
        raise BadInput(
            f"{given.name('acceptance')} = {acceptance:g} tokens do not go with {drafts} drafts.",
            "A step yields between 1 and drafts + 1 tokens.",
        )
    return StatedPool(
        layout=layout,
        replicas=given.count("replicas", 1),
        role=given.text("role", "both", ROLES),
        system=given.text("system", default.get("system", "")),
        engine=given.text("engine", default.get("engine", "")),
        weights=given.text("weights", default.get("weights", ""), CHOICES),
        kv=given.text("kv", default.get("kv", ""), KV),
        budget=round(given.quantity("budget", "tokens")),
        sequences=given.count("sequences"),
        drafts=drafts,
        acceptance=acceptance,
        tiers=parse(given.text("kv_tiers")) if "kv_tiers" in given else (),
        preempt=given.text("preempt", "recompute", PREEMPT),
    )


def of_scaling(data: Any, where: str) -> Scaling:
    """Return the autoscaling that plain data states.

    Raises:
        BadInput: a field that is missing or cannot be used.
    """
    given = Fields(data, where, SCALING)
    given.need("max", "target", "cold_start")
    try:
        return scaling_of(
            given.count("min", 1),
            given.count("max"),
            given.quantity("target", "count"),
            given.quantity("cold_start", "time"),
            given.quantity("every", "time"),
            given.quantity("window", "time", zero=True) if "window" in given else None,
        )
    except BadInput as error:
        raise BadInput(
            error.message if where in error.message else f"{where}: {error.message}", error.hint
        ) from None
