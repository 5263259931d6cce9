"""Claims whose answer is known: from `claims.csv`, from MLPerf, and from what others measured."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from assay.catalogue.load import catalogue
from assay.claims.check import Assessment, assess
from assay.claims.evidence import measured, software
from assay.claims.factor import Bench
from assay.claims.reading import claims, find
from assay.claims.verdict import FAILS, HOLDS, ONLY_IF, UNTESTED

#: Row of the collected claims -> claims of the catalogue that carry it over.
CARRIED = {
    "groq_80tbs": ("lpu-80tbs",),
    "groq_10x_bw": ("lpu-10x-bandwidth",),
    "groq_40x_kimi": ("groq-kimi-40x",),
    "groq_kimi_sizing": ("kimi-k2-on-lpu",),
    "nv_10x_gb200_h200": ("gb200-10x-kimi", "gb200-10x-deepseek"),
    "nv_10x_rubin_cost": ("rubin-10x-cost", "rubin-10x-deepseek"),
    "nv_10x_rubin_mw": ("rubin-10x-mw",),
    "nv_4x_train": ("rubin-quarter-training",),
    "nv_5x_35x": ("rubin-5x-inference",),
    "nv_35x_lpx": ("lpx-35x-mw",),
    "nv_30x_gb200": ("gb200-30x-h100", "gb200-h100-usd-40", "gb200-h100-usd-116"),
    "ix_gb200_b200": ("gb200-b200-rack-scale",),
    "ix_gb300_gb200": ("gb300-gb200-memory",),
    "anthropic_1m_tpu": ("anthropic-million-tpus",),
    "openai_broadcom_10gw": ("openai-broadcom-10gw",),
    "meta_350k": ("meta-350k-h100",),
    "nvidia_groq_20b": ("groq-20-billion",),
    "rubin_cpx": ("rubin-cpx",),
    "maia200": ("maia-200", "maia-200-usd"),
    "tpu8i": ("tpu-8i-80-percent",),
    "cm384_gb200": ("cloudmatrix384-gb200",),
    "mi455x_40pf": ("mi455x-40pf",),
    "ascend950": ("ascend-950dt",),
    "h100_rent_trend": ("h100-rent-falls",),
}


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(catalogue())


def checked(name: str, bench: Bench) -> Assessment:
    return assess(find(bench.facts, name), bench, split=False)


def test_every_collected_claim_is_carried_over(shared: Path, bench: Bench) -> None:
    with (shared / "facts" / "hardware" / "claims.csv").open(encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(CARRIED)
    known = claims(bench.facts)
    for ident, names in CARRIED.items():
        ours = {source for name in names for source in known[name].sources}
        assert ours & set(rows[ident]["source"].split(";")), ident


def test_80_tbs_against_each_chip(bench: Bench) -> None:
    found = checked("lpu-10x-bandwidth", bench)
    ratios = {name: ratio.value for name, ratio, _ in found.ratios if ratio is not None}
    published = {"b200-sxm": 10, "h100-sxm": 23.9, "h200-sxm": 16.7, "rubin-vr200": 3.6}
    for name, factor in published.items():
        assert ratios[name] == pytest.approx(factor, rel=0.02)
    capacity = next(
        row for row in found.ignored if (row.baseline, row.field) == ("b200-sxm", "memory_capacity")
    )
    assert 1 / capacity.ratio.value == pytest.approx(783, rel=0.01)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("lpu-80tbs", HOLDS),
        ("lpu-10x-bandwidth", ONLY_IF),
        ("kimi-k2-on-lpu", HOLDS),
        ("groq-kimi-40x", ONLY_IF),
        ("rubin-5x-inference", HOLDS),
        ("lpx-35x-mw", UNTESTED),
        ("gb200-h100-usd-40", HOLDS),
        ("gb200-h100-usd-116", HOLDS),
        ("anthropic-million-tpus", UNTESTED),
        ("openai-broadcom-10gw", UNTESTED),
        ("meta-350k-h100", UNTESTED),
        ("groq-20-billion", ONLY_IF),
        ("nvda-r1-day", HOLDS),
        ("nvda-tpu-day", ONLY_IF),
        ("open-share-30", ONLY_IF),
        ("h100-rent-falls", FAILS),
        ("cloudmatrix384-gb200", ONLY_IF),
        ("maia-200", HOLDS),
        ("mi455x-40pf", UNTESTED),
        ("tpu-8i-80-percent", UNTESTED),
        ("rubin-cpx", FAILS),
    ],
)
def test_verdicts_as_the_collectors_found_them(name: str, word: str, bench: Bench) -> None:
    assert checked(name, bench).verdict.word == word


@pytest.mark.parametrize(
    ("name", "check", "value"),
    [
        ("cloudmatrix384-gb200", "compute a system", 1.67),
        ("nvda-r1-day", "17 % of the value before", 595e9),
        ("groq-20-billion", "people for whom 5 million each make 20 billion", 4444),
        ("openai-broadcom-10gw", "with NVIDIA and AMD in all", 26e9),
        ("anthropic-million-tpus", "power a chip that both figures imply", 1000),
        ("open-share-30", "best weeks over December 2024", 25),
        ("lpu-80tbs", "time to read all of it", 2.9e-6),
        ("rubin-10x-cost", "dense FP4 a GPU", 3.5),
    ],
)
def test_figures_of_the_collection(name: str, check: str, value: float, bench: Bench) -> None:
    found = checked(name, bench)
    result = next(item for item in (*found.results, *found.beside) if item.check.name == check)
    assert result.value is not None
    assert result.value.value == pytest.approx(value, rel=0.02)


def test_mlperf_stands_beside_vera_rubin(bench: Bench) -> None:
    """MLPerf v6.1, DeepSeek-R1, closed: VR200 against GB200 per chip, 2.2x Offline and 2.7x Interactive."""
    evidence = checked("rubin-10x-deepseek", bench).evidence
    rows = {row.what.split(":")[0]: row for row in evidence if row.baseline == "gb200-nvl72"}
    assert rows["MLPerf v6.1 Offline"].factor.value == pytest.approx(2.18, rel=0.01)
    assert rows["MLPerf v6.1 Interactive"].factor.value == pytest.approx(2.72, rel=0.01)
    assert all(row.same for name, row in rows.items() if name.startswith("MLPerf"))
    beside = {row.baseline for row in checked("rubin-10x-cost", bench).evidence if "MLPerf" in row.what}
    assert beside == {"gb200-nvl72", "gb300-nvl72"}


def test_the_map_agrees_with_mlperf_on_vera_rubin(bench: Bench) -> None:
    """Both sides at their best, any length: the interval of the factor per chip holds 2.2x and 2.7x."""
    found = checked("rubin-10x-deepseek", bench).map
    assert found is not None
    best = next(i for i, variant in enumerate(found.variants) if variant.deployment == "best")
    row = next(j for j, item in enumerate(found.rows) if item.model == "deepseek-r1" and item.osl > item.isl)
    for speed, factor in ((10, 2.18), (75, 2.72)):
        k = list(found.speeds).index(speed)
        assert found.low[best, row, k] <= factor <= found.high[best, row, k]


def test_the_measured_factors_of_gb200_lie_within_the_map(bench: Bench) -> None:
    """InferenceX, DeepSeek-R1 8k/1k: 9.7x a dollar at 40 tok/s/user, by some deployment of both sides."""
    found = checked("gb200-h100-usd-40", bench).map
    assert found is not None
    assert float(found.low.min()) <= 9.7 <= float(found.high.max())


def test_software_alone_made_gb200_faster(bench: Bench) -> None:
    gain, words = software(bench.facts, "gb200-nvl72")
    assert 1.5 < gain < 4.0
    assert "MLPerf" in words


def test_measured_factors_are_converted_into_the_claims_denominator(bench: Bench) -> None:
    claim = find(bench.facts, "rubin-10x-cost")
    from assay.claims.denominator import units

    systems = (bench.facts.system(claim.subject), bench.facts.system(claim.baseline))
    scales = units(claim, systems, bench.facts)
    rows = [row for row in measured(claim, scales, bench.facts) if "Offline" in row.what]
    assert rows[0].factor.value == pytest.approx(2.18 * scales[0].ratio.value, rel=0.01)
    assert rows[0].factor.low < rows[0].factor.value < rows[0].factor.high
