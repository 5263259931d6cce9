"""A small example of every format, told by its content alone."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.errors import BadInput
from assay.workload.traces import FORMATS, Trace, chunks, read

DATA = Path(__file__).resolve().parents[1] / "data" / "traces"


def span(start: int, *, listed: bool) -> dict[str, Any]:
    """Return one span, its attributes as OTLP writes them or as a mapping."""
    attributes = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 3}
    otlp = [{"key": key, "value": {"intValue": str(value)}} for key, value in attributes.items()]
    if not listed:
        return {
            "start_time": f"2026-06-01T00:00:0{start}.5Z",
            "end_time": f"2026-06-01T00:00:0{start + 1}Z",
            "attributes": attributes | {"gen_ai.conversation.id": "c"},
        }
    second = 1_700_000_000_000_000_000 + start * 10**9
    return {
        "startTimeUnixNano": str(second),
        "endTimeUnixNano": str(second + 250_000_000),
        "attributes": otlp,
    }


def otlp() -> dict[str, Any]:
    """Return an export of two requests and a tool call."""
    other = {"startTimeUnixNano": "1", "attributes": [{"key": "tool", "value": {"stringValue": "x"}}]}
    return {
        "resourceSpans": [{"scopeSpans": [{"spans": [span(5, listed=True), other, span(1, listed=True)]}]}]
    }


def lines(records: Sequence[object]) -> str:
    """Return records as JSONL."""
    return "".join(f"{json.dumps(record)}\n" for record in records)


def write(folder: Path, text: str, name: str = "trace") -> Path:
    """Write a trace and return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


#: Format -> arrival, input and output tokens of its example in tests/data/traces, all made by hand.
EXAMPLES: dict[str, tuple[list[float], list[int], list[int]]] = {
    "azure-2023": ([0.0, 0.052], [4808, 3180], [10, 8]),
    "azure-2024": ([0.0, 1.0], [2162, 2399], [5, 6]),
    "azure-lmm": ([0.0, 1.5], [2162, 2399], [5, 6]),
    "burstgpt": ([0.0, 40.0], [472, 1087], [18, 230]),
    "burstgpt-sessions": ([0.0, 61.0, 100.0], [906, 36, 1000], [446, 29, 40]),
    "vidur": ([0.0, 0.0], [3772, 100], [54, 10]),
    "csv": ([0.0, 1.0], [200, 100], [20, 10]),
    "mooncake": ([0.0, 3.0], [1100, 1024], [52, 5]),
    "bailian": ([0.0, 0.5, 3.0, 8.0], [20, 10, 40, 50], [5, 5, 5, 5]),
    "jsonl": ([0.0, 1.0], [8, 7], [4, 3]),
    "dynamo": ([0.0, 6.0, 10.0], [33, 64, 40], [3, 3, 3]),
    "tracelab": ([0.0, 10.0], [64, 100], [9, 9]),
    "opentelemetry": ([0.0, 4.0], [12, 12], [3, 3]),
}


def example(name: str) -> Path:
    """Return the path of the example of a format."""
    return DATA / f"{name}.txt"


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_is_told_by_its_content(tmp_path: Path, name: str, packed: bool) -> None:
    arrival, isl, osl = EXAMPLES[name]
    path = tmp_path / "trace"
    data = example(name).read_bytes()
    path.write_bytes(gzip.compress(data) if packed else data)
    found = read(path)
    assert found.format == name
    assert found.requests.arrival.tolist() == pytest.approx(arrival)
    assert found.requests.isl.tolist() == isl
    assert found.requests.osl.tolist() == osl
    assert (found.bad, found.dropped, found.rows) == ((), 0, len(arrival))
    assert found.timed == (name != "vidur")


