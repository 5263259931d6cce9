"""Which published value wins, and how far the others lie."""

from __future__ import annotations

import pytest

from assay.catalogue.evidence import choose, months, weigh
from assay.catalogue.schema import Price
from assay.errors import BadFact, NoEvidence


def price(value: float, date: str, kind: str = "list", source: str = "S", **ends: float) -> Price:
    low, high = ends.get("low", value), ends.get("high", value)
    return Price("c", kind, value, low, high, date, "p", source)


def test_the_recommended_value_wins_and_the_others_bound_it() -> None:
    fact = {
        "value": 8.0,
        "unit": "TB/s",
        "source": "A",
        "date": "2026",
        "basis": "datasheet",
        "conflicts": [
            {"value": 7700, "unit": "GB/s", "source": "B"},
            {"value": 8.184, "source": "C"},
            {"value": 16, "source": "D", "excluded": "two chips"},
        ],
    }
    found = weigh(fact, "bandwidth", "x")
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((8.0e12, 7.7e12, 8.184e12))
    assert (
        found.why
        == "8 TB/s as A has it (datasheet, 2026); 2 other published, 7.7 TB/s to 8.18 TB/s; 1 set aside."
    )
    assert not found.wide


def test_nothing_published_is_nothing() -> None:
    assert weigh({"value": None, "unit": "W"}, "power", "x") is None


@pytest.mark.parametrize("bad", [-1, 0, float("nan"), float("inf"), "many", True, [1]])
def test_what_is_no_quantity(bad: object) -> None:
    with pytest.raises(BadFact, match=r"chips/x\.yaml: tdp"):
        weigh({"value": bad, "unit": "W"}, "power", "chips/x.yaml: tdp")


def test_malformed_conflicts() -> None:
    with pytest.raises(BadFact, match="conflicts"):
        weigh({"value": 1, "unit": "W", "conflicts": 3}, "power", "x")
    with pytest.raises(BadFact, match="conflicts"):
        weigh({"value": 1, "unit": "W", "conflicts": [{"source": "A"}]}, "power", "x")


def test_dates() -> None:
    assert months("2026-09-15") - months("2026-08") == 1
    assert months("2026") == months("2026-01")
    for bad in ("", "soon", "2026-13", "26-01", "2026/01"):
        with pytest.raises(BadFact, match="is no date"):
            months(bad)


def test_the_newest_price_wins_and_twelve_months_bound_it() -> None:
    prices = [
        price(9.0, "2025-01"),
        price(3.0, "2026-01", low=1.5, high=4.0),
        price(2.9, "2026-09-15"),
        price(1.0, "2026-09-15", kind="spot"),
    ]
    found = choose(prices, "c", "list")
    assert (found.usd_per_hour, found.low, found.high, found.date) == (2.9, 1.5, 4.0, "2026-09-15")
    assert "newest of 3 list prices" in found.note


def test_of_one_date_the_upper_median() -> None:
    own = [price(value, "2026-07", kind="own") for value in (1.55, 1.17)]
    assert choose(own, "c", "own").usd_per_hour == 1.55


def test_the_users_own_price_wins_over_newer_ones() -> None:
    prices = [price(2.9, "2026-09-15"), price(1.1, "", source="user")]
    found = choose(prices, "c", "list")
    assert (found.usd_per_hour, found.low, found.high) == (1.1, 1.1, 1.1)


def test_kinds_are_never_mixed() -> None:
    with pytest.raises(NoEvidence, match=r"contract price of c\. Known: list\."):
        choose([price(2.9, "2026-09-15")], "c", "contract")
    with pytest.raises(NoEvidence, match="facts file"):
        choose([], "c", "contract")
