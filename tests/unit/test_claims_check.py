"""Verdicts follow from facts: change a figure and the verdict changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.claims.check import Assessment, assess, assess_all
from assay.claims.claim import Claim
from assay.claims.factor import Bench
from assay.claims.fronts import Side, points
from assay.claims.hybrid import OF_PIPELINE, RESOURCES, hybrid, pipeline
from assay.claims.reading import find, read
from assay.claims.verdict import FAILS, HOLDS, ONLY_IF, UNTESTED, WORDS_OF_VERDICT, Verdict
from assay.engine.models import model
from assay.errors import BadInput

Overlay = Callable[[str, str], Bench]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(catalogue())


@pytest.fixture
def overlay(tmp_path: Path) -> Overlay:
    """A bench with one file of the user's own over our facts."""

    def lay(name: str, text: str) -> Bench:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return Bench(catalogue([tmp_path]))

    return lay


def word(name: str, bench: Bench) -> str:
    return assess(find(bench.facts, name), bench, split=False).verdict.word


def small(**change: object) -> Claim:
    """A cheap claim of performance."""
    fields: dict[str, object] = {
        "id": "small",
        "text": "x",
        "who": "me",
        "when": "2026",
        "source": "a talk",
        "kind": "performance",
        "subject": "h200",
        "baseline": "h100",
        "metric": "throughput",
        "factor": 1.3,
        "denominator": "chip",
        "stated": {"model": "qwen3-8b", "lengths": "1024/1024", "interactivity": [50, 100]},
    }
    return read(fields | change, "x.yaml")[0]


def test_a_chip_of_the_user_changes_a_ratio_of_peaks(bench: Bench, overlay: Overlay) -> None:
    assert word("lpu-10x-bandwidth", bench) == ONLY_IF
    slower = overlay("chips/lpu-v1.yaml", "id: lpu-v1\nmemory_bandwidth: 20 TB/s\n")
    assert word("lpu-10x-bandwidth", slower) == FAILS


def test_a_chip_of_the_user_changes_arithmetic(bench: Bench, overlay: Overlay) -> None:
    assert word("maia-200", bench) == HOLDS
    better = overlay("chips/trainium3.yaml", "id: trainium3\nfp4: 5000 TFLOPS\n")
    assert word("maia-200", better) == ONLY_IF


def test_a_published_power_makes_a_claim_testable(bench: Bench, overlay: Overlay) -> None:
    assert word("anthropic-million-tpus", bench) == UNTESTED
    known = overlay("chips/tpu-v7-ironwood.yaml", "id: tpu-v7-ironwood\ntdp: 1.1 kW\n")
    assert word("anthropic-million-tpus", known) == HOLDS


def test_a_market_fact_of_the_user_changes_a_verdict(bench: Bench, overlay: Overlay) -> None:
    assert word("meta-350k-h100", bench) == UNTESTED
    fact = "{what: x, value: 360000, unit: chips, dimension: count, date: 2025, source: user, basis: user}"
    told = overlay("market/own.yaml", f"facts:\n  meta-h100-delivered: {fact}\n")
    assert word("meta-350k-h100", told) == HOLDS


def test_a_chip_of_the_user_changes_a_factor_of_performance(bench: Bench, overlay: Overlay) -> None:
    claim = small(factor=3.0)
    first = assess(claim, bench, split=False)
    faster = overlay(
        "chips/h200-sxm.yaml", "id: h200-sxm\nmem_bw: 90 TB/s\nfp8: 60 PFLOPS\nbf16: 30 PFLOPS\n"
    )
    second = assess(claim, faster, split=False)
    assert first.verdict.best < 3.0 < second.verdict.best
    assert first.verdict.word not in (HOLDS, ONLY_IF)
    assert second.verdict.word in (HOLDS, ONLY_IF)


