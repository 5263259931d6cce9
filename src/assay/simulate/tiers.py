"""Tiers of a KV cache behind a replica's own memory: host memory, SSD."""

from __future__ import annotations

from dataclasses import dataclass

from assay.errors import BadInput
from assay.units import parse_quantity

_EXAMPLE = "Write name:capacity:bandwidth of each tier, nearest first: host:512GB:50GB/s,ssd:8TB:12GB/s."


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of one replica.

    Attributes:
        name: in words.
        bytes: capacity, B.
        bandwidth: between it and the chips' memory, one direction, B/s.
        latency: of a transfer, s.
    """

    name: str
    bytes: float
    bandwidth: float
    latency: float = 0.0


def parse(text: str) -> tuple[Tier, ...]:
    """Return the tiers that a text like `host:512GB:50GB/s,ssd:8TB:12GB/s:100us` names, of one replica.

    Raises:
        BadInput: it cannot be understood; capacity and bandwidth have no default: both are the host's.
    """
    found = []
    for part in text.split(","):
        words = [word.strip() for word in part.split(":")]
        if len(words) not in {3, 4} or not all(words):
            raise BadInput(f"The KV tier {part.strip()!r} is not name:capacity:bandwidth.", _EXAMPLE)
        name = words[0]
        found.append(
            Tier(
                name,
                parse_quantity(words[1], "bytes", what=f"KV tier {name}: capacity"),
                parse_quantity(words[2], "bandwidth", what=f"KV tier {name}: bandwidth"),
                parse_quantity(words[3], "time", what=f"KV tier {name}: latency") if words[3:] else 0.0,
            )
        )
    if len({tier.name for tier in found}) < len(found):
        raise BadInput(f"Two KV tiers of {text!r} have the same name.", _EXAMPLE)
    return tuple(found)
