"""`catalogue()`: the one way to the facts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from assay.catalogue.query import Catalogue


def catalogue(extra: Sequence[Path | str] = ()) -> Catalogue:
    """Return the catalogue, with the user's facts laid over it.

    Reads the paths in ASSAY_FACTS (separated as in PATH) first, then `extra`. The same paths give the
    same object, until a file in them changes.

    Args:
        extra: folders or files of YAML facts.

    Raises:
        BadInput: a path that does not exist.
    """
    named = [part for part in os.environ.get("ASSAY_FACTS", "").split(os.pathsep) if part]
    paths = tuple(Path(part).expanduser() for part in (*named, *extra))
    return _cached(paths, tuple(_stamp(path) for path in paths))


@lru_cache(maxsize=8)
def _cached(paths: tuple[Path, ...], stamps: tuple[tuple[int, ...], ...]) -> Catalogue:
    return Catalogue(paths)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file at `path`, or below it, changes."""
    try:
        if path.is_file():
            return (path.stat().st_mtime_ns, path.stat().st_size)
        files = sorted(path.rglob("*.y*ml"))
        return tuple(number for file in files for number in (file.stat().st_mtime_ns, file.stat().st_size))
    except OSError:
        return ()
