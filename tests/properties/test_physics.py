"""Physics that must hold for every model and platform of the catalogue, whatever the calibration says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.breakdown import breakdown
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import Model, Replica, default_kv, replica
from assay.engine.steady import at_batch
from assay.engine.step import Batch, Step, Workload, compile_step, seconds
from assay.errors import AssayError
from assay.llm.layout import Layout
from assay.llm.shard import Degrees, share
from assay.plan.moves import CHANGES, changed
from assay.plan.predict import predict
from assay.plan.space import layouts, shape
from assay.study.conditions import Conditions, Setting

#: One model of each kind of operator in the catalogue.
MODELS = (
    "kimi-k2",
    "deepseek-v3.2",
    "deepseek-v4-pro",
    "deepseek-v4.1-flash",
    "qwen3-235b-a22b",
    "qwen3.5-397b-a17b",
    "kimi-k3",
    "gpt-oss-120b",
    "llama-3.3-70b",
    "minimax-m1",
    "minimax-m3",
    "nemotron-3-ultra-550b-a55b",
    "longcat-flash",
    "gemma-3-12b",
)
PLATFORMS = ("h100", "gb200-nvl72", "mi300x", "tpu-v7", "trn2", "gaudi3", "cloudmatrix384", "rtx-4090")
BATCHES = np.array([[1.0, 3.0, 17.0, 100.0, 700.0]])
WORK = Workload(isl=3000.0, osl=700.0, chunk=8192.0)


def steps(name: str, system: System) -> tuple[Model, Replica, Step]:
    prepared, _ = model(name)
    legal = tuple(layouts(shape(prepared.architecture), system, 64))
    copy = replica(prepared, system, legal, "native", default_kv(system, ""), engine())
    return prepared, copy, copy.step(WORK, 0.1)


def batch_of(step: Step) -> Batch:
    degrees = step.table.degrees
    each = np.ceil(BATCHES / (degrees.dp * degrees.pp)[:, None])
    return Batch(each, np.maximum(BATCHES / degrees.pp[:, None], 1.0))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", MODELS)
def test_no_step_beats_the_floor(name: str, platform: str) -> None:
    _, _, step = steps(name, catalogue().system(platform))
    parts = breakdown(step, batch_of(step))
    spent = seconds(step, batch_of(step))
    assert np.all(np.isfinite(spent))
    assert np.all(parts.floor > 0)
    assert np.all(spent >= parts.floor)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["kimi-k2", "llama-3.3-70b", "qwen3.5-397b-a17b"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_better_chip_is_never_slower(change: str, name: str, platform: str) -> None:
    system = catalogue().system(platform)
    _, copy, step = steps(name, system)
    better = compile_step(copy.table, changed(system, change), WORK, 0.1)
    before, after = seconds(step, batch_of(step)), seconds(better, batch_of(step))
    assert np.all(after <= before * (1 + 1e-9))


@pytest.mark.parametrize("name", MODELS)
def test_tp1_is_the_unsharded_model(name: str) -> None:
    prepared, _ = model(name)
    degrees = Degrees.of([Layout()])
    for operator in prepared.operators:
        weights, work = share(operator, degrees)
        assert weights[0] == work[0] == 1.0
    system = catalogue().system("h100")
    copy = replica(prepared, system, (Layout(),), "native", "bf16", engine())
    stored = sum(kernel.weight_bytes[0, 0] for kernel in copy.table.kernels)
    assert copy.table.weight_bytes[0] == pytest.approx(stored)
    assert all(np.all(message.launches == 0) for message in copy.table.messages)


@pytest.mark.parametrize("name", MODELS)
def test_shards_hold_the_whole_model(name: str) -> None:
    """The chips of a replica together hold at least the model, and replicate only what must be."""
    prepared, _ = model(name)
    system = catalogue().system("gb200-nvl72")
    legal = tuple(layouts(shape(prepared.architecture), system, 64))
    table = replica(prepared, system, (Layout(), *legal), "native", "bf16", engine()).table
    whole = table.weight_bytes[0]
    assert np.all(table.weight_bytes[1:] * table.degrees.chips[1:] >= whole * (1 - 1e-9))
    assert np.all(table.weight_bytes <= whole * (1 + 1e-9))


@pytest.mark.parametrize("name", ["kimi-k2", "llama-3.3-70b"])
def test_longer_contexts_and_larger_batches_cost_more(name: str) -> None:
    system = catalogue().system("h200")
    _, copy, step = steps(name, system)
    longer = compile_step(copy.table, system, replace(WORK, isl=6000.0), 0.1)
    batch = batch_of(step)
    assert np.all(seconds(longer, batch) >= seconds(step, batch))
    state = at_batch(step, engine(), BATCHES)
    assert np.all(np.diff(state.tpot, axis=1) >= -1e-12)


@pytest.mark.parametrize("beams", [2, 4])
def test_beams_cost_what_as_many_requests_cost_but_share_their_prompt(beams: int) -> None:
    """A decode step of b beams is that of b sequences; only its floor may read a shared prompt once."""
    copy = steps("gpt-j-6b", catalogue().system("h100"))[1]
    batch = Batch(np.full((1, 1), 32.0), np.full((1, 1), 32.0))
    more = Batch(beams * np.full((1, 1), 32.0), beams * np.full((1, 1), 32.0))
    searched, plain = copy.step(replace(WORK, beams=float(beams)), 0.1), copy.step(WORK, 0.1)
    assert np.allclose(seconds(searched, batch), seconds(plain, more))
    floors = [
        breakdown(step, each).floor for step, each in ((searched, batch), (plain, more), (plain, batch))
    ]
    assert np.all(floors[0] <= floors[1])
    assert np.all(floors[0] >= floors[2])


def test_a_limit_on_whole_requests_costs_throughput() -> None:
    setting = Setting("llama-3.3-70b", "h100", 8, load="goodput")
    columns = {"isl": [800.0] * 3, "osl": [300.0] * 3, "e2e_limit": [np.nan, 20.0, 8.0]}
    found = predict(Conditions.of([setting] * 3, columns), residual=False)
    free, loose, tight = np.asarray(found.throughput.value)
    assert free >= loose > tight > 0
    assert np.asarray(found.e2e.value)[2] <= 8.0


def test_every_platform_answers_or_says_why() -> None:
    prepared, _ = model("llama-3.1-8b")
    answered, refused = 0, []
    for name in catalogue().systems():
        try:
            system = catalogue().system(name)
            if system.chip.kind == "dataflow":
                continue
            copy = replica(prepared, system, (Layout(),), "native", "bf16", engine())
            spent = seconds(copy.step(WORK, 0.0), Batch(1.0, 1.0))
        except AssayError as error:
            refused.append(str(error))
            continue
        assert np.isfinite(spent).all()
        answered += 1
    assert answered >= 30
    assert all(len(reason) > 20 for reason in refused)
