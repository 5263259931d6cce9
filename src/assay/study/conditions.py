"""Conditions of operating points, and what is predicted for them: structs of arrays, grouped by setting.

A *setting* is everything about a point that is not a number: model, system, layout, formats, engine, how
it was loaded. Points that share one setting are predicted together, as arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from assay.errors import BadInput
from assay.estimate import Estimate
from assay.llm.layout import Layout

Floats = NDArray[np.float64]

#: How a deployment is loaded.
#: closed: `concurrency` requests are always in flight. open: Poisson arrivals at `rate`.
#: static: `concurrency` prompts are prefilled together and decoded in lock step. offline: every request is
#: there from the start and the engine batches what memory and its own limits allow. goodput: the greatest
#: rate whose 99th percentiles hold `ttft_limit`, `tpot_limit` and `e2e_limit`.
LOADS = ("closed", "open", "static", "offline", "goodput")

#: What a point covers: whole requests, decode steps only, prompts only.
PHASES = ("e2e", "decode", "prefill")


@dataclass(frozen=True, slots=True, order=True)
class Pool:
    """Replicas of one layout.

    Attributes:
        layout: parallel degrees of one replica.
        replicas: copies; requests are spread evenly over them.
    """

    layout: Layout
    replicas: int = 1

    @property
    def chips(self) -> int:
        """Chips of all replicas."""
        return self.layout.chips * self.replicas

    def label(self) -> str:
        """Return `TP8` or `4xTP2`."""
        copies = f"{self.replicas}x" if self.replicas > 1 else ""
        return f"{copies}{self.layout.label()}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a group of points shares.

    Attributes:
        model: catalogue name of the model.
        system: catalogue id of the system.
        chips: chips of the whole deployment; the divisor of every throughput per chip.
        pool: the replicas that decode (and prefill, when `prefill` is None); None = the layout was not
            published, and the engine takes its best one on `chips`.
        prefill: separate prefill replicas of a disaggregated deployment, or None.
        share: part of each chip's rates and memory that is used: 0.5 where a rank is one die of two.
        weights: weight format of the linear layers (`bf16`, `fp8`, `nvfp4`, `mxfp4`, `int4` ...);
            "" = not published: the model's native one.
        activations: format the linear layers compute in, "" = what engines do with `weights`.
        kv: KV cache format; "" = not published: the engine's default.
        engine: `vllm`, `sglang`, `trtllm`, `llama.cpp`, `atom`, ... in lower case; "" = unknown.
        speculation: "" none, `mtp`, `eagle`, `draft`, or `unknown` where the source may have used it.
        draft_tokens: tokens drafted a step; 0 = not published.
        beams: sequences decoded for each request (beam search); throughput counts the best one.
        load: one of `LOADS`.
        phase: one of `PHASES`.
    """

    model: str
    system: str
    chips: int
    pool: Pool | None = None
    prefill: Pool | None = None
    share: float = 1.0
    weights: str = ""
    activations: str = ""
    kv: str = ""
    engine: str = ""
    speculation: str = ""
    draft_tokens: int = 0
    beams: int = 1
    load: str = "closed"
    phase: str = "e2e"

    def label(self) -> str:
        """Return the deployment as people write it: `4xTP2 prefill + 1xDEP32 decode`."""
        if self.pool is None:
            return f"{self.chips} chips, layout not published"
        if self.prefill is None:
            return self.pool.label()
        return f"{self.prefill.label()} prefill + {self.pool.label()} decode"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Operating points to predict. All arrays have shape (n,); NaN = not stated.

    Attributes:
        settings: the distinct settings.
        setting: index of each point's setting.
        isl, osl: mean input and output tokens of a request.
        cached: share of the input tokens found in a prefix cache, 0 to 1.
        spread: relative half width of the uniform distribution the lengths are drawn from (0 = fixed).
        concurrency: requests in flight over the whole deployment (`static`: sequences of the batch).
        rate: requests/s over the whole deployment; inf = all at once.
        requests: requests in a finite run.
        acceptance: mean tokens a decode step yields with speculation (1 = none accepted).
        ttft_limit, tpot_limit, e2e_limit: limits on the 99th percentile for `goodput`, s.
        date: date of the software, in years (2026.25).
    """

    settings: tuple[Setting, ...]
    setting: NDArray[np.intp]
    isl: Floats
    osl: Floats
    cached: Floats
    spread: Floats
    concurrency: Floats
    rate: Floats
    requests: Floats
    acceptance: Floats
    ttft_limit: Floats
    tpot_limit: Floats
    e2e_limit: Floats
    date: Floats

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            BadInput: the arrays differ in length or an index has no setting.
        """
        n = len(self.setting)
        for item in fields(self)[2:]:
            if getattr(self, item.name).shape != (n,):
                raise BadInput(f"Conditions: {item.name} must have shape ({n},).")
        if n and not 0 <= int(self.setting.min()) <= int(self.setting.max()) < len(self.settings):
            raise BadInput("Conditions: a point refers to a setting that is not there.")

    def __len__(self) -> int:
        return len(self.setting)

    @classmethod
    def of(cls, settings: Sequence[Setting], columns: Mapping[str, Sequence[float] | Floats]) -> Conditions:
        """Build from one setting a point and named columns; absent columns are NaN (cached, spread: 0).

        Args:
            settings: the setting of each point; equal ones are merged.
            columns: name of an array attribute -> n values.

        Raises:
            BadInput: an unknown column or a wrong length.
        """
        index: dict[Setting, int] = {}
        codes = np.array([index.setdefault(item, len(index)) for item in settings], dtype=np.intp)
        names = [item.name for item in fields(cls)[2:]]
        if unknown := set(columns) - set(names):
            raise BadInput(f"Conditions have no {', '.join(sorted(unknown))}.", f"Known: {', '.join(names)}.")
        arrays = {
            name: np.asarray(columns[name], dtype=np.float64)
            if name in columns
            else np.full(len(codes), 0.0 if name in ("cached", "spread") else np.nan)
            for name in names
        }
        return cls(tuple(index), codes, **arrays)

    def groups(self) -> Iterator[tuple[Setting, NDArray[np.intp]]]:
        """Yield each setting that has points, with the positions of its points."""
        order = np.argsort(self.setting, kind="stable")
        bounds = np.searchsorted(self.setting[order], np.arange(len(self.settings) + 1))
        for code, setting in enumerate(self.settings):
            if bounds[code + 1] > bounds[code]:
                yield setting, order[bounds[code] : bounds[code + 1]]

    def take(self, index: NDArray[np.intp]) -> Conditions:
        """Return the points at `index` (settings are kept as they are)."""
        return replace(self, **{item.name: getattr(self, item.name)[index] for item in fields(self)[1:]})


