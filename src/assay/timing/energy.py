"""Power of a chip from its activity, and energy per step and per output token.

Board power (the chip with its memory and voltage regulators, what `nvidia-smi` reports) over its limit is

    P / TDP = min(1, e^o (idle + c u_c^a + m u_m^b + l u_l))

with u the mean activity over a step, as a share of the peak rate of arithmetic, memory and links, gaps
included, and o the offset of the chip or its generation. Fitted by `assay.calibrate.energy`; figures,
residuals and evidence: data/calibrations/energy.yaml, docs/concepts/energy.md. Example: an H200 with
u_c = 0.02 and u_m = 0.3 draws 455 W of its 700 W.

Two energies are kept apart and never mixed: *board* (this power model) and *provisioned* (the share of the
facility that is built for a chip: host, network, cooling), which does not depend on activity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip, System
from assay.errors import NoEvidence
from assay.estimate import BASES, Estimate, Number

Array = NDArray[np.float64]

#: Standard normal quantile that bounds an 80 % interval.
INTERVAL = 1.2815515655446004


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Board power of one chip as a function of its activity.

    Attributes:
        limit: power limit, W (for a chip of unknown limit: its greatest measured power).
        floor: least power of a chip that serves, W.
        scale: e^offset, of this chip or its generation.
        idle, compute, memory, link: shares of the limit at full activity of each part.
        compute_power, memory_power: exponents of the activity.
        low, high: factors that bound the 80 % interval around the value.
        basis: rung of `assay.estimate.BASES`.
    """

    limit: float
    floor: float
    scale: float
    idle: float
    compute: float
    compute_power: float
    memory: float
    memory_power: float
    link: float
    low: float
    high: float
    basis: str

    def watts(
        self,
        compute_utilisation: ArrayLike,
        memory_utilisation: ArrayLike,
        link_utilisation: ArrayLike = 0.0,
    ) -> Array:
        """Return board power, W, at mean activity of arithmetic, memory and links, shares of their peaks."""
        given = (compute_utilisation, memory_utilisation, link_utilisation)
        parts = (np.clip(np.asarray(item, dtype=np.float64), 0.0, 1.0) for item in given)
        arithmetic, traffic, fabric = parts
        active = self.compute * arithmetic**self.compute_power + self.memory * traffic**self.memory_power
        share = self.scale * (self.idle + active + self.link * fabric)
        return np.clip(self.limit * share, self.floor, self.limit)


def power_model(chip: Chip) -> PowerModel:
    """Return the power model of `chip`.

    Raises:
        NoEvidence: neither a power limit nor a measured power is published.
    """
    return _power_model(chip.id, chip.name, chip.generation, chip.kind, chip.tdp_watts)


@lru_cache(maxsize=256)
def _power_model(chip: str, name: str, generation: str, kind: str, limit: float | None) -> PowerModel:
    table = catalogue().table("calibrations/energy")
    if chip in table["constant"]:
        return _constant(table["constant"][chip], 1.0)
    if not limit:
        raise NoEvidence(
            f"The power of {name} is not published, so its energy is unknown.",
            "Add `tdp` to the facts of the chip to get an estimate.",
        )
    if kind in table["kinds"]:
        return _constant(table["kinds"][kind], limit)
    form, offsets, sigma = table["form"], table["offsets"], table["sigma"]
    measured = chip in offsets["chip"]
    offset = offsets["chip"].get(chip, offsets["generation"].get(generation, 0.0))
    spread = INTERVAL * sigma["known" if measured else "unseen"]
    return PowerModel(
        limit=limit,
        floor=table["floor"]["value"] * limit,
        scale=float(np.exp(offset)),
        link=table["link"]["value"],
        low=float(np.exp(-spread)),
        high=float(np.exp(spread)),
        basis="calibrated chip" if measured else "datasheet",
        **form,
    )


def _constant(entry: Any, unit: float) -> PowerModel:
    value, low, high = (float(entry[key]) for key in ("value", "low", "high"))
    basis = "measured" if entry["basis"] == "measured" else "assumed"
    parts = {"compute": 0.0, "compute_power": 1.0, "memory": 0.0, "memory_power": 1.0, "link": 0.0}
    return PowerModel(
        limit=high * unit,
        floor=low * unit,
        scale=1.0,
        idle=value / high,
        low=low / value,
        high=high / value,
        basis=basis,
        **parts,
    )


