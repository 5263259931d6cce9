"""Prefix caches in estimate and plan: room, routers, tiers, snapshots, and input apart."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.cli import run
from assay.engine.kv import host_bandwidth, position_bytes, room, snapshot_bytes, snapshot_tokens
from assay.engine.models import model
from assay.engine.overheads import engine
from assay.engine.replica import replica
from assay.errors import BadInput, NoEvidence
from assay.llm.layout import Layout
from assay.llm.operators import Cache
from assay.plan import answer, estimate
from assay.plan.caches import reuse
from assay.report.launch.emit import best
from assay.study.answer import Row
from assay.study.question import Caches, Question

BLOCK = 512
SESSIONS, TURNS = 201, 6


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sessions in turn, each turn longer by four blocks: a cache must hold all sessions to find any."""
    path = tmp_path_factory.mktemp("traces") / "sessions.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for turn in range(TURNS):
            for session in range(SESSIONS):
                count = 4 * (turn + 1)
                row = {
                    "timestamp": 1000 * (turn * SESSIONS + session),
                    "input_length": count * BLOCK,
                    "output_length": 100,
                    "hash_ids": [session * 1000 + place for place in range(count)],
                }
                file.write(json.dumps(row) + "\n")
    return str(path)


def one(caches: Caches | None, layout: str = "tp8", system: str = "h200", **given: object) -> Row:
    asked = {"model": "llama-3.3-70b", "isl": 7168, "osl": 100, "concurrency": 8} | given
    return estimate(Question(caches=caches, **asked), system, layout).rows[0]  # type: ignore[arg-type]


def rate(row: Row) -> float:
    return float(row.figures["output_tokens_per_s_per_chip"].value)


def test_hits_make_prompts_shorter_and_chips_faster(trace: str) -> None:
    plain, cached = one(None), one(Caches(trace=trace))
    assert cached.cache["hit"] > 0.5
    assert rate(cached) > rate(plain)
    assert cached.figures["ttft_s"].value < plain.figures["ttft_s"].value
    assert cached.cache["seconds_saved"] > 0
    assert not plain.cache


def test_more_running_sequences_leave_less_room(trace: str) -> None:
    held = [one(Caches(trace=trace), concurrency=users).cache["tiers"][0]["tokens"] for users in (1, 16, 128)]
    assert held == sorted(held, reverse=True)
    assert held[0] > held[-1]


def test_round_robin_finds_less_than_a_router_that_knows(trace: str) -> None:
    shares = [
        one(Caches(trace=trace, router=name), layout="dp8tp1", model="llama-3.1-8b").cache["hit"]
        for name in ("prefix", "round-robin")
    ]
    assert shares[0] > shares[1] + 0.1


def test_a_lower_tier_finds_what_memory_does_not_hold(trace: str) -> None:
    small = one(Caches(trace=trace), layout="tp2", system="h100", concurrency=2, weights="fp8")
    large = one(Caches(trace=trace, host=8e12), layout="tp2", system="h100", concurrency=2, weights="fp8")
    hbm, host = large.cache["tiers"]
    assert small.cache["hit"] < 0.2
    assert large.cache["hit"] > 0.6
    assert host["tokens"] > hbm["tokens"]
    assert host["bytes_per_s"] == pytest.approx(51e9)
    # 80 layers, 8 KV heads over two ranks, 128 wide, keys and values in fp8
    assert host["seconds_per_token"] == pytest.approx(80 * 4 * 128 * 2 / 51e9)
    loaded = host["hit"] * 7168 * host["seconds_per_token"]
    assert large.cache["seconds_fetch"] >= loaded


def test_computing_again_is_chosen_where_loading_takes_longer(trace: str) -> None:
    slow = one(
        Caches(trace=trace, host=8e12, host_bandwidth=1e8),
        layout="tp2",
        system="h100",
        concurrency=2,
        weights="fp8",
    )
    host = slow.cache["tiers"][1]
    assert host["hit"] == pytest.approx(0.0, abs=1e-9)
    assert host["computed_again"] > 0.4
    assert slow.cache["seconds_fetch"] == pytest.approx(0.0, abs=1e-9)


