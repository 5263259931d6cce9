"""What an engine adds to the kernels: host time, scheduler policy, budgets, memory it reserves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from assay.catalogue.load import catalogue
from assay.errors import UnknownName

#: The engine that assumes none in particular.
GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Engine:
    """Parameters of one serving engine; SI units.

    Attributes:
        name: vllm, sglang, trtllm ...
        mixes: whether prompt chunks and decodes share a step (chunked prefill); otherwise prompts go first.
        budget: tokens of one step at most.
        sequences: sequences of one attention-DP group at most.
        gap: s between the end of one step's kernels and the start of the next.
        host, host_sequence: s of scheduler and sampler work a step, and per sequence; hidden behind the
            kernels while shorter than them.
        request: s from arrival to the scheduler (HTTP, tokenizer).
        memory: share of the chip's memory the engine may use for weights, cache and activations.
    """

    name: str
    mixes: bool
    budget: float
    sequences: float
    gap: float
    host: float
    host_sequence: float
    request: float
    memory: float

    @property
    def named(self) -> str:
        """Its name as a question states it: "" for the generic one."""
        return "" if self.name == GENERIC else self.name


@lru_cache(maxsize=64)
def engine(name: str = "") -> Engine:
    """Return the parameters of an engine; "" is the generic one that assumes none in particular.

    Raises:
        UnknownName: no such engine in `data/engines`.
    """
    table: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]] = catalogue().table(
        "engines/engines"
    )
    entries = table["engines"]
    key = name or GENERIC
    if key not in entries:
        raise UnknownName("engine", name, entries)
    figures = {field: fact["value"] for field, fact in entries[key].items()}
    return Engine(
        name=key,
        mixes=bool(figures["mixes"]),
        budget=float(figures["budget"]),
        sequences=float(figures["sequences"]),
        gap=float(figures["gap"]),
        host=float(figures["host"]),
        host_sequence=float(figures["host_sequence"]),
        request=float(figures["request"]),
        memory=float(figures["memory"]),
    )
