"""The compiled form of the data files: JSON in the user's cache, so that a cold start reads no YAML.

The data is read in sections (`chips`, `models` ...). A section is compiled when first asked for and again
whenever a file of it changes name, size or time. Where the cache cannot be written, or what it holds is
damaged, the YAML is parsed instead: slower, same result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.catalogue.reader import read_yaml
from assay.errors import BadFact

#: The data files that come with assay.
DATA = Path(__file__).parent / "data"
#: Raised when the compiled form changes.
VERSION = 1


def cache_directory() -> Path:
    """Return the folder of the compiled form: ASSAY_CACHE, else XDG_CACHE_HOME/assay, else ~/.cache/assay."""
    own = os.environ.get("ASSAY_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared:
        return Path(shared) / "assay"
    try:
        return Path.home() / ".cache" / "assay"
    except RuntimeError:
        return Path(os.devnull) / "assay"


def section(name: str, root: Path = DATA) -> Mapping[str, Any]:
    """Return `{path within root: content}` of one section.

    Args:
        name: a folder of `root` ("chips"), or one file without its suffix ("calibrations/kernels").
        root: folder of the data.

    Raises:
        BadFact: a file that cannot be read, or no such section.
    """
    files = tuple(_files(name, root))
    if not files:
        raise BadFact(f"No data {name!r} in {root}.")
    stamp = f"{root}|" + "|".join(f"{path}:{size}:{time}" for path, size, time in files)
    target = cache_directory() / f"{_digest(str(root))[:8]}-{name.replace('/', '.')}-v{VERSION}.json"
    stored = _load(target, stamp)
    if stored is None:
        stored = {path: read_yaml(root / path, path) for path, _, _ in files}
        _store(target, {"stamp": stamp, "files": stored})
    return stored


def content_hash(root: Path = DATA) -> str:
    """Return the SHA-256 over the names and contents of all data files, as hex."""
    files = sorted(path for path in root.rglob("*.yaml"))
    stamp = f"{root}|" + "|".join(f"{path.relative_to(root)}:{_stat(path)}" for path in files)
    target = cache_directory() / f"{_digest(str(root))[:8]}-hash-v{VERSION}.json"
    stored = _load(target, stamp)
    if stored is not None:
        return str(stored.get("sha256", ""))
    import hashlib

    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\n".encode())
        total.update(path.read_bytes())
    _store(target, {"stamp": stamp, "files": {"sha256": total.hexdigest()}})
    return total.hexdigest()


def _files(name: str, root: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with os.scandir(root / name) as entries:
            found = sorted((entry for entry in entries if entry.name.endswith(".yaml")), key=lambda e: e.name)
        for entry in found:
            status = entry.stat()
            yield f"{name}/{entry.name}", status.st_size, status.st_mtime_ns
    except OSError:
        path = root / f"{name}.yaml"
        if path.is_file():
            status = path.stat()
            yield f"{name}.yaml", status.st_size, status.st_mtime_ns


def _stat(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def _digest(text: str) -> str:
    from zlib import crc32

    return f"{crc32(text.encode()):08x}"


def _load(target: Path, stamp: str) -> dict[str, Any] | None:
    try:
        stored = json.loads(target.read_bytes())
        if stored["stamp"] == stamp and isinstance(stored["files"], dict):
            return dict(stored["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def _store(target: Path, content: Mapping[str, Any]) -> None:
    import tempfile

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.stem, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        Path(name).replace(target)
    except OSError:
        return
