"""The fit recovers curves it was given, and the quality rules drop what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pl = pytest.importorskip("polars")
pytest.importorskip("scipy")

from assay.calibrate.achieved import achieved, relative  # noqa: E402
from assay.calibrate.collectives import lines  # noqa: E402
from assay.calibrate.curves import START, Fitter, estimate, predict  # noqa: E402
from assay.calibrate.kernel_quality import best, clean  # noqa: E402
from assay.timing.collectives import wire  # noqa: E402

TRUE = np.log([0.7, 0.85, 60.0, 4e-6])


def table(chip: str = "a", framework: str = "x", version: str = "1.0", slower: float = 1.0) -> Any:
    """GEMM rows that follow `TRUE` exactly."""
    m, n = (grid.ravel() for grid in np.meshgrid(2.0 ** np.arange(0, 15), 2.0 ** np.arange(11, 15)))
    rows = pl.DataFrame(
        {
            "chip": chip,
            "table": "gemm",
            "kind": "gemm",
            "format": "bf16",
            "framework": framework,
            "version": version,
            "series": "bf16",
            "shape": "",
            "flops": 2 * m * n * 8192,
            "moved": n * 8192 * 2 + m * (n + 8192) * 2,
            "rows": m,
            "flops_2": 0.0,
            "moved_2": 0.0,
            "streamed": 0.0,
            "ranks": 0.0,
            "peak": 1e15,
            "bandwidth": 4e12,
        }
    )
    return rows.with_columns(seconds=pl.Series(predict(TRUE, rows, 2e-6) * slower))


def test_the_fit_recovers_a_known_curve() -> None:
    found = np.exp(estimate(table(), START, 2e-6, 2.0))
    assert found == pytest.approx(np.exp(TRUE), rel=0.1)


def test_the_prior_fills_what_the_rows_do_not_show() -> None:
    narrow = table().filter((pl.col("rows") <= 4) & (pl.col("moved") > 1e8))
    found = np.exp(estimate(narrow, START, 2e-6))
    assert found[1] == pytest.approx(0.85, rel=0.05)
    assert 0.02 < found[0] < 1.0


def test_a_chip_is_scored_on_curves_that_have_not_seen_it() -> None:
    rows = pl.concat([table("a"), table("b", slower=1.1), table("c", slower=2.0)])
    fitter = Fitter(rows, rows, {"a": "one", "b": "one", "c": "two"}, {})
    result = fitter.run()
    assert max(result["scores"]["own"].values()) < 0.12
    assert result["scores"]["left out"]["a"] == pytest.approx(0.1, abs=0.05)
    assert result["scores"]["left out"]["c"] == pytest.approx(0.5, abs=0.1)
    assert result["chip"]["a"]["sigma"] < result["generation"]["one"]["sigma"]
    assert result["generation"]["one"]["sigma"] < result["vendor"]["sigma"]


def test_the_newest_version_wins_and_the_fastest_framework_counts() -> None:
    old, new = table(version="1.0.0rc15", slower=0.8), table(version="1.0.0rc20")
    other = table(framework="y", slower=1.2)
    work, counts = clean(pl.concat([old, new, other]))
    assert counts["older software versions"] == old.height
    assert work.height == new.height + other.height
    assert best(work)["seconds"].to_list() == best(new)["seconds"].to_list()


def test_a_release_is_newer_than_its_candidates() -> None:
    work, _ = clean(pl.concat([table(version="1.3.0rc9"), table(version="1.3.0rc10")]))
    assert set(work["version"]) == {"1.3.0rc10"}
    work, _ = clean(pl.concat([table(version="1.3.0rc9"), table(version="1.3.0")]))
    assert set(work["version"]) == {"1.3.0"}


def test_series_that_cannot_be_true_are_dropped() -> None:
    # large rows twice as fast as the memory: the whole series goes, the honest one stays
    work, counts = clean(pl.concat([table(), table(framework="cached", slower=0.4)]))
    assert counts["series that beat the roofline"] > 0
    assert set(work["framework"]) == {"x"}


def test_host_bound_series_are_dropped() -> None:
    eager = table(framework="eager").with_columns(pl.col("seconds") + 3e-4)
    work, counts = clean(pl.concat([table(), eager]))
    assert counts["host-bound series"] == eager.height
    assert set(work["framework"]) == {"x"}


def test_two_protocols_are_found() -> None:
    payload: NDArray[np.float64] = 2.0 ** np.arange(8, 31, dtype=np.float64)
    cost = wire("all_reduce", np.array([8.0]))[:, 0] / 450e9
    seconds: NDArray[np.float64] = np.minimum(3e-6 + payload * cost[0] / 0.8, 2e-5 + payload * cost[1] / 0.9)
    values, error = lines(
        np.asarray(payload, dtype=np.float64), seconds, np.asarray(cost, dtype=np.float64), 1.75
    )
    assert values == pytest.approx([3e-6, 2e-5, 0.8, 0.9], rel=0.1)
    assert error < 0.01


def test_published_tests_become_factors(tmp_path: Path) -> None:
    rows = [
        "chip,category,metric,dtype,size,measured,peak,peak_basis,fraction,source,note",
        "nvidia_old,gemm,MAMF finder,bf16,,800,1000,dense,0.8,S1,",
        "nvidia_old,hbm_bw,babelstream triad,,,3,4,datasheet,0.9,S1,",
        "nvidia_old,hbm_bw,device copy,,,3,4,datasheet,0.7,S1,",
        "amd_other,gemm,MAMF finder,bf16,,400,1000,dense,0.4,S2,",
        "amd_other,gemm,another test,bf16,,600,1000,dense,0.6,S2,",
    ]
    path = tmp_path / "achievable.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    shares = achieved(path)
    assert shares["old"]["memory"] == 0.9
    assert shares["other"]["compute"]["bf16"] == 0.4
    factors = relative(shares, ["old"])
    assert factors["old"]["compute"]["bf16"] == 1.0
    assert factors["other"]["compute"]["bf16"] == 0.5
    assert factors["other"]["memory"] is None


def test_dispatch_time_cancels_in_a_wall_clock_sweep(tmp_path: Path) -> None:
    rows = [
        "chip,category,metric,dtype,size,measured,peak,peak_basis,fraction,source,note",
        "google_tpu,gemm,wall clock sweep,bf16,M=4096,50,100,dense,0.5,S3,",
        "google_tpu,gemm,wall clock sweep,bf16,M=8192,60,100,dense,0.6,S3,",
    ]
    path = tmp_path / "achievable.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    assert achieved(path)["tpu"]["compute"]["bf16"] == pytest.approx(0.75)
