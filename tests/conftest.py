"""What every test may rely on: repeatable random searches, and the shared folder if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every run and every machine. `./test --hypothesis-profile search` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of published facts and measurements beside the clone; tests that need it skip without it."""
    folder = Path(os.environ.get("ASSAY_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip("no ../shared folder beside the clone (set ASSAY_SHARED to its path)")
    return folder
