"""Kernels and messages against published measurements: curves as shipped, no refitting.

The tables of measured kernels are not part of the repository; those tests are skipped without them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.catalogue.load import catalogue
from assay.errors import NoEvidence
from assay.timing.collectives import away, kv_block_share, link
from assay.timing.efficiency import curve

SHARED = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
TABLES = [SHARED / "measured" / name for name in ("kernels.parquet", "kernels_extended.parquet")]

#: (system, ranks, bytes, GB/s of bus bandwidth, allowed relative error, source).
ALL_REDUCE = [
    ("hgx-h200-8", 8, 64 * 2**20, 346.5, 0.15, "MLE_NET"),
    ("hgx-h200-8", 8, 2**30, 463.6, 0.25, "MLE_NET"),
    ("hgx-h200-8", 4, 4 * 2**30, 363.3, 0.15, "MLE_NET"),
    ("hgx-b200-8", 8, 2**30, 723.3, 0.15, "MLE_NET"),
    ("hgx-b200-8", 4, 8 * 2**30, 673.2, 0.15, "MLE_NET"),
    ("hgx-a100-8", 8, 8 * 2**30, 231.6, 0.15, "AZURE_H"),
    ("gb200-nvl72", 72, 2**30, 681.2, 0.15, "CW_NCCL"),
    ("hgx-b200-8", 32, 16 * 2**30, 381.8, 0.15, "MLE_NET"),
    ("mi300x-8", 8, 8 * 2**30, 316.8, 0.1, "AZURE_MI300X"),
    ("mi300x-8", 8, 4 * 2**20, 82.5, 0.35, "AZURE_MI300X"),
    ("mi300x-8", 2, 4 * 2**30, 47.7, 0.1, "MLE_NET"),
]

#: DeepEP low-latency kernels on H800: operation, ranks, microseconds; 128 tokens of 7168, top-8, fp8 out and
#: bf16 back (source DEEPEP). EP8 ran over the NICs there, not over NVLink, and is left out.
DEEPEP = [
    ("dispatch", 16, 118.0),
    ("dispatch", 32, 155.0),
    ("dispatch", 64, 173.0),
    ("dispatch", 128, 192.0),
    ("dispatch", 256, 194.0),
    ("combine", 16, 195.0),
    ("combine", 32, 273.0),
    ("combine", 64, 314.0),
    ("combine", 128, 369.0),
    ("combine", 256, 360.0),
]


@pytest.mark.parametrize(("name", "ranks", "size", "busbw", "within", "source"), ALL_REDUCE)
def test_all_reduce(name: str, ranks: int, size: float, busbw: float, within: float, source: str) -> None:
    system = catalogue().system(name)
    expected = size * 2 * (ranks - 1) / ranks / (busbw * 1e9)
    assert float(link(system, "all_reduce", ranks).seconds(size)) == pytest.approx(expected, rel=within), (
        source
    )


@pytest.mark.parametrize(("op", "ranks", "microseconds"), DEEPEP)
def test_low_latency_expert_exchange(op: str, ranks: int, microseconds: float) -> None:
    system = catalogue().system("h800-sxm-8")
    payload = 128 * float(away(ranks, 8)) * 7168 * (1 if op == "dispatch" else 2)
    seconds = float(link(system, op, ranks).seconds(payload))
    assert seconds * 1e6 == pytest.approx(microseconds, rel=0.2)


def test_all_gather_on_a_torus() -> None:
    """Two chips by two without wrap-around: 161.9 GB/s at 25 MB, 178.8 at 403 MB (source TPU_RECIPES)."""
    system = catalogue().system("tpu-v7-pod")
    for size, rate in ((25e6, 161.9e9), (403e6, 178.8e9)):
        seconds = float(link(system, "all_gather", 4).seconds(size))
        assert seconds == pytest.approx(size * 3 / 4 / rate, rel=0.1)


def test_cache_transfer_by_block_size() -> None:
    """Mooncake between H200 nodes: 97 GB/s in 64 KiB blocks, 353 in 1 MiB blocks (source MOONCAKE_EFA)."""
    small, large = kv_block_share(np.array([65536, 2**20]))
    assert small / large == pytest.approx(97.11 / 352.59, rel=0.05)


@pytest.fixture(scope="module")
def measured() -> Any:
    """Return the best row of every chip, kind, format and shape of the tables."""
    pytest.importorskip("polars")
    if not all(path.exists() for path in TABLES):
        pytest.skip(f"no kernel tables in {SHARED}")
    from assay.calibrate.kernel_quality import best, clean
    from assay.calibrate.kernel_rows import read

    library, chips = catalogue(), {}
    for name in library.chips():
        try:
            chips[name] = library.chip(name)
        except NoEvidence:
            continue
    work, _ = clean(read(TABLES, chips))
    return best(work), chips


#: Kind -> (greatest median error over chips and formats, greatest for one of them).
LIMITS = {
    "gemm": (0.06, 0.12),
    "experts": (0.13, 0.2),
    "attention_decode": (0.13, 0.27),
    "attention_prefill": (0.14, 0.25),
}


@pytest.mark.parametrize("kind", sorted(LIMITS))
def test_shipped_curves_predict_the_tables(measured: Any, kind: str) -> None:
    from assay.calibrate.curves import predict

    rows, chips = measured
    rows = rows.filter(rows["kind"] == kind)
    errors = []
    for (name, fmt), group in rows.group_by("chip", "format"):
        if group.height < 20:
            continue
        chip = chips[name]
        found = curve(chip, kind, fmt.removesuffix("-wide"))
        theta = np.log([found.compute, found.memory, max(found.rows_half, 1e-9), found.overhead])
        launch = curve(chip, "gemm", "bf16").overhead
        ratio = predict(theta, group, launch) / group["seconds"].to_numpy()
        errors.append(float(np.median(np.abs(ratio - 1))))
    assert errors
    assert float(np.median(errors)) < LIMITS[kind][0]
    assert max(errors) < LIMITS[kind][1]


def test_the_file_says_how_well_left_out_chips_are_predicted() -> None:
    scores = catalogue().table("calibrations/kernels")["provenance"]["median_error"]
    for kind, (typical, _) in LIMITS.items():
        assert scores[kind]["own"] <= typical
        assert scores[kind]["own"] <= scores[kind]["left out"] < 0.2
