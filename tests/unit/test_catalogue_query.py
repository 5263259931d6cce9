"""Chips, systems, models and prices by name."""

from __future__ import annotations

import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.errors import BadFact, BadInput, NoEvidence, UnknownName

SYSTEMS = {
    "a100-80gb-sxm": "hgx-a100-8",
    "h100": "hgx-h100-8",
    "h200": "hgx-h200-8",
    "h20": "h20-8",
    "b200": "hgx-b200-8",
    "b300": "hgx-b300-8",
    "gb200-nvl72": "gb200-nvl72",
    "gb300-nvl72": "gb300-nvl72",
    "vr-nvl72": "vr-nvl72",
    "nvl144": "vr-nvl72",
    "rtx-4090": "rtx-4090-8",
    "mi300x": "mi300x-8",
    "mi325x": "mi325x-8",
    "mi355x": "mi355x-8",
    "tpu-v5e": "tpu-v5e-pod",
    "tpu-v6e": "tpu-v6e-pod",
    "tpu-v7": "tpu-v7-pod",
    "trn2": "trn2-instance",
    "gaudi3": "gaudi3-8",
    "cloudmatrix384": "cloudmatrix384",
    "groqrack": "groqrack-v1",
    "lpx": "groq3-lpx-rack",
    "wse3": "cs3",
}
MODELS = {
    "kimi-k2": "kimi-k2-instruct",
    "kimi-k2.5": "kimi-k2.5",
    "kimi-k3": "kimi-k3",
    "deepseek-v3.2": "deepseek-v3.2",
    "deepseek-r1": "deepseek-r1",
    "deepseek-v4-pro": "deepseek-v4-pro",
    "qwen3-235b-a22b": "qwen3-235b-a22b",
    "qwen3-32b": "qwen3-32b",
    "gpt-oss-120b": "gpt-oss-120b",
    "llama-3.1-8b": "llama-3.1-8b",
    "llama-3.3-70b": "llama-3.3-70b",
    "glm-5": "glm-5",
    "minimax-m2.5": "minimax-m2.5",
    "moonshotai/Kimi-K2-Instruct": "kimi-k2-instruct",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "KIMI_K2": "kimi-k2-instruct",
}


@pytest.fixture(scope="module")
def facts() -> Catalogue:
    return catalogue()


@pytest.mark.parametrize(("name", "ident"), SYSTEMS.items())
def test_names_of_systems(facts: Catalogue, name: str, ident: str) -> None:
    assert facts.system(name).id == ident
    assert facts.system(ident) is facts.system(name)
    assert facts.chip(name) is facts.system(name).chip


@pytest.mark.parametrize(("name", "ident"), MODELS.items())
def test_names_of_models(facts: Catalogue, name: str, ident: str) -> None:
    assert facts.model(name).name == ident


def test_every_id_and_alias_finds_its_entry(facts: Catalogue) -> None:
    for what, names, find in (
        ("chip", facts.chips(), facts.chip_id),
        ("system", facts.systems(), facts.system_id),
        ("model", facts.models(), facts.model_id),
    ):
        for ident in names:
            entry = facts.entry(what, ident)
            for name in (ident, ident.upper(), ident.replace("-", "_"), *entry["aliases"]):
                assert find(name) == ident, name


def test_a_chip_name_means_its_published_system(facts: Catalogue) -> None:
    assert facts.system("h200-sxm").id == "hgx-h200-8"
    assert facts.system("trainium3").id == "trn3-ultraserver-gen2"
    assert facts.chip("gb200-nvl72").id == "gb200-nvl72-gpu"


def test_si_units_of_a_system(facts: Catalogue) -> None:
    system = facts.system("h200")
    assert system.chip.memory_bytes == 141e9
    assert system.chip.memory_bandwidth == pytest.approx(4.8e12)
    assert system.chip.peak_flops["fp8"] == pytest.approx(1979e12)
    assert "fp4" not in system.chip.peak_flops
    assert system.link_bandwidth == pytest.approx(450e9)
    assert system.peer_bandwidth == system.link_bandwidth
    assert system.nic_bandwidth == pytest.approx(50e9)
    assert system.power_watts == pytest.approx(1370.0)
    assert (system.domain, system.node, system.topology, system.max_chips) == (8, 8, "switch", 64)
    assert system.in_network_reduction
    assert facts.chip("tpu-v7").memory_bytes == 192 * 2**30


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("mi300x", 64e9),
        ("mi355x", 76.5e9),
        ("tpu-v5e", 45e9),
        ("tpu-v7", 100e9),
        ("gaudi3", 75e9),
        ("trn2", 128e9),
    ],
)
def test_mesh_and_torus_links_are_per_peer(facts: Catalogue, name: str, peer: float) -> None:
    system = facts.system(name)
    assert system.peer_bandwidth == pytest.approx(peer)
    assert system.peer_bandwidth < system.link_bandwidth


