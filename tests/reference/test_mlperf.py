"""MLPerf Inference results that the physics alone, with no fit on them, must come near.

Figures: MLCommons, inference results v6.1 and v6.0, closed division, DeepSeek-R1, Offline, tokens/s per
accelerator, medians over submissions. Input lengths of the data set are not published; 800 tokens are
assumed, and the output length is each row's own mean (3,880).
"""

from __future__ import annotations

import numpy as np
import pytest

from assay.plan import predict
from assay.study.conditions import Conditions, Setting

#: system -> chips, published output tokens/s per accelerator.
OFFLINE = {
    "vr-nvl72": (72, 16435.0),
    "gb300-nvl72": (72, 9259.0),
    "gb200-nvl72": (72, 7361.0),
}


def offline(system: str, chips: int) -> float:
    setting = Setting(
        model="deepseek-r1",
        system=system,
        chips=chips,
        weights="fp4",
        kv="fp8",
        engine="trtllm",
        load="offline",
    )
    found = predict(Conditions.of([setting], {"isl": [800.0], "osl": [3880.0]}), residual=False)
    assert found.reason == ("",)
    return float(np.asarray(found.throughput.value)[0])


@pytest.mark.parametrize("system", OFFLINE)
def test_deepseek_r1_offline(system: str) -> None:
    chips, published = OFFLINE[system]
    assert offline(system, chips) == pytest.approx(published, rel=0.2)


def test_the_ratio_between_generations_is_called_right() -> None:
    """VR200 : GB300 : GB200, each within 20 %; no measurement of a Rubin chip is in any fit."""
    predicted = {name: offline(name, chips) for name, (chips, _) in OFFLINE.items()}
    for newer, older in (("vr-nvl72", "gb300-nvl72"), ("gb300-nvl72", "gb200-nvl72")):
        published = OFFLINE[newer][1] / OFFLINE[older][1]
        assert predicted[newer] / predicted[older] == pytest.approx(published, rel=0.2)
