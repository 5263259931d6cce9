"""Placeholder until the calibrated residual lands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from assay.estimate import Estimate
from assay.study.conditions import Conditions, Predictions


def corrected(conditions: Conditions, raw: Predictions, table: Any) -> Predictions:
    def widen(e: Estimate, up: bool) -> Estimate:
        v = np.asarray(e.value)
        low, high = v * 0.7, v * 1.4
        return Estimate(v, low, high, e.floor, "datasheet")

    return replace(raw, **{n: widen(getattr(raw, n), True) for n in ("tpot", "ttft", "throughput", "e2e", "ttft_median", "joules")})
