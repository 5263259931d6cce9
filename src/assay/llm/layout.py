"""Layout: the parallel degrees of one replica, and their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from assay.errors import BadInput


@dataclass(frozen=True, slots=True, order=True)
class Layout:
    """Parallel degrees of one replica.

    A replica has `pp` stages of `tp * dp * cp` chips. Attention runs tensor-parallel over `tp` chips,
    data-parallel over `dp` groups and context-parallel over `cp`; routed experts are spread over `ep`
    of the stage's chips, and split by columns over the remaining `tp * dp * cp / ep`.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    cp: int = 1

    @property
    def stage(self) -> int:
        """Chips of one pipeline stage."""
        return self.tp * self.dp * self.cp

    @property
    def chips(self) -> int:
        """Chips of the replica."""
        return self.stage * self.pp

    def label(self) -> str:
        """Return `TP8`, `TEP8` (TP attention, EP experts), `DEP16`, `DP4TP2EP8`, `TP8PP2`."""
        if self.chips == 1:
            return "TP1"
        attention = f"TP{self.tp}" if self.tp > 1 or self.dp == 1 else ""
        attention += f"CP{self.cp}" if self.cp > 1 else ""
        if self.ep > 1 and self.ep == self.stage and self.cp == 1 and (self.tp == 1 or self.dp == 1):
            text = f"{'TEP' if self.dp == 1 else 'DEP'}{self.stage}"
        else:
            text = f"DP{self.dp}{attention}" if self.dp > 1 else attention
            text += f"EP{self.ep}" if self.ep > 1 else ""
        return text + (f"PP{self.pp}" if self.pp > 1 else "")

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read a label such as `tp8`, `tep8`, `dep16`, `dp4tp2ep8`, `tp8pp2`.

        Raises:
            BadInput: not a layout label.
        """
        parts = re.findall(r"(dep|tep|tp|pp|ep|dp|cp)(\d+)", text.lower())
        if not parts or "".join(name + size for name, size in parts) != text.lower():
            raise BadInput(f"Cannot read layout {text!r}.", "Write tp8, tep8, dep16, dp4tp2ep8 or tp8pp2.")
        degrees: dict[str, int] = {}
        for name, digits in parts:
            size = int(digits)
            if not 1 <= size <= 100_000:
                raise BadInput(f"Layout {text!r} has a degree of {digits}.", "Degrees run from 1 to 100000.")
            if name in ("dep", "tep"):
                degrees |= {"ep": size, "dp" if name == "dep" else "tp": size}
            else:
                degrees[name] = size
        layout = cls(**degrees)
        if layout.stage % layout.ep:
            raise BadInput(
                f"Layout {text!r}: EP{layout.ep} does not divide the {layout.stage} chips of a stage.",
                "EP must divide TP x DP x CP.",
            )
        return layout
