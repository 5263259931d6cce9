"""What `assay validate` and `assay calibrate` share: the predictor, and what the user states about points."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from assay.llm.layout import Layout
from assay.study.conditions import Conditions, Predictions


def predictor(*, residual: bool = True) -> Callable[[Conditions], Predictions]:
    """Return the engine's prediction, with or without the calibrated correction."""
    from assay.plan.predict import predict

    def run(conditions: Conditions) -> Predictions:
        found: Predictions = predict(conditions, residual=residual)
        return found

    return run


def use(facts: Sequence[Path] | None) -> None:
    """Lay the user's own facts over the catalogue for everything that follows."""
    if facts:
        kept = os.environ.get("ASSAY_FACTS", "")
        os.environ["ASSAY_FACTS"] = os.pathsep.join(
            [*(str(path) for path in facts), *([kept] if kept else [])]
        )


def stated(
    on: str | None,
    chips: str | None,
    model: str | None,
    layout: str | None,
    engine: str | None,
    weights: str | None,
    kv: str | None,
) -> dict[str, str]:
    """Return what the user states about every point, under the names of the columns of points."""
    out = {
        "accelerator": on,
        "n_accelerators": chips,
        "model": model,
        "framework": engine,
        "quant": weights,
        "kv_dtype": kv,
    }
    given = {name: value for name, value in out.items() if value}
    if layout:
        degrees = Layout.parse(layout)
        given |= {"tp": str(degrees.stage), "pp": str(degrees.pp), "ep": str(degrees.ep)}
        if degrees.dp > 1:
            given |= {"dp": str(degrees.dp), "dp_attention": "True"}
        given.setdefault("n_accelerators", str(degrees.chips))
    return given
