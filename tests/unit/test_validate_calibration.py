"""The correction learns what measurements share, fades without them, and its intervals hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from assay.calibrate.holdout import QUESTIONS, folds, labels
from assay.calibrate.interval import kinds, weighted_quantile
from assay.calibrate.leave_out import matches, parse, validate_left_out
from assay.calibrate.residual import Evidence, Shape, basis, fit
from assay.calibrate.serving import gather, learn
from assay.calibrate.validate import validate
from assay.engine.residual import apply, corrected, dump, load
from assay.errors import BadInput
from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.measure.records import Record, Records
from assay.study.conditions import Conditions, Pool, Predictions, Setting

CHIPS = {"hgx-h100-8": 1.0, "hgx-h200-8": 1.1, "hgx-b200-8": 1.4, "mi300x-8": 0.7, "mi355x-8": 0.8}
MODELS = {"llama-3.1-8b": 1.0, "qwen3-32b": 1.2, "deepseek-r1": 0.8, "gpt-oss-120b": 0.9}
LOADS = (1.0, 4.0, 16.0, 64.0, 256.0)
SMALL = replace(Shape.usual(), centres=120)


def predict(conditions: Conditions) -> Predictions:
    """Predict a TPOT that knows the load only, with a floor at a tenth of it."""
    value = 0.005 + 1e-4 * conditions.concurrency
    nan = np.full(len(conditions), np.nan)
    nothing = Estimate(nan, nan, nan, nan, "assumed")
    terms = {"decode_step": value, "batch": conditions.concurrency, "decode_rows": conditions.concurrency}
    tpot = Estimate(value, value, value, value / 10, "assumed")
    none = ("",) * len(conditions)
    return Predictions(tpot, nothing, nothing, nothing, nothing, nothing, none, none, terms)


def records(noise: float = 0.03, seed: int = 1) -> Records:
    """Make points whose truth differs from the prediction by chip, by model, by load and by chance."""
    dice = np.random.default_rng(seed)
    rows = []
    for (system, chip), (model, size), tp, users in product(CHIPS.items(), MODELS.items(), (2, 4, 8), LOADS):
        setting = Setting(model, system, tp, Pool(Layout(tp=tp)), weights="fp8", engine="vllm")
        truth = (0.005 + 1e-4 * users) * chip * size * users**0.05 * np.exp(noise * dice.standard_normal())
        rows.append(
            Record(
                f"{system}/{model}/{tp}/{users}",
                "acme/bench",
                "repo-csv",
                system,
                model,
                "vLLM",
                setting,
                conditions={"isl": 1000.0, "osl": 1000.0, "concurrency": users},
                values={"tpot": float(truth)},
            )
        )
    return Records(tuple(rows))


@pytest.fixture(scope="module")
def rows() -> Records:
    return records()


def error(found: Predictions, rows: Records) -> float:
    return float(np.median(np.abs(np.asarray(found.tpot.value) / rows.column("tpot") - 1)))


def test_a_calibration_learns_chips_and_models(rows: Records) -> None:
    points, _, conditions, raw = gather(rows, predict)
    found = apply(conditions, raw, learn(points, SMALL))
    assert error(raw, rows) > 0.15
    assert error(found, rows) < 0.04


def test_it_says_the_same_twice_and_after_reading_it_back(rows: Records) -> None:
    points, _, conditions, raw = gather(rows, predict)
    first, second = learn(points, SMALL), learn(points, SMALL)
    assert dump(first) == dump(second)
    kept = corrected(conditions, raw, dump(first))
    np.testing.assert_allclose(kept.tpot.value, apply(conditions, raw, first).tpot.value, rtol=2e-3)
    assert dump(load(dump(first)))["metrics"]["tpot"]["mean"] == dump(first)["metrics"]["tpot"]["mean"]


@pytest.mark.parametrize("question", ["group", "accelerator", "model"])
def test_an_unseen_group_is_better_off_than_without_a_calibration(rows: Records, question: str) -> None:
    found = validate_left_out(rows, predict, question, count=5, shape=SMALL)
    bare = validate(rows, lambda c: corrected(c, predict(c), None))
    figures, before = found.figures()["tpot"], bare.figures()["tpot"]
    assert figures["n"] == before["n"] == len(rows)
    assert float(figures["median_ape"] or 1) < float(before["median_ape"] or 0)
    assert (
        0.4 < float(figures["coverage80"] or 0) <= 1.0
    )  # three or four groups are few to learn a width from


def test_intervals_hold_in_a_new_draw_of_the_same_world(rows: Records) -> None:
    points, _, _, _ = gather(rows, predict)
    calibration = learn(points, SMALL)
    again = records(seed=2)
    found = validate(again, lambda c: apply(c, predict(c), calibration)).figures()["tpot"]
    assert 0.7 <= float(found["coverage80"] or 0) <= 0.95


def test_a_value_scores_only_its_points(rows: Records) -> None:
    found = validate_left_out(rows, predict, "accelerator=MI300X", shape=SMALL)
    assert len(found.records) == len(rows) // len(CHIPS)
    assert {row.accelerator for row in found.records.rows} == {"mi300x-8"}
    assert set(found.basis) == {"datasheet"}
    with pytest.raises(BadInput, match="H20"):
        validate_left_out(rows, predict, "accelerator=H20", shape=SMALL)
    with pytest.raises(BadInput, match="colour"):
        parse("colour")


def test_far_from_evidence_the_correction_fades_and_the_interval_widens(rows: Records) -> None:
    points, _, _, _ = gather(rows, predict)
    calibration = learn(points, SMALL)
    seen = Setting("qwen3-32b", "hgx-h100-8", 4, Pool(Layout(tp=4)), weights="fp8", engine="vllm")
    unseen = Setting(
        "glm-5", "tpu-v7-pod", 64, Pool(Layout(tp=64)), weights="bf16", engine="sax", load="static"
    )
    conditions = Conditions.of(
        [seen, unseen], {"isl": [1000, 50], "osl": [1000, 30000], "concurrency": [16, 9000]}
    )
    raw = predict(conditions)
    found = apply(conditions, raw, calibration)
    shift = np.abs(np.log(np.asarray(found.tpot.value) / np.asarray(raw.tpot.value)))
    width = np.log(np.asarray(found.tpot.high) / np.asarray(found.tpot.low))
    assert width[1] > 2 * width[0]
    assert shift[1] < 0.5
    assert found.basis == ("calibrated model", "datasheet")


def test_floors_are_never_crossed(rows: Records) -> None:
    def tight(conditions: Conditions) -> Predictions:
        raw = predict(conditions)
        value = np.asarray(raw.tpot.value)
        return replace(raw, tpot=Estimate(value, value, value, value * 0.99, "assumed"))

    points, _, conditions, _ = gather(rows, predict)
    found = apply(conditions, tight(conditions), learn(points, SMALL))
    for part in (found.tpot.value, found.tpot.low, found.tpot.high):
        assert (np.asarray(part) >= np.asarray(found.tpot.floor)).all()


def test_points_set_apart_teach_nothing(rows: Records) -> None:
    odd = tuple(row.flagged("littles") if place % 2 else row for place, row in enumerate(rows.rows))
    points, _, _, _ = gather(Records(odd), predict)
    assert int(np.isfinite(points.targets["tpot"]).sum()) == len(rows) // 2


def test_too_little_evidence_is_refused(rows: Records) -> None:
    with pytest.raises(BadInput, match="at least"):
        learn(gather(rows.take(list(range(10))), predict)[0], SMALL)
    with pytest.raises(BadInput, match="can be predicted"):
        gather(Records((rows.rows[0].refused("x"),)), predict)


def test_leaving_out_in_closed_form_is_leaving_out(rows: Records) -> None:
    points = gather(rows, predict)[0]
    ground = basis(points, SMALL)
    once = replace(SMALL, rounds=1)
    fitted = fit(points, "tpot", once, ground)
    groups = points.codes(("chip",))
    quick = fitted.left_out(groups)
    test = groups == 2
    rest: Evidence = points.take(~test)
    at, weight = ground.at(rest), fitted.trusted[~test]
    normal = at.T @ (at * weight[:, None]) + ground.own
    weights = np.linalg.solve(normal, at.T @ (weight * (rest.targets["tpot"] - fitted.mean)))
    slow = points.targets["tpot"][test] - fitted.mean - ground.at(points.take(test)) @ weights
    np.testing.assert_allclose(quick[test], slow, atol=1e-6)


def test_folds_keep_groups_whole() -> None:
    groups = np.array(list("aaabbbccdde"))
    seen = np.zeros(len(groups), dtype=int)
    for train, test in folds(groups, 3):
        assert not set(groups[train]) & set(groups[test])
        assert (train ^ test).all()
        seen += test
    assert (seen == 1).all()
    assert [t.tolist() for _, t in folds(groups, 3)] == [t.tolist() for _, t in folds(groups, 3)]
    with pytest.raises(BadInput, match="one group"):
        list(folds(np.array(["a", "a"]), 2))


def test_what_is_known_once_a_group_is_left_out(rows: Records) -> None:
    points = gather(rows, predict)[0]
    expected = {
        "configuration": "chip, model and engine",
        "group": "chip and family",
        "accelerator": "family",
        "model": "chip",
    }
    for question, kind in expected.items():
        assert set(kinds(points, points.codes(QUESTIONS[question]))) == {kind}
    assert set(kinds(points, np.arange(len(points)))) == {"deployment"}


def test_labels_and_values() -> None:
    items = [
        {
            "chip": "h100-sxm",
            "model": "deepseek-v3",
            "engine": "vllm",
            "family": "deepseek-v3",
            "recipe": "",
            "layout": "",
        }
    ]
    assert labels(items, "pair").tolist() == ["h100-sxm|deepseek-v3"]
    assert matches(np.array(["h100-sxm", "mi300x"]), "accelerator", "H100").tolist() == [True, False]
    assert matches(np.array(["deepseek-v3", "glm-5"]), "model", "DeepSeek-R1").tolist() == [True, False]


def test_quantiles_of_weighted_values() -> None:
    values = np.linspace(-1, 1, 201)
    low, high = weighted_quantile(values, np.ones(201), 10**6, 0.8)
    assert [low, high] == pytest.approx([-0.8, 0.8], abs=0.01)
    heavy = np.where(values > 0, 9.0, 1.0)
    assert weighted_quantile(values, heavy, 10**6, 0.8)[0] > -0.1
