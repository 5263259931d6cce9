"""Make or refresh the environment in .venv that ./assay and ./test run in.

Called by `scripts/launch.sh` with one word: `run` installs assay, `dev` installs it with its test tools.
Uses only the standard library. Two calls at once are safe: the second waits for the first. Prints one line
before it starts, nothing on success, and on failure what is wrong and what to do next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv"
PYTHON = HOME / "bin" / "python"

#: What each word installs; `dev` holds all of `run`.
TARGETS = {"run": str(ROOT), "dev": f"{ROOT}[dev]"}


class SetupError(Exception):
    """The environment cannot be made; the text says why and what to do."""


def fresh(word: str) -> bool:
    """Return whether .venv already holds `word` for this pyproject.toml, at this path."""
    stamp, path = HOME / f"assay-{word}.toml", HOME / f"assay-{word}.path"
    return (
        os.access(PYTHON, os.X_OK)
        and stamp.is_file()
        and path.is_file()
        and stamp.read_bytes() == (ROOT / "pyproject.toml").read_bytes()
        and path.read_text(encoding="utf-8").strip() == str(ROOT)
    )


def usable() -> bool:
    """Return whether .venv can be installed into: it lives here, runs, and its Python is new enough."""
    if any(path.read_text(encoding="utf-8").strip() != str(ROOT) for path in HOME.glob("assay-*.path")):
        return False  # moved: the scripts in it name the old folder
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str], advice: str) -> None:
    """Run a command quietly; on failure show the end of its output and the advice."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.strip().splitlines()[-12:])
        raise SetupError(f"{tail}\n`{' '.join(command)}` failed.\n{advice}")


def create() -> None:
    """Make .venv, unless it can be used as it is.

    Raises:
        SetupError: a .venv that is not ours is in the way, or this Python cannot make one.
    """
    ours = any(HOME.glob("assay-*.path"))
    complete = not ours or any(HOME.glob("assay-*.toml"))
    if complete and usable():
        return
    if HOME.exists() and not ours:
        raise SetupError(f"{HOME} does not hold a working Python 3.11 or newer. Delete it, then try again.")
    shutil.rmtree(HOME, ignore_errors=True)
    own_pip = find_spec("ensurepip") is not None
    if not own_pip and find_spec("pip") is None and shutil.which("uv") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"{sys.executable} cannot make environments: it has neither ensurepip nor pip.\n"
            f"On Debian or Ubuntu: apt install python{version}-venv. Elsewhere: install pip or uv."
        )
    HOME.mkdir()
    (HOME / "assay-home.path").write_text(f"{ROOT}\n", encoding="utf-8")
    try:
        venv.create(HOME, with_pip=own_pip, symlinks=True)
    except subprocess.CalledProcessError as error:
        raise SetupError(f"`{sys.executable} -m venv` failed: {error}.") from error


def installer() -> list[str]:
    """Return the command that installs into .venv: its own pip, this Python's pip, or uv."""
    quiet = ["install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if (HOME / "bin" / "pip").exists():
        return [str(PYTHON), "-m", "pip", *quiet]
    if find_spec("pip") is not None:  # pip >= 22.3
        return [sys.executable, "-m", "pip", "--python", str(PYTHON), *quiet]
    return [shutil.which("uv") or "uv", "pip", "install", "--quiet", "--python", str(PYTHON)]


def prepare(word: str) -> None:
    """Bring .venv up to date for `word`, one process at a time."""
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if fresh(word):
            return
        what = "assay" if word == "run" else "assay and its test tools"
        print(f"assay: installing {what} into .venv (once, under a minute) ...", file=sys.stderr, flush=True)
        project = (ROOT / "pyproject.toml").read_bytes()
        create()
        run([*installer(), "--editable", TARGETS[word]], "Is the package index reachable? Then try again.")
        for done in {"run", word}:
            (HOME / f"assay-{done}.path").write_text(f"{ROOT}\n", encoding="utf-8")
            (HOME / f"assay-{done}.toml").write_bytes(project)


def main() -> int:
    """Prepare the environment named on the command line; return the exit code."""
    word = sys.argv[1] if len(sys.argv) == 2 else ""
    if word not in TARGETS:
        print(f"usage: environment.py {'|'.join(TARGETS)}", file=sys.stderr)
        return 2
    try:
        prepare(word)
    except SetupError as error:
        print(f"assay: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"assay: cannot write in {ROOT}: {error}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