def test_reduction_in_the_switch(facts: Catalogue) -> None:
    with_it = ("h100", "h200", "b200", "b300", "gb200-nvl72", "gb300-nvl72", "vr-nvl72", "h20", "h800")
    assert all(facts.system(name).in_network_reduction for name in with_it)
    assert not any(facts.system(name).in_network_reduction for name in ("a100", "mi300x", "tpu-v7", "trn2"))


def test_conflicts_become_spread(facts: Catalogue) -> None:
    low, high = facts.chip("b300").spread["fp4"]
    assert (low, high) == pytest.approx((12_600e12, 15_000e12))
    assert "int8" not in facts.chip("b300").spread  # the rival is a known error


def test_unchecked_values_warn(facts: Catalogue) -> None:
    assert any("12.5 PFLOP/s is unchecked" in warning for warning in facts.system("wse3").warnings)
    assert facts.chip("wse3").peak_flops["fp16"] == pytest.approx(12.5e15)
    assert any("no power limit" in warning for warning in facts.chip("tpu-v7").warnings)
    assert any("roadmap" in warning for warning in facts.chip("rubin-ultra").warnings)
    assert facts.chip("tpu-v7").tdp_watts is None


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("rubin-cpx", "memory bandwidth"),
        ("jalapeno", "memory capacity"),
        ("tpu-8i", "dense rate"),
        ("mlu590-690", "memory capacity"),
        ("epyc-9755-9965", "memory capacity"),
    ],
)
def test_what_nobody_published_is_refused_by_name(facts: Catalogue, name: str, missing: str) -> None:
    with pytest.raises(NoEvidence, match=missing):
        facts.chip(name)
    with pytest.raises(NoEvidence, match=missing):
        facts.system(name)
    assert facts.facts("chip", name)  # still there to be looked at


def test_every_chip_has_a_system(facts: Catalogue) -> None:
    for chip in facts.chips():
        assert facts.entry("system", facts.system_id(chip))["chip"] == chip


def test_systems_are_consistent(facts: Catalogue) -> None:
    answered = 0
    for ident in facts.systems():
        try:
            system = facts.system(ident)
        except NoEvidence:
            continue
        answered += 1
        assert system.max_chips >= 1
        assert 1 <= system.node <= max(system.domain, system.max_chips)
        assert 0 <= system.peer_bandwidth <= system.link_bandwidth
        assert system.max_chips == 1 or system.link_bandwidth > 0 or system.nic_bandwidth, ident
    assert answered >= 50


def test_names_nobody_knows(facts: Catalogue) -> None:
    with pytest.raises(UnknownName, match="Did you mean"):
        facts.system("h1000")
    with pytest.raises(UnknownName, match="kimi-k2"):
        facts.model("kimi")
    with pytest.raises(UnknownName, match="assay list chips"):
        facts.chip("zzzzzz")
    for bad in ("", "  ", "x" * 1000):
        for find in (facts.chip, facts.system, facts.model):
            with pytest.raises(BadInput, match="is no name"):
                find(bad)


def test_prices(facts: Catalogue) -> None:
    own = facts.price("h200", "own")
    assert own.chip == "h200-sxm"
    assert (own.usd_per_hour, own.date) == (1.59, "2026-07")
    assert own.low <= own.usd_per_hour <= own.high
    assert {price.kind for price in facts.prices("h100")} == {"own", "contract", "list", "spot"}
    assert all(price.kind == "spot" for price in facts.prices("h100", "spot"))
    with pytest.raises(NoEvidence, match="Known: own, list, spot"):
        facts.price("b300", "contract")  # the only one is a placeholder
    with pytest.raises(BadInput, match="own, contract, list, spot"):
        facts.price("h100", "gift")
    with pytest.raises(BadInput, match="own, contract, list, spot"):
        facts.prices("h100", "gift")


def test_models_carry_what_was_published(facts: Catalogue) -> None:
    entry = facts.model("kimi-k2")
    assert entry.published["total_b"] == 1000
    assert entry.published["hf_safetensors"] == 1026408235864
    assert entry.architecture["formats"]["experts"] == "fp8"
    assert entry.architecture["schedule"] == [[1, "mla", "dense"], [60, "mla", "moe"]]
    assert any("assumed" in warning for warning in facts.model("kimi-k3.1-pro").warnings)
    assert any("unchecked" in warning for warning in facts.model("step-3").warnings)


def test_tables_and_sources(facts: Catalogue) -> None:
    assert facts.table("latency")["nccl"]["per_hop"]["nvls"] == 25
    assert len(facts.table("measurements/achievable")["rows"]) > 250
    assert "arxiv.org" in facts.source("CM_PAPER")
    for bad in ("", "../data/latency", "/etc/passwd", "nothing/here"):
        with pytest.raises(BadFact, match="No data"):
            facts.table(bad)
    with pytest.raises(UnknownName):
        facts.source("NOBODY")
    assert len(facts.hash) == 64


def test_the_same_paths_give_the_same_catalogue() -> None:
    assert catalogue() is catalogue()
