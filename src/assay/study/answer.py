"""The Answer: rows, fronts and where every number came from. One versioned JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.estimate import Estimate
from assay.study.deployment import Deployment
from assay.study.question import Question

#: Version of the JSON that `Answer.json` writes; docs/reference/json.md describes it.
SCHEMA = "assay-answer-1"

#: Figures of a row, in SI units.
FIGURES = (
    "ttft_s",
    "tpot_s",
    "output_tokens_per_s_per_user",
    "output_tokens_per_s_per_chip",
    "total_tokens_per_s_per_chip",
    "usd_per_million_output_tokens",
    "joules_per_output_token",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One deployment and what it does for the question.

    Attributes:
        deployment: what runs where.
        concurrency: requests in flight in one replica.
        chips: chips of all replicas together.
        figures: name in `FIGURES` -> Estimate. A figure nobody can know (no price, no power) is absent.
        fits: whether weights, cache and activations fit the memory.
        meets: whether the SLO holds; a row that does not is never ranked first.
        limited_by: the resource most of the step time goes to: memory bandwidth, compute, links,
            launch and host, capacity.
        basis: weakest rung of evidence among the figures that rank rows; energy has its own.
        moves: change -> factor on throughput at the same SLO (`memory bandwidth x2` -> 1.6).
        memory: bytes per chip by term (weights, kv cache, state, activations, reserve).
        power_watts: provisioned power of all chips, W; None if unpublished.
        evidence: nearest measured points, strongest first (`{distance, value, conditions, source}`).
        notes: sentences a reader needs (warnings, saturation, what is unchecked).
        drafting: cost and yield of speculative decoding, and its gain by batch; empty without.
        cache: what the prefix cache holds and finds, and new and cached input apart; empty without one.
        capacity: what one deployment carries beside the rate asked of it; empty where no rate is.
        energy: joules of input and output by phase, and of the facility; empty where power is unpublished.
        api: what hosts ask for the same requests, and from which load the row is cheaper; empty if not asked.
    """

    deployment: Deployment
    concurrency: float
    chips: int
    figures: Mapping[str, Estimate]
    fits: bool = True
    meets: bool = True
    limited_by: str = ""
    basis: str = "assumed"
    moves: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    power_watts: float | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    cache: Mapping[str, Any] = field(default_factory=dict)
    drafting: Mapping[str, Any] = field(default_factory=dict)
    capacity: Mapping[str, Any] = field(default_factory=dict)
    energy: Mapping[str, Any] = field(default_factory=dict)
    api: Mapping[str, Any] = field(default_factory=dict)

    def streams(self, osl: float) -> int:
        """Return the requests in flight over all replicas, at least 1.

        Where prefill is apart, those in prefill and in decode together: requests/s times the time of one.

        Args:
            osl: output tokens of a request.
        """
        needed = ("ttft_s", "tpot_s", "output_tokens_per_s_per_chip")
        if self.deployment.prefill is not None and set(needed) <= set(self.figures):
            ttft, tpot, each = (float(self.figures[name].value) for name in needed)
            return max(round(each * self.chips / osl * (ttft + tpot * osl)), 1)
        return max(round(self.concurrency * self.deployment.replicas), 1)

    def json(self) -> dict[str, Any]:
        """Return the row with the field names of the script contract."""
        row: dict[str, Any] = {
            "platform": self.deployment.system,
            "system": self.deployment.system_name,
            "chips": self.chips,
            "deployment": self.deployment.label(),
            "layout": self.deployment.json(),
            "concurrency": self.concurrency,
            "fits": self.fits,
            "meets": self.meets,
        }
        for name in FIGURES:
            row[name] = self.figures[name].json() if name in self.figures else None
        row |= {
            "limited_by": self.limited_by,
            "basis": self.basis,
            "moves": dict(self.moves),
            "memory_bytes": dict(self.memory),
            "power_watts": self.power_watts,
            "evidence": [dict(item) for item in self.evidence],
            "notes": list(self.notes),
            "cache": dict(self.cache) or None,
            "drafting": dict(self.drafting) or None,
            "capacity": dict(self.capacity) or None,
            "energy": dict(self.energy) or None,
            "api": dict(self.api) or None,
        }
        return row


@dataclass(frozen=True, slots=True)
class Refusal:
    """A platform that cannot answer, and why.

    Attributes:
        platform: system id.
        reason: one sentence with the arithmetic.
        closest: the nearest row, if one exists.
    """

    platform: str
    reason: str
    closest: Row | None = None

    def json(self) -> dict[str, Any]:
        """Return the refusal as plain data."""
        return {
            "platform": self.platform,
            "reason": self.reason,
            "closest": self.closest.json() if self.closest else None,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What assay says to a question.

    Attributes:
        question: as asked, defaults filled in.
        model: facts of the model that the reader needs (params_total, params_active, weight_bytes ...).
        rows: ranked, best first; rows that miss the SLO come last.
        fronts: platform -> Pareto points `{concurrency, chips, deployment, output_tokens_per_s_per_user,
            output_tokens_per_s_per_chip, usd_per_million_output_tokens, ...}`, fastest user first.
        refused: platforms without a row, with the reason.
        provenance: version, catalogue hash, calibration id, date.
        explain: one step by operator, `{phase, operator, kind, count, flops, bytes, seconds, bound, share}`;
            phase is decode or prefill. Filled by `estimate(..., explain=True)`.
    """

    question: Question
    model: Mapping[str, Any]
    rows: tuple[Row, ...]
    fronts: Mapping[str, tuple[Mapping[str, Any], ...]]
    refused: tuple[Refusal, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    explain: tuple[Mapping[str, Any], ...] = ()

    def best(self) -> Row | None:
        """Return the first row that fits and meets the SLO, or None."""
        return next((row for row in self.rows if row.fits and row.meets), None)

    def json(self) -> dict[str, Any]:
        """Return the whole answer in schema `SCHEMA`; figures are SI."""
        return {
            "schema": SCHEMA,
            "question": self.question.json(),
            "model": dict(self.model),
            "rows": [row.json() for row in self.rows],
            "fronts": {name: [dict(point) for point in front] for name, front in self.fronts.items()},
            "refused": [item.json() for item in self.refused],
            "provenance": dict(self.provenance),
            "explain": [dict(item) for item in self.explain],
        }
