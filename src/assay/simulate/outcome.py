"""What a run says: percentiles, goodput, utilisation, energy, money; as plain data for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

import numpy as np

from assay.catalogue.schema import Price
from assay.engine.breakdown import breakdown
from assay.engine.step import Batch, Workload
from assay.errors import NoEvidence
from assay.simulate.carbon import Grid
from assay.simulate.cluster import Cluster, Pool
from assay.simulate.run import Run, Tally
from assay.simulate.sketch import ERROR, of_bins
from assay.simulate.state import GAPS
from assay.timing.energy import board_watts

#: Version of the JSON that `Outcome.json` gives.
SCHEMA = "assay-simulation-1"
SECONDS_PER_HOUR = 3600.0
_SUMS = ("ready_seconds", "batch_seconds", "decode_busy", "prompt_busy")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run in numbers; SI units, None = nobody has published what is needed.

    Attributes:
        figures: the contract of `assay simulate --json`.
        timeline: samples of the cluster over the run: at, waiting, running, ready, used (tokens of cache).
        units: a row for each of the first 1,000 units.
        notes: sentences a reader needs.
    """

    figures: Mapping[str, Any]
    timeline: Mapping[str, list[float]]
    units: tuple[Mapping[str, float], ...]
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "schema": SCHEMA,
            **self.figures,
            "timeline": dict(self.timeline),
            "units": [dict(row) for row in self.units],
            "notes": list(self.notes),
        }


def outcome(cluster: Cluster, run: Run, price: Price | None = None, grid: Grid | None = None) -> Outcome:
    """Return the outcome of a run.

    Args:
        cluster: what served.
        run: how it went.
        price: of a chip-hour; None = unknown.
        grid: whose electricity the chips take; None = unknown.
    """
    return of_pools(cluster.pools, float(cluster.chips), run, price, grid)


def of_pools(
    pools: Sequence[Pool], chips: float, run: Run, price: Price | None = None, grid: Grid | None = None
) -> Outcome:
    """Return the outcome of what some pools served, on so many chips; arguments as for `outcome`."""
    tally, state = run.tally, run.state
    totals = state.totals[0]
    duration = max(tally.last - run.first, 0.0)
    ended = dict(zip(("completed", "rejected", "failed", "unserved"), tally.ended.tolist(), strict=True))
    per_second = 1.0 / duration if duration > 0 else 0.0
    figures: dict[str, Any] = {
        "requests": int(tally.ended.sum()) + (0 if run.whole else int(totals["in_flight"])),
        **ended,
        "in_flight": 0 if run.whole else int(totals["in_flight"]),
        "duration_s": duration,
        "ttft_s": tally.ttft.summary(),
        "tpot_s": tally.tpot.summary(),
        "itl_s": of_bins(state.gaps.reshape(-1, GAPS).sum(axis=0)),
        "e2e_s": tally.e2e.summary(),
        "requests_per_s": ended["completed"] * per_second,
        "goodput_per_s": tally.good * per_second,
        "good_share": tally.good / max(int(tally.ended.sum()), 1),
        "output_tokens_per_s": tally.output_tokens * per_second,
        "total_tokens_per_s": (tally.output_tokens + tally.input_tokens) * per_second,
        "output_tokens_per_s_per_chip": tally.output_tokens * per_second / chips,
        "chips": round(chips) if chips == round(chips) else chips,
        **_service(pools, state, duration),
        **_means(pools, state, tally, price, grid),
        "quantile_error": 0.0 if tally.ttft.bins is None else ERROR,
        "compiled": run.compiled,
    }
    return Outcome(figures, _timeline(state), _units(state, duration), _notes(run, figures))