def test_a_chip_of_the_user_changes_a_published_factor(bench: Bench, overlay: Overlay) -> None:
    """Kimi K2 on GB200 against H200, tenfold a megawatt, with other figures of the GB200."""
    claim = find(bench.facts, "gb200-10x-kimi")

    def told(rates: str) -> Verdict:
        folder = overlay("chips/gb200-nvl72-gpu.yaml", f"id: gb200-nvl72-gpu\n{rates}")
        return assess(claim, folder, split=False).verdict

    slower = told("memory_bandwidth: 0.8 TB/s\nfp4: 1 PFLOPS\nfp8: 0.5 PFLOPS\nbf16: 0.25 PFLOPS\n")
    faster = told("memory_bandwidth: 80 TB/s\nfp4: 100 PFLOPS\nfp8: 50 PFLOPS\nbf16: 25 PFLOPS\n")
    assert slower.best < assess(claim, bench, split=False).verdict.best < faster.best
    assert (slower.word in (FAILS, UNTESTED), faster.word) == (True, ONLY_IF)


def test_a_price_of_the_user_changes_a_factor_per_dollar(bench: Bench, overlay: Overlay) -> None:
    claim = small(denominator="USD", tested={"price": "own"})
    first = assess(claim, bench, split=False).verdict.best
    rows = "kind: own\nprices:\n  - {chip: h100-sxm, usd_per_hour: 12, date: 2026-11}\n"
    second = assess(claim, overlay("prices/own.yaml", rows), split=False).verdict.best
    assert second > 3 * first


def test_every_claim_of_ours_gets_a_verdict(bench: Bench) -> None:
    """All kinds, without the ledgers, as the table does."""
    from assay.claims.reading import claims

    found = assess_all(claims(bench.facts).values(), bench)
    assert {item.verdict.word for item in found} == set(WORDS_OF_VERDICT)
    for item in found:
        assert item.verdict.sentence
        if item.verdict.word == UNTESTED:
            assert item.verdict.missing, item.claim.id
        data = item.json()
        names = (
            "id",
            "verdict",
            "factor_claimed",
            "factor_best",
            "factor_median",
            "region",
            "ledger",
            "evidence",
        )
        assert list(data)[:8] == list(names)


def test_an_unknown_name_is_told_with_claim_and_file(bench: Bench) -> None:
    with pytest.raises(BadInput, match=r"x\.yaml: small: subject: No system 'h2000'"):
        assess(small(subject="h2000"), bench)


def test_a_denominator_without_facts_cannot_be_tested(bench: Bench) -> None:
    found = assess(small(subject="groqrack", baseline="h100", denominator="USD"), bench)
    assert found.verdict.word == UNTESTED
    assert "price" in found.verdict.missing


@pytest.fixture(scope="module")
def split(bench: Bench) -> Assessment:
    return assess(
        small(subject="b200", denominator="USD", tested={"price": "own", "deployment": "best"}), bench
    )


def test_the_ledger_sums_to_the_factor(split: Assessment) -> None:
    book = split.ledger
    assert book is not None
    assert {entry.resource for entry in book.entries} >= {*RESOURCES, "together", "price", "software age"}
    assert math.prod(entry.factor for entry in book.entries) == pytest.approx(book.total, rel=1e-6)
    assert sum(entry.share for entry in book.entries) == pytest.approx(1.0)


def test_all_resources_make_the_baseline_the_subject(bench: Bench) -> None:
    mine, theirs = bench.facts.system("gb200-nvl72"), bench.facts.system("h100")
    assert hybrid(mine, theirs, ()).chip.peak_flops == theirs.chip.peak_flops
    whole = hybrid(mine, theirs, RESOURCES)
    for name in ("domain", "max_chips", "link_bandwidth", "peer_bandwidth", "topology"):
        assert getattr(whole, name) == getattr(mine, name)
    for name in ("memory_bytes", "memory_bandwidth", "peak_flops", "generation"):
        assert getattr(whole.chip, name) == getattr(mine.chip, name)
    part = hybrid(mine, theirs, ("memory bandwidth",))
    assert part.chip.memory_bandwidth == mine.chip.memory_bandwidth
    assert part.chip.memory_bytes == theirs.chip.memory_bytes


