"""A cluster to simulate: pools of equal replicas, a router, scaling."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay.engine.replica import Replica
from assay.errors import BadInput
from assay.simulate.policies import Policy, table
from assay.simulate.tiers import Tier

#: Router names in the order of their codes.
ROUTERS = ("round-robin", "least-load", "prefix", "session", "slo")
#: What happens to requests whose predicted TTFT exceeds the limit, in the order of the codes.
OVER_LIMIT = ("serve", "reject", "defer")
ROLES = ("both", "prefill", "decode")


@dataclass(frozen=True, slots=True)
class Pool:
    """Equal replicas.

    Attributes:
        copy: the replica, of one layout.
        policy: how it schedules.
        replicas: how many.
        role: both, prefill or decode.
        skew: excess load of the busiest expert rank beyond chance.
        drafts, yields: draft tokens of a decode step, and tokens it gains.
        capacity: tokens of cache of one unit instead of what the memory holds; 0 = the memory.
        tiers: where blocks that leave the cache are kept, nearest first.
        swap: whether a preempted request's cache goes to the first tier instead of being computed again.
        pace: factor on the times of its steps; 1 = bare physics.
    """

    copy: Replica
    policy: Policy
    replicas: int = 1
    role: str = "both"
    skew: float = 0.0
    drafts: int = 0
    yields: float = 1.0
    capacity: int = 0
    tiers: tuple[Tier, ...] = ()
    swap: bool = False
    pace: float = 1.0

    def __post_init__(self) -> None:
        """Check that there is a tier to swap to, and that steps take time.

        Raises:
            BadInput: there is none, or a pace that is not positive.
        """
        if not 0.0 < self.pace < float("inf"):
            raise BadInput("A pace multiplies step times; it must be positive.", "1 is bare physics.")
        if self.swap and not self.tiers:
            raise BadInput(
                "Preempted requests cannot be swapped out: there is no KV tier.",
                "Give one: --kv-tiers host:512GB:50GB/s.",
            )

    @property
    def stages(self) -> int:
        """Units a replica has: its pipeline microbatches."""
        return int(self.copy.table.degrees.pp[0])

    @property
    def units(self) -> int:
        """Units of the pool."""
        return self.replicas * self.stages

    @property
    def chips(self) -> int:
        """Chips of the pool."""
        return self.replicas * int(self.copy.table.degrees.chips[0])


@dataclass(frozen=True, slots=True)
class Scaling:
    """Autoscaling of the first pool.

    Attributes:
        every: s between decisions.
        target: requests in flight that one unit shall have.
        least, greatest: units at least and at most.
        cold_start: s until a started unit serves.
        window: units stop only if no decision within so many s wanted them.
    """

    every: float
    target: float
    least: int
    greatest: int
    cold_start: float
    window: float = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything that serves.

    Attributes:
        pools: one pool, or a prefill and a decode pool.
        router: one of `ROUTERS`.
        transfer: (s, s a token) of handing a cache from a prefill to a decode unit.
        tries, retry_after: how often and s after which requests of a failed unit are sent again.
        most_waiting: waiting requests of a unit beyond which new ones are refused; 0 = no limit.
        ttft_limit: s to the first token that admission aims at; 0 = none.
        over_limit: one of `OVER_LIMIT`: what happens to a request whose predicted TTFT is beyond it.
        scaling: autoscaling of the first pool.
        prefix_cache: whether blocks are shared between requests.
    """

    pools: tuple[Pool, ...]
    router: str = "least-load"
    transfer: tuple[float, float] = (0.0, 0.0)
    tries: int = field(default_factory=lambda: int(table()["router"]["tries"]["value"]))
    retry_after: float = field(default_factory=lambda: float(table()["router"]["retry_after"]["value"]))
    most_waiting: int = 0
    ttft_limit: float = 0.0
    over_limit: str = "serve"
    scaling: Scaling | None = None
    prefix_cache: bool = True

    def __post_init__(self) -> None:
        """Check names.

        Raises:
            BadInput: an unknown router or roles that do not go together.
        """
        if self.router not in ROUTERS:
            raise BadInput(f"No router {self.router!r}.", f"Known: {', '.join(ROUTERS)}.")
        if self.over_limit not in OVER_LIMIT:
            raise BadInput(f"No admission {self.over_limit!r}.", f"Known: {', '.join(OVER_LIMIT)}.")
        if self.over_limit != "serve" and self.ttft_limit <= 0:
            raise BadInput(f"Admission by {self.over_limit!r} needs a limit on TTFT.", "Give one: --ttft 2s.")
        roles = tuple(pool.role for pool in self.pools)
        if roles not in {("both",), ("prefill", "decode")}:
            raise BadInput(f"Pools with roles {', '.join(roles)} do not make a cluster.")

    @property
    def chips(self) -> int:
        """Chips of all pools."""
        return sum(pool.chips for pool in self.pools)

    @property
    def units(self) -> int:
        """Units of all pools."""
        return sum(pool.units for pool in self.pools)


