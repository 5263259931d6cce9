"""Scores: error, bias, coverage, floor; what is unanswered or set apart is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from assay.calibrate.validate import FIGURES, groups, publisher, validate
from assay.errors import BadInput
from assay.estimate import Estimate
from assay.llm.layout import Layout
from assay.measure.records import Record, Records
from assay.report import scoreboard
from assay.study.conditions import Conditions, Pool, Predictions, Setting

SETTING = Setting("llama-3.1-8b", "hgx-h100-8", 1, Pool(Layout()), weights="bf16", engine="vllm")


def record(name: str, **values: float) -> Record:
    return Record(
        name, "https://example.org/a/b", "blog", "H100", "Llama", "vLLM", SETTING,
        conditions={"isl": 100.0, "osl": 100.0, "concurrency": 1.0}, values=values,
    )  # fmt: skip


def predictor(tpot: list[float], reason: tuple[str, ...] | None = None) -> Any:
    """Predict these TPOTs, 20 % either way, with a floor of 5 ms and a greatest throughput of 1,000."""

    def predict(conditions: Conditions) -> Predictions:
        n = len(conditions)
        value = np.array(tpot)
        nothing = Estimate(*(np.full(n, np.nan),) * 4, basis="assumed")
        speed = Estimate(1 / value, 0.8 / value, 1.2 / value, np.full(n, 1000.0), "assumed")
        return Predictions(
            Estimate(value, value * 0.8, value * 1.2, np.full(n, 0.005), "assumed"),
            nothing, speed, nothing, Estimate(value, value, value, np.full(n, np.nan), "assumed"), nothing,
            reason or ("",) * n, ("calibrated chip",) * n,
        )  # fmt: skip

    return predict


def test_figures_by_hand() -> None:
    rows = Records((record("a", tpot=0.010), record("b", tpot=0.010), record("c", tpot=0.020)))
    figures = validate(rows, predictor([0.011, 0.009, 0.010])).figures()["tpot"]
    assert tuple(figures) == FIGURES
    assert figures["n"] == 3
    assert figures["median_ape"] == pytest.approx(0.1)
    assert figures["mape"] == pytest.approx(0.7 / 3)
    assert figures["median_ratio"] == pytest.approx(0.9)
    assert figures["coverage80"] == pytest.approx(2 / 3)
    assert figures["width80"] == pytest.approx(0.4)
    assert figures["below_floor"] == 0.0


def test_a_prediction_better_than_physics_shows() -> None:
    rows = Records((record("a", tpot=0.010), record("b", tpot=0.010)))
    assert validate(rows, predictor([0.004, 0.010])).figures()["tpot"]["below_floor"] == 0.5


def test_the_mean_is_scored_before_the_median() -> None:
    rows = Records(
        (record("a", tpot=0.010, tpot_median=0.020), record("b", tpot_median=0.020, ttft_median=0.010))
    )
    found = validate(rows, predictor([0.010, 0.010]))
    assert found.scores["tpot"].measured.tolist() == [0.010, 0.020]
    assert found.scores["ttft"].value[1] == 0.010


def test_nothing_is_dropped_in_silence() -> None:
    flagged = record("d", tpot=0.010).flagged("duplicate", "half_chip")
    impossible = record("e", tpot=0.001)
    rows = Records(
        (
            record("a", tpot=0.010),
            record("b", tpot=0.010),
            record("c").refused("lengths not stated"),
            flagged,
            impossible,
        )
    )
    result = validate(rows, predictor([0.010] * 4, ("", "does not fit", "", ""))).json(
        ("accelerator", "regime")
    )
    assert result["points"] == 5
    assert result["answered"] == 3
    assert result["unanswered"] == {"does not fit": 1, "lengths not stated": 1}
    assert result["apart"]["points"] == 2
    assert result["apart"]["flags"] == {"duplicate": 1, "below_floor": 1}
    assert result["by"]["accelerator"]["H100"]["points"] == 5
    assert set(result["by"]["regime"]) == {"closed", "not predictable"}
    assert json.loads(json.dumps(result)) == result


def test_without_any_answer_there_are_no_figures() -> None:
    result = validate(Records((record("a").refused("lengths not stated"),)), predictor([])).json()
    assert result["answered"] == 0
    assert result["metrics"]["tpot"]["n"] == 0
    assert result["metrics"]["tpot"]["median_ape"] is None


def test_the_worst_come_first_with_what_is_known() -> None:
    rows = Records((record("a", tpot=0.010), record("b", tpot=0.10)))
    worst = validate(rows, predictor([0.011, 0.010])).worst(1)
    assert [(item["id"], item["metric"]) for item in worst] == [("b", "tpot")]
    assert worst[0]["ratio"] == pytest.approx(0.1)
    assert "software not dated" in worst[0]["reason"]


def test_groups() -> None:
    rows = Records((record("a"), replace(record("b"), source="acme/bench:x.csv@1")))
    assert groups(rows, "source").tolist() == ["example.org", "acme/bench"]
    assert publisher("derived: acme/x@2") == "acme/x"
    with pytest.raises(BadInput, match="colour"):
        groups(rows, "colour")


def result() -> dict[str, object]:
    rows = Records(tuple(record(name, tpot=0.010) for name in "abcdef"))
    return validate(rows, predictor([0.011] * 6)).json(("source",))


def test_the_ratchet_catches_what_gets_worse() -> None:
    before = scoreboard.ratchet(result())
    assert before == {"example.org": {"tpot": {"n": 6, "median_ape": 0.1}}}
    assert scoreboard.worse(before, before) == []
    worse = {"example.org": {"tpot": {"n": 6, "median_ape": 0.12}}}
    assert scoreboard.worse(worse, before) == ["example.org: tpot is off by 12.0 %, 10.0 % before"]
    fewer = {"example.org": {"tpot": {"n": 5, "median_ape": 0.1}}}
    assert "answers 5 points, 6 before" in scoreboard.worse(fewer, before)[0]
    assert "answers 0 points" in scoreboard.worse({}, before)[0]


def test_pages() -> None:
    text = scoreboard.accuracy_page({"serving": result()}, {"unseen chip": result()})
    assert "6 of 6 points answered" in text
    assert "| TPOT | 6 | 10.0 % |" in text
    assert "| unseen chip | 10.0 % |" in text
    page = scoreboard.html(result(), {"tpot": [(0.01, 0.011)], "ttft": []}, "a < b")
    assert "a &lt; b" in page
    assert page.count("<circle") == 1


def test_the_readme_keeps_everything_outside_the_markers() -> None:
    start, end = scoreboard.MARKERS
    text = scoreboard.readme(f"# A\n{start}\nold\n{end}\nrest\n", "new")
    assert text == f"# A\n{start}\nnew\n{end}\nrest\n"
    assert scoreboard.readme(text, "new") == text
    with pytest.raises(BadInput, match="accuracy"):
        scoreboard.readme("no markers", "new")
