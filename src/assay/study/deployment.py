"""The Deployment: what runs where, and how it is written in one label."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from assay.llm.layout import Layout
from assay.study.conditions import Pool


@dataclass(frozen=True, slots=True)
class Deployment:
    """Replicas of one layout, or a prefill and a decode pool, with their number formats.

    Attributes:
        system: system id.
        system_name: system in words.
        layout: how one replica is sharded; in a disaggregated deployment, one that decodes.
        weights: weight format of the linear layers (`fp8`, `native: int4 experts, bf16 rest` ...).
        kv: KV cache format.
        replicas: copies of the replica.
        engine: serving engine, "" if the figures assume none in particular.
        prefill: the pool that prefills; None = every replica does both (aggregated).
        prefill_system: system id of the prefill pool, "" = the same system.
        redundant, prefill_redundant: copies of experts that a replica of each pool holds of each layer.
        experts: chips that hold the experts of the decode pool apart from its attention; None = together.
        experts_system: system id of the expert chips, "" = the same system.
        speculation: `MTP3`, `EAGLE2` ...: method and draft tokens; "" = none.
    """

    system: str
    system_name: str
    layout: Layout
    weights: str
    kv: str
    replicas: int = 1
    engine: str = ""
    prefill: Pool | None = None
    prefill_system: str = ""
    experts: Pool | None = None
    experts_system: str = ""
    speculation: str = ""
    redundant: int = 0
    prefill_redundant: int = 0

    @property
    def serving(self) -> str:
        """`aggregated` or `disaggregated`."""
        return "disaggregated" if self.prefill else "aggregated"

    def _extras(self) -> str:
        """Return what follows the layout: ` MTP3`, ` EAGLE x3`, ` R32` for 32 redundant experts."""
        copies = f"R{self.redundant}" if self.redundant else ""
        # three drafts of a head of this type: the name without a space is that of one method
        drafts = self.speculation.replace("EAGLE", "EAGLE x")
        return "".join(f" {word}" for word in (drafts, copies) if word)

    def label(self) -> str:
        """Return the label people write: `4xDEP16`, `4xTP2 prefill + 1xDEP32 decode MTP3`, `DEP32 R32`."""
        drafts = self._extras()
        if self.prefill is not None:
            first = f"{self.prefill.replicas}x{self.prefill.layout.label()} prefill"
            where = f" on {self.prefill_system}" if self.prefill_system else ""
            return f"{first}{where} + {self.replicas}x{self._decode()} decode{drafts}"
        copies = f"{self.replicas}x" if self.replicas > 1 else ""
        return f"{copies}{self.layout.label()}{drafts}"

    def short(self) -> str:
        """Return the label for narrow tables: `4xTP2+1xDEP32`, prefill before decode."""
        if self.prefill is None:
            return self.label()
        drafts = self._extras()
        first = f"{self.prefill.replicas}x{self.prefill.layout.label()}"
        return f"{first}+{self.replicas}x{self.layout.label()}{self._apart()}{drafts}"

    def _apart(self) -> str:
        return f"/{self.experts.layout.label()}" if self.experts else ""

    def _decode(self) -> str:
        if self.experts is None:
            return self.layout.label()
        where = f" on {self.experts_system}" if self.experts_system else ""
        return f"({self.layout.label()} attention + {self.experts.layout.label()} experts{where})"

    def json(self) -> dict[str, Any]:
        """Return the deployment as plain data."""
        return asdict(self) | {"label": self.label(), "serving": self.serving}
