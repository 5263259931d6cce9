"""The YAML files a user brings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from assay.errors import BadInput

#: Folders whose files are entries, and what they hold.
ENTRY_FOLDERS = {"chips": "chip", "systems": "system", "models": "model", "prices": "price"}
#: Folders whose files replace ours as a whole.
TABLE_FOLDERS = ("calibrations", "claims", "engines", "market", "measurements", "quality", "workloads")
_MOST_FILES = 2000


def user_files(extra: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return the YAML files of the user, each with the kind its folder says ("" = loose).

    Raises:
        BadInput: a path that does not exist, or a folder with too many files.
    """
    found: list[tuple[Path, str]] = []
    for entry in extra:
        if entry.is_file():
            found.append((entry, ""))
        elif entry.is_dir():
            found += _walk(entry)
        else:
            raise BadInput(
                f"No facts at {str(entry)!r}.", "Give a folder or a YAML file with --facts or ASSAY_FACTS."
            )
    return found


def _walk(root: Path) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if not name.endswith((".yaml", ".yml")) or name.startswith("."):
                continue
            path = Path(folder) / name
            first = path.relative_to(root).parts[0]
            found.append((path, first if first in (*ENTRY_FOLDERS, *TABLE_FOLDERS) else ""))
            if len(found) > _MOST_FILES:
                raise BadInput(
                    f"{str(root)!r} holds more than {_MOST_FILES} YAML files.", "Is it the right folder?"
                )
    return found
