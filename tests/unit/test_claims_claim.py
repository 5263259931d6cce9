"""Claims as data: what a file must hold, and what is refused by the name of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.catalogue.load import catalogue
from assay.claims.arithmetic import where
from assay.claims.check import assess
from assay.claims.factor import Bench
from assay.claims.reading import claims, find, load, read
from assay.errors import BadFact, BadInput, UnknownName

PEAK: dict[str, Any] = {
    "id": "mine",
    "text": "Mine is twice yours.",
    "who": "me",
    "when": "2026-11-24",
    "source": "a talk",
    "kind": "peak",
    "subject": "b200-sxm",
    "baseline": "h100-sxm",
    "metric": "FP8",
    "resource": "fp8",
    "factor": 2,
    "denominator": "chip",
}
SPEED: dict[str, Any] = {
    **{key: value for key, value in PEAK.items() if key != "resource"},
    "kind": "performance",
    "metric": "throughput",
    "subject": "h200",
    "baseline": "h100",
    "stated": {"model": "qwen3-8b", "lengths": "1024/1024"},
}


def test_a_claim_is_read() -> None:
    (claim,) = read(PEAK, "x.yaml")
    assert (claim.id, claim.factor, claim.sources) == ("mine", 2.0, ("a talk",))
    (claim,) = read(SPEED, "x.yaml")
    assert claim.condition("lengths") == ((1024, 1024),)
    assert claim.condition("model") == ("qwen3-8b",)


def test_several_claims_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fields = "\n".join(f"    {key}: {value}" for key, value in PEAK.items() if key != "id")
    path.write_text(f"claims:\n  - id: one\n{fields}\n  - id: two\n{fields}\n", encoding="utf-8")
    assert [claim.id for claim in load(path)] == ["one", "two"]


@pytest.mark.parametrize(
    "field", ["id", "text", "who", "when", "source", "kind", "subject", "metric", "factor"]
)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(BadInput, match=f"{field}: is missing"):
        read({key: value for key, value in PEAK.items() if key != field}, "x.yaml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"factor": 0}, "factor: 0 is no number above zero"),
        ({"factor": "ten"}, "factor: 'ten'"),
        ({"factor": True}, "factor: True"),
        ({"when": "soon"}, "when: 'soon' is no date"),
        ({"kind": "rumour"}, "kind: 'rumour' is none of"),
        ({"denominator": "wafer"}, "denominator: 'wafer'"),
        ({"factr": 3}, "factr: is no field of a claim. Did you mean factor"),
        ({"id": "A claim"}, "id: 'A claim'"),
        ({"baseline": ""}, "baseline: is missing"),
        ({"baseline": "b200-sxm"}, "baseline: is the subject itself"),
        ({"resource": ""}, "resource: belongs to kind peak"),
        ({"checks": [{"name": "x", "expression": "1"}]}, "checks: contradicts kind peak"),
        ({"kind": "arithmetic", "resource": ""}, "checks: is missing"),
        (
            {"kind": "arithmetic", "checks": [{"name": "x", "expression": "1"}]},
            "resource: belongs to kind peak",
        ),
        ({"beside": [{"expression": "1"}]}, r"beside\[1\].name: is missing"),
        ({"beside": [{"name": "x", "expression": "1", "relation": "~"}]}, r"beside\[1\].relation: '~'"),
        ({"beside": [{"name": "x", "expression": "1", "tolerance": 2}]}, r"beside\[1\].tolerance: 2"),
        ({"beside": [{"name": "x", "expression": "1", "equals": []}]}, r"beside\[1\].equals"),
        ({"beside": [{"name": "x", "expression": "1", "equal": 1}]}, r"beside\[1\].equal: is no field"),
        ({"beside": "1"}, "beside: is no list"),
        ({"source": [1]}, "source: is no text"),
        ({"stated": []}, "source"),
        ({"open": ["weather"]}, "open: 'weather' is no condition"),
        ({"bound": "roughly"}, "bound: 'roughly'"),
        ({"factor": float("nan")}, "factor: nan"),
        ({"when": "2026-13-45"}, "when: '2026-13-45' is no date"),
        ({"when": "2026 to 2020"}, "when: '2026 to 2020' ends before it starts"),
        ({"text": ["a"]}, r"text: \['a'\] is no text"),
        ({"text": "red \x1b[31m"}, "text: holds the character"),
        ({"about": {"a": 1}}, "about: .* is no text"),
        ({"against": ["b200-sxm"]}, "against: is the subject itself"),
        ({"stated": {"lengths": "1024/1024"}}, "stated: contradicts kind peak"),
        ({"tested": {"lengths": "1024/1024"}}, "tested: contradicts kind peak"),
        ({"open": ["software", "software"]}, "open: software is given twice"),
        (
            {"beside": [{"name": "x", "expression": "1", "dimension": "colour"}]},
            r"beside\[1\].dimension: 'colour'",
        ),
        ({"beside": [{"name": "x", "expression": "1", "equals": float("nan")}]}, r"beside\[1\].equals: nan"),
    ],
)
def test_a_wrong_peak_is_refused_by_field(change: dict[str, Any], says: str) -> None:
    if change == {"stated": []}:
        read(PEAK | change, "x.yaml")  # empty is nothing stated
        return
    with pytest.raises(BadInput, match=says):
        read(PEAK | change, "x.yaml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stated": {}}, "model: is neither stated nor tested"),
        ({"open": ["model"]}, "model: is both stated and open"),
        ({"tested": {"model": "qwen3-8b"}}, "tested.model: is stated already"),
        ({"metric": "beauty"}, "metric: 'beauty'"),
        ({"metric": "interactivity"}, "denominator: chip contradicts metric interactivity"),
        ({"denominator": "user"}, "denominator: user contradicts metric throughput"),
        ({"denominator": "none"}, "denominator: is none"),
        ({"stated": {"model": "qwen3-8b", "price": "own"}}, "price: contradicts denominator chip"),
        ({"stated": {"model": "qwen3-8b", "price": "bribe"}}, "stated.price: 'bribe'"),
        ({"stated": {"model": "qwen3-8b", "lengths": "8k"}}, "stated.lengths: '8k' are no lengths"),
        ({"stated": {"model": "qwen3-8b", "lengths": "0/5"}}, "stated.lengths: '0/5'"),
        ({"stated": {"model": "qwen3-8b", "interactivity": [-5]}}, "stated.interactivity: -5"),
        ({"stated": {"model": "qwen3-8b", "interactivity": []}}, "stated.interactivity: is empty"),
        ({"stated": {"model": "qwen3-8b", "weights": "fp8"}}, "stated.weights: is no mapping"),
        ({"stated": {"model": "qwen3-8b", "weights": {}}}, "stated.weights: is no mapping"),
        ({"stated": {"model": "qwen3-8b", "weights": {"subject": None}}}, "stated.weights.subject: None"),
        ({"stated": {"model": "qwen3-8b", "weights": {"subject": "fp3"}}}, "stated.weights.subject: 'fp3'"),
        ({"stated": {"model": None}}, "stated.model: None is no text"),
        ({"stated": {"model": "qwen3-8b", "chips": 0.5}}, "stated.chips: 0.5 is no whole number"),
        ({"stated": {"model": "qwen3-8b", "deployment": "worst"}}, "stated.deployment: 'worst'"),
        ({"stated": {"model": "qwen3-8b", "mood": "good"}}, "stated.mood: is no field"),
        ({"stated": "all"}, "stated: is no mapping"),
    ],
)
def test_a_wrong_performance_is_refused_by_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read(SPEED | change, "x.yaml")


def test_files_that_are_no_claims(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a claim is no mapping"):
        read("text", "x.yaml")
    with pytest.raises(BadInput, match="`claims` is no list"):
        read({"claims": []}, "x.yaml")
    with pytest.raises(BadInput, match="stands beside `claims`"):
        read({"claims": [PEAK], "id": "x"}, "x.yaml")
    with pytest.raises(BadInput, match="id: mine is given twice"):
        read({"claims": [PEAK, PEAK]}, "x.yaml")
    with pytest.raises(BadFact, match="cannot be read"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("entry", "change", "says"),
    [
        (PEAK, {"subject": "b2000"}, "mine: subject: No chip 'b2000'"),
        (PEAK, {"against": ["h1000"]}, "mine: against: No chip 'h1000'"),
        (PEAK, {"baseline": "b200"}, "mine: baseline: b200 is the subject itself"),
        (PEAK, {"resource": "bandwith"}, "mine: resource: 'bandwith' is no figure"),
        (SPEED, {"against": ["hgx-h200-8"]}, "mine: against: hgx-h200-8 is the subject itself"),
        (SPEED, {"baseline": "hgx-h1000"}, "mine: baseline: No system"),
        (SPEED, {"stated": {"model": "qwen33"}}, "mine: stated.model: No model 'qwen33'"),
        (PEAK, {"beside": [{"name": "n", "expression": "chip(nope).fp8"}]}, r"beside\[1\] \(n\): No chip"),
        (PEAK, {"beside": [{"name": "n", "expression": "1", "equals": "log(0)"}]}, "has no finite value"),
        (PEAK, {"beside": [{"name": "n", "expression": "9**9**9**9"}]}, "has no finite value"),
    ],
)
def test_what_the_catalogue_does_not_know_is_refused_by_field(
    entry: dict[str, Any], change: dict[str, Any], says: str
) -> None:
    (claim,) = read(entry | change, "x.yaml")
    with pytest.raises(BadInput, match=says):
        assess(claim, Bench(catalogue()))


def test_ours_are_read_and_their_sources_resolve() -> None:
    facts = catalogue()
    known = claims(facts)
    assert len(known) >= 30
    for claim in known.values():
        for source in claim.sources:
            assert where(facts, source) != source, (claim.id, source)


def test_market_facts_name_resolving_sources() -> None:
    facts = catalogue()
    for name, content in facts.tables("market").items():
        for ident, fact in content["facts"].items():
            assert {"what", "value", "unit", "dimension", "date", "source", "basis"} <= set(fact), (
                name,
                ident,
            )
            for source in (fact["source"], *(row["source"] for row in fact.get("conflicts", ()))):
                assert where(facts, source) != source, (ident, source)


def test_an_unknown_claim_says_what_is_close() -> None:
    with pytest.raises(UnknownName, match="rubin-10x-cost"):
        find(catalogue(), "rubin-10x-costs")


def test_claims_of_a_facts_folder_join_ours(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    lines = "\n".join(f"{key}: {value}" for key, value in PEAK.items())
    (folder / "own.yaml").write_text(lines, encoding="utf-8")
    known = claims(catalogue([tmp_path]))
    assert known["mine"].file.endswith("own.yaml")
    assert "lpu-10x-bandwidth" in known
