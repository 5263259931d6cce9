"""Named workloads and the limits a question gets when it states none."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.errors import BadFact, UnknownName
from assay.workload.lengths import DEFAULT, workload, workloads
from assay.workload.slo import Slo, default_slo

NAMED = ("chat", "code", "agentic", "rag", "summarize", "reasoning", "1k1k", "8k1k", "1k8k")


@pytest.mark.parametrize("name", NAMED)
def test_the_names_people_use_are_there(name: str) -> None:
    found = workload(name)
    assert found.isl >= 1
    assert found.osl >= 1
    assert 0 <= found.cached < 1


@pytest.mark.parametrize("name", workloads())
def test_every_figure_says_where_it_is_from(name: str) -> None:
    facts = workload(name).facts
    for fact in (facts["isl"], facts["osl"], facts["cached"], *facts["slo"].values()):
        assert {"value", "unit", "basis"} <= set(fact)
        assert fact.get("source") or fact["basis"] == "assumed"
        assert fact.get("date") or fact["basis"] == "assumed"
        assert fact["basis"] != "assumed" or fact.get("note")


def test_published_means() -> None:
    chat = workload("Chat")
    assert (chat.isl, chat.osl, chat.cached) == (1155, 211, 0.0)
    assert workload("agent").name == "agentic"
    assert (workload("1k8k").isl, workload("1k8k").osl) == (1024, 8192)


def test_unknown_workload_says_what_is_close() -> None:
    with pytest.raises(UnknownName, match="Did you mean agentic"):
        workload("agentik")


def test_default_limits() -> None:
    assert default_slo(DEFAULT, 1155) == Slo(2.0, 0.03)
    assert default_slo("", 1000) == Slo(2.0, 0.03)
    # half a millisecond for every new input token
    assert default_slo("", 100_000) == Slo(50.0, 0.03)
    assert default_slo("", 100_000, cached=0.9).ttft == pytest.approx(5.0)


def test_a_user_adds_one_and_replaces_another(tmp_path: Path) -> None:
    folder = tmp_path / "workloads"
    folder.mkdir()
    (folder / "mine.yaml").write_text("name: mine\nisl: {value: 3000}\nosl: {value: 9}\n", encoding="utf-8")
    (folder / "chat.yaml").write_text("name: chat\nisl: {value: 7}\nosl: {value: 8}\n", encoding="utf-8")
    mine = workload("mine", (tmp_path,))
    assert (mine.isl, mine.osl, mine.cached, mine.ttft, mine.tpot) == (3000, 9, 0.0, None, None)
    assert workload("chat", (tmp_path,)).isl == 7
    assert workload("chat").isl == 1155


@pytest.mark.parametrize(
    "text", ["isl: {value: 0}\nosl: {value: 1}\n", "osl: {value: 1}\n", "isl: 5\nosl: 5\n", "[]"]
)
def test_a_malformed_one_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadFact, match="bad"):
        workload("bad", (tmp_path,))