@pytest.mark.parametrize(
    ("subject", "baseline", "model"),
    [
        ("groqrack-v1", "h200", "llama-3.1-8b"),  # the pipeline is the subject
        ("h200", "groqrack-v1", "llama-3.1-8b"),  # and the baseline
        ("groq3-lpx-rack", "groqrack-v1", "llama-3.1-8b"),  # both are pipelines
    ],
)
def test_a_pipeline_of_sram_chips_has_a_ledger(bench: Bench, subject: str, baseline: str, model: str) -> None:
    stated = {"model": model, "lengths": "1024/1024", "deployment": "best", "interactivity": [50, 100]}
    found = assess(small(subject=subject, baseline=baseline, stated=stated), bench)
    book = found.ledger
    assert book is not None
    parts = {entry.resource: entry.factor for entry in book.entries}
    assert set(parts) >= {*OF_PIPELINE, "way of running"}
    assert math.prod(parts.values()) == pytest.approx(book.total, rel=1e-6)
    if subject == "groqrack-v1":  # 230 MB a chip against 141 GB
        assert parts["capacity"] < 1.0
    if subject == "h200":
        assert parts["capacity"] > 1.0
    assert all(entry.note for entry in book.entries if entry.resource in ("capacity", "way of running"))


def test_a_speed_is_split_between_the_fastest_users(bench: Bench) -> None:
    stated = {"model": "llama-3.1-8b", "lengths": "1024/1024", "deployment": "best", "interactivity": [10]}
    change = {"subject": "b200", "baseline": "h100", "metric": "interactivity", "denominator": "user"}
    book = assess(small(stated=stated, **change), bench).ledger
    assert book is not None
    assert "fastest user" in book.where
    assert math.prod(entry.factor for entry in book.entries) == pytest.approx(book.total, rel=1e-6)
    assert 1.0 < book.total < 5.0


def test_a_pipeline_takes_over_named_resources_only(bench: Bench) -> None:
    mine, theirs = bench.facts.system("groqrack-v1"), bench.facts.system("h200")
    part = pipeline(mine, theirs, ("capacity",))
    assert part.chip.memory_bytes == theirs.chip.memory_bytes
    assert part.chip.memory_bandwidth == mine.chip.memory_bandwidth
    whole = pipeline(mine, theirs, OF_PIPELINE)
    assert whole.chip.kind == "dataflow"
    assert whole.max_chips == mine.max_chips
    assert whole.link_bandwidth == theirs.link_bandwidth
    assert whole.chip.peak_flops["int8"] == theirs.chip.peak_flops["int8"]


def test_precision_alone_keeps_the_subjects_ratio_of_formats(bench: Bench) -> None:
    mine, theirs = bench.facts.system("gb200-nvl72"), bench.facts.system("h100")
    peaks = hybrid(mine, theirs, ("precision",)).chip.peak_flops
    own = mine.chip.peak_flops
    assert peaks["fp4"] / peaks["fp8"] == pytest.approx(own["fp4"] / own["fp8"])
    assert peaks["fp8"] == theirs.chip.peak_flops["fp8"]


def test_a_plain_side_is_never_better_than_the_best() -> None:
    prepared, _ = model("qwen3-8b")
    side = Side(prepared, catalogue().system("h200"), 1024, 1024)
    speeds = np.array([20.0, 50.0, 100.0, 200.0])
    best, plain = points(side, bare=True).at(speeds), points(replace(side, plain=True), bare=True).at(speeds)
    assert (best >= plain * 0.98).all()  # fronts are interpolated between points
    assert (np.diff(plain[0]) <= 0).all()
