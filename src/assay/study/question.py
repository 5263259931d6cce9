"""The Question: what is asked of assay. The same object from flags, a file, a URL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OBJECTIVES = ("cost", "throughput", "latency", "energy")
PRICES = ("own", "contract", "list", "spot")
SERVING = ("aggregated", "disaggregated", "both", "afd")
SPECULATION = ("none", "mtp", "auto")
ROUTERS = ("prefix", "round-robin")


@dataclass(frozen=True, slots=True)
class Caches:
    """What a prefix cache may hold and what the traffic repeats; SI units.

    Attributes:
        trace: file whose prefix blocks say what is found in a cache of any size, "" = none.
        hit_rate: share of the input tokens that a cache large enough finds, where no trace says so.
        router: one of `ROUTERS`: to the cache that knows the prefix, or to each in turn.
        host: host memory for the cache, bytes a host; 0 = none.
        host_bandwidth: from host memory to one chip, B/s; 0 = as published for the chip.
        ssd: SSD for the cache, bytes a host; 0 = none.
        ssd_bandwidth: of the SSDs of one host, B/s.
        snapshot: tokens between two snapshots of a recurrent state; 0 = the engine's rule.
    """

    trace: str = ""
    hit_rate: float | None = None
    router: str = "prefix"
    host: float = 0.0
    host_bandwidth: float = 0.0
    ssd: float = 0.0
    ssd_bandwidth: float = 0.0
    snapshot: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """Model, platforms, workload, objective and limits; SI units.

    Attributes:
        model: catalogue name, alias, or path of a Hugging Face config.json.
        platforms: system names; empty = every system of the catalogue.
        isl, osl: mean input and output tokens of a request.
        cached: share of the input tokens found in a prefix cache, 0 to 1.
        ttft: greatest mean time to first token, s; None = no limit.
        tpot: greatest mean time per output token, s; None = no limit.
        rate: requests per second the deployment must carry; None = not asked.
        concurrency: requests in flight in one replica; None = assay chooses.
        chips: greatest number of chips in one replica; None = what the system allows.
        objective: one of `OBJECTIVES`.
        engine: serving engine (`vllm`, `sglang`, `trtllm`), or "" for the best of those measured on a chip.
        price: one of `PRICES`.
        weights, kv: number formats; "" = assay chooses among what chip and model allow.
        top: rows kept a platform.
        workload: name of the workload that the lengths and default limits come from, "" = none.
        serving: one of `SERVING`: which deployments are considered; `afd` puts attention and experts of the
            decode pool on chips of their own.
        prefill_platform: system of the prefill pool of disaggregated deployments, "" = the same platform.
        experts_platform: system of the expert chips with `afd`, "" = the same platform.
        speculation: one of `SPECULATION`: `mtp` always drafts, `auto` where it helps.
        acceptance: probability that each draft is accepted once those before it were; empty = the usual ones.
        redundant: copies of experts of a layer to try; empty = ranks as even as engines usually keep them.
        variation: standard deviation of the experts' loads over their mean; None = as measured.
        power: greatest provisioned power of the deployment, W; None = no cap.
        budget: greatest cost of the deployment, USD per hour; None = no limit.
        spare: replicas of each pool that may fail while limits and rate still hold.
        pue: energy of the facility over that of its machines; None = not stated, boards alone.
        caches: the prefix cache, whose hits then replace `cached`; None = `cached` as stated.
    """

    model: str
    platforms: tuple[str, ...] = ()
    isl: int = 2048
    osl: int = 512
    cached: float = 0.0
    ttft: float | None = None
    tpot: float | None = None
    rate: float | None = None
    concurrency: int | None = None
    chips: int | None = None
    objective: str = "cost"
    engine: str = ""
    price: str = "list"
    weights: str = ""
    kv: str = ""
    top: int = 1
    workload: str = ""
    serving: str = "both"
    prefill_platform: str = ""
    experts_platform: str = ""
    speculation: str = "none"
    acceptance: tuple[float, ...] = ()
    redundant: tuple[int, ...] = ()
    variation: float | None = None
    power: float | None = None
    budget: float | None = None
    spare: int = 0
    pue: float | None = None
    caches: Caches | None = None

    def json(self) -> dict[str, Any]:
        """Return the question as plain data."""
        return asdict(self)
