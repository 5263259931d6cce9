"""Attention and experts on chips of their own: the pipeline, what is held where, and the plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.engine.afd import TURNS, Parts, halves, parts
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import drafter_operators
from assay.engine.step import Workload
from assay.errors import BadInput
from assay.llm.formats import weight_formats
from assay.llm.layout import Layout
from assay.llm.memory import weight_bytes
from assay.plan import answer
from assay.report.launch.setting import setting
from assay.report.launch.support import Unsupported
from assay.study.answer import Row
from assay.study.question import Caches, Question

KIMI = Question("kimi-k2", platforms=("gb200-nvl72",), isl=2048, osl=512, serving="afd", tpot=0.03)


def timed(systems: tuple[str, str] = ("gb200-nvl72", "gb200-nvl72")) -> Parts:
    prepared, _ = model("kimi-k2")
    first, last = (catalogue().system(name) for name in systems)
    return parts(
        prepared,
        (first, last),
        ((Layout(dp=8), Layout(tp=2, dp=8), Layout(dp=32)), (Layout(dp=16, ep=16), Layout(dp=32, ep=32))),
        ("native", "fp8"),
        engine("sglang"),
        Workload(2048.0, 512.0),
        0.1,
        batch=np.array([1.0, 64.0, 1024.0, 8192.0]),
    )


def best(question: Question) -> Row:
    return answer(question).rows[0]


def test_a_micro_batch_waits_for_the_busiest_or_goes_its_own_way() -> None:
    found = timed()
    own = found.attending + found.computing + 2 * found.crossing
    busiest = np.maximum(np.maximum(found.attending, found.computing), found.crossing)
    for index, turns in enumerate(TURNS):
        expected = np.maximum(turns * busiest, own)[:, :, 0, :]
        assert found.tpot[:, :, index, :] == pytest.approx(expected)
    # one micro-batch leaves one side idle: two never take twice as long
    assert np.all(found.tpot[:, :, 1] < 2 * found.tpot[:, :, 0])
    assert np.all(found.tpot >= found.least)


def test_the_halves_hold_the_whole_model_once() -> None:
    prepared, _ = model("kimi-k2")
    attention, experts = halves(prepared)
    assert not {item.name for item in attention.operators} & {item.name for item in experts.operators}
    assert not experts.caches
    found = timed()
    chips = found.experts.table.degrees.chips
    shared = found.attention.table.weight_bytes[0]
    # 16 expert chips: the routed experts once, what is shared on every chip
    total = weight_bytes(prepared.architecture, weight_formats(prepared.architecture))
    assert found.experts.table.weight_bytes[0] * chips[0] + shared > total
    assert found.experts.table.weight_bytes[0] < 0.1 * total
    assert shared < 0.02 * total


def test_the_cache_bounds_the_batch_on_the_attention_chips() -> None:
    found = timed()
    room = found.attention.capacity(np.array([[2304.0]]))[:, 0]
    held = np.broadcast_to(found.batch, found.fits.shape)
    for row, most in enumerate(room):
        assert np.all(held[row][found.fits[row]] <= most)
    assert not np.all(found.fits)


def test_chips_of_two_systems_talk_over_their_nics() -> None:
    together, apart = timed(), timed(("gb200-nvl72", "h200"))
    assert np.all(apart.crossing > together.crossing)


def mixtral(experts: Layout, system: str = "hgx-a100-8") -> Parts:
    prepared, _ = model("mixtral-8x22b")
    chips = catalogue().system(system)
    return parts(
        prepared,
        (chips, chips),
        ((Layout(tp=2, dp=8),), (experts,)),
        ("bf16", "bf16"),
        engine("trtllm"),
        Workload(571.0, 159.0),
        0.1,
        batch=np.array([2048.0]),
    )


def test_one_expert_a_node_is_a_plain_product() -> None:
    """Two experts a chip run as grouped products, which reach two fifths of a plain one's rate on A100."""
    pair, single = mixtral(Layout(dp=4, ep=4)), mixtral(Layout(dp=8, ep=8))
    halved = float(pair.computing.max() / single.computing.max())
    assert halved > 2.0


def test_chips_of_an_expert_node_share_its_columns() -> None:
    one, two = mixtral(Layout(dp=8, ep=8)), mixtral(Layout(tp=2, dp=8, ep=8))
    weights = [found.experts.table.weight_bytes[0] for found in (one, two)]
    assert weights[0] == pytest.approx(2.0 * weights[1])
    # what they gather and reduce costs more than nothing
    gain = float(one.computing.max() / two.computing.max())
    assert 1.5 < gain < 2.0
    assert float(two.crossing.max()) <= float(one.crossing.max())


