"""`assay simulate` of several models: what the file may say, what comes out, what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.cli import run
from assay.errors import BadInput
from assay.plan.fleet import least
from assay.simulate.faults import read_by_model
from assay.simulate.fleets import read

FLEET = """
system: h100
duration: 2min
shared: {replicas: 2, load: 25GB/s, target: 16}
models:
  - {model: qwen3-8b, layout: tp1, traffic: {rate: 0.3, isl: 512, osl: 64}, limits: {ttft: 10s}}
  - {model: llama-3.1-8b, layout: tp1, replicas: 2, traffic: {rate: 2, isl: 512, osl: 64}}
  - {model: gemma-3-12b, layout: tp1, traffic: {rate: 0.2, osl: 64}, limits: {ttft: 10s}, switch: 2s}
  - {model: llama-3.1-8b, name: rare, layout: tp1, traffic: {rate: 0.1, isl: 512, osl: 64}, patience: 1s}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of four models, three of which share two chips."""
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET, encoding="utf-8")
    return path


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the JSON of a run."""
    assert run(["simulate", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(text: str, path: Path) -> str:
    """Return what is said of a file that cannot be used."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read(path)
    return f"{caught.value.message} {caught.value.hint}"


def test_models_that_share_stand_behind_the_others(file: Path) -> None:
    fleet = read(file)
    assert fleet is not None
    assert [(one.name, one.shared) for one in fleet.models] == [
        ("llama-3.1-8b", False),
        ("qwen3-8b", True),
        ("gemma-3-12b", True),
        ("rare", True),
    ]
    assert [pool.replicas for one in fleet.models for pool in one.serves.pools] == [2, 2, 2, 2]
    assert fleet.models[2].switch == 2.0
    assert fleet.with_shared(5).models[1].serves.pools[0].replicas == 5
    assert not any(one.shared for one in fleet.apart().models)


def test_a_file_without_models_is_no_fleet(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("{system: h200, layout: tp4}", encoding="utf-8")
    assert read(path) is None


ONE = "model: qwen3-8b, layout: tp1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{{duration: 1h, models: [{{{ONE}, traffic: {{rate: 1}}}}]}}", "no `shared` chips"),
        (f"{{models: [{{{ONE}, replicas: 1, traffic: {{rate: 1}}}}]}}", "how long is qwen3-8b asked"),
        (f"{{duration: 1h, models: [{{{ONE}, replicas: 1, traffic: {{}}}}]}}", "a trace or a rate"),
        (f"{{duration: 1h, models: [{{{ONE}, replicas: 1}}]}}", "no 'traffic'"),
        (f"{{duration: 1h, replicas: 2, models: [{{{ONE}, traffic: {{rate: 1}}}}]}}", "at each model"),
        (
            f"{{duration: 1h, shared: {{replicas: 1}},"
            f" models: [{{{ONE}, replicas: 1, traffic: {{rate: 1}}}}]}}",
            "no model shares",
        ),
        (
            f"{{duration: 1h, models: [{{{ONE}, replicas: 1, traffic: {{rate: 1}}}},"
            f" {{{ONE}, replicas: 1, traffic: {{rate: 1}}}}]}}",
            "two models called",
        ),
        (
            f"{{duration: 1h, models: [{{{ONE}, replicas: 1, traffic: {{rate: 1, cached: 2}}}}]}}",
            "not a share",
        ),
        (
            f"{{duration: 1h, models: [{{{ONE}, replica: 1, traffic: {{rate: 1}}}}]}}",
            "Did you mean 'replicas'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(text, tmp_path / "fleet.yaml")


def test_the_figures_of_all_models_are_those_of_each_together(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ran(capsys, "--deployment", str(file), "--grid", "france")
    rows = {row["name"]: row for row in found["models"]}
    assert found["chips"] == 4
    for name in ("requests", "completed", "goodput_per_s", "preemptions"):
        if name != "goodput_per_s":
            assert found[name] == sum(row[name] for row in rows.values())
    assert found["completed"] == found["requests"] > 250
    assert found["chip_hours"] == pytest.approx(sum(row["chip_hours"] for row in rows.values()))
    for name in ("usd_per_request", "joules_per_request", "kg_co2_per_request"):
        total = sum(row[name] * row["completed"] for row in rows.values())
        assert found[name] * found["completed"] == pytest.approx(total)
    shared = [row for row in rows.values() if row["shared"]]
    assert sum(row["chips"] for row in shared) == pytest.approx(2.0)
    assert found["switches"] == sum(row["switches"] for row in shared) > 5
    assert rows["gemma-3-12b"]["switch_s"] == 2.0
    # bf16 weights of 8.19 G parameters over 25 GB/s
    assert rows["qwen3-8b"]["switch_s"] == pytest.approx(8.19e9 * 2 / 25e9, rel=0.01)
    assert rows["qwen3-8b"]["patience_s"] == pytest.approx(10 - rows["qwen3-8b"]["switch_s"])
    assert rows["rare"]["patience_s"] == 1.0
    assert rows["llama-3.1-8b"]["switches"] == 0


def test_how_long_loading_takes_must_be_stated(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FLEET.replace("load: 25GB/s, ", ""), encoding="utf-8")
    assert run(["simulate", "--deployment", str(file)]) != 0
    assert "switch: 3s" in capsys.readouterr().err


def test_shared_chips_have_the_same_size(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FLEET.replace("qwen3-8b, layout: tp1", "qwen3-8b, layout: tp2"), encoding="utf-8")
    assert run(["simulate", "--deployment", str(file)]) != 0
    assert "as many chips" in capsys.readouterr().err


def test_the_page_and_the_fewest_chips(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--deployment", str(file), "--fewest"]) == 0
    said = capsys.readouterr().out
    assert "4 models on 4 chips, 3 of them in turns on the same chips" in said
    assert "in turns on 2 chips instead of 3 chips: 33% saved" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rate", "3"), "--rate"),
        (("--isl", "3"), "--isl"),
        (("--seeds", "3"), "--seeds"),
        (("--router", "prefix"), "--router"),
        (("--saturation",), "--saturation"),
        (("--layout", "tp1"), "--layout"),
    ],
)
def test_flags_of_one_model_are_refused(
    flags: tuple[str, ...], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "--deployment", str(file), *flags]) != 0
    assert said in capsys.readouterr().err


def test_a_model_or_a_fleet_is_needed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["simulate"], ["simulate", "qwen3-8b", "--deployment", str(file)]):
        assert run(arguments) != 0
    assert run(["simulate", "qwen3-8b", "--on", "h100", "--layout", "tp1", "--rate", "1", "--fewest"]) != 0
    assert "--fewest goes with several models" in capsys.readouterr().err


def test_failures_name_their_model(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(
        "faults: [{at: 20s, replica: 0, for: 30s, model: shared}, {at: 5s, replica: 1, for: 1min, "
        "model: llama-3.1-8b}]",
        encoding="utf-8",
    )
    assert set(read_by_model(faults)) == {"", "shared", "llama-3.1-8b"}
    found = ran(capsys, "--deployment", str(file), "--faults", str(faults))
    assert found["completed"] == found["requests"]
    hours = {row["name"]: row["chip_hours"] for row in found["models"]}
    assert hours["llama-3.1-8b"] < 2 * found["duration_s"] / 3600 - 50 / 3600
    faults.write_text("faults: [{at: 20s, replica: 0, model: qwen3-8b}]", encoding="utf-8")
    assert run(["simulate", "--deployment", str(file), "--faults", str(faults)]) != 0
    assert "Known: llama-3.1-8b, shared" in capsys.readouterr().err
    flags = ["--on", "h100", "--layout", "tp1", "--rate", "1", "--faults", str(faults)]
    assert run(["simulate", "qwen3-8b", *flags]) != 0
    assert "names models" in capsys.readouterr().err


def test_links_of_models_with_one_pool_do_not_fail(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("{link_mtbf: 10s, link_mttr: 1s}", encoding="utf-8")
    found = ran(capsys, "--deployment", str(file), "--faults", str(faults))
    assert found["stalled_transfers"] == 0
    faults.write_text("faults: [{at: 1s, link: 0, for: 1s, model: shared}]", encoding="utf-8")
    assert run(["simulate", "--deployment", str(file), "--faults", str(faults)]) != 0
    assert "link of shared, which has one pool" in capsys.readouterr().err


def test_a_trace_is_a_models_traffic(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{3 * k}.0,400,20" for k in range(40))
    (tmp_path / "own.csv").write_text("arrival_s,isl,osl\n" + rows + "\n", encoding="utf-8")
    text = FLEET.replace("{rate: 0.3, isl: 512, osl: 64}", "{trace: own.csv, speed: 2}")
    file.write_text(text, encoding="utf-8")
    row = next(row for row in ran(capsys, "--deployment", str(file))["models"] if row["name"] == "qwen3-8b")
    assert row["completed"] == 40


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 8, 30])
def test_the_least_number_that_holds_is_found(wanted: int) -> None:
    assert least(lambda count: count >= wanted, 30) == wanted
    assert least(lambda _: False, 30) is None
