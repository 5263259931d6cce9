"""What speculative decoding costs and gives at a point: drafts, verification, state copies, gain by batch.

A decode step of B sequences with d drafts takes t_d(B) and yields y tokens a sequence; without drafts it
takes t_0(B). Its gain in time per output token is `y t_0(B) / t_d(B)`: it vanishes with the batch, since
verification adds rows to kernels that are bound by arithmetic once the batch is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from assay.engine.kv import snapshot_bytes
from assay.engine.speculation import acceptance_by_position, acceptance_range, published_acceptance
from assay.engine.split import decode_seconds
from assay.engine.step import Batch, draft_seconds
from assay.plan.points import Points
from assay.plan.predict import skew
from assay.plan.speculate import label
from assay.plan.sweep import MOST_SEQUENCES
from assay.study.question import Question

#: Batches between two that are shown differ by this factor.
APART = 4.0


def drafting_of(points: Points, index: int, question: Question) -> Mapping[str, Any]:
    """Return what speculation does at a point; empty without drafts."""
    work = points.found.step.workload
    drafts = int(work.drafts)
    if not drafts:
        return {}
    copy = points.found.copy
    rows = np.array([index], dtype=np.intp)
    step = points.outcome.step.take(rows)
    plain = replace(step, drafter=None, workload=replace(step.workload, drafts=0.0, yields=1.0))
    table = step.table
    one = replace(copy, table=table, working=copy.working[:1])
    plain = one.step(plain.workload, skew())
    engine, yields = copy.engine, float(np.ravel(work.yields)[0])
    batch = float(points.outcome.state.batch[index, 0])
    degrees = table.degrees
    local = float(np.ceil(batch / degrees.dp[0] / degrees.pp[0] - 1e-9))
    with_drafts = float(decode_seconds(step, engine, batch)[0, 0])
    without = float(decode_seconds(plain, engine, batch)[0, 0])
    passes = float(draft_seconds(step, Batch(local, max(batch / float(degrees.pp[0]), 1.0)))[0, 0])
    low, high = acceptance_range(drafts, copy.model.name)
    usual = not question.acceptance
    chances = acceptance_by_position(drafts, copy.model.name) if usual else np.array(question.acceptance)
    state = float(snapshot_bytes(table)[0, 0])
    found: dict[str, Any] = {
        "method": label(copy.model, float(drafts)),
        "acceptance": [float(chance) for chance in chances],
        "yields": yields,
        "yields_range": [low, high] if usual else None,
        "gain": yields * without / with_drafts,
        "step_s": with_drafts,
        "plain_step_s": without,
        "draft_s": passes,
        "verify_s": max(with_drafts - without - passes, 0.0),
        "state_copy_bytes": state * drafts * local,
        "published": [
            {key: row[key] for key in ("method", "by_position", "source", "note")}
            for row in published_acceptance(copy.model.name)
        ],
    }
    return found | _by_batch((step, plain), points, index, yields)


def _by_batch(steps: tuple[Any, Any], points: Points, index: int, yields: float) -> dict[str, Any]:
    """Return the gain at batches up to what memory holds, and the batch beyond which nothing is gained."""
    step, plain = steps
    engine = points.found.copy.engine
    most = MOST_SEQUENCES * float(step.table.degrees.dp[0])
    batches = np.exp(np.arange(0.0, np.log(most) + 1e-9, np.log(APART) / 4.0))
    spent = decode_seconds(step, engine, batches[None, :]) / yields
    gain = (decode_seconds(plain, engine, batches[None, :]) / spent)[0]
    capacity = max(float(points.outcome.capacity[index, 0]), 1.0)
    losing = np.flatnonzero(gain < 1.0)
    shown = [place for place in range(0, len(batches), 4) if batches[place] <= capacity]
    return {
        "by_batch": [{"batch": float(batches[place]), "gain": float(gain[place])} for place in shown],
        "no_gain_from": float(batches[losing[0]]) if losing.size else None,
        "capacity": capacity,
    }
