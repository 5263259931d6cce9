"""Units, at the border only: text with a unit -> SI, and SI -> text with three significant digits.

Inside assay every number is SI (s, B, B/s, FLOP/s, W, J, USD, USD/h). `parse_quantity` reads what people
write ("3.35 TB/s", "2s", "400 Gb/s", "989 TFLOPS"); `show` writes it back ("24.1 ms", "1.03 TB", "2.4k").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from assay.errors import BadInput

_PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_BITS_PER_BYTE = 8.0


def _scaled(symbol: str, prefixes: Mapping[str, float], factor: float = 1.0) -> dict[str, float]:
    return {prefix + symbol: scale * factor for prefix, scale in prefixes.items()}


def _bandwidths() -> dict[str, float]:
    table: dict[str, float] = {}
    for per in ("/s", "ps"):
        table |= _scaled("B" + per, _PREFIX | _BINARY)
        table |= _scaled("b" + per, _PREFIX, 1 / _BITS_PER_BYTE)
        table |= _scaled("bit" + per, _PREFIX, 1 / _BITS_PER_BYTE)
    return table


def _rates_of_work() -> dict[str, float]:
    table: dict[str, float] = {}
    for symbol in ("FLOPS", "FLOP/s", "OPS", "OP/s", "F"):
        table |= _scaled(symbol, _PREFIX)
    del table["F"], table["KF"], table["kF"], table["MF"]
    return table


_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_MONEY = {
    **dict.fromkeys(("USD", "$", "dollar", "dollars", "US$"), 1.0),
    **dict.fromkeys(("kUSD", "k$"), 1e3),
    **dict.fromkeys(("MUSD", "million USD", "M$"), 1e6),
    **dict.fromkeys(("billion USD", "B$"), 1e9),
}
_PLAIN = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20}

#: dimension -> unit as written -> factor to SI.
UNITS: Mapping[str, Mapping[str, float]] = {
    "time": _SECONDS,
    "bytes": _scaled("B", _PREFIX | _BINARY) | {"byte": 1.0, "bytes": 1.0},
    "bandwidth": _bandwidths(),
    "flops": _rates_of_work(),
    "power": _scaled("W", _PREFIX) | {"mW": 1e-3},
    "energy": _scaled("J", _PREFIX) | {"mJ": 1e-3, "Wh": 3600.0, "kWh": 3.6e6, "MWh": 3.6e9},
    "frequency": _scaled("Hz", _PREFIX),
    "money": _MONEY,
    "price": {f"{unit}/{hour}": scale for unit, scale in _MONEY.items() for hour in ("h", "hr", "hour")},
    "rate": {
        **dict.fromkeys(("/s", "1/s", "rps", "qps", "req/s", "requests/s"), 1.0),
        **dict.fromkeys(("/min", "rpm", "req/min", "requests/min"), 1 / 60),
        **dict.fromkeys(("/h", "req/h", "requests/h"), 1 / 3600),
    },
    "tokens": _PLAIN
    | {f"{unit} {word}".strip(): f for unit, f in _PLAIN.items() for word in ("tokens", "tok")},
    "count": _PLAIN | dict.fromkeys(("chips", "chip", "nodes", "racks", "systems"), 1.0),
    "fraction": {"": 1.0, "%": 1e-2, "percent": 1e-2},
}
#: SI unit of each dimension, as `show` writes it.
SI_UNIT = {
    "time": "s",
    "bytes": "B",
    "bandwidth": "B/s",
    "flops": "FLOP/s",
    "power": "W",
    "energy": "J",
    "frequency": "Hz",
    "money": "USD",
    "price": "USD/h",
    "rate": "/s",
    "tokens": "",
    "count": "",
    "fraction": "",
}
_EXAMPLES = {
    "time": "30ms, 2s, 1min",
    "bytes": "80 GB, 80 GiB, 1.5 TB",
    "bandwidth": "3.35 TB/s, 450 GB/s, 400 Gb/s",
    "flops": "989 TFLOPS, 4 PFLOPS",
    "power": "700 W, 1.37 kW",
    "energy": "0.4 J, 3 kWh",
    "frequency": "1830 MHz",
    "money": "25000 USD",
    "price": "2.5 USD/h",
    "rate": "5/s, 300/min",
    "tokens": "2048, 8k",
    "count": "8",
    "fraction": "0.5, 50%",
}
_QUANTITY = re.compile(
    r"\s*([-+]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf|infinity))\s*(.*?)\s*", re.I
)
_LONGEST = 80


def unit_factor(unit: str, dimension: str) -> float:
    """Return what one `unit` of `dimension` is in SI.

    The exact spelling wins; a spelling that differs by case only is accepted where it has one meaning
    ("gb" of memory), and refused where it has two ("gb/s": gigabits or gigabytes).

    Raises:
        BadInput: unknown or ambiguous unit.
    """
    table = UNITS[dimension]
    if unit in table:
        return table[unit]
    folded = {factor for name, factor in table.items() if name.lower() == unit.lower()}
    if len(folded) == 1:
        return folded.pop()
    if folded:
        options = sorted({name for name in table if name.lower() == unit.lower()})
        raise BadInput(f"Unit {unit!r} has more than one meaning.", f"Write one of {', '.join(options)}.")
    raise BadInput(f"Unknown unit {unit!r} for {dimension}.", f"Write for example {_EXAMPLES[dimension]}.")


def parse_quantity(
    text: str | float, dimension: str, *, what: str = "", zero: bool = False, default_unit: str = ""
) -> float:
    """Return a quantity in SI.

    Args:
        text: a number with a unit ("3.35 TB/s"), or a plain number, taken in `default_unit` (SI if empty).
        dimension: key of `UNITS`.
        what: name of the field or flag, for the error.
        zero: whether zero makes sense.
        default_unit: unit of a plain number.

    Raises:
        BadInput: not a number, NaN, infinite, negative, zero where senseless, or an unknown unit.
    """
    name = f"{what} = " if what else ""
    value, unit = split_quantity(text, dimension, what=what)
    if math.isnan(value) or math.isinf(value):
        raise BadInput(
            f"{name}{str(text)[:_LONGEST]!r} is not a finite number.",
            f"Write for example {_EXAMPLES[dimension]}.",
        )
    try:
        si = value * unit_factor(unit, dimension) if unit else _plain(value, dimension, default_unit)
    except BadInput as error:
        raise BadInput(f"{name}{str(text)[:_LONGEST]!r}: {error.message}", error.hint) from None
    if math.isinf(si):
        raise BadInput(f"{name}{str(text)[:_LONGEST]!r} is too large to be a {dimension}.")
    if si < 0:
        raise BadInput(
            f"{name}{str(text)[:_LONGEST]!r} is negative.", f"Write for example {_EXAMPLES[dimension]}."
        )
    if si == 0 and not zero:
        raise BadInput(
            f"{name}{str(text)[:_LONGEST]!r} is zero, which makes no sense here.",
            f"Write for example {_EXAMPLES[dimension]}.",
        )
    return si


def _plain(value: float, dimension: str, default_unit: str) -> float:
    return value * unit_factor(default_unit, dimension) if default_unit else value


def split_quantity(text: str | float, dimension: str, *, what: str = "") -> tuple[float, str]:
    """Return number and unit as written, unit unchecked ("" for a plain number).

    Raises:
        BadInput: not a number with a unit behind it.
    """
    name = f"{what} = " if what else ""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise BadInput(
            f"{name}{str(text)[:_LONGEST]!r} is not a quantity.", f"Write for example {_EXAMPLES[dimension]}."
        )
    try:
        if not isinstance(text, str):
            return float(text), ""
        match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
        if match:
            return float(match[1].replace(",", "").replace("_", "")), match[2]
    except (OverflowError, ValueError):
        raise BadInput(f"{name}{str(text)[:_LONGEST]!r} is not a finite number.") from None
    raise BadInput(
        f"{name}{text[:_LONGEST]!r} is not a quantity.", f"Write for example {_EXAMPLES[dimension]}."
    )


def seconds(text: str | float, *, what: str = "") -> float:
    """Return a time in s; a plain number is in seconds."""
    return parse_quantity(text, "time", what=what)


def tokens(text: str | float, *, what: str = "tokens") -> int:
    """Return a whole number of tokens, at least 1; "2k" is 2000.

    Raises:
        BadInput: not a whole positive number.
    """
    value = parse_quantity(text, "tokens", what=what)
    if abs(value - round(value)) > 1e-9 * max(1.0, value):
        raise BadInput(f"{what} = {str(text)[:_LONGEST]!r} is not a whole number.", "Write for example 2048.")
    return round(value)


_UP = ("", "k", "M", "G", "T", "P", "E")
_DOWN = ("", "m", "µ", "n", "p")
_STEP = 1000.0
_DIGITS = 3
_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_LONG = 120.0
#: Beyond these, where no prefix is left, a number is written with an exponent.
_SMALLEST, _LARGEST = 1e-6, 1e6


def show(value: float, unit: str = "", digits: int = _DIGITS) -> str:
    """Return `value` (SI) with an engineering prefix and three significant digits.

    `show(0.0241, "s")` is "24.1 ms", `show(1.03e12, "B")` "1.03 TB", `show(2400)` "2.4k". Times above two
    minutes become minutes, hours or days. NaN becomes "n/a". USD and per-hour prices take no prefix.
    """
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return f"{'-' if value < 0 else ''}inf {unit}".strip()
    if unit.startswith("USD"):
        return f"{significant(value, digits)} {unit}"
    if unit == "s" and abs(value) >= _LONG:
        size, word = next(pair for pair in _TIMES if abs(value) >= pair[0])
        return f"{significant(value / size, digits)} {word}"
    scaled, prefix = _engineering(value, digits, small=bool(unit) and unit != "B")
    gap = " " if unit else ""
    plain = _SMALLEST <= abs(scaled) < _LARGEST or scaled == 0
    number = significant(scaled, digits) if plain else f"{scaled:.{digits}g}"
    return f"{number}{gap}{prefix}{unit}"


def significant(value: float, digits: int = _DIGITS) -> str:
    """Return `value` with `digits` significant digits, plain notation, no trailing zeros."""
    if value == 0 or math.isnan(value) or math.isinf(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    text = f"{rounded:.{max(places, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _engineering(value: float, digits: int, *, small: bool) -> tuple[float, str]:
    if value == 0:
        return 0.0, ""
    rounded = float(f"{value:.{digits - 1}e}")
    if math.isinf(rounded):
        rounded = value
    power = math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    if power < 0:
        power = max(power, 1 - len(_DOWN)) if small else 0
        return rounded * _STEP**-power, _DOWN[-power]
    power = min(power, len(_UP) - 1)
    return rounded / _STEP**power, _UP[power]
