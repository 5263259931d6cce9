"""The space of deployments of a model: closed-form search, Pareto fronts, best under an SLO."""

from __future__ import annotations

from assay.plan.answer import answer
from assay.plan.estimate import estimate
from assay.plan.predict import predict

__all__ = ["answer", "estimate", "predict"]
