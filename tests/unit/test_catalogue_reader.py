"""YAML as facts are written in: the 1.2 core schema, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.catalogue.reader import LARGEST, parse_yaml, read_yaml
from assay.errors import BadFact

PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [" + ", ".join([f"*{old}"] * 10) + "]"
    for old, new in zip("abcdef", "bcdefg", strict=True)
)


def test_the_core_schema() -> None:
    lines = "a: 3.35e12|b: no|c: 2026-11-23|d: 010|e: .nan|f: '1'|g: on|h: -.inf|i: ~|j: true|k: 12:30|l:"
    text = lines.replace("|", chr(10))
    found = parse_yaml(text, "x")
    assert math.isnan(found.pop("e"))
    assert found == {
        "a": 3.35e12,
        "b": "no",
        "c": "2026-11-23",
        "d": 10,
        "f": "1",
        "g": "on",
        "h": -math.inf,
        "i": None,
        "j": True,
        "k": "12:30",
        "l": None,
    }


def test_aliases_within_reason() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x", "x") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 2 not valid YAML"),
        ("a: {b: 1, ", "not valid YAML"),
        ("a: 1\na: 2", "line 2 repeats 'a'"),
        ("a: &x [*x]", "refers to itself"),
        ("a: *nowhere", "refers to itself or to nothing|undefined alias"),
        (BOMB, "expands to more than"),
        ("[" * 5000, "nested|not valid"),
        ("a: !!python/object/apply:os.system [ls]", "uses the tag"),
        ("a: !!int x", "uses the tag"),
        ("? [a]\n: b", "has a key that is no word"),
        ("a: " + "9" * 100, "number of 100 digits"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("a: \x07", "not valid"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadFact, match=message) as caught:
        parse_yaml(text, "mine.yaml")
    assert str(caught.value).startswith("mine.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadFact, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe\x00")
    with pytest.raises(BadFact, match="UTF-8"):
        read_yaml(binary)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"a: 1\n" + b"#" * LARGEST)
    with pytest.raises(BadFact, match="larger than 5 MB"):
        read_yaml(huge)
    with pytest.raises(BadFact, match="cannot be read"):
        read_yaml(tmp_path)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"\n ,0.e#?%@`\t", max_size=80))
def test_any_text_is_data_or_a_sentence(text: str) -> None:
    try:
        parse_yaml(text, "x")
    except BadFact as error:
        sentence = str(error)
    else:
        sentence = "x: understood"
    assert sentence.startswith("x:")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(PRINTABLE, max_size=10),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(PRINTABLE, max_size=6), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_what_json_writes_reads_back(value: object) -> None:
    import json

    assert parse_yaml(json.dumps(value, ensure_ascii=True), "x") == value
