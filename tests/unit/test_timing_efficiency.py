"""Efficiency curves: every chip has one, and it says how sure it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip
from assay.errors import NoEvidence
from assay.estimate import BASES
from assay.llm.operators import KINDS
from assay.timing.efficiency import STAND_INS, curve


def chip(
    name: str = "new-chip",
    vendor: str = "nobody",
    kind: str = "gpu",
    generation: str = "unknown",
    *,
    fp8: bool = True,
    fp4: bool = True,
) -> Chip:
    """Return a chip that exists only here."""
    peaks = {"bf16": 1e15} | ({"fp8": 2e15} if fp8 else {}) | ({"fp4": 4e15} if fp4 else {})
    return Chip(name, name, vendor, kind, generation, "shipping", peaks, 1e11, 4e12, "hbm")


def loadable() -> list[Chip]:
    """Return the chips of the catalogue with a complete datasheet."""
    found = []
    for name in catalogue().chips():
        try:
            found.append(catalogue().chip(name))
        except NoEvidence:
            continue
    return found


def test_every_chip_has_a_curve_for_every_kind_and_format() -> None:
    chips = loadable()
    assert len(chips) > 40
    for each in [*chips, chip()]:
        for kind in KINDS[:-1]:
            for fmt in STAND_INS:
                found = curve(each, kind, fmt)
                assert 0 < found.compute <= 1, (each.id, kind, fmt)
                assert 0 < found.memory <= 1, (each.id, kind, fmt)
                assert found.rows_half >= 0
                assert 0 < found.overhead < 1e-3
                assert 0 < found.sigma < 1.5
                assert found.basis in BASES


def test_exchanges_and_unknown_formats_are_refused() -> None:
    for kind, fmt in (("exchange", "bf16"), ("gemm", "fp3"), ("softmax", "bf16")):
        with pytest.raises(NoEvidence):
            curve(chip(), kind, fmt)


def test_a_measured_chip_is_calibrated_and_a_relative_is_not() -> None:
    library = catalogue()
    own = curve(library.chip("h200-sxm"), "gemm", "fp8")
    assert own.basis == "calibrated chip"
    assert own.n > 100
    sibling = curve(chip("h250", "nvidia", "gpu", "hopper"), "gemm", "fp8")
    assert sibling.basis == "datasheet"
    assert sibling.compute == pytest.approx(own.compute, rel=0.1)


def test_sigma_grows_with_the_distance_to_evidence() -> None:
    for kind in ("gemm", "experts", "attention_decode", "attention_prefill"):
        own = curve(catalogue().chip("h100-sxm"), kind, "bf16").sigma
        generation = curve(chip("h250", "nvidia", "gpu", "hopper"), kind, "bf16").sigma
        vendor = curve(chip("next", "nvidia", "gpu", "after-rubin"), kind, "bf16").sigma
        other = curve(chip(), kind, "bf16").sigma
        assert own <= generation + 0.02, kind
        assert generation <= vendor + 0.02, kind
        assert vendor < other, kind


def test_a_borrowed_format_is_less_sure_unless_it_runs_at_the_same_rate() -> None:
    h100 = catalogue().chip("h100-sxm")
    assert curve(h100, "gemm", "fp16").sigma == curve(h100, "gemm", "bf16").sigma
    assert curve(h100, "gemm", "mxfp8").sigma == curve(h100, "gemm", "fp8").sigma
    assert curve(h100, "gemm", "int4").sigma > curve(h100, "gemm", "bf16").sigma
    b200 = catalogue().chip("b200-sxm")
    assert curve(b200, "gemm", "mxfp4").sigma == curve(b200, "gemm", "nvfp4").sigma


def test_four_bit_weights_on_a_chip_without_four_bit_arithmetic_use_their_own_curve() -> None:
    h200 = catalogue().chip("h200-sxm")
    wide = curve(h200, "experts", "mxfp4")
    assert wide.basis == "calibrated chip"
    assert wide != curve(h200, "experts", "bf16")
    assert wide.compute > curve(catalogue().chip("b200-sxm"), "experts", "mxfp4").compute


def test_published_tests_scale_chips_without_kernel_tables() -> None:
    stranger, mi300x = curve(chip(), "gemm", "bf16"), curve(catalogue().chip("mi300x"), "gemm", "bf16")
    assert mi300x.compute / stranger.compute == pytest.approx(0.64, abs=0.03)
    assert mi300x.memory / stranger.memory == pytest.approx(0.89, abs=0.02)
    assert curve(catalogue().chip("gaudi2"), "gemm", "bf16").compute > stranger.compute
    assert curve(chip(), "gemm", "bf16").basis == "assumed"


def test_a_gather_is_an_assumption() -> None:
    assert curve(chip("h250", "nvidia", "gpu", "hopper"), "gather", "bf16").basis == "assumed"


def test_looking_a_curve_up_needs_neither_scipy_nor_polars() -> None:
    code = (
        "import sys; from assay.catalogue.load import catalogue; from assay.timing.efficiency import curve;"
        "curve(catalogue().chip('h200-sxm'), 'gemm', 'fp8');"
        "assert not {'scipy', 'polars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