def watts(
    chip: Chip,
    compute_utilisation: ArrayLike,
    memory_utilisation: ArrayLike,
    link_utilisation: ArrayLike = 0.0,
) -> Array:
    """Return the mean board power of one chip, W.

    Args:
        chip: the accelerator.
        compute_utilisation: FLOP/s over the dense peak of the format computed in, mean over the step.
        memory_utilisation: bytes/s over the memory bandwidth, mean over the step.
        link_utilisation: bytes/s sent over the one-way scale-up rate, mean over the step.

    Raises:
        NoEvidence: the chip's power is unpublished.
    """
    return power_model(chip).watts(compute_utilisation, memory_utilisation, link_utilisation)


def board_watts(
    chip: Chip,
    compute_utilisation: ArrayLike,
    memory_utilisation: ArrayLike,
    link_utilisation: ArrayLike = 0.0,
) -> Estimate:
    """Return the mean board power of one chip with its interval and floor, W; arguments as in `watts`."""
    model = power_model(chip)
    value = model.watts(compute_utilisation, memory_utilisation, link_utilisation)
    low = np.clip(value * model.low, model.floor, value)
    high = np.clip(value * model.high, value, model.limit)
    return Estimate(value, low, high, np.full_like(value, model.floor), model.basis)


def board_joules(power: Estimate, chips: ArrayLike, seconds: Estimate) -> Estimate:
    """Return the board energy of `chips` over `seconds`, J: one step, a prompt, an hour."""
    return _product(power, chips, seconds)


def board_joules_per_token(power: Estimate, chips: ArrayLike, output_rate: Estimate) -> Estimate:
    """Return board energy per output token, J: power x chips / output tokens per second.

    Args:
        power: board power of one chip, W.
        chips: chips that serve.
        output_rate: output tokens per second of all of them; its `floor` is the greatest possible one.
    """
    rate = output_rate
    value, low, high, floor = (_inverse(item) for item in (rate.value, rate.high, rate.low, rate.floor))
    return _product(power, chips, Estimate(value, low, high, floor, rate.basis))


def provisioned_watts(system: System) -> float:
    """Return the power a facility provides for one chip with its share of host, network and cooling, W.

    Raises:
        NoEvidence: nobody has published it for this system.
    """
    if not system.power_watts:
        raise NoEvidence(
            f"The provisioned power of {system.name} is not published.",
            "Add `rack_power` or `power` to the facts of the system.",
        )
    return system.power_watts


def provisioned_joules_per_token(system: System, chips: ArrayLike, output_rate: Estimate) -> Estimate:
    """Return facility energy per output token at provisioned power, J.

    Arguments as in `board_joules_per_token`.

    Raises:
        NoEvidence: nobody has published the provisioned power of this system.
    """
    one = provisioned_watts(system)
    power = Estimate(one, one, one, one, output_rate.basis)
    return board_joules_per_token(power, chips, output_rate)


def _inverse(number: Number) -> Array:
    rate = np.asarray(number, dtype=np.float64)
    return np.divide(1.0, rate, out=np.full_like(rate, np.inf), where=rate > 0)


def _product(power: Estimate, chips: ArrayLike, seconds: Estimate) -> Estimate:
    """Multiply power, chips and time; errors are independent, so their logs add as squares."""
    number = np.asarray(chips, dtype=np.float64)
    value = np.asarray(power.value * number * seconds.value)
    floor = np.asarray(power.floor * number * seconds.floor)
    down = np.hypot(_ratio(power.value, power.low), _ratio(seconds.value, seconds.low))
    up = np.hypot(_ratio(power.high, power.value), _ratio(seconds.high, seconds.value))
    basis = max(power.basis, seconds.basis, key=BASES.index)
    value = np.maximum(value, floor)
    return Estimate(value, np.maximum(value * np.exp(-down), floor), value * np.exp(up), floor, basis)


def _ratio(above: Number, below: Number) -> Array:
    """Return ln(above / below), 0 where either is not a positive finite number."""
    high, low = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    good = (high > 0) & (low > 0) & np.isfinite(high) & np.isfinite(low)
    return np.log(np.where(good, high, 1.0) / np.where(good, low, 1.0))
