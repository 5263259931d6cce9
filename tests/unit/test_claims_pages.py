"""Pages of claims and coverage: terminal, one HTML file that loads nothing, the card, JSON, mistakes."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from assay.cli import run

MINE = """
id: mine
text: B200 is <twice> H100 & more
who: me
when: 2026-11-24
source: a talk
kind: peak
subject: b200-sxm
baseline: h100-sxm
metric: FP8
resource: fp8
factor: 2
denominator: chip
beside:
  - {name: memory, expression: chip(b200).memory_capacity / chip(h100).memory_capacity, equals: 2.25}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_the_table_has_a_line_a_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claims"]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 100
    for name in ("lpu-10x-bandwidth", "groq-kimi-40x", "rubin-10x-cost", "nvda-r1-day", "open-share-30"):
        assert len(re.findall(rf"^{name} ", out, re.MULTILINE)) == 1
    assert "does not hold" in out


def test_the_page_shows_conditions_map_ledger_and_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claims", "gb200-h100-usd-40"]) == 0
    out = capsys.readouterr().out
    for part in (
        "HOLDS",
        "Measured on both sides",
        "9.7x",
        "left open",
        "Where the factor comes from",
        "[IX_V2BLOG]",
    ):
        assert part in out
    assert re.search(r"memory bandwidth +×\d", out)


def test_a_ratio_of_peaks_shows_what_it_ignores(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claims", "lpu-10x-bandwidth"]) == 0
    out = capsys.readouterr().out
    assert "23.9x h100-sxm" in out
    assert "capacity" in out
    assert "LPUs that hold what one B200 holds" in out


def test_a_file_of_the_user(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["claims", str(mine), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "assay-claims-1"
    (found,) = data["claims"]
    assert found["verdict"] == "does not hold"  # 4500 / 1979 is 2.27
    assert found["ledger"]["entries"][0]["resource"] == "fp8"


def test_a_wrong_file_names_the_field(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write_text(MINE.replace("factor: 2\n", ""), encoding="utf-8")
    assert run(["claims", str(mine)]) == 2
    assert "factor: is missing" in capsys.readouterr().err
    assert run(["claims", "rubin-10x"]) == 2
    assert "Did you mean" in capsys.readouterr().err
    assert run(["claims", "--card", "x.svg"]) == 2
    assert "--card draws one claim" in capsys.readouterr().err


def test_the_html_page_loads_nothing(mine: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run(["claims", str(mine), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "B200 is &lt;twice&gt; H100 &amp; more" in text
    assert not re.search(r"<(script|link|img|iframe)|url\(|@import|src=", text)


def test_the_html_page_shows_maps_with_intervals(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run(["claims", "rubin-10x-cost", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert re.search(r"title='[\d.]+x, 80 % [\d.]+x to", text)
    assert "MLPerf" in text


@pytest.mark.parametrize("name", ["rubin-10x-cost", "lpu-10x-bandwidth", "nvda-r1-day"])
def test_the_card_is_a_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / "card.svg"
    assert run(["claims", name, "--card", str(path)]) == 0
    root = ET.parse(path).getroot()
    words = "".join(root.itertext())
    assert f"assay claims {name}" in words
    assert root.tag.endswith("svg")
    right = [float(item.get("x", 0)) for item in root.iter() if item.tag.endswith("text")]
    assert all(0 <= x <= 1200 for x in right)


def test_coverage_of_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coverage", "deepseek-r1", "--on", "h200,b200,rtx-4090-8"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"hgx-h200-8 +measured +\d+", out)
    assert "1 cannot" in out
    assert re.search(r"^platform +vllm +sglang +trtllm", out, re.MULTILINE)
    assert re.search(r"^hgx-h200-8 +runs .*\d+ \(\d+ d\) +\d+ d$", out, re.MULTILINE)  # points and their age
    assert run(["coverage", "deepseek-r1", "--on", "h200,b200", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {cell["platform"] for cell in data["cells"]} == {"hgx-h200-8", "hgx-b200-8"}
    assert all(lock["usd_per_million_output_tokens"] > 0 for lock in data["lock_in"])


def test_coverage_of_all_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coverage", "--on", "h200,lpx"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^deepseek-r1 +\d+ +1 +0 +1 +0 +hgx-h200-8 \d+", out, re.MULTILINE)
    assert run(["coverage", "--on", "h200", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) > 30
