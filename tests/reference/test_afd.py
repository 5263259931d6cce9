"""Attention and experts on chips of their own against what Step-3 published (arXiv 2507.19427)."""

from __future__ import annotations

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.engine.afd import Parts, parts
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.step import Workload
from assay.llm.layout import Layout
from assay.plan.predict import skew

#: Output tokens/s a GPU, 4,096 tokens of context, at most 50 ms a token, no drafts.
PUBLISHED = 4039.0
BATCH = np.exp(np.linspace(0.0, np.log(16384.0), 60))


def timed(limit: float = 0.05) -> tuple[Parts, np.ndarray]:
    """Return Step-3 on H800 in fp8 with every ratio of up to 48 chips, and tokens/s a chip within a limit."""
    prepared, _ = model("step-3")
    system = catalogue().system("h800-sxm-8")
    attention = tuple(Layout(tp=tp, dp=chips // tp) for chips in (8, 16, 24, 32, 48) for tp in (1, 2, 4, 8))
    experts = tuple(Layout(dp=chips, ep=chips) for chips in (8, 16, 24, 48))
    found = parts(
        prepared,
        (system, system),
        (attention, experts),
        ("fp8", "fp8"),
        engine("sglang"),
        Workload(4096.0, 1.0),
        skew(),
        batch=BATCH,
    )
    rate = np.where(found.fits & (found.tpot <= limit), found.batch / found.tpot / found.chips, 0.0)
    return found, rate


def test_step_3_within_a_fifth() -> None:
    _, rate = timed()
    assert float(rate.max()) == pytest.approx(PUBLISHED, rel=0.2)


def test_step_3_takes_three_turns_on_two_balanced_halves() -> None:
    """The paper's deployment: as many expert chips as attention chips, each busy a third of 50 ms."""
    found, rate = timed()
    place = np.unravel_index(int(np.argmax(rate)), rate.shape)
    attention = found.attention.table.layouts[int(place[0])]
    experts = found.experts.table.layouts[int(place[1])]
    assert attention.chips == experts.chips == 16
    assert np.broadcast_to(found.turns, rate.shape)[place] == 3
    busy = [float(np.broadcast_to(item, rate.shape)[place]) for item in (found.attending, found.computing)]
    assert busy == pytest.approx([0.0166, 0.0166], rel=0.15)