def _service(pools_of: Sequence[Pool], state: Any, duration: float) -> dict[str, Any]:
    """Return utilisation, batch, cache, preemptions and retries."""
    totals, models = state.totals[0], state.models
    units, pools = state.units, state.pools
    sums = {name: float(pools[name].sum()) for name in _SUMS}
    busy = sums["decode_busy"] + sums["prompt_busy"]
    room = pools["room"][units["pool"]]
    return {
        "utilisation": busy / max(sums["ready_seconds"], 1e-12),
        "mean_batch": sums["batch_seconds"] / max(busy, 1e-12),
        "mean_in_service": sums["batch_seconds"] / max(duration, 1e-12),
        "prompt_share": sums["prompt_busy"] / max(busy, 1e-12),
        "hit_rate": int(models["hit_tokens"].sum()) / max(int(models["prompt_tokens"].sum()), 1),
        "cache_peak": float((units["peak"] / room).max()),
        "cache_tokens": float(room.sum()),
        "most_in_flight": int(totals["peak"]),
        "preemptions": int(models["preempted"].sum()),
        "swaps": int(models["swapped"].sum()),
        "retries": int(models["retried"].sum()),
        "refused_for_ttft": int(models["refused"].sum()),
        "deferred": int(models["deferred"].sum()),
        "stalled_transfers": int(models["stalled"].sum()),
        "lost_tokens": int(models["lost_tokens"].sum()),
        "decode_steps": int(pools["steps"].sum()),
        "prompt_steps": int(pools["mixed_steps"].sum()),
        "events": int(totals["events"]),
        "tiers": _tiers(pools_of, state),
    }


def _tiers(pools: Sequence[Pool], state: Any) -> list[dict[str, Any]]:
    """Return a row for each KV tier of each pool, summed over its units."""
    found = []
    prompts = max(int(state.models["prompt_tokens"].sum()), 1)
    for index, pool in enumerate(pools):
        first = state.units["tier"][state.units["pool"] == index]
        for depth, tier in enumerate(pool.tiers):
            rows = state.tiers[first + depth]
            found.append(
                {
                    "tier": tier.name,
                    "pool": index,
                    "tokens": float(rows["room"].sum()),
                    "peak": float((rows["peak"] / np.maximum(rows["room"], 1.0)).max()),
                    "hit_tokens": int(rows["hits"].sum()),
                    "hit_rate": int(rows["hits"].sum()) / prompts,
                    "moved_tokens": float(rows["moved"].sum()),
                }
            )
    return found


def _means(
    pools: Sequence[Pool], state: Any, tally: Tally, price: Price | None, grid: Grid | None
) -> dict[str, float | None]:
    """Return energy, carbon and money of a request and of a token: all the time that chips were up counts."""
    requests, tokens = int(tally.ended[0]), tally.output_tokens
    spent: list[float] = []
    drawn: list[float | None] = []
    for pool, row in zip(pools, state.pools, strict=True):
        replica_seconds = float(row["ready_seconds"]) / pool.stages
        spent.append(replica_seconds * pool.chips / pool.replicas)
        drawn.append(_watts(pool, row, replica_seconds))
    chip_seconds = sum(spent)
    known = [watts for watts in drawn if watts is not None]
    joules = sum(map(mul, known, spent)) if len(known) == len(drawn) else None
    dollars = price.usd_per_hour * chip_seconds / SECONDS_PER_HOUR if price is not None else None
    kilograms = joules * grid.kg_per_joule if joules is not None and grid is not None else None

    def per(total: float | None, count: float) -> float | None:
        return total / count if total is not None and count > 0 else None

    return {
        "watts_per_chip": per(joules, chip_seconds),
        "joules_per_request": per(joules, requests),
        "joules_per_output_token": per(joules, tokens),
        "kg_co2_per_request": per(kilograms, requests),
        "kg_co2_per_million_output_tokens": per(kilograms, tokens / 1e6),
        "usd_per_request": per(dollars, requests),
        "usd_per_million_output_tokens": per(dollars, tokens / 1e6),
        "chip_hours": chip_seconds / SECONDS_PER_HOUR,
    }


