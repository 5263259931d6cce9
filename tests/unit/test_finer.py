"""A second look at a platform's candidates: what is fitted, what is taken, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from assay.plan import answer, finer, platform
from assay.plan.finer import Guess, Ranked
from assay.study.question import Question

TIGHT = Question(
    "llama-3.3-70b", platforms=("h200",), isl=8192, osl=1024, ttft=2.0, tpot=0.05, serving="disaggregated"
)


def grid() -> tuple[np.ndarray, ...]:
    """Return TPOT, TTFT, users and chips of three layouts at five batches, and which exist."""
    batch = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
    chips = np.array([[4.0], [8.0], [16.0]])
    tpot = 0.01 + batch * 1e-4 * 8.0 / chips
    return tpot, 0.1 + batch * 0.01 + 0.0 * chips, batch + 0.0 * chips, chips, np.ones((3, 5), dtype=bool)


def ranked(question: Question, *, ttft: float = 0.0) -> Ranked:
    guess = Guess(np.zeros(4), np.array([ttft, 0.0, 0.0, 0.0]))
    *load, valid = grid()
    return Ranked.of(guess, question, tuple(load), valid)


def test_points_that_corrections_push_over_a_limit_are_passed_over() -> None:
    question = Question("llama-3.3-70b", isl=1024, osl=256, ttft=1.0)
    free = ranked(question)
    moved = ranked(question, ttft=np.log(3.0))
    assert moved.ttft == pytest.approx(3.0 * free.ttft)
    # 64 sequences wait 0.74 s, or 2.2 s once corrected: only 16 and fewer are left
    assert np.max(np.flatnonzero(np.isfinite(free.within(question, 1.0)).any(axis=0))) == 3
    assert np.max(np.flatnonzero(np.isfinite(moved.within(question, 1.0)).any(axis=0))) == 2


def test_each_margin_takes_the_best_point_of_each_layout() -> None:
    question = Question("llama-3.3-70b", isl=1024, osl=256, ttft=1.0)
    rows, columns = ranked(question).best(question)
    assert set(rows.tolist()) == {0, 1, 2}
    assert set(columns.tolist()) >= {2, 3}
    layouts, batches = ranked(question).leading(question)
    assert sorted(layouts.tolist()) == [0, 1, 2]
    assert np.all(batches == 3)


def test_latency_asks_for_the_fastest_user() -> None:
    question = Question("llama-3.3-70b", isl=1024, osl=256, objective="latency")
    layouts, batches = ranked(question).leading(question)
    assert layouts[0] == 2
    assert np.all(batches == 0)


def test_a_fit_returns_what_moved_the_times() -> None:
    rng = np.random.default_rng(7)
    known = np.column_stack([np.ones(60), rng.normal(size=(60, 3))])
    wanted = np.array([0.8, -0.3, 0.5, 0.1])
    found = finer._fitted(known, np.exp(known @ wanted), np.ones(60))
    assert found == pytest.approx(wanted, abs=0.02)
    few = finer._fitted(known[:3], np.array([2.0, 2.0, 5.0]), np.ones(3))
    assert few == pytest.approx([np.log(2.0), 0.0, 0.0, 0.0])


def test_a_limit_on_first_tokens_that_can_be_met_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements move TTFT to four times the physics here: one look finds nothing that is fast enough."""
    row = answer(TIGHT).rows[0]
    assert row.meets
    monkeypatch.setattr(platform, "seconds", lambda found, question: [])
    once = answer(TIGHT).rows[0]
    rate = "output_tokens_per_s_per_chip"
    assert not once.meets or row.figures[rate].value >= once.figures[rate].value


@pytest.mark.parametrize("serving", ["aggregated", "disaggregated"])
def test_a_second_look_never_loses(serving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(
        "qwen3-235b-a22b",
        platforms=("h200", "gb200-nvl72"),
        isl=8192,
        osl=1024,
        ttft=2.0,
        tpot=0.03,
        serving=serving,
    )
    found = {row.deployment.system: row for row in answer(question).rows}
    monkeypatch.setattr(platform, "seconds", lambda found, question: [])
    once = {row.deployment.system: row for row in answer(question).rows}
    gains = []
    for system, row in found.items():
        assert row.meets
        gains.append(
            row.figures["output_tokens_per_s_per_chip"].value
            / once[system].figures["output_tokens_per_s_per_chip"].value
        )
    assert min(gains) >= 1.0
    assert max(gains) > 1.01
