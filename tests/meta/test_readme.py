"""The README tells the truth: its file tree is the real one, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import readme
from source_tree import ROOT, tracked

PAGES = [path for path in tracked() if path.suffix == ".md"]


def test_the_file_tree_is_the_real_one() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.with_section(text, "tree", readme.tree()) == text, "run `python scripts/readme.py --write`"


def test_a_missing_marker_is_told() -> None:
    with pytest.raises(ValueError, match="<!-- tree -->"):
        readme.with_section("no marker here", "tree", "x")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    wrong = [
        t
        for t in targets
        if "://" not in t and not t.startswith("mailto:") and not (page.parent / t).exists()
    ]
    assert not wrong, wrong
