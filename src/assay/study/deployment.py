"""The Deployment: what runs where, and how it is written in one label."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from assay.llm.layout import Layout


@dataclass(frozen=True, slots=True)
class Deployment:
    """One replica layout, its number formats, and how many replicas.

    Attributes:
        system: system id.
        system_name: system in words.
        layout: how one replica is sharded.
        weights: weight format of the linear layers (`fp8`, `native: int4 experts, bf16 rest` ...).
        kv: KV cache format.
        replicas: copies of the replica.
        engine: serving engine, "" if the figures assume none in particular.
    """

    system: str
    system_name: str
    layout: Layout
    weights: str
    kv: str
    replicas: int = 1
    engine: str = ""

    def label(self) -> str:
        """Return the label people write: `TP8`, `4xDEP16 w fp8 kv fp8`."""
        copies = f"{self.replicas}x" if self.replicas > 1 else ""
        return f"{copies}{self.layout.label()}"

    def json(self) -> dict[str, Any]:
        """Return the deployment as plain data."""
        return asdict(self) | {"label": self.label()}
