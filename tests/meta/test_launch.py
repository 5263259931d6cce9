"""./assay and ./test on machines that are not ready: no network is used here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from source_tree import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder, with a space in its name, that holds just what the launchers need."""
    folder = tmp_path / "a clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("assay", "test", "pyproject.toml", "scripts/launch.sh", "scripts/environment.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def call(script: Path, *words: str, python: str = "") -> subprocess.CompletedProcess[str]:
    """Run a launcher from another folder, with a chosen Python or the usual search."""
    environment = {key: value for key, value in os.environ.items() if key != "ASSAY_PYTHON"}
    if python:
        environment["ASSAY_PYTHON"] = python
    return subprocess.run(
        [script, *words], env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=60
    )


def ready(clone: Path, word: str) -> None:
    """Put an environment in place whose Python prints its arguments."""
    home = clone / ".venv"
    (home / "bin").mkdir(parents=True)
    python = home / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (home / f"assay-{word}.path").write_text(f"{clone.resolve()}\n", encoding="utf-8")
    shutil.copy(clone / "pyproject.toml", home / f"assay-{word}.toml")


def test_a_ready_environment_is_used_as_it_is(clone: Path) -> None:
    ready(clone, "run")
    result = call(clone / "assay", "plan", "two words", python="/nonexistent/python")
    assert result.stdout.splitlines() == ["-P", "-m", "assay", "plan", "two words"]
    assert (result.returncode, result.stderr) == (0, "")


def test_the_tests_run_in_the_clone(clone: Path) -> None:
    ready(clone, "dev")
    result = call(clone / "test", "-k", "layers")
    assert result.stdout.splitlines()[:2] == ["-m", "pytest"]
    assert result.stdout.splitlines()[-2:] == ["-k", "layers"]


@pytest.mark.parametrize("change", ["project", "place"])
def test_a_stale_environment_is_not_used(clone: Path, change: str) -> None:
    ready(clone, "run")
    if change == "project":
        with (clone / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write("# changed\n")
    else:
        clone = clone.rename(clone.with_name("moved"))
    result = call(clone / "assay", python="/nonexistent/python")
    assert result.returncode == 2
    assert "no Python 3.11 or newer found (tried /nonexistent/python)" in result.stderr


def test_somebody_elses_environment_is_left_alone(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / "precious").touch()
    result = call(clone / "assay")
    assert result.returncode == 2
    assert "Delete it, then try again" in result.stderr
    assert (clone / ".venv" / "precious").exists()


def test_the_launchers_can_be_run() -> None:
    for name in ("assay", "test", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
