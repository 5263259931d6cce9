"""The plan: legal layouts, fronts, limits, replicas, refusals with arithmetic, a chip in the user's YAML."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.errors import BadInput, DoesNotFit, UnknownName
from assay.llm.layout import Layout
from assay.plan import answer, candidates, estimate
from assay.plan.engines import engines
from assay.plan.pareto import front, thinned
from assay.plan.space import Shape, formats, layouts, shape, sizes
from assay.study.answer import FIGURES, SCHEMA, Answer
from assay.study.question import Question

#: Every platform that must answer for Kimi K2.
KIMI = [
    "h100",
    "h200",
    "b200",
    "gb200-nvl72",
    "gb300-nvl72",
    "vr-nvl72",
    "mi300x",
    "mi355x",
    "tpu-v5e",
    "tpu-v6e",
    "tpu-v7",
    "trn2",
    "gaudi3",
    "cloudmatrix384",
    "groqrack",
    "lpx",
    "wse3",
]


def ask(name: str, *platforms: str, **limits: object) -> Answer:
    return answer(Question(model=name, platforms=platforms, **limits))  # type: ignore[arg-type]


@given(
    points=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60),
)
def test_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    first, second = np.array(points, dtype=float).T
    kept = {(first[k], second[k]) for k in front(first, second)}
    expected = {
        (x, y)
        for x, y in zip(first, second, strict=True)
        if not any((a >= x and b >= y) and (a > x or b > y) for a, b in zip(first, second, strict=True))
    }
    assert kept == expected


def test_front_ignores_what_is_unknown() -> None:
    assert list(front(np.array([np.nan, 1.0]), np.array([9.0, 1.0]))) == [1]


def test_sizes_are_powers_of_two_and_the_domain() -> None:
    assert sizes(72, 72) == [1, 2, 4, 8, 16, 32, 64, 72]
    assert sizes(8, 72) == [1, 2, 4, 8]


def test_layouts_are_legal() -> None:
    system = catalogue().system("h200")
    for bounds in (Shape(64, 61, 384), Shape(8, 32, 0)):
        found = layouts(bounds, system)
        assert len(found) == len(set(found))
        for item in found:
            assert item.tp <= min(system.domain, bounds.heads)
            assert item.chips <= system.max_chips
            assert item.stage % item.ep == 0
            assert bounds.experts or item.ep == item.dp == 1


def test_no_chips_is_a_mistake() -> None:
    with pytest.raises(BadInput, match="at least one chip"):
        layouts(Shape(8, 32, 0), catalogue().system("h200"), -1)


def test_formats_are_those_the_chip_multiplies() -> None:
    known = catalogue()
    assert formats(known.chip("b200-sxm"), "", "fp8") == ["native", "fp4"]
    assert formats(known.chip("h200-sxm"), "", "bf16") == ["native", "fp8"]
    assert formats(known.chip("a100-80gb-sxm"), "", "bf16") == ["native", "int8"]
    assert formats(known.chip("b200-sxm"), "", "mxfp4") == ["native"]
    assert formats(known.chip("b200-sxm"), "int4", "bf16") == ["int4"]


def test_every_platform_of_kimi_k2_answers() -> None:
    found = ask("kimi-k2", *KIMI, ttft=5.0, tpot=0.1)
    answered = {row.deployment.system for row in found.rows if row.fits}
    missing = {catalogue().system(name).id for name in KIMI} - answered
    assert not missing, [item.reason for item in found.refused]
    for row in found.rows:
        for name, figure in row.figures.items():
            value, low, high = float(figure.value), float(figure.low), float(figure.high)
            assert np.isfinite(value), name
            assert low <= value <= high, name


def test_figures_never_beat_physics() -> None:
    found = ask("kimi-k2", *KIMI, ttft=5.0, tpot=0.1)
    greatest = {name for name in FIGURES if "per_s" in name}
    for row in found.rows:
        for name, figure in row.figures.items():
            ends = np.array([figure.low, figure.value, figure.high], dtype=float)
            bound = float(figure.floor)
            assert (
                np.all(ends <= bound * (1 + 1e-9)) if name in greatest else np.all(ends >= bound * (1 - 1e-9))
            )


def test_rows_that_miss_the_limits_come_last() -> None:
    found = ask("llama-3.3-70b", "h100", "rtx-4090", "b200", tpot=0.012)
    states = [row.meets for row in found.rows]
    assert states == sorted(states, reverse=True)
    assert any("misses the limits" in note for row in found.rows if not row.meets for note in row.notes)


@pytest.mark.parametrize(
    ("objective", "figure", "sign"),
    [
        ("cost", "usd_per_million_output_tokens", 1),
        ("throughput", "output_tokens_per_s_per_chip", -1),
        ("latency", "tpot_s", 1),
        ("energy", "joules_per_output_token", 1),
    ],
)
def test_rows_are_ranked_by_the_objective(objective: str, figure: str, sign: int) -> None:
    found = ask("qwen3-32b", "h100", "h200", "mi300x", objective=objective, tpot=0.05)
    values = [sign * float(row.figures[figure].value) for row in found.rows if row.meets]
    assert values == sorted(values)


def test_a_rate_gets_the_replicas_it_needs() -> None:
    few = ask("llama-3.1-8b", "h100", rate=2.0, tpot=0.03).rows[0]
    many = ask("llama-3.1-8b", "h100", rate=400.0, tpot=0.03).rows[0]
    assert many.chips > few.chips
    for row, rate in ((few, 2.0), (many, 400.0)):
        carried = float(row.figures["output_tokens_per_s_per_chip"].value) * row.chips / 512
        assert carried == pytest.approx(rate, rel=0.35)


def test_fronts_trade_speed_for_throughput() -> None:
    points = ask("kimi-k2", "b200").fronts["hgx-b200-8"]
    users = [point["output_tokens_per_s_per_user"]["value"] for point in points]
    chips = [point["output_tokens_per_s_per_chip"]["value"] for point in points]
    assert len(points) > 5
    assert users == sorted(users, reverse=True)
    assert chips == sorted(chips)


def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic() -> None:
    found = ask("kimi-k2", "rtx-4090")
    assert not found.rows
    assert "GB" in found.refused[0].reason
    with pytest.raises(DoesNotFit, match="GB"):
        estimate(Question(model="kimi-k2"), "h100", "tp8")


def test_estimate_explains_its_step() -> None:
    question = Question(model="deepseek-v3.2", isl=4096, osl=512, concurrency=64)
    found = estimate(question, "h200", "tp8", explain=True)
    row = found.rows[0]
    for phase in ("decode", "prefill"):
        shares = [item["share"] for item in found.explain if item["phase"] == phase]
        assert sum(shares) == pytest.approx(1.0)
    assert {"memory", "compute", "link", "launch"} >= {item["bound"] for item in found.explain}
    assert row.concurrency == 64
    assert all(factor >= 0.999 for factor in row.moves.values())


@pytest.mark.parametrize("load", [{"concurrency": 64}, {"rate": 2.0}])
@pytest.mark.parametrize("layout", ["tep8", "2xtep8+1xdep8"])
def test_an_estimate_takes_the_engine_that_a_plan_would(layout: str, load: dict[str, float]) -> None:
    question = Question("deepseek-r1", isl=2000, osl=500, **load)  # type: ignore[arg-type]
    row = estimate(question, "h200", layout).rows[0]
    names = engines("", "deepseek-r1", catalogue().system("h200"), catalogue())
    each = {name: estimate(replace(question, engine=name), "h200", layout).rows[0] for name in names}
    assert len(each) > 1

    def carried(name: str) -> float:
        best = each[name].capacity or each[name].figures["output_tokens_per_s_per_chip"].json()
        return float(best["requests_per_s"]["value"] if "requests_per_s" in best else best["value"])

    assert row.deployment.engine == max(names, key=carried)
    assert dict(row.figures) == dict(each[row.deployment.engine].figures)
    assert row.notes[-1].startswith(f"no engine is stated: {row.deployment.engine} is the best of ")
    assert not any("no engine is stated" in text for item in each.values() for text in item.notes)


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        ("llama-3.1-8b", "tep8", "dense model"),
        ("kimi-k2", "tp16", "scale-up domain"),
        ("kimi-k2", "dep1024", "planned up to"),
        ("kimi-k2", "banana", "Cannot read layout"),
        ("llama-3.1-8b", "pp64", "stages"),
    ],
)
def test_illegal_layouts_say_why(name: str, label: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        estimate(Question(model=name), "h100", label)


def test_too_long_a_request_names_the_context() -> None:
    with pytest.raises(BadInput, match="131072"):
        ask("kimi-k2", "h200", isl=10**9)


def test_unknown_names_say_what_is_close() -> None:
    with pytest.raises(UnknownName, match="Did you mean"):
        ask("kimi-k2", "h2000")


def test_a_chip_in_the_users_yaml_answers(tmp_path: Path) -> None:
    (tmp_path / "mychip.yaml").write_text(
        "kind: gpu\nname: My Chip\nmem_bw: 10 TB/s\nmem_capacity: 400 GB\nbf16: 2000 TFLOPS\n"
        "fp8: 4000 TFLOPS\nscale_up_bw: 800 GB/s\n"
    )
    found = answer(Question(model="kimi-k2", platforms=("mychip", "h200")), facts=[tmp_path])
    assert {row.deployment.system for row in found.rows} >= {"hgx-h200-8"}
    assert any("mychip" in row.deployment.system for row in found.rows), [r.reason for r in found.refused]


def test_json_round_trips_as_the_contract_says() -> None:
    data = json.loads(json.dumps(ask("gpt-oss-120b", "h100", "mi355x").json(), allow_nan=False))
    assert data["schema"] == SCHEMA
    keys = ["platform", "system", "chips", "deployment", "fits", "limited_by", "basis", *FIGURES]
    for row in data["rows"]:
        assert set(keys) <= set(row)
        assert set(row["tpot_s"]) == {"value", "low", "high", "floor"}
    assert set(data["fronts"]) == {"hgx-h100-8", "mi355x-8"}


def test_shape_reads_the_bounds() -> None:
    prepared, _ = model("kimi-k2")
    assert shape(prepared.architecture) == Shape(64, 61, 384)
    assert Layout(tp=8, ep=8).label() == "TEP8"


def test_thinning_keeps_what_is_near_a_limit_and_both_ends() -> None:
    times = np.geomspace(0.005, 0.5, 400)[np.random.default_rng(3).permutation(400)]
    kept = thinned(times, 0.03, 48)
    found = times[kept]
    assert len(kept) <= 48
    assert np.all(np.diff(found) > 0)
    assert found[0] == times.min()
    assert found[-1] == times.max()
    near = (found > 0.02) & (found < 0.045)
    assert np.count_nonzero(near) > len(thinned(times, None, 48)) / 2
    assert list(thinned(times, 0.03, 400)) == list(np.argsort(times))
    # a limit that nothing is near spreads them evenly
    assert len(thinned(times, 30.0, 48)) == 48
    assert len(thinned(times, None, 48)) == 48


def test_thinning_loses_little_of_the_best_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against every candidate corrected: the rates of the best rows within the limits."""
    rate, shares = "output_tokens_per_s_per_chip", []
    for tpot in (0.015, 0.02, 0.03):
        question = Question(
            "qwen3-235b-a22b", platforms=("h200", "gb200-nvl72"), isl=1024, osl=1024, tpot=tpot
        )
        kept = answer(question).rows
        with monkeypatch.context() as every:
            every.setattr(candidates, "MOST_CANDIDATES", 10**6)
            every.setattr(candidates, "MOST_PAIRS", 10**6)
            best = answer(question).rows
        shares += [
            float(one.figures[rate].value / other.figures[rate].value)
            for one, other in zip(kept, best, strict=True)
        ]
    assert min(shares) > 0.75
    assert np.mean(shares) >= 0.95
