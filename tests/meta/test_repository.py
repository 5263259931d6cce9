"""The repository as a stranger gets it: no traces of a machine, a light import, a complete wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from source_tree import ROOT, SOURCE, tracked

#: Folders of somebody's machine, and hosts that only a package client talks to.
FOLDER = re.compile(r"(?<![\w.:/$}*-])/(?:work|tmp|root|home|Users)/")
HOST = re.compile(r"\b(?:pypi|pythonhosted|npmjs|crates|debian)\.(?:org|io)\b", re.IGNORECASE)


def test_no_traces_of_a_machine() -> None:
    wrong = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content or path == Path(__file__):
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
            if FOLDER.search(line) or HOST.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:90]}")
    assert not wrong, "\n".join(wrong)


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new Python that can import assay from the source tree."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("heavy", ["numpy", "pydantic", "rich", "cyclopts", "yaml"])
def test_import_is_light(heavy: str) -> None:
    result = fresh(f"import assay, sys; print({heavy!r} in sys.modules)")
    assert result.stdout.strip() == "False", result.stderr


def test_public_names_resolve() -> None:
    result = fresh("import assay; print(*(name for name in assay.__all__ if not hasattr(assay, name)))")
    assert result.stdout.split() == [], result.stderr
    assert result.returncode == 0, result.stderr


def test_unknown_public_name_is_an_attribute_error() -> None:
    import assay

    with pytest.raises(AttributeError, match="oracle"):
        assay.oracle  # noqa: B018


def test_the_wheel_holds_every_file(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; ./test installs it")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("assay/")}
    expected = {path.relative_to(SOURCE.parent).as_posix() for path in tracked("src/assay")}
    assert packed == expected


def test_the_version_is_told_once() -> None:
    import assay

    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert f"## {assay.__version__}" in changes
    assert f"version: {assay.__version__}" in citation