def test_a_link_gives_no_more_than_its_rate() -> None:
    # just cheaper than computing, for one request; far too slow for all of them together
    row = one(Caches(hit_rate=0.9, host=8e12, host_bandwidth=1.5e9), concurrency=64)
    host = row.cache["tiers"][1]
    assert 0.9 < row.cache["link_busy"] <= 0.98
    assert host["computed_again"] > 0.05
    assert host["hit"] + host["computed_again"] == pytest.approx(0.9, abs=1e-3)


def test_a_stated_rate_in_memory_is_the_share_stated_by_hand() -> None:
    stated, by_hand = one(Caches(hit_rate=0.5)), one(None, cached=0.5)
    assert rate(stated) == pytest.approx(rate(by_hand), rel=5e-3)
    assert stated.cache["hit"] == pytest.approx(0.5, rel=5e-3)


def test_input_apart_adds_up_to_the_whole() -> None:
    row = one(None, cached=0.5)
    apart = row.cache["apart"]
    for name, figure in (
        ("usd_per_million", "usd_per_million_output_tokens"),
        ("joules", "joules_per_output_token"),
    ):
        new, cached, output = (apart[kind][name]["value"] for kind in ("new_input", "cached_input", "output"))
        assert 0 < cached < new
        whole = output + (new + cached) * 7168 / 2 / 100
        assert whole == pytest.approx(float(row.figures[figure].value))


def test_pools_cache_where_they_prefill(trace: str) -> None:
    plain, cached = one(None, layout="1xtp4+1xtp4"), one(Caches(trace=trace), layout="1xtp4+1xtp4")
    assert cached.cache["hit"] > 0.3
    assert cached.figures["ttft_s"].value < plain.figures["ttft_s"].value


def test_a_plan_knows_what_its_rows_find(trace: str) -> None:
    asked = Caches(trace=trace, host=2e12)
    question = Question("llama-3.3-70b", ("h200",), isl=7168, osl=100, ttft=4.0, caches=asked)
    found = answer(replace(question, rate=3.0))
    assert found.rows[0].cache["hit"] > 0.3
    least = answer(replace(question, rate=3.0, caches=None))
    assert found.rows[0].chips <= least.rows[0].chips


def test_a_dataflow_platform_refuses() -> None:
    question = Question("llama-3.3-70b", ("wse3",), caches=Caches(hit_rate=0.5))
    assert "cached prefixes is not published" in answer(question).refused[0].reason


def test_room_is_what_weights_and_sequences_leave() -> None:
    prepared, _ = model("llama-3.3-70b")
    copy = replica(prepared, catalogue().system("h200"), (Layout(tp=8),), "bf16", "bf16", engine())
    each = position_bytes(copy.table)[0, 0]
    assert each == 80 * 1 * 128 * 2 * 2  # one of eight KV heads a rank
    free = room(copy, np.array([[0.0, 4.0]]), 1000.0)[0]
    assert free[0] - free[1] == pytest.approx(4 * 1000 * each)
    assert room(copy, np.array([[1e9]]), 1000.0)[0, 0] == 0
    assert snapshot_bytes(copy.table)[0, 0] == 0


def test_snapshots_follow_the_rule_of_the_engine() -> None:
    # Qwen3.5 4B: attention of 4 KV heads x 256, a state of 2,146,304 bytes a layer
    state = Cache("gdn.state", 24, state_bytes={"bf16": 2146304.0})
    grows = Cache("gqa.kv", 8, position_bytes={"bf16": 4096.0})
    assert snapshot_tokens((state, grows), "bf16") == 528
    assert snapshot_tokens((grows,), "bf16") == 0
    with pytest.raises(NoEvidence, match="--snapshot"):
        snapshot_tokens((state,), "bf16")