@dataclass(frozen=True, slots=True)
class Predictions:
    """What is predicted for n points; every Estimate holds arrays of shape (n,), NaN where unanswered.

    Attributes:
        tpot: mean time per output token of a request (first token excluded), s.
        ttft: mean time to first token, queueing included, s.
        throughput: tokens/s per chip of all chips: output tokens, or input tokens where the phase is prefill.
        e2e: mean time of a request from arrival to last token, s.
        ttft_median: median time to first token, s; differs from the mean in finite and saturated runs.
        joules: energy per output token (per input token for prefill) of all chips together, J.
        reason: why a point has no answer, "" where it has one.
        basis: rung of the evidence ladder a point stands on.
        terms: parts of the prediction before any correction: name -> array (n,); see `TERMS`.
    """

    tpot: Estimate
    ttft: Estimate
    throughput: Estimate
    e2e: Estimate
    ttft_median: Estimate
    joules: Estimate
    reason: tuple[str, ...]
    basis: tuple[str, ...]
    terms: Mapping[str, Floats] = field(default_factory=dict)


#: Terms a residual model and the nearest-evidence search are built on. A term an engine cannot tell is NaN.
TERMS = (
    "decode_step",  # s, one decode step without speculation's division
    "decode_memory",  # s of it bound by memory
    "decode_compute",  # s of it bound by arithmetic
    "decode_link",  # s of it in collectives and messages
    "decode_overhead",  # s of it in launches, host and scheduler
    "decode_flops",  # FLOPs a chip in one decode step
    "decode_bytes",  # bytes a chip moves to and from memory in one decode step
    "decode_messages",  # bytes a chip sends in one decode step
    "decode_rows",  # sequences a step on one attention rank
    "expert_rows",  # rows an expert sees in one decode step; 0 for dense models
    "weight_bytes",  # bytes of weights a chip holds
    "cache_bytes",  # bytes of cache a chip reads in one decode step
    "prefill_step",  # s to prefill one prompt alone on one replica
    "prefill_compute",  # s of it bound by arithmetic
    "prefill_memory",  # s of it bound by memory
    "prefill_link",  # s of it in collectives
    "prefill_overhead",  # s of it in launches, host and scheduler
    "prefill_flops",  # FLOPs a chip for one prompt
    "prefill_share",  # share of a replica's time that goes to prefill
    "batch",  # requests decoding at once over the whole deployment
    "queue",  # s of mean TTFT spent waiting
    "utilisation",  # offered load over capacity; 1 = saturated
    "kv_fill",  # cache bytes in use over cache bytes available
)
