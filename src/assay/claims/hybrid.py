"""Platforms that do not exist: one with named resources of another, to see what each resource is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from assay.catalogue.schema import Chip, System

#: Resources that a batch engine's platform takes over, in the order they are shown.
RESOURCES = ("memory bandwidth", "FLOPS", "precision", "scale-up domain", "capacity", "kernel efficiency")
#: Resources that a pipeline of SRAM chips takes over; its chip count follows from the capacity.
OF_PIPELINE = ("memory bandwidth", "FLOPS", "scale-up links", "capacity")
#: Formats whose rates tie those that only one chip has to those that both have, preferred first.
TIES = ("fp8", "bf16", "fp16", "int8")


def hybrid(subject: System, baseline: System, taken: Iterable[str]) -> System:
    """Return the baseline with the named resources of the subject; all of them make it the subject."""
    chosen = frozenset(taken)
    mine, theirs = subject.chip, baseline.chip
    chip = replace(theirs, peak_flops=_peaks(mine, theirs, chosen))
    if "memory bandwidth" in chosen:
        chip = replace(chip, memory_bandwidth=mine.memory_bandwidth)
    if "capacity" in chosen:
        chip = replace(chip, memory_bytes=mine.memory_bytes)
    if "kernel efficiency" in chosen:
        chip = replace(chip, id=mine.id, generation=mine.generation, vendor=mine.vendor)
    system = replace(baseline, chip=chip)
    if "scale-up domain" in chosen:
        system = replace(
            subject, chip=replace(chip, link_bandwidth=mine.link_bandwidth, nic_bandwidth=mine.nic_bandwidth)
        )
    return system


def _peaks(mine: Chip, theirs: Chip, chosen: frozenset[str]) -> dict[str, float]:
    """Return peak rates: common formats by FLOPS, formats of one chip alone by precision.

    A format that only one chip has keeps its own ratio to a format that both have.
    """
    shared = [name for name in theirs.peak_flops if name in mine.peak_flops]
    rates = mine.peak_flops if "FLOPS" in chosen else theirs.peak_flops
    found = {name: rates[name] for name in shared}
    tie = next((name for name in TIES if name in found), None)
    owner = mine if "precision" in chosen else theirs
    for name, rate in owner.peak_flops.items():
        if name not in found:
            found[name] = rate * (found[tie] / owner.peak_flops[tie]) if tie else rate
    return found


def pipeline(host: System, other: System, taken: Iterable[str]) -> System:
    """Return a dataflow system with the named resources of another platform.

    It still runs as a pipeline: weights stay resident, and as many chips are used as capacity asks for. A
    format of the host that the other chip lacks runs at the other's rate of the first shared one of `TIES`,
    in the host's own ratio.
    """
    chosen, theirs = frozenset(taken), other.chip
    chip, system = replace(host.chip, spread={}), host
    if "FLOPS" in chosen:
        tie = next((name for name in TIES if name in chip.peak_flops and name in theirs.peak_flops), None)
        scale = theirs.peak_flops[tie] / chip.peak_flops[tie] if tie else 1.0
        peaks = {name: theirs.peak_flops.get(name, rate * scale) for name, rate in chip.peak_flops.items()}
        chip = replace(chip, peak_flops=peaks)
    if "memory bandwidth" in chosen:
        chip = replace(chip, memory_bandwidth=theirs.memory_bandwidth)
    if "capacity" in chosen:
        chip = replace(chip, memory_bytes=theirs.memory_bytes)
    if "scale-up links" in chosen:
        chip = replace(chip, link_bandwidth=theirs.link_bandwidth)
        system = replace(system, link_bandwidth=other.link_bandwidth, peer_bandwidth=other.peer_bandwidth)
    return replace(system, chip=chip)
