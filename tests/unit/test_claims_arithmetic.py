"""Expressions over facts: what they compute, the range they carry, and what they refuse."""

from __future__ import annotations

import pytest

from assay.catalogue.load import catalogue
from assay.claims.arithmetic import Evaluator, shown, where
from assay.claims.quantity import Quantity, joined
from assay.errors import AssayError, BadInput, NoEvidence, UnknownName


@pytest.fixture
def evaluate() -> Evaluator:
    return Evaluator(catalogue())


def test_a_ratio_of_two_chips(evaluate: Evaluator) -> None:
    found = evaluate("chip(lpu-v1).memory_bandwidth / chip(h100-sxm).memory_bandwidth")
    assert found.value == pytest.approx(80 / 3.35)
    assert [item.name for item in evaluate.used] == [
        "chip(lpu-v1).memory_bandwidth",
        "chip(h100-sxm).memory_bandwidth",
    ]
    assert evaluate.used[0].source == "GROQ_TPU"


def test_conflicting_values_become_a_range(evaluate: Evaluator) -> None:
    found = evaluate("chip(b200-sxm).memory_bandwidth / 1e12")
    assert (found.value, found.low, found.high) == pytest.approx((8.0, 7.7, 8.184))
    assert evaluate("1 / chip(b200-sxm).memory_bandwidth").low == pytest.approx(1 / 8.184e12)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("-(2 - 5) ** 2", -9),
        ("ceil(1.0e12 / 230e6)", 4348),
        ("min(3, 2) + max(1, 4) + sqrt(9)", 9),
        ('chip(rubin-cpx).status == "cancelled"', 1),
        ('chip(h100).status != "shipping"', 0),
        ("system(gb200-nvl72).memory_bandwidth_total / 72", 8e12),
        ("chip(h100).mem_bw", 3.35e12),
    ],
)
def test_what_is_computed(evaluate: Evaluator, expression: str, value: float) -> None:
    if expression.startswith("-("):
        with pytest.raises(BadInput):
            evaluate(expression)  # a power of a number below zero
        return
    assert evaluate(expression).value == pytest.approx(value)


def test_models_and_prices_and_the_market(evaluate: Evaluator) -> None:
    assert evaluate("model(kimi-k2).params_total").value == pytest.approx(1.026e12, rel=0.01)
    assert evaluate("model(deepseek-r1).kv_bytes_per_token").value > 0
    assert evaluate("price(h100).own").value > 0
    assert evaluate("market(nvda-loss-r1) / market(nvda-fall-r1)").value == pytest.approx(589e9 / 0.1697)


def test_an_unpublished_fact_is_named(evaluate: Evaluator) -> None:
    with pytest.raises(NoEvidence, match="rack power is not published"):
        evaluate("system(lpx).rack_power")
    with pytest.raises(NoEvidence, match="all-in power of one Jalapeno"):
        evaluate("market(jalapeno-power)")


@pytest.mark.parametrize(
    ("expression", "kind", "says"),
    [
        ("chip(h1000).fp8", UnknownName, "h1000"),
        ("market(nvda-los-r1)", UnknownName, "Did you mean nvda-loss-r1"),
        ("chip(h100).speed", BadInput, "no figure 'speed'"),
        ("model(kimi-k2).beauty", BadInput, "no figure 'beauty'"),
        ("2 +", BadInput, "is no expression"),
        ("__import__('os').system('true')", BadInput, "Cannot read"),
        ("(lambda: 1)()", BadInput, "Cannot read"),
        ("chip(h100).__class__", BadInput, "no figure '__class__'"),
        ("[1][0]", BadInput, "Cannot read"),
        ("exp(2)", BadInput, "No function 'exp'"),
        ("1 / (2 - 2)", BadInput, "divides"),
        ("chip(h100).status", BadInput, "is no number"),
        ("True", BadInput, "Cannot read"),
        ("1" * 600, BadInput, "longer"),
    ],
)
def test_what_is_refused(evaluate: Evaluator, expression: str, kind: type[AssayError], says: str) -> None:
    with pytest.raises(kind, match=says):
        evaluate(expression)


def test_intervals_of_arithmetic() -> None:
    wide = Quantity(2.0, 1.0, 4.0)
    assert wide * wide == Quantity(4.0, 1.0, 16.0)
    assert wide - wide == Quantity(0.0, -3.0, 3.0)
    assert (-wide).low == -4.0


def test_independent_errors_join_in_the_logarithm() -> None:
    found = joined(Quantity(2.0, 1.0, 4.0), Quantity(3.0, 1.5, 6.0))
    assert found.value == 6.0
    assert found.high / found.value == pytest.approx(2 ** (2**0.5))
    assert found.low * found.high == pytest.approx(36.0)
    assert joined(Quantity(2.0, 0.0, 4.0), Quantity.exact(1.0)).low == 0.0


def test_quantities_in_words() -> None:
    assert shown(Quantity.exact(4348.0), "") == "4,348"
    assert shown(Quantity(0.1697, 0.16, 0.17), "fraction") == "17 % (16 % to 17 %)"
    assert shown(Quantity.exact(595e9), "money") == "595 billion USD"
    assert shown(Quantity.exact(1e9), "power") == "1 GW"


def test_sources_resolve_in_catalogue_market_and_words() -> None:
    facts = catalogue()
    assert "techpowerup" in where(facts, "GROQ_TPU")
    assert "a16z" in where(facts, "A16Z_OR")
    assert where(facts, "my own eyes") == "my own eyes"
