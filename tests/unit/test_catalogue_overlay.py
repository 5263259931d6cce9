"""Facts of the user's own, laid over ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.check import check
from assay.catalogue.compiled import DATA
from assay.catalogue.fields import CHIP_WORDS
from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.errors import AssayError, BadFact, BadInput, NoEvidence

Write = Callable[..., Path]
FEW_LINES = "kind: chip\nmem: 256 GB\nmem_bw: 10 TB/s\nfp8: 4000 TFLOPS\nbf16: 2 PFLOPS\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(text: str, name: str = "mychip.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return file


def test_a_chip_in_a_few_plain_words(write: Write) -> None:
    facts = catalogue(
        [write(FEW_LINES + "link: 900 GB/s\nnic: 800 Gb/s\ntdp: 1.2 kW\nprice: {own: 2.1 USD/h}\n")]
    )
    system = facts.system("mychip")
    assert system.chip.peak_flops == pytest.approx({"fp8": 4e15, "bf16": 2e15})
    assert system.chip.memory_bytes == 256e9
    assert system.chip.memory_bandwidth == pytest.approx(1e13)
    assert system.chip.tdp_watts == pytest.approx(1200.0)
    assert (system.domain, system.node, system.max_chips) == (8, 8, 64)
    assert system.link_bandwidth == system.peer_bandwidth == pytest.approx(9e11)
    assert system.nic_bandwidth == pytest.approx(1e11)
    assert facts.price("mychip", "own").usd_per_hour == 2.1
    assert facts.facts("chip", "mychip")["memory_capacity"].basis == "user"
    assert facts.source("user")
    assert "mychip" in facts.systems()
    assert facts.system("h200").id == "hgx-h200-8"


def test_without_a_link_single_chips_and_a_hint(write: Write) -> None:
    system = catalogue([write(FEW_LINES)]).system("mychip")
    assert (system.domain, system.max_chips) == (1, 1)
    assert any("write `link:" in warning for warning in system.warnings)


def test_start_from_a_known_chip(write: Write) -> None:
    facts = catalogue([write("kind: chip\nlike: b200\nmem_bw: 16 TB/s\ndomain: 72\n", "double.yaml")])
    chip, base = facts.chip("double"), facts.chip("b200")
    assert chip.memory_bandwidth == 2 * base.memory_bandwidth
    assert chip.peak_flops == base.peak_flops
    assert chip.generation == base.generation
    assert facts.system("double").domain == 72
    assert facts.chip_id("b200") == "b200-sxm"


def test_a_dataflow_chip_needs_no_link_to_chain(write: Write) -> None:
    facts = catalogue([write("kind: dataflow\nlike: lpu-v1\nsram: 0.5 GB\n", "lpu9.yaml")])
    system = facts.system("lpu9")
    assert system.chip.kind == "dataflow"
    assert system.chip.memory_kind == "sram"
    assert system.chip.memory_bytes == 5e8
    assert system.max_chips > 1000


def test_a_folder_of_the_same_tree_changes_field_by_field(write: Write, tmp_path: Path) -> None:
    write("facts:\n  tdp: {value: 600, unit: W, source: METER, date: 2026-10}\n", "chips/h200-sxm.yaml")
    write("kind: system\nid: ring16\nchip: h200\ndomain: 16\ntopology: ring\nlink: 200 GB/s\n", "ring16.yaml")
    write("kind: own\nprices:\n  - {chip: h100, usd_per_hour: 0.9}\n", "prices/mine.yaml")
    write("models:\n  mine: {architecture: {hidden: 8}, hf_id: me/mine}\n", "models/mine.yaml")
    write("METER: {where: our own meter}\n", "sources.yaml")
    write("rows: []\n", "measurements/achievable.yaml")
    facts = catalogue([tmp_path])
    assert facts.chip("h200").tdp_watts == 600.0
    assert facts.chip("h200").memory_bytes == 141e9
    assert facts.system("ring16").peer_bandwidth == pytest.approx(1e11)
    assert facts.system("h200").id == "hgx-h200-8"
    assert facts.price("h100", "own").usd_per_hour == 0.9
    assert facts.model("me/mine").architecture == {"hidden": 8}
    assert facts.model("kimi-k2").name == "kimi-k2-instruct"
    assert facts.source("METER") == "our own meter"
    assert facts.table("measurements/achievable") == {"rows": []}
    assert facts.hash != catalogue().hash


def test_the_environment_and_later_files_win(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(FEW_LINES, "a/x.yaml")
    second = write("kind: chip\nid: x\nmem: 1 TB\n", "b/y.yaml")
    monkeypatch.setenv("ASSAY_FACTS", str(first))
    assert catalogue().chip("x").memory_bytes == 256e9
    assert catalogue([second]).chip("x").memory_bytes == 1e12


def test_a_changed_file_is_noticed(write: Write) -> None:
    path = write(FEW_LINES)
    assert catalogue([path]).chip("mychip").memory_bytes == 256e9
    write(FEW_LINES.replace("256 GB", "1024 GB"))
    assert catalogue([path]).chip("mychip").memory_bytes == 1024e9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: chip\nmem: 10 GB\nmem_bw: 4\n", "memory_bandwidth = 4 B/s .*unit missing"),
        ("kind: chip\nfp8: 4000\n", "fp8 = 4 kFLOP/s .*unit missing"),
        ("kind: chip\nmem: -1 GB\n", "memory_capacity = '-1 GB'|memory_capacity = '-1.0'.*negative|negative"),
        ("kind: chip\nmem: .nan\n", "memory_capacity.*finite"),
        ("kind: chip\nmem: 0\n", "memory_capacity.*zero"),
        ("kind: chip\nmem: 80 Gb/s\n", "Unknown unit 'Gb/s'"),
        ("kind: chip\nmem: [80 GB]\n", "mem is a list"),
        ("kind: chip\nmem: {unit: GB}\n", "memory_capacity has no value"),
        ("kind: chip\nmem: 1 GB\nmemory: 2 GB\n", "memory_capacity is given twice"),
        ("kind: chip\nmemm: 3 GB\n", "unknown field 'memm'.*Did you mean mem"),
        ("kind: chip\nname: [a]\n", "name is no text"),
        ("kind: chip\naliases: h100\n", "aliases is no list"),
        ("kind: chip\nid: ../x\n", "id = '../x'"),
        ("kind: chip\nfacts: 3\n", "facts is no mapping"),
        ("kind: chip\nlike: h1000\n", "like: No chip 'h1000'"),
        ("kind: chip\nprice: {gift: 2}\n", "unknown kind 'gift'"),
        ("kind: chip\nprice: cheap\n", "usd_per_hour"),
        ("kind: chip\nprice: {own: {usd_per_hour: 2, date: soon}}\n", "is no date"),
        ("kind: chip\nbf16: {value: 10, unit: TFLOPS, conflicts: 3}\n", "conflicts"),
        ("kind: spaceship\n", "cannot tell what it describes"),
        ("- 1\n", "holds no mapping"),
        ("", "holds no mapping"),
        ("kind: system\nchip: h999\n", "chip: No chip 'h999'"),
        ("kind: system\ndomain: 8\n", "no `chip`"),
        ("kind: own\nprices: 3\n", "prices is no list"),
        ("kind: own\nprices: [{chip: h100}]\n", "usd_per_hour"),
        ("kind: own\nprices: [{chip: h999, usd_per_hour: 1}]\n", "unknown chip"),
        ("prices: [{chip: h100, usd_per_hour: 1}]\n", "kind = ''"),
        ("models: 3\n", "models is no mapping"),
        ("models: {a: 3}\n", "models: a is no mapping"),
        ("kind: chip\nmem: 256 GB\nmem_bw: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_it(write: Write, text: str, message: str) -> None:
    path = write(text, "x.yaml")
    with pytest.raises(BadFact, match=message) as caught:
        catalogue([path]).chips()
    assert str(path) in str(caught.value)
    findings = [finding for finding in check(DATA, [path]) if finding.level == "error"]
    assert any(str(path) in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FEW_LINES + "topology: star\n", "topology = 'star'"),
        (FEW_LINES + "memory_kind: paper\n", "memory_kind = 'paper'"),
        (FEW_LINES + "node: many\n", "= 'many'"),
        (FEW_LINES + "link: 1 TB/s\ndomain: 2.5\n", "not a whole number"),
    ],
)
def test_a_wrong_word_names_the_file_when_used(write: Write, text: str, message: str) -> None:
    path = write(text, "x.yaml")
    with pytest.raises(BadFact, match=message) as caught:
        catalogue([path]).system("x")
    assert str(path) in str(caught.value)


def test_what_is_missing_is_named(write: Write) -> None:
    path = write("kind: chip\nmem: 80 GB\nmem_bw: 3 TB/s\n", "x.yaml")
    with pytest.raises(NoEvidence, match="dense rate in any of bf16"):
        catalogue([path]).system("x")
    assert any(
        finding.level == "warning" and "dense rate" in finding.message for finding in check(DATA, [path])
    )


def test_paths_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No facts at"):
        catalogue([tmp_path / "nowhere"]).chips()


@given(
    st.dictionaries(
        st.sampled_from([*sorted(CHIP_WORDS), "kind", "id", "facts", "price", "node", "topology", "aliases"]),
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=8)
        | st.sampled_from(["10 GB", "3 TB/s", "5 PFLOPS", "chip", "-1 W", "8"])
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(
            st.sampled_from(["value", "unit", "conflicts"]), st.integers() | st.text(max_size=4)
        ),
        max_size=6,
    )
)
def test_any_file_is_a_chip_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    import json

    path = tmp_path_factory.mktemp("facts") / "x.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        known = Catalogue([path])
        known.chips()
        known.system("x")
    except AssayError as error:
        sentence = str(error)
    else:
        sentence = "understood"
    assert sentence
