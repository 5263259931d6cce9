"""Power of a chip from its activity, and energy per token; starting signatures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.schema import Chip, System
from assay.estimate import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Board power of one chip as a function of its activity; watts."""

    idle: float
    compute: float
    memory: float
    link: float
    limit: float
    sigma: float
    basis: str


def power_model(chip: Chip) -> PowerModel:
    """Return the power model of `chip`; raises NoEvidence where its power is unpublished."""
    raise NotImplementedError


def watts(chip: Chip, compute_utilisation: ArrayLike, memory_utilisation: ArrayLike, link_utilisation: ArrayLike = 0.0) -> Array:
    """Return the mean board power of one chip, W."""
    raise NotImplementedError


def board_watts(chip: Chip, compute_utilisation: ArrayLike, memory_utilisation: ArrayLike, link_utilisation: ArrayLike = 0.0) -> Estimate:
    """As `watts`, with interval and floor (idle power), W per chip."""
    raise NotImplementedError


def board_joules_per_token(power: Estimate, chips: ArrayLike, output_rate: ArrayLike) -> Estimate:
    """Return chip (board) energy per output token, J: power x chips / output tokens per second."""
    raise NotImplementedError


def provisioned_joules_per_token(system: System, chips: ArrayLike, output_rate: ArrayLike) -> Array:
    """Return facility energy per output token at provisioned power, J; raises NoEvidence if unpublished."""
    raise NotImplementedError
