"""The faults file: what it says, and sentences for what it should not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import BadInput
from assay.simulate.faults import read
from assay.simulate.state import DOWN, LINK, RECOVER, SLOW


def write(folder: Path, text: str) -> Path:
    """Return a faults file."""
    path = folder / "faults.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_in_order_of_time(tmp_path: Path) -> None:
    text = "faults: [{at: 10min, replicas: [1, 0], for: 2min}, {at: 5s, replica: 2, slow: 2, for: 1min}"
    text += ", {at: 0, replica: 3}]"
    found = read(write(tmp_path, text)).events(4, 1, 3600.0)
    assert [(event.at, event.unit, event.kind) for event in found] == [
        (0.0, 3, DOWN),
        (5.0, 2, SLOW),
        (65.0, 2, RECOVER),
        (600.0, 0, DOWN),
        (600.0, 1, DOWN),
        (720.0, 0, RECOVER),
        (720.0, 1, RECOVER),
    ]
    assert found[1].factor == 2.0


def test_the_stages_of_a_replica_fail_together(tmp_path: Path) -> None:
    found = read(write(tmp_path, "faults: [{at: 1s, replica: 1}]")).events(2, 3, 10.0)
    assert [event.unit for event in found] == [3, 4, 5]


def test_drawn_failures_have_their_means_and_their_seed(tmp_path: Path) -> None:
    faults = read(write(tmp_path, "mtbf: 100s\nmttr: 10s"))
    found = faults.events(50, 1, 10_000.0, seed=4)
    down = sum(event.kind == DOWN for event in found)
    assert down == pytest.approx(50 * 10_000 / 110, rel=0.05)
    assert found == faults.events(50, 1, 10_000.0, seed=4)
    assert found != faults.events(50, 1, 10_000.0, seed=5)


def test_cuts_of_a_link_that_overlap_are_one_and_one_without_end_takes_its_replica(tmp_path: Path) -> None:
    text = "faults: [{at: 10s, link: 1, for: 20s}, {at: 25s, link: 1, for: 15s}, {at: 50s, links: [0]}]"
    found = read(write(tmp_path, text)).events(2, 1, 100.0)
    assert [(event.at, event.unit, event.kind, event.factor) for event in found] == [
        (10.0, 1, LINK, 30.0),
        (50.0, 0, DOWN, 1.0),
    ]


def test_cuts_of_links_are_drawn(tmp_path: Path) -> None:
    found = read(write(tmp_path, "link_mtbf: 100s\nlink_mttr: 10s")).events(50, 1, 10_000.0, seed=4)
    assert {event.kind for event in found} == {LINK}
    assert len(found) == pytest.approx(50 * 10_000 / 110, rel=0.05)
    assert sum(event.factor for event in found) / len(found) == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is not a faults file"),
        ("[1, 2]", "is not a faults file"),
        ("faults: 3", "`faults` is not a list"),
        ("faults: [3]", "fault 1 is not"),
        ("faults: [{at: 1s}]", "fault 1 does not name one"),
        ("faults: [{at: 1s, replica: 0, link: 0}]", "fault 1 does not name one"),
        ("faults: [{at: 1s, link: 0, slow: 2}]", "fault 1 does not name one"),
        ("link_mtbf: 1d", "link_mtbf without link_mttr"),
        ("faults: [{at: soon, replica: 0}]", "fault 1: at = 'soon'"),
        ("faults: [{at: 1s, replica: -1}]", "replica -1"),
        ("faults: [{at: 1s, replica: 0, slow: 0.5}]", "would be faster"),
        ("faults: [{at: 1s, replica: 0, fro: 3}]", "fault 1 is not"),
        ("mtbf: 3d", "mtbf without mttr"),
        ("faults: [{at: 1s, replica: 9}]", "replica 9; there are 2"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(write(tmp_path, text)).events(2, 1, 10.0)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.yaml: cannot be read"):
        read(tmp_path / "nothing.yaml")
