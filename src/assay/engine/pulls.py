"""What a step waits for: its time by the rate that would shorten it.

The time of a step is a sum of terms that fall with one rate each, and of fixed times. A kernel joins its
arithmetic t_c and its traffic t_m as (t_c^4 + t_m^4)^(1/4) (`assay.timing.roofline`); its elasticity to
either rate is the share of that fourth power, t^4 / (t_c^4 + t_m^4). A message takes a latency, which no
rate shortens, and its bytes. By Euler's theorem on homogeneous functions the parts add up to the time, and
each part over the sum is d ln(time) / d ln(1 / rate).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from assay.engine.overheads import Engine
from assay.engine.split import prompt_batch
from assay.engine.steady import passes
from assay.engine.step import (
    Batch,
    Step,
    Tokens,
    Traffic,
    draft_seconds,
    kernel_times,
    message_rows,
    messages,
    tokens_of,
)

Array = NDArray[np.float64]
#: s of a step by what bounds it: `memory`, `compute`, `link` (bytes), `latency` (of messages), `overhead`
#: (launches, gaps and host), `draft`; arrays (L, N).
Pulls = Mapping[str, Array]
PARTS = ("memory", "compute", "link", "latency", "overhead", "draft")


def pulls(step: Step, batch: Batch) -> dict[str, Array]:
    """Split the time of one pass through all layers, as `assay.engine.step.seconds` adds it up."""
    local = tokens_of(step, batch.decode, batch.prompt, batch.finished)
    stage = tokens_of(step, batch.decode_stage, batch.prompt_stage, batch.finished_stage)
    memory = compute = np.zeros(np.broadcast_shapes(step.overhead.shape, np.shape(local[0])))
    for cost in step.costs:
        if batch.prompt is None and not cost.kernel.operator.decode_rows:
            continue
        t_compute, t_memory = kernel_times(step, cost, stage if cost.kernel.stage_rows else local)
        both = t_compute**4 + t_memory**4
        part = both**0.25 / np.maximum(both, 1e-300)
        compute, memory = compute + part * t_compute**4, memory + part * t_memory**4
    uneven = step.table.uneven[:, None]
    found = {"memory": memory * uneven, "compute": compute * uneven, "overhead": step.overhead * uneven}
    fixed = [_latency(item, local) for item in step.traffic]
    found["latency"] = sum(fixed, np.zeros_like(step.overhead))
    sent, exchange = messages(step, local)
    found["link"] = sent - found["latency"]
    if exchange is not None:
        kernels = found["memory"] + found["compute"] + found["overhead"]
        behind, share = exchange <= kernels, np.asarray(step.overlap)
        # of what may hide, some is the longer latency of the faster protocol
        longer = [
            late - item.latency[0]
            for item, late in zip(step.traffic, fixed, strict=True)
            if item.message.op in ("dispatch", "combine")
        ]
        late = sum(longer, np.zeros_like(step.overhead))
        found["link"] = found["link"] - np.where(behind, share * (exchange - late), 0.0)
        found["latency"] = found["latency"] - np.where(behind, share * late, 0.0)
        left = np.where(behind, 1.0, 1.0 - share)
        found |= {name: found[name] * left for name in ("memory", "compute", "overhead")}
    found["draft"] = draft_seconds(step, batch)
    return found


def _latency(item: Traffic, tokens: Tokens) -> Array:
    """Return the latency of the protocol that a message takes, s."""
    rows = message_rows(item, tokens)
    if item.latency.shape[0] == 1:
        return np.asarray(item.latency[0] + 0.0 * rows)
    first, second = (item.latency[k] + rows * item.seconds_per_row[k] for k in (0, 1))
    return np.asarray(np.where(first <= second, item.latency[0], item.latency[1]))


def decode_pulls(step: Step, engine: Engine, batch: Array) -> dict[str, Array]:
    """Split a decode step that holds `batch` sequences, host included (`split.decode_seconds`)."""
    degrees = step.table.degrees
    each = np.asarray(batch, dtype=np.float64) / (degrees.dp * degrees.pp)[:, None]
    local = np.ceil(each - 1e-9)
    return _hosted(step, engine, Batch(local, np.maximum(each * degrees.dp[:, None], 1.0)), local)


def mean_pulls(step: Step, engine: Engine, batch: Array) -> dict[str, Array]:
    """Split the mean step of a replica that mixes prompts among decodes (`steady.at_batch`)."""
    found = passes(step, engine, batch)
    local = np.asarray(found.decode.decode, dtype=np.float64)
    plain = _hosted(step, engine, found.decode, local)
    if engine.mixes:
        mixed = _hosted(step, engine, found.mixed, local)
    else:
        alone = pulls(step, found.mixed)
        alone["overhead"] = alone["overhead"] + engine.gap * step.table.degrees.pp[:, None]
        mixed = {name: plain[name] + alone[name] for name in PARTS}
    return {name: (1.0 - found.busy) * plain[name] + found.busy * mixed[name] for name in PARTS}


def prompt_pulls(step: Step, engine: Engine) -> dict[str, Array]:
    """Split a full step of a prefill pool: as many prompts as the token budget admits."""
    most = np.maximum(np.floor(engine.budget / step.workload.fresh), 1.0)
    found = pulls(step, prompt_batch(step, engine, most)[1])
    found["overhead"] = found["overhead"] + engine.gap * step.table.degrees.pp[:, None]
    return found


def _hosted(step: Step, engine: Engine, batch: Batch, local: Array) -> dict[str, Array]:
    """Split a step with its gap and, where the host takes longer than the kernels, the host alone."""
    found = pulls(step, batch)
    stages = step.table.degrees.pp[:, None]
    found["overhead"] = found["overhead"] + engine.gap * stages
    host = (engine.host + engine.host_sequence * local) * stages
    spent = sum((found[name] for name in PARTS), np.zeros_like(host))
    idle = host > spent
    made = {name: np.where(idle, 0.0, found[name]) for name in PARTS}
    made["overhead"] = np.where(idle, host, made["overhead"])
    return made
