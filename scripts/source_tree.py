"""What stands in src/assay: its modules, parsed. Read by scripts/readme.py and by tests/meta."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "assay"


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file of the package.

    Attributes:
        name: dotted name, `assay.llm.layout`; a package's `__init__.py` has the package's name.
        path: the file.
        text: its source.
        tree: its syntax tree.
    """

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """First part of the name below `assay`: `llm`, `errors`, or "" for the package itself."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def sentence(self) -> str:
        """First sentence of the docstring, on one line, without its full stop; "" if there is none."""
        words = " ".join((ast.get_docstring(self.tree) or "").split())
        found = re.match(r"(.+?)[.](?=\s|$)", words)
        return found[1] if found else words


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of src/assay, sorted by name."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found.append(Module(name, path, text, ast.parse(text, filename=str(path))))
    return tuple(sorted(found, key=lambda module: module.name))


def functions(
    tree: ast.AST, prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield (qualified name, node) of module-level functions and of methods."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")


def tracked(under: str = ".") -> tuple[Path, ...]:
    """Return the repository's files below a folder: tracked by git, or new and not ignored.

    Without git or its history (an unpacked source archive) every file counts that no tool left behind.
    """
    command = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        under,
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        result = None
    if result is not None and result.returncode == 0:
        paths = [ROOT / name for name in result.stdout.split("\0") if name]
    else:
        paths = [path for path in (ROOT / under).rglob("*") if not _left_behind(path)]
    return tuple(sorted(path for path in paths if path.is_file()))


def _left_behind(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part == "__pycache__" or part in {".git", ".venv", "dist", "build"} for part in parts) or any(
        part.startswith(".") and part.endswith(("_cache", ".lock", ".hypothesis")) for part in parts
    )
