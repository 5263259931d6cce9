"""Service-level objectives that a question gets when it states none: by workload, each with a source.

Published limits hold for the 99th percentile or the median; assay applies them to the mean (the file of the
workload says which). Lengths of your own have no published limit: they get the TPOT limit of the default
workload, and a TTFT limit that grows with the new input tokens, which is assay's convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.workload.lengths import DEFAULT, workload


@dataclass(frozen=True, slots=True)
class Slo:
    """Greatest mean TTFT and TPOT, s; None = no limit."""

    ttft: float | None
    tpot: float | None


def default_slo(name: str, isl: int, cached: float = 0.0, extra: Sequence[Path] = ()) -> Slo:
    """Return the limits of a workload, or of lengths without one.

    Args:
        name: workload, "" = none.
        isl: mean input tokens.
        cached: share of them found in a prefix cache, 0 to 1.
        extra: folders of the user's facts.

    Raises:
        UnknownName: no such workload.
    """
    if name:
        named = workload(name, extra)
        return Slo(named.ttft, named.tpot)
    usual = workload(DEFAULT, extra)
    if usual.ttft is None or usual.ttft_per_input_token is None:
        return Slo(usual.ttft, usual.tpot)
    return Slo(max(usual.ttft, usual.ttft_per_input_token * isl * (1 - cached)), usual.tpot)
