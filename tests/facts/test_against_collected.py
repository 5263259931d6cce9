"""What we carried over equals what was collected, after conversion to SI."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.catalogue.compiled import section
from assay.catalogue.fields import CHIP_DIMENSIONS, SYSTEM_DIMENSIONS
from assay.catalogue.load import catalogue
from assay.errors import BadInput
from assay.units import parse_quantity

#: Name of a field where it was collected -> our name.
CHIP_FIELDS = {
    "vendor": "maker",
    "mem_type": "memory_type",
    "mem_capacity": "memory_capacity",
    "mem_bw": "memory_bandwidth",
    "mem_bw_measured": "memory_bandwidth_measured",
    "mem2_capacity": "memory2_capacity",
    "allin_power": "power_provisioned",
    "scale_up": "link",
    "scale_up_bw": "link_bandwidth",
    "scale_up_domain": "link_domain",
    "scale_up_topology": "link_topology",
    "scale_up_link_bw": "per_link_bandwidth",
    "scale_up_p2p_bw": "peer_bandwidth",
    "scale_out_nic": "nic_bandwidth",
    "l2": "l2_cache",
    "l2_bw": "l2_bandwidth",
    "llc": "last_level_cache",
    "sram_bw": "sram_bandwidth",
    "smem_per_sm": "shared_memory_per_sm",
    "power": "power_measured",
}
SYSTEM_FIELDS = {
    "chips_per_scale_up_domain": "domain",
    "link_bw": "link_bandwidth",
    "allin_power": "power_provisioned",
    "topology": "topology_text",
    "hbm_bw_total": "memory_bandwidth_total",
    "hbm_total": "memory_total",
    "sram_bw_total": "sram_bandwidth_total",
    "scale_up_total": "link_bandwidth_total",
    "bisection_bw": "bisection_bandwidth",
    "chip_power": "chip_power_measured",
}

#: Values that were collected and are set aside here: the card is the Server Edition, whose memory is slower,
#: and its size was read as decimal.
SET_ASIDE = {
    ("rtx-pro-6000-blackwell", "memory_bandwidth"),
    ("rtx-pro-6000-blackwell", "memory_capacity"),
}


@pytest.fixture(scope="module")
def collected(shared: Path) -> Path:
    return shared / "facts"


def numbers(
    entries: dict[str, Any], names: dict[str, str], dimensions: dict[str, str]
) -> Iterator[tuple[str, str, float, dict[str, Any]]]:
    """Yield entry, our field, SI value and the collected fact, for everything numeric with a dimension."""
    for ident, fields in entries.items():
        for field, fact in fields.items():
            ours = names.get(field, field)
            foreign = str(fact.get("unit") or "").startswith("RMB")
            if ours in dimensions and isinstance(fact.get("value"), (int, float)) and not foreign:
                yield ident, ours, si(fact["value"], fact.get("unit") or "", dimensions[ours]), fact


def si(value: float, unit: str, dimension: str) -> float:
    """Convert with the unit at the start of a longer text ("GB usable")."""
    if dimension == "count":
        return float(value)
    words = unit.replace(",", " ").replace(";", " ").split()
    first = "billion USD" if unit.startswith("billion USD") else words[0]
    return parse_quantity(value, dimension, default_unit=first)


def test_every_chip_value(collected: Path) -> None:
    facts, checked = catalogue(), 0
    chips = yaml.safe_load((collected / "hardware" / "accelerators.yaml").read_text())["chips"]
    assert {facts.chip_id(ident.replace("_", "-")) for ident in chips} <= set(facts.chips())
    for ident, field, value, fact in numbers(chips, CHIP_FIELDS, CHIP_DIMENSIONS):
        ours = facts.facts("chip", ident.replace("_", "-"))[field]
        if (facts.chip_id(ident.replace("_", "-")), field) in SET_ASIDE:
            kept = [row for row in ours.conflicts if row.get("excluded")]
            units = [str(row.get("unit") or ours.unit) for row in kept]
            amounts = [
                parse_quantity(row["value"], CHIP_DIMENSIONS[field], default_unit=unit)
                for row, unit in zip(kept, units, strict=True)
            ]
            assert amounts == [pytest.approx(value, rel=1e-12)], (ident, field)
            continue
        assert ours.source == fact["source"], (ident, field)
        assert ours.value is not None
        found = parse_quantity(ours.value, CHIP_DIMENSIONS[field], default_unit=ours.unit)
        assert found == pytest.approx(value, rel=1e-12), (ident, field)
        assert (ours.basis == "from_memory") == (fact.get("from_memory", False) or fact["source"] == "MEM")
        assert len(ours.conflicts) >= len(fact.get("conflict", ())), (ident, field)
        checked += 1
    assert checked > 500


def test_nothing_published_as_missing_was_filled(collected: Path) -> None:
    facts = catalogue()
    chips = yaml.safe_load((collected / "hardware" / "accelerators.yaml").read_text())["chips"]
    for ident, fields in chips.items():
        for field, fact in fields.items():
            if fact["value"] is None:
                assert (
                    facts.facts("chip", ident.replace("_", "-"))[CHIP_FIELDS.get(field, field)].value is None
                )


def test_every_system_value(collected: Path) -> None:
    facts, checked = catalogue(), 0
    systems = yaml.safe_load((collected / "hardware" / "systems.yaml").read_text())["systems"]
    capital = systems.pop("datacentre_capex_per_gw")
    for ident, field, value, fact in numbers(systems, SYSTEM_FIELDS, SYSTEM_DIMENSIONS):
        ours = facts.facts("system", ident.replace("_", "-"))[field]
        assert ours.source == fact["source"], (ident, field)
        assert ours.value is not None
        found = parse_quantity(ours.value, SYSTEM_DIMENSIONS[field], default_unit=ours.unit)
        assert found == pytest.approx(value, rel=1e-12), (ident, field)
        checked += 1
    assert checked > 120
    reference = section("prices")["prices/reference.yaml"]["rows"]
    per_gigawatt = [row["value"] for row in reference if row["metric"] == "datacentre_capex_per_gw"]
    assert sorted(per_gigawatt) == sorted(fact["value"] for name, fact in capital.items() if name != "name")


def test_every_price(collected: Path) -> None:
    known = {
        (row["chip"], row["usd_per_hour"], str(row["date"])[:4])
        for content in section("prices").values()
        for row in content.get("prices", ())
    }
    facts, checked = catalogue(), 0
    with (collected / "hardware" / "prices.csv").open() as file:
        for row in csv.DictReader(file):
            if not row["usd_per_accelerator_hour"]:
                continue
            chip = facts.chip_id(row["chip"].replace("_", "-"))
            year = "2025" if row["date"] == "undated" else row["date"][:4]
            assert (chip, float(row["usd_per_accelerator_hour"]), year) in known, row
            checked += 1
    assert checked > 150


def test_every_cost_of_ownership(collected: Path) -> None:
    own = {row["usd_per_hour"] for row in section("prices")["prices/own.yaml"]["prices"]}
    contract = {row["usd_per_hour"] for row in section("prices")["prices/contract.yaml"]["prices"]}
    with (collected / "tco.csv").open() as file:
        for row in csv.DictReader(file):
            if row["metric"] == "tco":
                assert float(row["value"]) in own, row
            if row["basis"] == "3-year rental":
                assert float(row["value"]) in contract, row


def test_every_model(collected: Path) -> None:
    facts, checked = catalogue(), 0
    for path in sorted((collected / "models").glob("*.json")):
        theirs = json.loads(path.read_text())
        ours = facts.model(theirs["name"])
        architecture = json.loads(json.dumps(ours.architecture))
        architecture.pop("formats")
        for block in architecture["attn"].values():
            # re-ranking layers score at most this many positions: stated with the formulas, not in the file
            block.get("indexer", {}).pop("candidates", None)
        assert architecture == theirs["arch"], path.stem
        assert ours.hf_id == theirs["hf_id"]
        assert facts.model(theirs["hf_id"]).name == ours.name
        for field in ("total_b", "active_b"):
            assert ours.published.get(field) == theirs["params"][f"published_{field}"], path.stem
        assert ours.published.get("hf_safetensors") == theirs["params"]["hf_safetensors"]
        doubtful = theirs["provenance"]["from_memory"] or theirs["provenance"]["inferred"]
        assert not doubtful or ours.warnings, path.stem
        checked += 1
    assert 125 <= checked <= len(facts.models())


def test_every_measured_fraction(collected: Path) -> None:
    rows = catalogue().table("measurements/achievable")["rows"]
    with (collected / "hardware" / "achievable.csv").open() as file:
        theirs = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == [float(row["measured"]) for row in theirs]
    assert [row["source"] for row in rows] == [row["source"] for row in theirs]


def test_units_were_not_lost() -> None:
    with pytest.raises(BadInput):
        si(1.0, "furlong a fortnight", "bandwidth")
