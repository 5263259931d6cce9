"""The compiled form: same content as the YAML, renewed when a file changes, harmless when it is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.catalogue import compiled
from assay.errors import BadFact


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    (data / "chips").mkdir(parents=True)
    (data / "chips" / "one.yaml").write_text("id: one\nfacts: {tdp: {value: 1.5e3}}\n")
    (data / "latency.yaml").write_text("hop: 1\n")
    return data


def test_a_folder_and_a_file(root: Path) -> None:
    content = {"chips/one.yaml": {"id": "one", "facts": {"tdp": {"value": 1500.0}}}}
    assert compiled.section("chips", root) == content
    assert compiled.section("chips", root) == content
    assert compiled.section("chips/one", root) == content
    assert compiled.section("latency", root) == {"latency.yaml": {"hop": 1}}
    with pytest.raises(BadFact, match="No data 'prices'"):
        compiled.section("prices", root)


def test_the_second_read_needs_no_yaml(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled.section("chips", root)
    monkeypatch.setattr(compiled, "read_yaml", lambda *_: pytest.fail("parsed again"))
    assert compiled.section("chips", root) == first


def test_a_changed_file_is_read_again(root: Path) -> None:
    compiled.section("chips", root)
    before = compiled.content_hash(root)
    (root / "chips" / "one.yaml").write_text("id: one\nname: other\n")
    assert compiled.section("chips", root)["chips/one.yaml"] == {"id": "one", "name": "other"}
    assert compiled.content_hash(root) != before
    (root / "chips" / "two.yaml").write_text("id: two\n")
    assert set(compiled.section("chips", root)) == {"chips/one.yaml", "chips/two.yaml"}


def test_damage_is_repaired(root: Path) -> None:
    first = compiled.section("chips", root)
    stored = list(compiled.cache_directory().glob("*chips*.json"))
    assert len(stored) == 1
    for damage in (b"", b"{", b"[1]", b'{"stamp": 1}', b'{"stamp": "x", "files": 3}', b"\xff"):
        stored[0].write_bytes(damage)
        assert compiled.section("chips", root) == first


def test_no_cache_is_no_problem(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(root / "latency.yaml" / "inside-a-file"))
    assert compiled.section("latency", root) == {"latency.yaml": {"hop": 1}}
    assert len(compiled.content_hash(root)) == 64


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert compiled.cache_directory() == Path("/a")
    monkeypatch.delenv("ASSAY_CACHE")
    assert compiled.cache_directory() == Path("/b/assay")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert compiled.cache_directory() == Path("/c/.cache/assay")


def test_a_warm_start_imports_neither_yaml_nor_pydantic() -> None:
    code = (
        "import sys\n"
        "from assay.catalogue.load import catalogue\n"
        "facts = catalogue()\n"
        "facts.system('h200'), facts.model('kimi-k2'), facts.price('h200', 'own')\n"
        "print(sorted({'yaml', 'pydantic', 'numpy'} & set(sys.modules)))\n"
    )
    home = {key: os.environ[key] for key in ("HOME", "PATH", "ASSAY_CACHE") if key in os.environ}
    env = {"PYTHONPATH": str(Path(compiled.__file__).parents[2]), **home}
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, env=env, capture_output=True, check=True) for _ in range(2)]
    assert runs[1].stdout.decode().strip() == "[]"
