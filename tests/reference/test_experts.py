"""Expert imbalance with and without redundant experts, against a published table.

TensorRT-LLM tech blog 4, table 1: DeepSeek R1 (256 experts, 8 a token), layer 36, machine translation, 1,024
tokens a rank on 32 GB200. Imbalance ratio = (max - mean) / mean.
"""

from __future__ import annotations

import numpy as np
import pytest

from assay.engine.redundancy import excess, expert_loads, measured_variation
from assay.engine.routing import imbalance

TOKENS = 1024.0


def total(left: float, ranks: int) -> float:
    """Return the imbalance ratio with what chance adds to what placement leaves."""
    return float(imbalance(TOKENS * ranks / 8.0, 8.0, float(ranks), left)) - 1.0


@pytest.mark.parametrize(("ranks", "published"), [(32, 0.109), (36, 0.115)])
def test_with_32_copies(ranks: int, published: float) -> None:
    assert total(excess(256, 32, ranks, measured_variation()), ranks) == pytest.approx(published, rel=0.25)


def test_without_balancing() -> None:
    loads, rng = np.array(expert_loads(256, measured_variation())), np.random.default_rng(0)
    ranks = [rng.permutation(loads).reshape(32, 8).sum(axis=1) for _ in range(400)]
    left = float(np.mean([rank.max() / rank.mean() - 1.0 for rank in ranks]))
    assert total(left, 32) == pytest.approx(1.564, rel=0.2)


def test_the_hottest_expert() -> None:
    assert max(expert_loads(256, measured_variation())) - 1.0 == pytest.approx(10.948, rel=0.15)
