"""Flags that several verbs share, and how their text becomes SI numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from assay.errors import BadInput
from assay.study.question import Caches
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
    """Return a limit, s; `none` lifts it and is infinite. A bare `--tpot 30` hardly means seconds."""
    if text.lower() in _NO_LIMIT:
        return float("inf")
    value = parse_quantity(text, "time", what=flag)
    if flag == "--tpot" and value >= 1 and text.strip()[-1:].isdigit():
        raise BadInput(f"--tpot = {text!r} would be {text} s a token.", f"Write {text}ms, or {text}s.")
    return value


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


def _bytes(text: str, flag: str) -> float:
    return parse_quantity(text, "bytes", what=flag)


def _bandwidth(text: str, flag: str) -> float:
    return parse_quantity(text, "bandwidth", what=flag)


def _file(text: str, flag: str) -> str:
    if not Path(text).exists():
        raise BadInput(f"{flag} = {text!r} does not exist.", "Give a trace that `assay trace` reads.")
    return text


def _chances(_: Any, given: Sequence[Token]) -> tuple[float, ...]:
    """Return probabilities by position from `0.85,0.7`."""
    flag = given[0].keyword or "--acceptance"
    parts = given[0].value.split(",")
    chances = tuple(parse_quantity(part, "fraction", what=flag, zero=True) for part in parts)
    if max(chances) > 1:
        raise BadInput(f"{flag} = {given[0].value!r} has a chance above 1.", "Write for example 0.85,0.7.")
    return chances


def _counts(_: Any, given: Sequence[Token]) -> tuple[int, ...]:
    """Return numbers of redundant experts from `32`, `0,32` or `auto`."""
    text, flag = given[0].value.strip(), given[0].keyword or "--redundant-experts"
    if text.lower() == "auto":
        from assay.engine.redundancy import tried

        return tried()
    return tuple(_spare(part, flag) for part in text.split(","))


def _variation(text: str, flag: str) -> float:
    return parse_quantity(text, "count", what=flag, zero=True)


def _pue(text: str, flag: str) -> float:
    value = parse_quantity(text, "count", what=flag)
    if value < 1:
        raise BadInput(
            f"{flag} = {text!r} is below 1.", "A facility takes at least what its machines take: 1.2."
        )
    return value


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
Chances = Annotated[
    tuple[float, ...], Parameter(converter=_chances, n_tokens=1, accepts_keys=False, metavar="P,P")
]
Counts = Annotated[
    tuple[int, ...], Parameter(converter=_counts, n_tokens=1, accepts_keys=False, metavar="N,N")
]
Variation = Annotated[float, _flag(_variation, "X")]
Pue = Annotated[float, _flag(_pue, "X")]
Size = Annotated[float, _flag(_bytes, "SIZE")]
Bandwidth = Annotated[float, _flag(_bandwidth, "RATE")]
File = Annotated[str, _flag(_file, "FILE")]
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
class Caching:
    """What a prefix cache may hold, and what the traffic repeats; in place of --cached.

    Attributes:
        trace: trace with prefix blocks: hits at any cache size, and the lengths that are not stated.
        hit_rate: share of the input tokens that a cache large enough finds, without a trace.
        router: to the replica that knows the prefix, or to each in turn.
        kv_host: host memory for the cache, of each host: 1TB.
        kv_host_bandwidth: from host memory to one chip: 50GB/s; without it, as published.
        kv_ssd: SSD for the cache, of each host: 30TB.
        kv_ssd_bandwidth: of the SSDs of one host: 20GB/s.
        snapshot: tokens between two snapshots of a recurrent state; without it, the engine's rule.
    """

    trace: File | None = None
    hit_rate: Share | None = None
    router: Literal["prefix", "round-robin"] = "prefix"
    kv_host: Size | None = None
    kv_host_bandwidth: Bandwidth | None = None
    kv_ssd: Size | None = None
    kv_ssd_bandwidth: Bandwidth | None = None
    snapshot: Tokens | None = None

    def given(self) -> Caches | None:
        """Return the cache of the question, None where none is described.

        Raises:
            BadInput: a cache of which nothing says what it finds, or two things say it.
        """
        if self.trace is None and self.hit_rate is None:
            if self != Caching():
                raise BadInput(
                    "Nothing says what the cache finds.",
                    "Add --trace FILE with prefix blocks, or --hit-rate.",
                )
            return None
        if self.trace is not None and self.hit_rate is not None:
            raise BadInput("--trace and --hit-rate both say what the cache finds.", "Give one of them.")
        if (self.kv_ssd is None) != (self.kv_ssd_bandwidth is None):
            raise BadInput(
                "An SSD cache needs its size and its bandwidth.", "Give --kv-ssd and --kv-ssd-bandwidth."
            )
        return Caches(
            trace=self.trace or "",
            hit_rate=self.hit_rate,
            router=self.router,
            host=self.kv_host or 0.0,
            host_bandwidth=self.kv_host_bandwidth or 0.0,
            ssd=self.kv_ssd or 0.0,
            ssd_bandwidth=self.kv_ssd_bandwidth or 0.0,
            snapshot=self.snapshot or 0,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Ways:
    """How the model may be served.

    Attributes:
        serving: whether replicas prefill and decode together, in two pools, whichever is better, or in two
            pools with attention and experts of the decode pool on chips of their own (afd).
        prefill_on: system of the prefill pool of disaggregated deployments; without it the same platform.
        experts_on: system of the expert chips with afd; without it the same platform.
        speculation: draft tokens: never, always, or where it helps.
        acceptance: chance of each draft once those before it were accepted, as many as are drafted: 0.85,0.7.
    """

    serving: Literal["aggregated", "disaggregated", "both", "afd"] = "both"
    prefill_on: Name | None = None
    experts_on: Name | None = None
    speculation: Literal["none", "mtp", "auto"] = "none"
    acceptance: Chances = ()

    def given(self) -> dict[str, Any]:
        """Return the fields of the question.

        Raises:
            BadInput: a system for a prefill pool that there will not be.
        """
        if self.prefill_on and self.serving == "aggregated":
            raise BadInput(
                f"--prefill-on {self.prefill_on} needs a prefill pool, and --serving aggregated has none.",
                "Leave one of them out.",
            )
        return {
            "serving": self.serving,
            "prefill_platform": self.prefill_on,
            "experts_platform": self.experts_on,
            "speculation": self.speculation,
            "acceptance": self.acceptance,
        }


@Parameter(name="*")
@dataclass(frozen=True)
class Experts:
    """Redundant experts and what they even out.

    Attributes:
        redundant_experts: copies of a layer's experts, counted with their memory: 32, 0,32 or auto. Without
            it ranks are taken to be as even as engines usually keep them.
        expert_variation: standard deviation of the experts' loads over their mean; without it, as measured.
    """

    redundant_experts: Counts = ()
    expert_variation: Variation | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields of the question.

        Raises:
            BadInput: a variation that nothing uses.
        """
        if self.expert_variation is not None and not self.redundant_experts:
            raise BadInput(
                "--expert-variation is used where redundant experts are counted.",
                "Add --redundant-experts auto.",
            )
        return {"redundant": self.redundant_experts, "variation": self.expert_variation}


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
