"""The search of the correction's shape: numbers by name, trials, and going on where it was stopped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assay.calibrate.residual import Shape
from assay.calibrate.tune import STEP, changed, main, numbers, plain, search
from assay.catalogue.load import catalogue
from assay.errors import BadInput

START = Shape.usual()


def error(shape: Shape) -> float:
    """Be least at twice the noise and half the emphasis of the date."""
    noise = shape.noise / START.noise / 2
    date = shape.emphasis["date"] / START.emphasis["date"] * 2
    return 0.1 + abs(noise - 1) + abs(date - 1)


def test_the_plain_form_is_that_of_the_data_file() -> None:
    table = catalogue().table("calibrations/serving_shape")
    made = plain(START)
    assert set(made) == set(table) - {"own"}
    assert all(set(own) == set(made) for own in table["own"].values())
    assert made["terms"] == [{**item, "constant": float(item["constant"])} for item in table["terms"]]
    assert made["emphasis"] == table["emphasis"]


@pytest.mark.parametrize("name", ["noise", "terms/1/length", "clip", "emphasis/log isl"])
def test_one_number_changes_and_nothing_else(name: str) -> None:
    was, now = _flat(plain(START)), _flat(plain(changed(START, {name: 2.0})))
    moved = [key for key in was if was[key] != now[key]]
    assert moved == [name]
    assert now[name] == pytest.approx(2 * was[name])


def test_every_number_can_be_changed_and_zeros_are_left() -> None:
    names = numbers(START)
    assert len(names) == len(set(names)) > 80
    assert "terms/0/constant" not in names
    changed(START, dict.fromkeys(names, 1.1))
    with pytest.raises(BadInput, match="no number 'mood'"):
        changed(START, {"mood": 2.0})


def test_it_finds_what_is_better_and_keeps_the_rest() -> None:
    state: dict[str, Any] = {}
    for _ in range(2):
        lines = list(search(START, error, state, seed=1))
    assert lines[-1].startswith("round 2 done")
    assert set(state["factors"]) == {"noise", "emphasis/date"}
    assert state["factors"]["noise"] == pytest.approx(STEP**2)
    assert state["now"] < state["before"]


@pytest.mark.parametrize("stop", [1, 2, 20, 21, 60])
def test_a_stopped_search_goes_on_where_it_was(stop: int) -> None:
    whole: dict[str, Any] = {}
    lines = list(search(START, error, whole, seed=3))
    state: dict[str, Any] = {}
    first = search(START, error, state, seed=3)
    seen = [next(first) for _ in range(stop)]
    state = json.loads(json.dumps(state))
    rest = list(search(START, error, state, seed=3))
    assert state == whole
    assert seen == lines[:stop]
    assert rest[stop - len(lines) :] == lines[stop:]  # a trial may be repeated, its result is the same


def _flat(item: Any, path: str = "") -> dict[str, Any]:
    if isinstance(item, dict):
        pairs = list(item.items())
    elif isinstance(item, list):
        pairs = list(enumerate(item))
    else:
        return {path: item}
    out: dict[str, Any] = {}
    for key, value in pairs:
        out |= _flat(value, f"{path}/{key}".strip("/"))
    return out


def test_mistakes_of_the_user_are_sentences(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state.json"
    assert main(["nothing.csv", "--metric", "ttft", "--state", str(state), "--questions", "mood"]) != 0
    assert "Cannot leave out mood" in capsys.readouterr().err
    state.write_text('{"of": {"seed": 9}}', encoding="utf-8")
    assert main(["nothing.csv", "--metric", "ttft", "--state", str(state)]) != 0
    assert "is of a search with" in capsys.readouterr().err
