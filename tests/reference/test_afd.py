"""Attention and experts on chips of their own against what two papers published.

Step-3 (arXiv 2507.19427) gives tokens/s a chip, MegaScale-Infer (arXiv 2504.02263) factors over replicas.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from assay.catalogue.load import catalogue
from assay.engine.afd import Parts, parts
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import Model, replica
from assay.engine.split import decode_seconds
from assay.engine.step import Workload
from assay.llm.architecture import Architecture
from assay.llm.layout import Layout
from assay.plan.predict import skew

MEGASCALE = yaml.safe_load((Path(__file__).parent / "afd.yaml").read_text(encoding="utf-8"))
ROWS = {row["name"]: row for row in MEGASCALE["models"]}
#: Of its workload: tokens in and out, and cache positions half way through an answer.
WORK = Workload(571.0, 159.0)
HELD = 571.0 + 159.0 / 2.0

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


def prepared(row: dict[str, Any]) -> Model:
    return Model.of(row["name"], Architecture.from_dict(row["architecture"]))


@lru_cache(maxsize=8)
def apart(name: str) -> np.ndarray:
    """Return the most output tokens/s a chip with one to four micro-batches, any plan, (M,)."""
    row = ROWS[name]
    system = catalogue().system("hgx-a100-8")
    many = row["architecture"]["ffn"]["moe"]["n_routed"]
    attention = tuple(Layout(tp=tp, dp=k // tp) for k in (4, 8, 16, 24, 32) for tp in (1, 2, 4))
    experts = tuple(Layout(tp=tp, dp=many, ep=many) for tp in (1, 2, 4) if many * tp <= 32)
    found = parts(
        prepared(row),
        (system, system),
        (attention, experts),
        ("bf16", "bf16"),
        engine("trtllm"),
        WORK,
        skew(),
        batch=BATCH,
        limit=MEGASCALE["chips"],
    )
    usable = found.fits & (found.tpot <= MEGASCALE["limit"])
    rate = np.where(usable, found.batch / found.tpot / found.chips, 0.0)
    return np.asarray(rate.max(axis=(0, 1, 3)))


def whole(name: str) -> float:
    """Return the most output tokens/s a chip of whole replicas in the layouts of the compared engines."""
    row = ROWS[name]
    layouts = tuple(Layout.parse(text) for text in row["layouts"])
    settings = engine("trtllm")
    copy = replica(prepared(row), catalogue().system("hgx-a100-8"), layouts, "bf16", "bf16", settings)
    batch = np.minimum(BATCH[None, :], np.maximum(copy.capacity(np.array([[HELD]])), 1.0))
    spent = decode_seconds(copy.step(WORK, skew()), settings, batch)
    rate = batch / spent / copy.table.degrees.chips[:, None]
    return float(np.max(np.where(spent <= MEGASCALE["limit"], rate, 0.0)))


@pytest.mark.parametrize("name", ROWS)
def test_the_models_of_megascale_recompute(name: str) -> None:
    total = sum(item.weights * item.count for item in prepared(ROWS[name]).operators) / 1e9
    assert total == pytest.approx(ROWS[name]["total"], rel=0.01)


def test_megascale_against_replicas_over_two_nodes() -> None:
    """1.90, the factor that the paper is known for: a model of 317 B that no single node holds."""
    published, _ = ROWS["Scaled-MoE"]["figures"]
    assert float(apart("Scaled-MoE").max()) / whole("Scaled-MoE") == pytest.approx(published, rel=0.2)


@pytest.mark.parametrize("name", ["Mixtral 8x22B", "DBRX"])
def test_megascale_against_replicas_in_one_node(name: str) -> None:
    """Between the two engines it was compared with: 1.28 over the better one, 2.56 over the other."""
    better, other = ROWS[name]["figures"]
    assert better < float(apart(name).max()) / whole(name) < other


@pytest.mark.parametrize("name", ROWS)
def test_megascale_gains_by_micro_batches(name: str) -> None:
    one, two, three, four = apart(name)
    assert two / one == pytest.approx(1.9, rel=0.15)
    assert three / two == pytest.approx(ROWS[name]["turns"], rel=0.2)
    assert four < 1.05 * three