def test_rarer_snapshots_hold_more_and_find_no_more_a_token(trace: str) -> None:
    rows = [one(Caches(trace=trace, snapshot=size), model="qwen3.5-27b") for size in (512, 4096)]
    held = [row.cache["tiers"][0]["tokens"] for row in rows]
    assert held[1] > held[0]
    assert rows[1].cache["hit"] <= rows[0].cache["hit"] + 1e-9


def test_the_host_rate_is_measured_published_or_refused() -> None:
    known = catalogue()
    assert host_bandwidth(known.system("h200")) == pytest.approx(55.4e9)
    assert host_bandwidth(known.system("gh200")) == pytest.approx(450e9)
    with pytest.raises(NoEvidence, match="--kv-host-bandwidth"):
        host_bandwidth(known.system("mi355x"))


def test_a_trace_without_blocks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,100,10\n")
    with pytest.raises(BadInput, match="--hit-rate"):
        one(Caches(trace=str(path)))


ESTIMATE = ["estimate", "llama-3.3-70b", "--on", "h200", "--layout", "tp8"]


def test_the_page_shows_tiers_and_input_apart(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ESTIMATE, "--trace", trace, "--kv-host", "1TB"]) == 0
    page = capsys.readouterr().out
    assert "7,168 tokens in, 100 out" in page or "7168 tokens in, 100 out" in page
    for word in ("Prefix cache: ", "host", "cached input", "output, without the input"):
        assert word in page


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--kv-host", "1TB"], "Nothing says what the cache finds"),
        (["--hit-rate", "0.5", "--cached", "0.5"], "--cached"),
        (["--hit-rate", "0.5", "--kv-ssd", "1TB"], "--kv-ssd-bandwidth"),
        (["--trace", "nowhere.jsonl"], "does not exist"),
    ],
)
def test_contradictions_are_refused(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ESTIMATE, *flags]) != 0
    assert words in capsys.readouterr().err


def test_more_than_a_replica_carries_is_said_and_not_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ESTIMATE, "--rate", "1000"]) == 3
    said = capsys.readouterr()
    assert "Saturated" in said.out
    assert "Saturated" in said.err


def test_launch_files_know_the_hits(trace: str) -> None:
    question = Question(
        "llama-3.3-70b", isl=7168, osl=100, concurrency=8, caches=Caches(trace=trace, host=1e12)
    )
    found = estimate(question, "h200", "tp8")
    files = best(found, "trtllm")
    assert "enable_block_reuse" in files.text()
    assert "host_cache_size: 125000000000" in files.text()


def test_hits_follow_the_published_trace(shared: Path) -> None:
    """Mooncake conversations: 37.4 % without end, 33.2 % in 30,000 blocks of 512 tokens (FAST'25 trace)."""
    path = shared / "traces" / "mooncake_conversation.jsonl.gz"
    if not path.exists():
        pytest.skip("no Mooncake trace in ../shared/traces")
    asked = Caches(trace=str(path), ssd=1e15, ssd_bandwidth=1e12)
    row = one(asked, model="qwen3-235b-a22b", isl=12035, osl=343)
    hbm, ssd = row.cache["tiers"]
    assert row.cache["hit"] == pytest.approx(0.374, abs=0.002)
    held = np.array([1000, 5000, 10000, 30000, 50000]) * 512.0
    shares = reuse(asked, held[None, :], np.ones(5), 0, 12035.0)[0]
    assert shares == pytest.approx([0.045, 0.113, 0.215, 0.332, 0.362], abs=2e-3)
    assert hbm["hit"] == pytest.approx(float(np.interp(hbm["tokens"], held, shares)), abs=0.02)
    assert hbm["hit"] + ssd["hit"] == pytest.approx(row.cache["hit"])