def test_the_examples_cover_the_formats() -> None:
    assert {*EXAMPLES, "servegen"} == set(FORMATS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_chunks_hold_what_the_whole_holds(name: str) -> None:
    path = example(name)
    whole, parts = read(path), list(chunks(path))
    assert sum(len(part.requests) for part in parts) == len(whole.requests)
    assert {part.format for part in parts} == {name}


def test_epochs_are_dated() -> None:
    assert read(example("azure-2023")).began == "2023-11-16T18:17:03.979Z"
    assert read(example("mooncake")).began == ""


def test_mooncake_blocks() -> None:
    found = read(example("mooncake")).requests
    assert found.block_tokens == 512
    assert found.blocks is not None
    assert found.blocks[0].tolist() == [0, 3, 5]
    assert found.blocks[1].tolist() == [0, 1, 2, 0, 3]


def test_bailian_sessions_follow_the_parents() -> None:
    found = read(example("bailian")).requests
    assert found.session.tolist() == [0, 1, 0, 0]
    assert found.turn.tolist() == [1, 1, 2, 3]
    assert found.block_tokens == 16


def test_dynamo_is_workload_and_measurement() -> None:
    trace = read(example("dynamo"))
    found = trace.requests
    assert found.session.tolist() == [1, 1, 0]
    assert found.turn.tolist() == [0, 1, 0]
    assert found.blocks is not None
    assert found.blocks[1].tolist() == [1, 2, 1, 2, 3, -1, 5]
    assert trace.measured["ttft_s"].tolist() == pytest.approx([0.1, 0.1, 0.1])
    assert trace.measured["e2e_s"].tolist() == pytest.approx([4.0, 0.1, 0.5])
    assert trace.measured["gap_s"][1] == pytest.approx(2.0)
    assert np.isnan(trace.measured["gap_s"][[0, 2]]).all()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_pauses_that_a_trace_states(kind: str, tmp_path: Path) -> None:
    rows = [
        {"arrival_s": 0, "input_tokens": 40, "output_tokens": 3, "session": "a"},
        {"arrival_s": 3, "input_tokens": 50, "output_tokens": 3, "session": "a", "gap_s": 2.5, "e2e_s": 1.0},
        {"arrival_s": 7, "input_tokens": 60, "output_tokens": 3, "session": "a", "gap_s": -4},
    ]
    path = tmp_path / f"trace.{kind}"
    columns = ("arrival_s", "input_tokens", "output_tokens", "session", "gap_s", "e2e_s")
    lines = [json.dumps(row) for row in rows]
    if kind == "csv":
        lines = [",".join(columns), *(",".join(str(row.get(name, "")) for name in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    trace = read(path)
    # the negative one is what the end of the turn before says instead
    assert trace.measured["gap_s"][1:].tolist() == [2.5, 3.0]
    assert np.isnan(trace.measured["gap_s"][0])
    assert "1 negative pauses before a turn are not used." in trace.notes


def test_agents_grow_their_context() -> None:
    trace = read(example("tracelab"))
    assert trace.requests.turn.tolist() == [0, 1]
    assert trace.measured["e2e_s"].tolist() == pytest.approx([2.5, 1.0])
    assert trace.measured["gap_s"][1] == pytest.approx(7.5)
    assert trace.requests.blocks is not None
    offsets, ids = trace.requests.blocks
    assert offsets.tolist() == [0, 4, 10]
    assert ids[4:8].tolist() == ids[:4].tolist()
    assert np.unique(ids).size == 6


@pytest.mark.parametrize("form", ["lines", "pretty", "array", "spans"])
def test_spans_in_every_form(tmp_path: Path, form: str) -> None:
    texts = {
        "lines": lines([otlp()]),
        "pretty": json.dumps(otlp(), indent=2),
        "array": json.dumps([otlp()]),
        "spans": lines([span(1, listed=False), span(5, listed=False)]),
    }
    trace = read(write(tmp_path, texts[form]))
    assert trace.format == "opentelemetry"
    assert trace.requests.arrival.tolist() == pytest.approx([0.0, 4.0])
    assert trace.measured["e2e_s"].tolist() == pytest.approx([0.25, 0.25] if form != "spans" else [0.5, 0.5])
    assert (trace.requests.session >= 0).all() == (form == "spans")


def test_columns_by_name_and_unit(tmp_path: Path) -> None:
    path = write(tmp_path, "when,a,b\n0.5,10,1\n2,20,2\n")
    with pytest.raises(BadInput, match=r"no column for isl and osl.*--columns"):
        read(path)
    found = read(path, columns={"arrival": "when", "isl": "a", "osl": "b"}, time_unit="min")
    assert found.requests.arrival.tolist() == pytest.approx([0.0, 90.0])
    with pytest.raises(BadInput, match="no column 'c'"):
        read(path, columns={"isl": "c"})
    with pytest.raises(BadInput, match="no column 'colour' in a trace"):
        read(path, columns={"colour": "a"})
    with pytest.raises(BadInput, match="no unit of time"):
        read(path, time_unit="fortnight")
    keyed = write(tmp_path, '{"t": 3, "in": 5, "out": 6}\n')
    assert read(keyed, columns={"arrival": "t", "isl": "in", "osl": "out"}).requests.isl.tolist() == [5]


def test_a_unit_that_was_assumed_is_said(tmp_path: Path) -> None:
    assert "taken as seconds" in read(write(tmp_path, "time,isl,osl\n1,2,3\n")).notes[0]
    assert read(write(tmp_path, "time_s,isl,osl\n1,2,3\n")).notes == ()
    epoch = read(write(tmp_path, "ts,isl,osl\n1700000000000,2,3\n1700000001000,2,3\n"))
    assert epoch.requests.span == pytest.approx(1.0)


def test_optional_columns() -> None:
    found = read(example("csv")).requests
    assert found.session.tolist() == [-1, 0]
    assert found.priority.tolist() == [0, 1]


def test_a_slice_and_a_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "time_s,isl,osl\n" + "".join(f"{time},{time + 1},1\n" for time in range(100)))
    part = read(path, start=10.0, end=20.0).requests
    assert part.isl.tolist() == list(range(11, 21))
    assert part.arrival.tolist() == list(range(10))
    assert "to row" in " ".join(read(path, most=5).notes)
    with pytest.raises(BadInput, match="slice"):
        read(path, start=5.0, end=5.0)


def archive(files: dict[str, str]) -> bytes:
    """Return a tar.gz of files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"data/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


WINDOWS = "0,0.5,1.0,Gamma,1.0,2.0\n600,0.25,2.0,Weibull,0.5,1.0\n1200,0,0,,0,0\n"
SERVEGEN = {
    "chunk-0-trace.csv": WINDOWS,
    "chunk-0-dataset.json": json.dumps(
        {
            "0": {"input_tokens": "{100: 0.5, 200: 0.5}", "output_tokens": "{10: 1.0}"},
            "1200": {"input_tokens": "{}", "output_tokens": "{}"},
        }
    ),
    "chunk-1-trace.csv": "0,0.1,1.0,Gamma,1.0,2.0\n",
    "notes.txt": "not a chunk",
}


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_servegen_is_drawn_with_a_seed(tmp_path: Path, form: str) -> None:
    path = tmp_path / "servegen"
    if form == "archive":
        path.write_bytes(archive(SERVEGEN))
    else:
        path.mkdir()
        for name, text in SERVEGEN.items():
            write(path, text, name)
    trace = read(path, seed=3)
    found = trace.requests
    # as many as were counted: 0.5 x 600 and 0.25 x 600; the 60 of the client without lengths are left out
    assert np.histogram(found.arrival, [0, 600, 1200])[0].tolist() == [300, 150]
    assert sorted(set(found.isl.tolist())) == [100, 200]
    assert set(found.osl.tolist()) == {10}
    assert any("12% of the requests drawn have no published lengths" in note for note in trace.notes)
    again, other = read(path, seed=3).requests, read(path, seed=4).requests
    assert (again.arrival == found.arrival).all()
    assert (other.arrival != found.arrival).any()
    late = read(path, seed=3, start=600.0, end=900.0).requests
    assert 0 < len(late) <= 150
    assert late.arrival.max() < 300
    short = read(path, most=100)
    assert short.requests.arrival.max() < 600


def test_images_add_to_the_input(tmp_path: Path) -> None:
    fields = {
        "text_tokens": "{50: 1}",
        "image_tokens": "{10: 1}",
        "image_count": "{3: 1}",
        "output_tokens": "{5: 1}",
    }
    path = tmp_path / "t.tar.gz"
    path.write_bytes(
        archive({"chunk-7-trace.csv": WINDOWS, "chunk-7-dataset.json": json.dumps({"0": fields})})
    )
    assert set(read(path).requests.isl.tolist()) == {80}


def test_one_client_without_its_archive_is_explained(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="one client of ServeGen"):
        read(write(tmp_path, WINDOWS))


def test_damage_in_an_archive_is_named(tmp_path: Path) -> None:
    files = {
        "chunk-0-trace.csv": "0,0.5,1.0,Gamma,1.0,2.0\nbroken\n600,nan,1,Gamma,1,1\n1200,1,1,Poisson,1,1\n",
        "chunk-0-dataset.json": SERVEGEN["chunk-0-dataset.json"],
        "chunk-1-trace.csv": WINDOWS,
        "chunk-1-dataset.json": '{"0": {"input_tokens": "{1: __import__(1)}", "output_tokens": "{1: 1}"}}',
        "chunk-2-trace.csv": WINDOWS,
        "chunk-2-dataset.json": "[1]",
    }
    path = tmp_path / "t.tar.gz"
    path.write_bytes(archive(files))
    trace: Trace = read(path)
    reasons = [str(row) for row in trace.bad]
    assert "line 2: chunk-0-trace.csv: 1 fields instead of 6" in reasons
    assert any("line 3" in reason and "'nan'" in reason for reason in reasons)
    assert any("family 'Poisson'" in reason for reason in reasons)
    assert any("chunk-1-dataset.json" in reason for reason in reasons)
    assert any("chunk-2-dataset.json" in reason for reason in reasons)
    path.write_bytes(path.read_bytes()[:-40])
    assert read(path).requests.isl.size
    with pytest.raises(BadInput, match="bad rows"):
        read(path, "refuse")
