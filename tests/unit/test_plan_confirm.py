"""`assay plan --confirm`: rows of a plan beside what the simulator says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.plan import answer
from assay.plan.confirm import caching, confirm, offered
from assay.simulate.deployment import Stated, StatedPool
from assay.study.question import Caches, Question

PLAN = ("plan", "llama-3.1-8b", "--on", "h100")


def test_the_run_meets_the_prediction_where_both_know_the_same() -> None:
    # equal lengths, middle load: what is left apart is the correction of the plan and the queue
    question = Question("llama-3.1-8b", ("h100",), isl=512, osl=128, concurrency=32, serving="aggregated")
    (found,) = confirm(answer(question))
    assert found.users == 32
    for name in ("ttft_s", "tpot_s"):
        figure = found.figures[name]
        assert figure["low"] < figure["predicted"] <= figure["high"]
        assert figure["p50"] <= figure["p99"]
    tpot = found.figures["tpot_s"]
    assert tpot["low"] < tpot["mean"] < tpot["high"]
    each = found.figures["output_tokens_per_s_per_chip"]
    assert each["mean"] == pytest.approx(each["predicted"], rel=0.3)
    assert found.holds


def test_limits_that_only_means_hold_are_told_apart() -> None:
    plan = answer(Question("llama-3.1-8b", ("h100",), isl=512, osl=128, rate=10.0, serving="aggregated"))
    (free,) = confirm(plan)
    p50 = free.figures["ttft_s"]["p50"]
    # the same row under a limit that half of the requests miss
    limited = Question("llama-3.1-8b", ("h100",), isl=512, osl=128, rate=10.0, ttft=p50, serving="aggregated")
    (strict,) = confirm(replace(plan, question=limited))
    assert 0.3 < strict.good_share < 0.7
    assert strict.goodput_per_s < free.goodput_per_s
    (missed,) = confirm(replace(plan, question=replace(limited, ttft=p50 / 10)))
    assert missed.holds is False
    assert missed.good_share == 0.0


def test_the_load_is_that_of_the_row() -> None:
    question = Question("llama-3.1-70b", ("h200",), rate=20.0, serving="disaggregated")
    row = answer(question).rows[0]
    # Little's law: requests in flight are the rate times the time of one
    time = row.figures["ttft_s"].value + row.figures["tpot_s"].value * question.osl
    assert row.streams(question.osl) == pytest.approx(20.0 * time, rel=0.03)


def test_lengths_are_those_of_the_workload() -> None:
    chat = offered(Question("m", isl=1155, osl=211, workload="chat"), 1)
    assert chat.isl.std() > 500
    assert chat.isl.mean() == pytest.approx(1155, rel=0.1)
    plain = offered(Question("m", isl=1155, osl=211), 200)
    assert set(plain.isl) == {1155}
    assert len(plain) == 4000


def test_hits_and_yields_are_those_of_the_row() -> None:
    question = Question(
        "llama-3.1-8b", ("h100",), isl=4096, osl=128, rate=10.0, serving="aggregated", speculation="mtp",
        caches=Caches(hit_rate=0.75), acceptance=(0.0, 0.0, 0.0),
    )  # fmt: skip
    (none,) = confirm(answer(question))
    (usual,) = confirm(answer(replace(question, acceptance=())))
    (whole,) = confirm(answer(replace(question, acceptance=(), caches=None)))
    assert none.figures["tpot_s"]["mean"] > 1.5 * usual.figures["tpot_s"]["mean"]
    assert usual.figures["ttft_s"]["mean"] < 0.5 * whole.figures["ttft_s"]["mean"]


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Return a trace, ten requests a second: one in two repeats one of eight prefixes of 2,048 tokens."""
    rows = []
    for k in range(400):
        first = (
            [8 * (k // 2 % 8) + block for block in range(4)]
            if k % 2
            else [1000 + 8 * k + b for b in range(4)]
        )
        blocks = [*first, *(10_000 + 8 * k + block for block in range(4))]
        rows.append(
            json.dumps({"timestamp": 100 * k, "input_length": 4096, "output_length": 64, "hash_ids": blocks})
        )
    path = tmp_path / "mooncake.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def test_a_trace_is_replayed_with_its_blocks(trace: str) -> None:
    caches = Caches(trace=trace, router="round-robin")
    question = Question(
        "llama-3.1-8b", ("h100",), isl=4096, osl=64, rate=5.0, serving="aggregated", caches=caches
    )
    traffic = offered(question, 1)
    assert len(traffic) == 400
    assert traffic.span == pytest.approx(399 / 400 * 400 / 5, rel=0.01)
    assert traffic.blocks is not None
    (found,) = confirm(answer(question))
    assert found.requests == 400
    hit = found.figures["hit_rate"]
    # a quarter of the input tokens is a prefix seen before, but for the first time that it comes
    assert hit["mean"] == pytest.approx(0.25, abs=0.02)
    assert hit["predicted"] == pytest.approx(hit["mean"], abs=0.03)
    longer = replace(question, isl=8192)
    assert offered(longer, 1).isl.mean() == pytest.approx(8192)
    with pytest.raises(BadInput, match="fits the context"):
        offered(replace(question, model="llama-2-7b"), 1)


def test_tiers_of_the_question_stand_behind_each_replica(trace: str) -> None:
    known = catalogue()
    stated = Stated((StatedPool(Layout.parse("tp4"), system="hgx-h100-8", replicas=2),))
    asked = Caches(trace=trace, router="prefix", host=1e12, host_bandwidth=5e10)
    found = caching(stated, asked, known)
    (tier,) = found.pools[0].tiers
    assert (found.router, tier.name, tier.bytes, tier.bandwidth) == ("prefix", "host", 5e11, 2e11)
    assert caching(stated, Caches(hit_rate=0.5), known) == stated


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*PLAN, "--rate", "10", "--confirm", "--top", "2"]) == 0
    page = capsys.readouterr().out
    assert page.count("means hold the limits at 10 requests/s") == 1
    assert "predicted" in page
    assert max(map(len, page.splitlines())) <= 100
    assert run([*PLAN, "--rate", "10", "--confirm", "2", "--top", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [item["row"] for item in found["confirmed"]] == [0, 1]
    assert found["confirmed"][0]["deployment"] == found["rows"][0]["deployment"]
    assert found["confirmed"][0]["figures"]["ttft_s"]["p99"] > 0
    assert run([*PLAN, "--json"]) == 0
    assert "confirmed" not in json.loads(capsys.readouterr().out)


def test_what_cannot_be_simulated_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "llama-3.1-8b", "--on", "groqrack", "--confirm"]) == 0
    assert "not simulated: GroqRack pipelines its layers" in " ".join(capsys.readouterr().out.split())
    assert run([*PLAN, "--confirm", "0"]) == 2
    assert "zero" in capsys.readouterr().err
