"""Flags that several verbs share, and how their text becomes SI numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from assay.errors import BadInput
from assay.units import parse_quantity, tokens

#: More tokens than any context window holds.
MOST_TOKENS = 100_000_000
_MOST_CHIPS = 1_000_000
_NO_LIMIT = ("none", "off")


def _flag(read: Callable[[str, str], Any], kind: str) -> Parameter:
    """Return a flag whose text is read by `read(text, name of the flag)`; `kind` is its word in the help."""

    def convert(_: Any, given: Sequence[Token]) -> Any:
        token = given[0]
        return read(token.value, token.keyword or "")

    return Parameter(
        converter=convert, allow_leading_hyphen=True, n_tokens=1, accepts_keys=False, metavar=kind
    )


def _tokens(text: str, flag: str) -> int:
    value = tokens(text, what=flag)
    if value > MOST_TOKENS:
        raise BadInput(
            f"{flag} = {value:,} tokens is longer than any context window.", "Write for example 8k."
        )
    return value


def _count(text: str, flag: str) -> int:
    value = parse_quantity(text, "count", what=flag)
    if value != round(value) or value > _MOST_CHIPS:
        raise BadInput(
            f"{flag} = {text!r} is not a whole number up to {_MOST_CHIPS:,}.", "Write for example 8."
        )
    return round(value)


def _limit(text: str, flag: str) -> float:
    """Return a limit, s; `none` lifts it and is infinite."""
    return float("inf") if text.lower() in _NO_LIMIT else parse_quantity(text, "time", what=flag)


def _time(text: str, flag: str) -> float:
    return parse_quantity(text, "time", what=flag)


def _share(text: str, flag: str) -> float:
    share = parse_quantity(text, "fraction", what=flag, zero=True)
    if share >= 1:
        raise BadInput(f"{flag} = {text!r} leaves no new input token.", "Write a share below 1, such as 0.9.")
    return share


def _rate(text: str, flag: str) -> float:
    return parse_quantity(text, "rate", what=flag)


def _watts(text: str, flag: str) -> float:
    return parse_quantity(text, "power", what=flag)


def _dollars(text: str, flag: str) -> float:
    """Return USD/h; a plain number is one."""
    return parse_quantity(text if "/" in text else f"{text} USD/h", "price", what=flag)


def _spare(text: str, flag: str) -> int:
    return 0 if text.strip() == "0" else _count(text, flag)


def _name(text: str, flag: str) -> str:
    if not text.strip():
        raise BadInput(
            f"{flag or 'A name'} is empty.", "`assay list models` and `assay list systems` show names."
        )
    return text.strip()


def _paths(_: Any, given: Sequence[Token]) -> tuple[Path, ...]:
    for token in given:
        if not token.value or not Path(token.value).exists():
            raise BadInput(
                f"{token.keyword} = {token.value!r} does not exist.",
                "Give a folder of YAML facts, or one file.",
            )
    return tuple(Path(token.value) for token in given)


def split(_: Any, given: Sequence[Token]) -> tuple[str, ...]:
    """Return names given as `a,b` or one by one; `all` stands for every one and is empty.

    Raises:
        BadInput: an empty name.
    """
    parts = [part.strip() for token in given for part in token.value.split(",")]
    if not all(parts):
        raise BadInput("--on has an empty name.", "Write --on h200,b200 or --on all.")
    return () if "all" in parts else tuple(dict.fromkeys(parts))


Name = Annotated[str, _flag(_name, "NAME")]
Tokens = Annotated[int, _flag(_tokens, "TOKENS")]
Count = Annotated[int, _flag(_count, "N")]
Limit = Annotated[float, _flag(_limit, "TIME")]
Time = Annotated[float, _flag(_time, "TIME")]
Watts = Annotated[float, _flag(_watts, "POWER")]
Dollars = Annotated[float, _flag(_dollars, "USD/h")]
Spare = Annotated[int, _flag(_spare, "N")]
Rate = Annotated[float, _flag(_rate, "RATE")]
Share = Annotated[float, _flag(_share, "SHARE")]
Names = Annotated[tuple[str, ...], Parameter(converter=split, n_tokens=1, accepts_keys=False, metavar="A,B")]
Facts = Annotated[
    tuple[Path, ...], Parameter(converter=_paths, n_tokens=1, accepts_keys=False, metavar="PATH")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Lengths:
    """What a request looks like.

    Attributes:
        workload: a named workload: chat, code, agentic, rag, reasoning ... (`assay list workloads`).
        isl: mean input tokens of a request: 4096, 4k, 128k, 1M.
        osl: mean output tokens of a request.
        cached: share of the input tokens found in a prefix cache: 0.9 or 90%.
    """

    workload: Name | None = None
    isl: Tokens | None = None
    osl: Tokens | None = None
    cached: Share | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Ways:
    """How the model may be served.

    Attributes:
        serving: whether replicas prefill and decode together, in two pools, or whichever is better.
        prefill_on: system of the prefill pool of disaggregated deployments; without it the same platform.
        speculation: draft tokens: never, always, or where it helps.
    """

    serving: Literal["aggregated", "disaggregated", "both"] = "both"
    prefill_on: Name | None = None
    speculation: Literal["none", "mtp", "auto"] = "none"

    def given(self) -> dict[str, Any]:
        """Return the fields of the question."""
        return {
            "serving": self.serving,
            "prefill_platform": self.prefill_on,
            "speculation": self.speculation,
        }


@Parameter(name="*")
@dataclass(frozen=True)
class Caps:
    """What the whole deployment may take.

    Attributes:
        power: provisioned power of all chips at most: 100kW.
        budget: cost at most: 250 USD/h.
        spare: nodes that may fail while rate and limits still hold.
    """

    power: Watts | None = None
    budget: Dollars | None = None
    spare: Spare = 0

    def given(self) -> dict[str, Any]:
        """Return the fields of the question."""
        return {"power": self.power, "budget": self.budget, "spare": self.spare}


@Parameter(name="*")
@dataclass(frozen=True)
class Stack:
    """Engine and number formats; each is chosen where it is not stated.

    Attributes:
        engine: serving engine: vllm, sglang, trtllm.
        weights: weight format: native, bf16, fp8, fp4, int4.
        kv: KV cache format: bf16, fp8.
    """

    engine: Name | None = None
    weights: Name | None = None
    kv: Name | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields of the question."""
        return {"engine": self.engine, "weights": self.weights, "kv": self.kv}
