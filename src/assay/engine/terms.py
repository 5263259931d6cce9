"""Terms and floors of an outcome: what residual models, evidence search and honesty checks stand on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.engine.points import Load, Outcome
from assay.engine.steady import Steady

Floats = NDArray[np.float64]


def terms(outcome: Outcome) -> dict[str, Floats]:
    """Return the terms named in `assay.study.conditions.TERMS`, (L, n) each."""
    state, step, decode, prompt = outcome.state, outcome.step, outcome.decode, outcome.prompt
    degrees = step.table.degrees
    groups = (degrees.dp * degrees.pp)[:, None]
    local = np.ceil(np.maximum(state.batch, 1.0) / groups)
    host = np.maximum(state.decode_step - decode.seconds, 0.0)
    shape = state.tpot.shape
    found = {
        "decode_step": state.decode_step,
        "decode_memory": decode.memory,
        "decode_compute": decode.compute,
        "decode_link": decode.link,
        "decode_overhead": decode.overhead + np.nan_to_num(host),
        "decode_flops": decode.flops,
        "decode_bytes": decode.moved,
        "decode_messages": decode.sent,
        "decode_rows": local,
        "expert_rows": _expert_rows(outcome, state),
        "weight_bytes": step.table.weight_bytes[:, None],
        "cache_bytes": decode.cache,
        "prefill_step": prompt.seconds,
        "prefill_compute": prompt.compute,
        "prefill_memory": prompt.memory,
        "prefill_link": prompt.link,
        "prefill_overhead": prompt.overhead,
        "prefill_flops": prompt.flops,
        "prefill_share": _prompt_share(state, step.workload.yields),
        "batch": state.batch,
        "queue": state.queue,
        "utilisation": state.utilisation,
        "kv_fill": np.minimum(state.batch / np.maximum(outcome.capacity, 1e-9), 1.0),
    }
    return {name: np.broadcast_to(array, shape).astype(np.float64) for name, array in found.items()}


def _expert_rows(outcome: Outcome, state: Steady) -> Floats:
    """Return the rows one expert sees in a decode step, 0 for dense models."""
    routed = [cost.kernel for cost in outcome.step.costs if cost.kernel.stage_rows]
    if not routed:
        return np.zeros_like(state.batch)
    stage = state.batch / outcome.step.table.degrees.pp[:, None]
    return np.asarray(stage * routed[0].fill)


def _prompt_share(state: Steady, yields: Floats | float) -> Floats:
    """Return the share of time that prompts add to decode steps."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(1.0 - state.decode_step / np.maximum(state.tpot * yields, 1e-12), 0.0, 1.0)


def floors(outcome: Outcome, load: Load, chips: int, replicas: Floats) -> dict[str, Floats]:
    """Return the physical bound of each metric, (L, n): least seconds, greatest throughput per chip.

    A token takes at least its step's floor over the tokens the step yields; a first token at least its
    prompt's floor; a chip yields at most the batch over the floor of its decode steps.
    """
    state, step = outcome.state, outcome.step
    degrees = step.table.degrees
    groups = (degrees.dp * degrees.pp)[:, None]
    tpot = outcome.decode.floor / step.workload.yields
    ttft = np.broadcast_to(outcome.prompt.floor, tpot.shape)
    osl = np.maximum(load.osl, 1.0)
    if load.phase == "prefill":
        rate = groups / outcome.prompt.floor * load.isl
    elif load.phase == "decode":
        rate = state.batch / tpot
    else:
        rate = state.batch / tpot
    count = np.asarray(replicas, dtype=np.float64).reshape(-1, 1)
    return {
        "tpot": tpot,
        "ttft": ttft,
        "ttft_median": ttft,
        "throughput": rate * count / chips,
        "e2e": ttft + tpot * (osl - 1.0),
    }
