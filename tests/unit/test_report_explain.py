"""The page of `assay estimate`."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from assay.report.explain import estimate_page
from assay.report.terminal import WIDTH, put
from assay.study.answer import Answer


def operator(phase: str, name: str, seconds: float, **more: Any) -> dict[str, Any]:
    row = {"phase": phase, "operator": name, "kind": "gemm", "count": 61, "flops": 2e12, "bytes": 3e9}
    return row | {"seconds": seconds, "bound": "memory", "share": 0.5} | more


def page(answer: Answer) -> str:
    stream = io.StringIO()
    put(estimate_page(answer), stream)
    return stream.getvalue()


def test_every_figure_with_range_bound_and_basis(kimi: Answer) -> None:
    text = page(replace(kimi, rows=kimi.rows[:1]))
    line = next(line for line in text.splitlines() if line.startswith("output tok/s/user"))
    assert line.split() == ["output", "tok/s/user", "61", "49", "–", "76", "≤", "120", "◑", "chip"]
    assert "TTFT 400 ms 320 ms – 500 ms ≥ 200 ms ◑ chip" in " ".join(text.split())
    assert "One decode step" not in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_figure_nobody_knows_is_said_so(kimi: Answer) -> None:
    text = page(replace(kimi, rows=kimi.rows[3:4]))
    assert next(line for line in text.splitlines() if line.startswith("$/M output")).endswith("not known")


def test_steps_by_operator_slowest_first_with_their_sum(kimi: Answer) -> None:
    decode = [operator("decode", f"op{index}", 1e-3 * (index + 1)) for index in range(20)]
    launch = operator("decode", "kernel launches", 5e-3, count=None, flops=0.0, bytes=0.0, bound="launch")
    prefill = [operator("prefill", "mla.core", 0.25, bound="compute")]
    text = page(replace(kimi, rows=kimi.rows[:1], explain=(*decode, launch, *prefill)))
    step = text[text.index("One decode step on one chip") : text.index("Prefill of one prompt on one chip")]
    lines = [line.split() for line in step.splitlines()[2:]]
    assert [line[0] for line in lines[:3]] == ["op19", "op18", "op17"]
    assert " ".join(lines[14]).startswith("7 more")
    assert " ".join(lines[15]) == "sum 40 TFLOP 60 GB 215 ms 100 %"
    assert "mla.core gemm 61 2 TFLOP 3 GB 250 ms 100 % compute" in " ".join(text.split())
