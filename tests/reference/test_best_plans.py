"""The best deployment of a plan without an engine, against the best that others have measured.

Groups of measured points share chip, model, lengths and number format. What others found best at a speed of
the user is a lower bound of what is possible: nobody has measured every layout. `FOUND` holds tokens/s a chip
of the plan over that, medians over groups, before plans tried engines and spoke in words of the evidence, and
now.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.measure.read import read_all
from assay.measure.records import Record
from assay.plan import answer
from assay.plan.engines import engines
from assay.study.question import Question

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
FILES = [SHARED / "measured" / name for name in ("serving.csv.gz", "inferencex.csv.gz")]

#: Output tokens/s of a user that plans are asked for.
SPEEDS = (30.0, 60.0)
#: Fewest points of a group that was searched widely enough to have a best.
FEWEST = 8
#: (model, system) -> (before, found), medians over groups and speeds.
FOUND: dict[tuple[str, str], tuple[float, float]] = {
    ("deepseek-r1", "gb200-nvl72"): (0.60, 1.24),
    ("deepseek-r1", "hgx-h200-8"): (0.69, 1.47),
    ("deepseek-r1", "mi355x-8"): (1.01, 2.04),
    ("glm-5", "hgx-b200-8"): (0.57, 1.16),
    ("gpt-oss-120b", "hgx-b200-8"): (2.44, 3.59),
    ("gpt-oss-120b", "mi355x-8"): (1.72, 1.82),
    ("kimi-k2.5", "gb200-nvl72"): (0.38, 1.16),
    ("kimi-k2.5", "hgx-b200-8"): (0.37, 0.83),
    ("kimi-k2.5", "mi355x-8"): (1.01, 1.91),
    ("llama-3.3-70b", "hgx-b200-8"): (1.05, 1.34),
    ("minimax-m3", "mi300x-8"): (1.18, 0.91),
    ("qwen3.5-397b-a17b", "hgx-b200-8"): (1.02, 1.23),
}
#: A refit of the calibration moves a median by less.
MOVES = 0.3
Group = tuple[str, str, int, int, str]


@pytest.fixture(scope="module")
def measured() -> dict[Group, list[Record]]:
    """Groups of comparable points, each with at least `FEWEST`."""
    if not all(path.exists() for path in FILES):
        pytest.skip("the collected measurements are not here")
    records = read_all(FILES)
    found = defaultdict(list)
    for row, apart in zip(records.rows, records.apart(), strict=True):
        setting = row.setting
        if apart or setting is None or (setting.model, setting.system) not in FOUND:
            continue
        plain = setting.load == "closed" and setting.phase == "e2e" and not setting.speculation
        if plain and tpot(row) and "throughput" in row.values and {"isl", "osl"} <= set(row.conditions):
            lengths = round(row.conditions["isl"]), round(row.conditions["osl"])
            found[setting.model, setting.system, *lengths, setting.weights].append(row)
    return {group: rows for group, rows in found.items() if len(rows) >= FEWEST}


def tpot(row: Record) -> float:
    return row.values.get("tpot", row.values.get("tpot_median", 0.0))


def best(rows: list[Record], limit: float) -> float:
    """Return the most tokens/s a chip within a limit; 0 where nobody measured near it."""
    near = [row.values["throughput"] for row in rows if 0.6 * limit <= tpot(row) <= limit]
    return max(near, default=0.0)


def planned(group: Group, rows: list[Record], limit: float) -> float:
    """Return what the best row of a plan yields on as many chips, 0 where it misses the limit."""
    model, system, isl, osl, weights = group
    most = max(row.setting.chips for row in rows if row.setting)
    question = Question(
        model,
        platforms=(system,),
        isl=isl,
        osl=osl,
        tpot=limit,
        objective="throughput",
        weights={"nvfp4": "fp4", "mxfp4": "fp4"}.get(weights, weights),
        chips=most,
    )
    row = answer(question).rows[0]
    return float(row.figures["output_tokens_per_s_per_chip"].value) if row.meets else 0.0


@pytest.fixture(scope="module")
def ratios(measured: dict[Group, list[Record]]) -> dict[tuple[str, str], list[float]]:
    """Planned over measured, by (model, system)."""
    found = defaultdict(list)
    for group, rows in measured.items():
        for speed in SPEEDS:
            known = best(rows, 1.0 / speed)
            if known:
                found[group[:2]].append(planned(group, rows, 1.0 / speed) / known)
    return found


def test_plans_are_as_far_from_the_best_measured_deployments_as_the_table_says(
    ratios: dict[tuple[str, str], list[float]],
) -> None:
    found = {key: float(np.median(values)) for key, values in ratios.items()}
    assert set(found) == set(FOUND)
    wrong = {
        key: (value, FOUND[key][1])
        for key, value in found.items()
        if abs(np.log(value / FOUND[key][1])) > MOVES
    }
    assert not wrong


def test_few_plans_stay_behind_what_others_have_measured(
    ratios: dict[tuple[str, str], list[float]],
) -> None:
    """A plan below a measured deployment is wrong: every seventh at most by more than a third."""
    every = np.concatenate([np.array(values) for values in ratios.values()])
    assert np.mean(every < 2.0 / 3.0) < 0.15
    before = np.array([item[0] for item in FOUND.values()])
    now = np.array([np.median(ratios[pair]) for pair in FOUND])
    assert np.sum(now < 0.67) < np.sum(before < 0.67)


@pytest.mark.parametrize(
    ("model", "system", "found"),
    [
        ("deepseek-r1", "gb200-nvl72", ("vllm", "sglang", "trtllm")),
        ("deepseek-r1", "mi355x-8", ("vllm", "sglang", "")),  # most points are of AMD's own engine
        ("kimi-k2.5", "mi355x-8", ("vllm", "")),
        ("kimi-k2", "cloudmatrix384", ("vllm", "")),  # Huawei's own engine: measured with DeepSeek R1
        ("deepseek-r1", "trn2-instance", ("",)),  # measured with AWS's own engine only
        ("deepseek-v4-flash", "mi300x-8", ("sglang",)),  # published: vLLM does not run it there
    ],
)
def test_a_plan_tries_the_engines_that_were_measured(model: str, system: str, found: tuple[str, ...]) -> None:
    known = catalogue()
    assert engines("", model, known.system(system), known) == found
    assert engines("vllm", model, known.system(system), known) == ("vllm",)