def test_rows_cross_in_16_bits_where_experts_compute_in_16() -> None:
    bf16, fp8 = (
        parts(
            model("mixtral-8x22b")[0],
            (catalogue().system("h100"),) * 2,
            ((Layout(tp=2, dp=8),), (Layout(dp=8, ep=8),)),
            (weights, "fp8"),
            engine("trtllm"),
            Workload(571.0, 159.0),
            0.1,
            batch=np.array([4096.0]),
        )
        for weights in ("bf16", "fp8")
    )
    ratio = float(bf16.crossing.max() / fp8.crossing.max())
    assert 1.2 < ratio <= 4.0 / 3.0


def drafted(name: str, drafts: float, yields: float) -> Parts:
    prepared, _ = model(name)
    chips = catalogue().system("gb200-nvl72")
    return parts(
        prepared,
        (chips, chips),
        ((Layout(dp=16),), (Layout(dp=16, ep=16),)),
        ("native", "fp8"),
        engine("sglang"),
        Workload(2048.0, 512.0, drafts=drafts, yields=yields),
        0.1,
        batch=np.array([16.0, 4096.0]),
    )


@pytest.mark.parametrize("name", ["deepseek-r1", "kimi-k2"])
def test_drafts_gain_where_few_sequences_wait_on_weights(name: str) -> None:
    """A model's own head has experts, on the expert chips; an EAGLE-type head stays with attention."""
    plain, drafting, wrong = (drafted(name, *way) for way in ((0.0, 1.0), (1.0, 1.8), (1.0, 1.0)))
    gain = (plain.tpot / drafting.tpot)[0, 0, 2]
    assert 1.0 < gain[0] < 1.8
    assert gain[1] < gain[0]
    # a draft that is never taken costs its pass and its rows
    assert np.all(wrong.tpot > plain.tpot)
    assert wrong.tpot == pytest.approx(1.8 * drafting.tpot)
    assert np.all(wrong.crossing > 1.5 * plain.crossing - 1e-3)
    assert np.all(drafting.tpot >= drafting.least)


def test_the_experts_of_a_draft_head_stand_with_the_others() -> None:
    prepared, _ = model("deepseek-r1")
    head = replace(prepared, operators=drafter_operators(prepared), caches=())
    attention, experts = halves(head)
    assert any(item.experts and item.kind == "experts" for item in experts.operators)
    assert not any(item.kind == "experts" for item in attention.operators)


def test_a_plan_says_that_it_drafts() -> None:
    quick = replace(KIMI, model="deepseek-r1", tpot=0.01, objective="latency")
    plain, drafting = best(quick), best(replace(quick, speculation="mtp"))
    assert drafting.deployment.speculation.startswith("MTP")
    assert "MTP" in drafting.deployment.label()
    assert drafting.figures["tpot_s"].value < plain.figures["tpot_s"].value
    free = best(replace(quick, speculation="auto"))
    assert free.figures["tpot_s"].value <= drafting.figures["tpot_s"].value


def test_a_plan_finds_the_ratio_and_feeds_it() -> None:
    row = best(KIMI)
    deployment = row.deployment
    assert deployment.prefill is not None
    assert deployment.experts is not None
    assert "attention" in deployment.label()
    assert "experts" in deployment.label()
    decode = (deployment.layout.chips + deployment.experts.layout.chips) * deployment.replicas
    assert row.chips == deployment.prefill.chips + decode
    assert row.figures["tpot_s"].value <= 0.03
    for figure in row.figures.values():
        assert figure.low <= figure.value <= figure.high


def test_a_plan_leaves_chips_for_the_prompts() -> None:
    """Within one rack of 72: the decode pool is not the largest that fits it."""
    row = best(KIMI)
    assert row.chips <= 72
    assert row.deployment.prefill is not None
    assert row.deployment.prefill.chips >= 0.1 * row.chips


def test_no_launch_file_pretends_to_run_it() -> None:
    with pytest.raises(Unsupported, match="attention and experts"):
        setting(best(KIMI), KIMI, "vllm")


def test_experts_may_stand_on_another_system() -> None:
    row = best(replace(KIMI, platforms=("h20",), experts_platform="h200"))
    assert row.deployment.experts_system == "hgx-h200-8"
    assert "experts on hgx-h200-8" in row.deployment.label()


def test_what_has_no_experts_or_no_attention_is_refused() -> None:
    with pytest.raises(BadInput, match="no experts"):
        answer(replace(KIMI, model="llama-3.3-70b"))
    with pytest.raises(BadInput, match="need attention and experts apart"):
        answer(replace(KIMI, serving="both", experts_platform="h200"))
    with pytest.raises(BadInput, match="Prefix caches"):
        answer(replace(KIMI, caches=Caches()))
    assert "attention and experts apart" in answer(replace(KIMI, platforms=("cs3",))).refused[0].reason
    named = answer(replace(KIMI, experts_platform="lpx")).refused[0].reason
    assert "nic_bandwidth" in named