def _watts(pool: Pool, row: Any, replica_seconds: float) -> float | None:
    """Return the mean board power of a chip, W: activity of mean steps over all the time units were up."""
    busy = float(row["decode_busy"] + row["prompt_busy"])
    if busy <= 0 or replica_seconds <= 0:
        return None
    ranks = float(pool.copy.table.degrees.dp[0])
    batch = float(row["batch_seconds"]) / busy
    mean = float(row["context_seconds"]) / max(float(row["batch_seconds"]), 1e-12)
    each = max(float(row["computed"]) / max(int(row["mixed_steps"]), 1), 1.0)
    step = pool.copy.step(Workload(isl=max(mean, 1.0), osl=0.0, drafts=float(pool.drafts)), pool.skew)
    local = np.array([[max(batch / ranks, 1.0)]])
    decode = breakdown(step, Batch(local, np.array([[max(batch, 1.0)]])))
    # prompts alone know their own length as context
    step = pool.copy.step(Workload(isl=each / ranks, osl=0.0), pool.skew) if mean <= 0 else step
    zero, one, tokens = np.zeros((1, 1)), np.ones((1, 1)), np.array([[each]])
    prompt = breakdown(step, Batch(zero, zero, tokens / ranks, tokens, one, one))
    peak = max(cost.rates.peak for cost in step.costs)
    chip, system = pool.copy.system.chip, pool.copy.system
    shares = []
    for name, scale in (("flops", peak), ("moved", chip.memory_bandwidth), ("sent", system.link_bandwidth)):
        done = float(getattr(decode, name)[0, 0]) * float(row["steps"])
        each_prompt = float(getattr(prompt, name)[0, 0])
        if name == "moved" and pool.policy.mixes:  # the decodes of the same step have read them
            each_prompt -= float(prompt.weights[0, 0]) * min(batch, 1.0)
        done += each_prompt * float(row["mixed_steps"])
        shares.append(min(done / (replica_seconds * scale), 1.0) if scale else 0.0)
    try:
        return float(board_watts(chip, *shares).value)
    except NoEvidence:
        return None


def _timeline(state: Any) -> dict[str, list[float]]:
    count = int(state.totals[0]["samples"])
    samples = state.timeline
    return {name: samples[name][:count].tolist() for name in ("at", "waiting", "running", "ready", "used")}


def _units(state: Any, duration: float, most: int = 1000) -> tuple[dict[str, float], ...]:
    units = state.units
    return tuple(
        {
            "unit": number,
            "pool": int(row["pool"]),
            "served": int(row["served"]),
            "utilisation": float(row["busy"]) / duration if duration > 0 else 0.0,
            "cache_peak_tokens": float(row["peak"]),
        }
        for number, row in enumerate(units[:most])
    )


def _notes(run: Run, figures: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a reader must know of this run."""
    found = []
    if not run.whole:
        found.append(
            f"interrupted: {figures['in_flight']:,} requests were still in flight and are not counted"
        )
    late = figures["refused_for_ttft"]
    if late:
        found.append(f"{late:,} requests were refused: their predicted TTFT was beyond the limit")
    if figures["rejected"] > late:
        found.append(
            f"{figures['rejected'] - late:,} requests were refused: too long for the cache, or a full queue"
        )
    if figures["failed"] or figures["unserved"]:
        lost = figures["failed"] + figures["unserved"]
        found.append(f"{lost:,} requests were never answered, after {figures['retries']:,} retries")
    waiting = run.state.timeline["waiting"][: int(run.state.totals[0]["samples"])]
    if len(waiting) >= 16:
        quarter = len(waiting) // 4
        arrivals_over = waiting[-1] == 0
        early, late = waiting[quarter : 2 * quarter].mean(), waiting[2 * quarter : 3 * quarter].mean()
        if late > 2 * early + 10 * len(run.state.units) and (arrivals_over or late > 0):
            found.append("saturated: the queue grows through the run, so TTFT says how long it lasted")
    if figures["preemptions"]:
        swaps = figures["swaps"]
        how = f"{swaps:,} swapped out, the rest computed again" if swaps else "computed again"
        found.append(f"{figures['preemptions']:,} preemptions for want of cache, {how}")
    return tuple(found)
