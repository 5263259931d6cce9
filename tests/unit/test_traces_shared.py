"""The collected traces, read and compared with the statistics published or computed beside them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from assay.workload.reshape import spread
from assay.workload.reuse import hit_curve, reuse_delay
from assay.workload.statistics import Summary, lengths, summary, variation
from assay.workload.traces import Trace, read

#: File -> format, rows, rows left out, span s, CV, dispersion and peak in 1 / 10 / 60 s (NaN = not stated).
NAN = float("nan")
ARRIVALS: dict[str, tuple[str, int, int, float, float, tuple[float, ...], tuple[float, ...]]] = {
    "azure2023_code.csv.gz": ("azure-2023", 8819, 0, 3436, 13.15, (13.2, 71.6, 164), (67, 32.7, 10.5)),
    "azure2023_conv.csv.gz": ("azure-2023", 19366, 0, 3502, 1.09, (1.39, 3.86, 16.1), (16, 9.8, 8.5)),
    "mooncake_conversation.jsonl.gz": ("mooncake", 12031, 0, 3537, 3.03, (7.9, 2.1, 2.9), (28, 6.7, 4.1)),
    "mooncake_synthetic.jsonl.gz": ("mooncake", 3993, 0, 1022, 1.01, (1.09, 1.18, 1.19), (13, 5.5, 4.6)),
    # two full minutes are too few for a dispersion: the table counts the third, cut one
    "mooncake_arxiv_first1000.jsonl.gz": ("mooncake", 1000, 0, 177, 4.03, (12.5, 4.4, NAN), (26, 9.3, 6.0)),
    "dynamo_pi_request_trace.jsonl.gz": ("dynamo", 17, 0, 162, 0.92, (), ()),
    # the table keeps the 8 rows of zero tokens
    "burstgpt_1_first150.csv": ("burstgpt", 150, 8, 31999, NAN, (), ()),
    # 1.58 in the table, which divides by n - 1 here
    "burstgpt_3_first28.csv": ("burstgpt-sessions", 28, 0, 3671, 1.551, (), ()),
    "azure2024_code_1week_headtail.csv": ("azure-2024", 10, 0, 604800, NAN, (), ()),
    "azure2024_conv_1week_headtail.csv": ("azure-2024", 10, 0, 604800, NAN, (), ()),
    "tracelab_sanitized_example.jsonl.gz": ("tracelab", 19, 0, NAN, NAN, (), ()),
    "vidur_arxiv_summarization.csv.gz": ("vidur", 28257, 0, 0, NAN, (), ()),
}
#: File -> mean, p50, p90, p99, max of input and output tokens.
LENGTHS = {
    "azure2023_code.csv.gz": ((2048, 1469, 5188, 7436, 7437), (27.9, 13, 55, 251, 1899)),
    "azure2023_conv.csv.gz": ((1155, 1020, 2735, 4142, 14050), (211, 129, 424, 601, 1000)),
    "mooncake_conversation.jsonl.gz": ((12035, 6909, 27367, 85400, 126195), (343, 350, 597, 1119, 2000)),
    "mooncake_synthetic.jsonl.gz": ((15325, 11587, 38611, 66456, 191378), (149, 69, 389, 768, 893)),
    "mooncake_arxiv_first1000.jsonl.gz": ((9792, 6558, 19789, 77828, 121290), (199, 34, 534, 831, 2000)),
    "vidur_arxiv_summarization.csv.gz": ((2588, 2730, 3702, 3933, 4054), (291, 167, 372, 3271, 4056)),
    "dynamo_pi_request_trace.jsonl.gz": ((3913, 3423, 7527, 8700, 8780), (476, 389, 803, 1058, 1101)),
    "tracelab_sanitized_example.jsonl.gz": (
        (27053, 32272, 45725, 48162, 48305),
        (597, 273, 1452, 2419, 2475),
    ),
    "burstgpt_3_first28.csv": ((717, 154, 1616, 4349, 5299), (205, 147, 491, 596, 617)),
}
#: File -> block uses, different blocks, infinite hit, hit by capacity in thousands of blocks.
REUSE = {
    "mooncake_conversation.jsonl.gz": (
        288_500, 182_790, 0.374, {1: 0.045, 5: 0.113, 10: 0.215, 30: 0.332, 50: 0.362},
    ),
    "mooncake_synthetic.jsonl.gz": (121_877, 43_924, 0.651, {1: 0.084, 5: 0.284, 10: 0.431, 30: 0.636}),
    "mooncake_arxiv_first1000.jsonl.gz": (19_686, 12_207, 0.391, {1: 0.291, 5: 0.329, 10: 0.389}),
    "dynamo_pi_request_trace.jsonl.gz": (4163, 1183, 0.717, {1: 0.717}),
}  # fmt: skip


@cache
def trace(path: Path) -> Trace:
    """Return a trace, read once."""
    return read(path)


@cache
def figures(path: Path) -> Summary:
    """Return the figures of a trace, computed once."""
    return summary(trace(path).requests)


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrivals_are_as_in_the_table(shared: Path, name: str) -> None:
    kind, rows, dropped, span, cv, dispersion, peak = ARRIVALS[name]
    found, numbers = trace(shared / "traces" / name), figures(shared / "traces" / name)
    assert (found.format, found.rows, found.dropped) == (kind, rows, dropped)
    assert np.isnan(span) or numbers.span == pytest.approx(span, abs=0.6)
    assert np.isnan(cv) or numbers.cv == pytest.approx(cv, abs=0.006)
    for mine, theirs in zip(numbers.dispersion.values(), dispersion, strict=False):
        assert np.isnan(theirs) or mine == pytest.approx(theirs, rel=0.01, abs=0.05)
    for mine, theirs in zip(numbers.peak.values(), peak, strict=False):
        assert mine == pytest.approx(theirs, abs=0.06)


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_are_as_in_the_table(shared: Path, name: str) -> None:
    numbers = figures(shared / "traces" / name)
    for mine, theirs in zip((numbers.isl, numbers.osl), LENGTHS[name], strict=True):
        assert (mine.mean, mine.p50, mine.p90, mine.p99, mine.max) == pytest.approx(theirs, abs=0.51)


@pytest.mark.parametrize("name", REUSE)
def test_reuse_is_as_in_the_table(shared: Path, name: str) -> None:
    blocks, unique, infinite, by_capacity = REUSE[name]
    curve = figures(shared / "traces" / name).reuse
    assert curve is not None
    assert (curve.blocks, curve.unique) == (blocks, unique)
    assert curve.infinite == pytest.approx(infinite, abs=0.0006)
    for thousands, hit in by_capacity.items():
        # the table touches the first block of a prompt first; assay, like vLLM, the last
        assert float(curve.at(thousands * 1000)) == pytest.approx(hit, abs=0.002)


def test_reuse_delays_are_as_in_the_table(shared: Path) -> None:
    delay = reuse_delay(trace(shared / "traces" / "mooncake_conversation.jsonl.gz").requests)
    assert np.percentile(delay, [10, 50, 90]).tolist() == pytest.approx([0, 114, 519], abs=0.6)
    shares = [(delay <= limit).mean() for limit in (10, 60, 600)]
    assert shares == pytest.approx([0.117, 0.282, 0.937], abs=0.001)


def test_most_hits_of_the_conversations_need_30_thousand_blocks(shared: Path) -> None:
    curve = figures(shared / "traces" / "mooncake_conversation.jsonl.gz").reuse
    assert curve is not None
    assert curve.capacity_for(0.89) == pytest.approx(30_000, rel=0.05)


@pytest.mark.parametrize("tokens", [16, 64, 128])
def test_smaller_blocks_keep_the_reuse_of_a_real_trace(shared: Path, tokens: int) -> None:
    requests = trace(shared / "traces" / "mooncake_arxiv_first1000.jsonl.gz").requests
    small = hit_curve(requests.with_block_tokens(tokens))
    assert small is not None
    assert small.infinite == pytest.approx(0.3907, abs=0.0005)


def test_scaled_traces_keep_their_shape(shared: Path) -> None:
    requests = trace(shared / "traces" / "mooncake_conversation.jsonl.gz").requests
    fast = requests.scaled(rate=2.0, isl=1.5, osl=0.5)
    assert summary(fast).rate == pytest.approx(2 * summary(requests).rate)
    assert fast.isl.mean() == pytest.approx(1.5 * 12_035, rel=1e-3)
    curve = hit_curve(fast)
    assert curve is not None
    # shared text no longer ends where a block does: half a block of 512 is lost, of 18,000 tokens
    assert curve.infinite == pytest.approx(0.374, abs=0.015)


def test_spread_times_are_near_poisson(shared: Path) -> None:
    requests = trace(shared / "traces" / "mooncake_conversation.jsonl.gz").requests
    assert variation(requests.arrival) > 3
    assert variation(spread(requests).arrival) == pytest.approx(1.0, abs=0.1)


def test_cached_tokens_that_were_measured(shared: Path) -> None:
    dynamo = trace(shared / "traces" / "dynamo_pi_request_trace.jsonl.gz")
    share = dynamo.measured["cached_tokens"].sum() / dynamo.requests.isl.sum()
    assert share == pytest.approx(0.756, abs=0.001)
    ttft = dynamo.measured["ttft_s"]
    assert (ttft.mean(), np.median(ttft)) == pytest.approx((0.535, 0.352), abs=0.001)
    rounds = trace(shared / "traces" / "tracelab_sanitized_example.jsonl.gz")
    assert rounds.measured["cached_tokens"].sum() / rounds.requests.isl.sum() == pytest.approx(
        0.921, abs=0.001
    )


@pytest.mark.parametrize(
    ("name", "clients", "sent"),
    [
        ("servegen_deepseek-r1.tar.gz", 73, 1_383_669),
        ("servegen_mm-image.tar.gz", 35, 818_610),
        ("servegen_m-large_top12.tar.gz", 12, 160_418_964),
    ],
)
def test_clients_of_servegen_are_counted(shared: Path, name: str, clients: int, sent: int) -> None:
    found = read(shared / "traces" / name, most=20_000)
    assert f"from {clients} clients that sent {sent:,} requests" in found.notes[0]
    assert not found.bad
    assert 0 < len(found.requests) <= 40_000


def test_a_day_of_images_is_as_in_the_table(shared: Path) -> None:
    found = read(shared / "traces" / "servegen_mm-image.tar.gz").requests
    hourly = np.bincount((found.arrival // 3600).astype(np.int64)) / 3600
    assert len(found) == 818_610
    assert (hourly.mean(), hourly.max(), hourly.min()) == pytest.approx((9.5, 12.8, 5.6), abs=0.06)
    osl = lengths(found.osl)
    assert (osl.mean, osl.p50, osl.p90, osl.p99, osl.max) == pytest.approx((130, 100, 264, 587, 2000), abs=2)


def test_the_table_of_hours_is_no_trace(shared: Path) -> None:
    from assay.errors import BadInput

    with pytest.raises(BadInput, match="hour_from_start"):
        read(shared / "traces" / "derived_azure2024_hourly_rate.csv")


def test_the_hours_in_the_catalogue_are_those_collected(shared: Path) -> None:
    from assay.workload.generate import profile

    table = np.loadtxt(shared / "traces" / "derived_azure2024_hourly_rate.csv", delimiter=",", skiprows=1)
    assert (profile("code") * 60).tolist() == pytest.approx(table[:, 1].tolist())
    assert (profile("chat") * 60).tolist() == pytest.approx(table[:, 2].tolist())
