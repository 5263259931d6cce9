"""What is emitted: files with their names, and what a reader must know before using them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import BadInput

_RUNNABLE = 0o755


@dataclass(frozen=True, slots=True)
class LaunchFile:
    """One file.

    Attributes:
        name: file name, without folder.
        text: content.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one target.

    Attributes:
        target: what they are for (`vllm`, `dynamo` ...).
        engine: engine that they start.
        files: in the order in which they are used.
        status: `published` if somebody published this combination, else `possible` or `unknown`.
        warnings: sentences to read first.
    """

    target: str
    engine: str
    files: tuple[LaunchFile, ...]
    status: str
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Return all files one after the other, each under its name."""
        parts = [f"==> {file.name} <==\n{file.text}" for file in self.files]
        return "\n".join(parts)

    def json(self) -> Mapping[str, Any]:
        """Return the files as plain data."""
        return {
            "target": self.target,
            "engine": self.engine,
            "status": self.status,
            "warnings": list(self.warnings),
            "files": [{"name": file.name, "text": file.text} for file in self.files],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write the files into a folder, made if it is missing; return their paths.

        Raises:
            BadInput: a file of that name is there already, or the folder is a file.
        """
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{str(folder)!r} is a file.", "Give --out a folder.")
        paths = [folder / file.name for file in self.files]
        there = [path.name for path in paths if path.exists()]
        if there:
            raise BadInput(
                f"{str(folder)!r} already holds {', '.join(there)}.", "Give --out an empty folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        for path, file in zip(paths, self.files, strict=True):
            path.write_text(file.text, encoding="utf-8")
            if path.suffix == ".sh":
                path.chmod(_RUNNABLE)
        return paths
