"""Rows that cannot be used are named by line, the rest is kept or the file refused; never a traceback."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import AssayError, BadInput
from assay.workload.readers.rows import MOST_NAMED
from assay.workload.traces import chunks, read

EXAMPLES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).resolve().parents[1] / "data" / "traces").glob("*.txt"))
}
AZURE_2023, MOONCAKE, DYNAMO = EXAMPLES["azure-2023"], EXAMPLES["mooncake"], EXAMPLES["dynamo"]
BURSTGPT, TRACELAB = EXAMPLES["burstgpt"], EXAMPLES["tracelab"]
GOOD_CSV = "2023-11-16 18:17:0{}.5,100,10"
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"

CSV_ROWS = [
    ("2023-11-16 18:17:02,1", "2 fields instead of 3"),
    ("2023-11-16 18:17:02,1,2,3", "4 fields instead of 3"),
    ("not a time,100,10", "TIMESTAMP is 'not a time', not an ISO 8601 time"),
    ("2023-02-30 18:17:02,100,10", "TIMESTAMP is '2023-02-30 18:17:02', not an ISO 8601 time"),
    (",100,10", "no TIMESTAMP"),
    ("2023-11-16 18:17:02,,10", "no ContextTokens"),
    ("2023-11-16 18:17:02,ten,10", "ContextTokens is 'ten', not a number"),
    ("2023-11-16 18:17:02,nan,10", "ContextTokens is 'nan', not a number"),
    ("2023-11-16 18:17:02,1e999,10", "ContextTokens is '1e999', not a number"),
    ("2023-11-16 18:17:02,0,10", "0 input tokens"),
    ("2023-11-16 18:17:02,100,0", "0 output tokens"),
    ("2023-11-16 18:17:02,-5,10", "-5 input tokens, a negative number"),
    ("2023-11-16 18:17:02,1.5,10", "1.5 input tokens, not a whole number"),
    ("2023-11-16 18:17:02,10000001,10", "10,000,001 input tokens, longer than any context window"),
    ("2023-11-16 18:17:02,100,1e12", "1,000,000,000,000 output tokens, longer than any context window"),
    ('"2023-11-16 18:17:02,100,10', "1 fields instead of 3"),
]
JSON_ROWS = [
    ('{"timestamp": 1, "input_length": 5', "not JSON: Expecting ',' delimiter at column 35"),
    ("[1, 2]", "[1, 2] is not an object"),
    ("7", "7 is not an object"),
    ('{"timestamp": 1, "output_length": 5}', "no input_length"),
    ('{"input_length": 1, "output_length": 5}', "no timestamp"),
    ('{"timestamp": "soon", "input_length": 1, "output_length": 5}', "timestamp is 'soon', not a number"),
    ('{"timestamp": -3, "input_length": 1, "output_length": 5}', "timestamp is -3, not a time in ms"),
    ('{"timestamp": NaN, "input_length": 1, "output_length": 5}', "timestamp is nan, not a time in ms"),
    ('{"timestamp": 1e300, "input_length": 1, "output_length": 5}', "timestamp is 1e+300, not a time in ms"),
    ('{"timestamp": 1, "input_length": "5", "output_length": 5}', "input_length is '5', not a number"),
    ('{"timestamp": 1, "input_length": true, "output_length": 5}', "input_length is True, not a number"),
    ('{"timestamp": 1, "input_length": 0, "output_length": 5}', "0 input tokens"),
    (
        '{"timestamp": 1, "input_length": 99999999, "output_length": 5}',
        "99,999,999 input tokens, longer than",
    ),
    ('{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": 3}', "hash_ids is 3, not a list"),
    (
        '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [1.5]}',
        "hash_ids is [1.5], not a",
    ),
    (
        '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [1, 2]}',
        "2 prefix blocks of 512 tok",
    ),
    (
        f'{{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [{2**70}]}}',
        "more than 64 bits",
    ),
    ("[" * 100_000, "not JSON"),
    (f'{{"timestamp": {"9" * 5000}, "input_length": 5, "output_length": 5}}', "not JSON that can be read"),
]


def write(folder: Path, text: str) -> Path:
    """Write a trace and return its path."""
    path = folder / "trace"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(("row", "reason"), CSV_ROWS)
def test_a_bad_line_of_a_table_is_named(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path, "\n".join([HEADER, GOOD_CSV.format(1), row, GOOD_CSV.format(3), ""]))
    found = read(path)
    assert [str(bad) for bad in found.bad] == [f"line 3: {reason}"]
    assert (len(found.requests), found.rows, found.dropped) == (2, 3, 1)
    with pytest.raises(BadInput, match=r"bad rows: line 3.*--on-bad keep"):
        read(path, "refuse")
    with pytest.raises(BadInput, match="line 3"):
        list(chunks(path, "refuse"))


@pytest.mark.parametrize(("row", "reason"), JSON_ROWS, ids=range(len(JSON_ROWS)))
def test_a_bad_object_is_named(tmp_path: Path, row: str, reason: str) -> None:
    first, second = MOONCAKE.splitlines()
    found = read(write(tmp_path, "\n".join([first, row, "", second])))
    (bad,) = found.bad
    assert bad.line == 2
    assert reason in bad.reason
    assert found.requests.isl.tolist() == [1100, 1024]


def test_a_bad_first_row_does_not_settle_the_format(tmp_path: Path) -> None:
    assert read(write(tmp_path, '{"x": 1}\n' + MOONCAKE)).format == "mooncake"
    found = read(write(tmp_path, "{broken\n" + MOONCAKE))
    assert (found.format, [bad.line for bad in found.bad]) == ("mooncake", [1])
    table = read(write(tmp_path, "time,isl,osl\nx,1,2\n1700000000000,1,2\n"))
    assert [str(bad) for bad in table.bad] == [
        "line 2: time is 'x', not a time in ms (a number, not negative)"
    ]


def test_events_and_rounds_that_are_none(tmp_path: Path) -> None:
    broken, other = (json.loads(DYNAMO.splitlines()[0]) for _ in range(2))
    broken["event"]["request"]["replay"]["trace_block_size"] = 32
    other["event"]["request"] = "none"
    added = "".join(f"{json.dumps(event)}\n" for event in (broken, other, {"event": 5}))
    found = read(write(tmp_path, DYNAMO + added))
    assert [bad.line for bad in found.bad] == [5, 6, 7]
    assert "blocks of 32 tokens after blocks of 16" in found.bad[0].reason
    odd = json.loads(TRACELAB.splitlines()[0]) | {"timing_events": []}
    rounds = read(write(tmp_path, TRACELAB + json.dumps(odd)))
    assert "timing_events is []" in rounds.bad[0].reason


def test_times_that_go_back_are_sorted_and_named(tmp_path: Path) -> None:
    rows = [HEADER, *(GOOD_CSV.format(second) for second in (1, 5, 2, 3, 6, 6)), ""]
    path = write(tmp_path, "\n".join(rows))
    found = read(path)
    assert found.requests.arrival.tolist() == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    named = [str(row) for row in found.noted]
    assert named[:2] == [
        "line 4: the time goes back by 3 s; sorted",
        "line 5: the time goes back by 2 s; sorted",
    ]
    assert not found.bad
    assert any("go back at 2 rows, the first at line 4" in note for note in found.notes)


def test_repeated_times_are_named_where_they_are_rare(tmp_path: Path) -> None:
    times = [*range(200), 199]
    path = write(tmp_path, "time_s,isl,osl\n" + "".join(f"{time},1,1\n" for time in times))
    assert [str(row) for row in read(path).noted] == ["line 202: same time as the row before"]
    rounded = write(tmp_path, "time_s,isl,osl\n" + "".join(f"{time // 3},1,1\n" for time in range(300)))
    found = read(rounded)
    assert found.noted == ()
    assert any("times are rounded" in note for note in found.notes)


@pytest.mark.parametrize("cut", [30, 60, 100, 1500])
def test_a_truncated_gzip_keeps_what_is_whole(tmp_path: Path, cut: int) -> None:
    text = (
        HEADER
        + "\n"
        + "".join(
            f"2023-11-16 18:{row // 60:02}:{row % 60:02},{row * 37 % 999 + 1},10\n" for row in range(3000)
        )
    )
    packed = gzip.compress(text.encode())
    path = tmp_path / "t.gz"
    path.write_bytes(packed[: -len(packed) + cut] if cut < 100 else packed[:-cut])
    if cut < 100:
        with pytest.raises(BadInput, match=r"cut short|No usable row|cannot be unpacked|header"):
            read(path)
        return
    found = read(path)
    assert 0 < len(found.requests) < 3000
    assert "compressed data end early" in found.bad[-1].reason
    assert found.bad[-1].line == len(found.requests) + 2
    with pytest.raises(BadInput, match="end early"):
        read(path, "refuse")
    assert sum(part.dropped for part in chunks(path)) == 1


def test_a_damaged_gzip_is_named(tmp_path: Path) -> None:
    text = "time_s,isl,osl\n" + "".join(f"{row},{row * 37 % 999 + 1},10\n" for row in range(9000))
    packed = bytearray(gzip.compress(text.encode()))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "t.gz"
    path.write_bytes(bytes(packed))
    with pytest.raises(BadInput, match="bad rows"):
        read(path, "refuse")
    found = read(path)
    assert "compressed data are damaged" in found.bad[-1].reason
    assert len(found.requests) > 1000


def test_members_of_a_gzip_are_one_file(tmp_path: Path) -> None:
    head, tail = AZURE_2023[:60].encode(), AZURE_2023[60:].encode()
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(head) + gzip.compress(tail) + b"\0" * 100)
    assert len(read(path).requests) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x1f\x8b\x08", "cannot be unpacked"),
        (b"\x7fELF\0\0\0", "is a binary file"),
        (b"PK\x03\x04zip", "is a zip archive"),
        (b"PAR1....", "is a Parquet file"),
        (b"BZh91AY", "is a bzip2 archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        ("time,isl,osl\n1,2,3\n".encode("utf-16"), "is UTF-16 text"),
        (b"\n\n\n", "holds no text"),
        (b"hello world\n", "no column for isl and osl"),
        (b"time,isl,osl\n", "a header and nothing else"),
        (b"time,isl,osl\nx,y,z\n", "No usable row"),
        (b"{}\n", "no column for isl and osl"),
        (b"[]", "No usable row"),
        (b"{\n", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (b'{"a": 1}\n{"b": 2}\n', "no column for isl and osl; it has 'a'"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_sentence(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=reason):
        read(path)
    with pytest.raises(BadInput):
        list(chunks(path))


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a directory"):
        read(tmp_path)
    with pytest.raises(BadInput, match="No such file"):
        read(tmp_path / "none")


def test_byte_order_marks_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf# made by hand\n\ntime_s,isl,osl\r\n1,2,3\r\n\r\n# more\r\n2,4,5")
    found = read(path)
    assert found.requests.isl.tolist() == [2, 4]
    assert found.bad == ()


def test_very_many_bad_rows_are_counted_and_not_all_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "time_s,isl,osl\n" + "1,0,1\n" * (MOST_NAMED + 500) + "2,1,1\n")
    found = read(path)
    assert (len(found.bad), found.dropped, len(found.requests)) == (MOST_NAMED, MOST_NAMED + 500, 1)


def test_lines_are_right_across_blocks(tmp_path: Path) -> None:
    rows = [f"{row},100,1" for row in range(200_000)]
    rows[150_000] = "150000,0,1"
    found = read(write(tmp_path, "time_s,isl,osl\n" + "\n".join(rows)))
    assert [bad.line for bad in found.bad] == [150_002]
    assert len(found.requests) == 199_999


@settings(max_examples=150)
@given(st.sampled_from(sorted(EXAMPLES)), st.data())
def test_no_damage_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    text = bytearray(EXAMPLES[name].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        text[place : place + data.draw(st.integers(0, 12))] = data.draw(
            st.sampled_from(
                [
                    b"",
                    b"-1",
                    b"NaN",
                    b"1e400",
                    b"null",
                    b'"',
                    b",",
                    b"\n",
                    b"\r",
                    b"\0",
                    b"[",
                    b"{",
                    b"9" * 30,
                    b"\xff",
                ]
            )
        )
    path = tmp_path_factory.mktemp("damaged") / "trace"
    path.write_bytes(bytes(text))
    with contextlib.suppress(AssayError):
        found = read(path)
        assert len(found.requests) >= 1
        assert found.rows == len(found.requests) + found.dropped


def test_the_burstgpt_sample_has_its_zero_rows(tmp_path: Path) -> None:
    found = read(write(tmp_path, BURSTGPT + "50,GPT-4,0,0,0,Conversation log\n"))
    assert [str(bad) for bad in found.bad] == ["line 4: 0 input tokens"]