@dataclass(frozen=True, slots=True)
class Member:
    """A model of a fleet and what serves it.

    Attributes:
        name: of the model.
        cluster: its pools, router, admission and scaling.
        shared: whether it takes turns with the other shared models on the same chips; then its cluster has
            one pool, of as many replicas as theirs.
        switch: s until it is loaded where another model was.
        patience: s that requests of other models may overtake its own on shared chips.
    """

    name: str
    cluster: Cluster
    shared: bool = False
    switch: float = 0.0
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Several models: each on chips of its own, or some of them in turns on the same ones.

    Attributes:
        members: the models; those that share chips stand behind the others.
        strange: requests that a replica counts for more while it holds another model: how busy those that
            hold the model may get before it is loaded on one more.
    """

    members: tuple[Member, ...]
    strange: float = 0.0

    def __post_init__(self) -> None:
        """Check that the shared models can share.

        Raises:
            BadInput: nothing is served, or what shares chips does not have the same ones.
        """
        if not self.members:
            raise BadInput("A fleet without models serves nobody.", "Name at least one.")
        shared = [member for member in self.members if member.shared]
        if [member.shared for member in self.members] != sorted(member.shared for member in self.members):
            raise BadInput("Models that share chips stand behind those that do not.")
        for member in shared:
            cluster, pool = member.cluster, member.cluster.pools[0]
            if len(cluster.pools) > 1 or pool.stages > 1 or cluster.scaling is not None:
                raise BadInput(
                    f"{member.name} shares chips, which pools for prefill and decode, pipeline stages and "
                    "autoscaling cannot yet.",
                    "Give it chips of its own.",
                )
            if cluster.router != "least-load" or cluster.over_limit != "serve":
                raise BadInput(
                    f"{member.name} shares chips: its requests go where it is loaded and least is to do.",
                    "Leave its router and over_limit out, or give it chips of its own.",
                )
            one = shared[0].cluster.pools[0]
            if (pool.replicas, pool.chips, pool.copy.system.id) != (
                one.replicas,
                one.chips,
                one.copy.system.id,
            ):
                raise BadInput(
                    f"{member.name} and {shared[0].name} share chips, but not as many or not the same ones.",
                    "Choose layouts of as many chips, on one system.",
                )

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools of all models, those of one model together."""
        return tuple(pool for member in self.members for pool in member.cluster.pools)

    @property
    def units(self) -> int:
        """Units of all pools; chips that are shared have one for each model."""
        return sum(pool.units for pool in self.pools)

    @property
    def sharing(self) -> int:
        """Models that share chips."""
        return sum(member.shared for member in self.members)

    @property
    def chips(self) -> int:
        """Chips, shared ones once."""
        own = sum(member.cluster.chips for member in self.members if not member.shared)
        return own + (self.members[-1].cluster.chips if self.sharing else 0)
