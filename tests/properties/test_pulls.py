"""What a step waits for: the parts add up to its time, and each is the elasticity to its rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.pulls import PARTS, Pulls, decode_pulls, mean_pulls, prompt_pulls
from assay.engine.replica import default_kv, replica
from assay.engine.split import decode_seconds, prompt_seconds
from assay.engine.steady import at_batch
from assay.engine.step import Step, Workload
from assay.llm.layout import Layout
from assay.plan.answer import on
from assay.plan.moves import changed, moves, parts
from assay.study.question import Question

CASES = [
    ("kimi-k2", "gb200-nvl72", "dep16", "vllm"),
    ("deepseek-r1", "h200", "dep16", "sglang"),
    ("llama-3.3-70b", "h100", "tp4pp2", "vllm"),
    ("gpt-oss-120b", "mi355x", "tep4", "trtllm"),
    ("qwen3-235b-a22b", "tpu-v7", "dp4tp2ep8", "vllm"),
    ("minimax-m1", "h200", "tp8", "vllm"),
]
STEP = 1.001


def compiled(name: str, system: System, label: str, made: str) -> Step:
    prepared, _ = model(name)
    layout = (Layout.parse(label),)
    copy = replica(prepared, system, layout, "native", default_kv(system, ""), engine(made))
    return copy.step(Workload(1155.0, 211.0, chunk=engine(made).budget), 0.2)


def faster(system: System, part: str) -> System:
    """Return a system with one rate a little higher."""
    chip = system.chip
    if part == "memory":
        return replace(system, chip=replace(chip, memory_bandwidth=STEP * chip.memory_bandwidth))
    if part == "compute":
        peaks = {name: STEP * rate for name, rate in chip.peak_flops.items()}
        return replace(system, chip=replace(chip, peak_flops=peaks))
    return replace(
        system,
        link_bandwidth=STEP * system.link_bandwidth,
        peer_bandwidth=STEP * system.peer_bandwidth,
        nic_bandwidth=STEP * system.nic_bandwidth if system.nic_bandwidth else None,
    )


def timed(step: Step, made: str, kind: str) -> tuple[Pulls, float]:
    """Return the split of a step and its time from the engine's own sum."""
    settings, batch = engine(made), np.array([[96.0]])
    if kind == "mean":
        state = at_batch(step, settings, batch)
        return mean_pulls(step, settings, state.batch), float((state.tpot * step.workload.yields)[0, 0])
    if kind == "decode":
        return decode_pulls(step, settings, batch), float(decode_seconds(step, settings, batch)[0, 0])
    most = np.maximum(np.floor(settings.budget / step.workload.fresh), 1.0)
    return prompt_pulls(step, settings), float(prompt_seconds(step, settings, most)[0, 0])


@pytest.mark.parametrize("kind", ["mean", "decode", "prompt"])
@pytest.mark.parametrize(("name", "ident", "label", "made"), CASES)
def test_parts_add_up_and_are_elasticities(name: str, ident: str, label: str, made: str, kind: str) -> None:
    system = catalogue().system(ident)
    split, spent = timed(compiled(name, system, label, made), made, kind)
    assert sum(float(split[part][0, 0]) for part in PARTS) == pytest.approx(spent, rel=1e-9)
    total = 0.0
    for part in ("memory", "compute", "link"):
        after = timed(compiled(name, faster(system, part), label, made), made, kind)[1]
        elasticity = -np.log(after / spent) / np.log(STEP)
        assert elasticity == pytest.approx(float(split[part][0, 0]) / spent, abs=0.01)
        total += elasticity
    fixed = sum(float(split[part][0, 0]) for part in ("latency", "overhead", "draft")) / spent
    assert total + fixed == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("ident", ["vr-nvl72", "gb200-nvl72", "h200"])
def test_shares_and_moves_tell_the_same_story(ident: str) -> None:
    """Twice a rate that bounds a share s of the time leaves 1 - s / 2; at the same speed batches grow too.

    How far they grow: hardly on racks near the bound of arithmetic, a lot on nodes that wait for latencies.
    """
    known = catalogue()
    prepared, _ = model("kimi-k2")
    question = Question("kimi-k2", isl=1155, osl=211, ttft=2.0, tpot=0.03)
    choice = on(question, prepared, known.system(ident), known).choices[0]
    shares, factors = parts(choice.points, choice.index), moves(choice.points, choice.index)
    assert sum(shares.values()) == pytest.approx(1.0)
    names = {"memory bandwidth x2": "memory bandwidth", "compute x2": "compute", "links x2": "links"}
    for change, name in names.items():
        expected = 1.0 / (1.0 - shares[name] / 2.0)
        assert factors[change] > 0.95 * expected, (change, shares)
        if ident != "h200":
            assert factors[change] == pytest.approx(expected, rel=0.12), (change, shares)


def test_changes_double_what_they_name() -> None:
    system = catalogue().system("h200")
    assert changed(system, "links x2").link_bandwidth == 2 * system.link_bandwidth
    assert changed(system, "memory bandwidth x2").chip.memory_bandwidth == 2 * system.chip.memory_bandwidth
