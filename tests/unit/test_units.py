"""Units at the border: what people write, what is refused, what is written back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import BadInput
from assay.units import UNITS, parse_quantity, seconds, show, significant, split_quantity, tokens, unit_factor


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("3.35 TB/s", "bandwidth", 3.35e12),
        ("450GB/s", "bandwidth", 450e9),
        ("400 Gb/s", "bandwidth", 50e9),
        ("400Gbps", "bandwidth", 50e9),
        ("1 GiB/s", "bandwidth", 2.0**30),
        ("2s", "time", 2.0),
        ("30ms", "time", 0.03),
        ("1.5 min", "time", 90.0),
        ("80 GiB", "bytes", 80 * 2.0**30),
        ("80 GB", "bytes", 80e9),
        ("80gb", "bytes", 80e9),
        ("989 TFLOPS", "flops", 989e12),
        ("1.513 PFLOP/s", "flops", 1513e12),
        ("750 TOPS", "flops", 750e12),
        ("700 W", "power", 700.0),
        ("1.37 kW", "power", 1370.0),
        ("2.5 USD/h", "price", 2.5),
        ("$/h", "price", None),
        ("5/s", "rate", 5.0),
        ("300/min", "rate", 5.0),
        ("50%", "fraction", 0.5),
        ("1,024", "count", 1024.0),
        (".5 s", "time", 0.5),
        ("1e3 B", "bytes", 1000.0),
        (7, "time", 7.0),
    ],
)
def test_what_people_write(text: str, dimension: str, expected: float | None) -> None:
    if expected is None:
        with pytest.raises(BadInput):
            parse_quantity(text, dimension)
    else:
        assert parse_quantity(text, dimension) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("nan", "time", "not a finite number"),
        ("inf s", "time", "not a finite number"),
        (math.nan, "time", "not a finite number"),
        ("-1 s", "time", "negative"),
        ("0 ms", "time", "zero"),
        ("1e999 s", "time", "not a finite number"),
        ("9e307 EB", "bytes", "too large"),
        ("3 parsec", "time", "Unknown unit 'parsec'"),
        ("soon", "time", "is not a quantity"),
        ("", "time", "is not a quantity"),
        ("1 2 s", "time", "Unknown unit"),
        ("1 gb/s", "bandwidth", "more than one meaning"),
        ("5 mw", "power", "more than one meaning"),
        (True, "count", "is not a quantity"),
        (None, "count", "is not a quantity"),
        (10**400, "count", "is not a finite number"),
        ("9" * 200, "count", "is not a quantity"),
    ],
)
def test_what_is_refused(text: str, dimension: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        parse_quantity(text, dimension, what="--flag")
    assert "--flag" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_zero_where_it_makes_sense() -> None:
    assert parse_quantity("0%", "fraction", zero=True) == 0.0


def test_a_plain_number_takes_the_default_unit() -> None:
    assert parse_quantity(3.35, "bandwidth", default_unit="TB/s") == pytest.approx(3.35e12)
    assert parse_quantity("3.35 GB/s", "bandwidth", default_unit="TB/s") == pytest.approx(3.35e9)


def test_seconds_and_tokens() -> None:
    assert seconds("30ms") == pytest.approx(0.03)
    assert tokens("2k") == 2000
    assert tokens("8Ki") == 8192
    assert tokens(2048.0) == 2048
    with pytest.raises(BadInput, match="whole"):
        tokens("1.5")
    with pytest.raises(BadInput, match="zero"):
        tokens(0)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0241, "s", "24.1 ms"),
        (1.03e12, "B", "1.03 TB"),
        (2400, "", "2.4k"),
        (999.6, "", "1k"),
        (999_600, "B", "1 MB"),
        (0.3, "", "0.3"),
        (0, "s", "0 s"),
        (1e-7, "s", "100 ns"),
        (90, "s", "90 s"),
        (7300, "s", "2.03 h"),
        (3.35e12, "B/s", "3.35 TB/s"),
        (989.4e12, "FLOP/s", "989 TFLOP/s"),
        (0.4, "J", "400 mJ"),
        (1370, "W", "1.37 kW"),
        (2.456, "USD", "2.46 USD"),
        (0.00123, "USD", "0.00123 USD"),
        (123_456, "USD", "123000 USD"),
        (-2400, "", "-2.4k"),
        (1e25, "B", "1e+07 EB"),
        (math.nan, "s", "n/a"),
        (math.inf, "s", "inf s"),
    ],
)
def test_three_significant_digits(value: float, unit: str, expected: str) -> None:
    assert show(value, unit) == expected


def test_significant_keeps_plain_notation() -> None:
    assert significant(0.000123456) == "0.000123"
    assert significant(99950) == "100000"
    assert significant(0.0) == "0"


def test_every_unit_reads_back() -> None:
    for dimension, table in UNITS.items():
        for unit, factor in table.items():
            assert unit_factor(unit, dimension) == factor
            if unit:
                assert parse_quantity(f"2 {unit}", dimension) == pytest.approx(2 * factor)


@given(st.floats(min_value=1e-9, max_value=1e17), st.sampled_from(["s", "B/s", "FLOP/s", "W", "J"]))
def test_show_and_parse_agree(value: float, unit: str) -> None:
    dimension = {"s": "time", "B/s": "bandwidth", "FLOP/s": "flops", "W": "power", "J": "energy"}[unit]
    if unit in ("B/s", "FLOP/s") and value < 1:
        return
    if (unit == "W" and value < 1e-3) or (unit == "J" and value < 1e-3):
        return
    assert parse_quantity(show(value, unit), dimension) == pytest.approx(value, rel=5.1e-3)


@given(st.text(max_size=60), st.sampled_from(sorted(UNITS)))
def test_any_text_is_a_positive_number_or_a_sentence(text: str, dimension: str) -> None:
    try:
        value = parse_quantity(text, dimension)
    except BadInput as error:
        value = float(len(str(error)))
    assert 0 < value < math.inf


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["", "s", "B", "B/s", "USD"]))
def test_show_never_fails(value: float, unit: str) -> None:
    assert show(value, unit)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_split_keeps_number_and_unit_apart(value: float) -> None:
    assert split_quantity(f"{value!r} TB/s", "bandwidth") == (value, "TB/s")
