"""Named scheduler policies: vLLM V1, SGLang, TensorRT-LLM; parameters from the engine's data files.

| engine | prompts and decodes | admission | when the cache is full |
|---|---|---|---|
| vllm | share a step and its budget | a prompt that fits now | preempts the last admitted, computed again |
| sglang | prompts first, decodes wait | fits, with a share of the output to come | as vllm ("retract") |
| trtllm | share a step | fits with all of its output | never happens |

All are first come, first served within a priority, cut prompts into chunks, and share prefix blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.catalogue.load import catalogue
from assay.engine.overheads import Engine


@dataclass(frozen=True, slots=True)
class Policy:
    """How a unit admits, batches and preempts.

    Attributes:
        mixes: whether prompt chunks and decodes share a step.
        budget: tokens of a step of one rank at most.
        sequences: sequences of one rank at most.
        reserve: share of the output to come that admission keeps free.
        watermark: share of the cache that admission keeps free.
        block_tokens: tokens a block of the cache.
    """

    mixes: bool
    budget: int
    sequences: int
    reserve: float
    watermark: float
    block_tokens: int


def policy(engine: Engine, *, budget: int = 0, sequences: int = 0) -> Policy:
    """Return the policy of an engine.

    Args:
        engine: its parameters.
        budget: tokens a step instead of the engine's own, 0 = its own.
        sequences: sequences a rank instead of the engine's own, 0 = its own.
    """
    entries = table()["engines"]
    entry = entries.get(engine.name, entries["generic"])
    return Policy(
        mixes=engine.mixes,
        budget=budget or int(engine.budget),
        sequences=sequences or int(engine.sequences),
        reserve=float(entry["reserve"]["value"]),
        watermark=float(entry["watermark"]["value"]),
        block_tokens=int(entry["block_tokens"]["value"]),
    )


def table() -> dict[str, Any]:
    """Return the data file behind the policies and the router's defaults."""
    found: dict[str, Any] = catalogue().table("engines/scheduling")
    return found
