"""The layouts that are searched are those that may be stated: one rule says which a model allows."""

from __future__ import annotations

import pytest

from assay.catalogue.load import catalogue
from assay.engine.models import model
from assay.errors import BadInput
from assay.llm.layout import Layout
from assay.plan.estimate import legal
from assay.plan.space import forbidden, layouts, shape

SYSTEMS = ("hgx-h200-8", "gb200-nvl72", "tpu-v7-pod", "cloudmatrix384", "a10-8")


@pytest.mark.parametrize("name", catalogue().models())
def test_nothing_is_searched_that_is_refused_when_stated(name: str) -> None:
    bounds = shape(model(name)[0].architecture)
    for ident in SYSTEMS:
        system = catalogue().system(ident)
        assert not [text for item in layouts(bounds, system) if (text := forbidden(item, bounds, system))]


def test_28_heads_are_not_divided_by_8() -> None:
    """Qwen2.5 7B; vLLM: "Total number of attention heads (28) must be divisible by tensor parallel size"."""
    prepared, system = model("qwen2.5-7b")[0], catalogue().system("h200")
    bounds = shape(prepared.architecture)
    assert {item.tp for item in layouts(bounds, system)} == {1, 2, 4}
    with pytest.raises(BadInput, match="cannot divide 28 attention heads by 8 TP ranks"):
        legal("tp8", prepared, system)


def test_key_heads_fewer_than_ranks_are_copied() -> None:
    """Llama 3.3 70B has 8 key and value heads and is served on 16 ranks."""
    prepared, system = model("llama-3.3-70b")[0], catalogue().system("gb200-nvl72")
    assert legal("tp16", prepared, system) == Layout(tp=16)
    assert Layout(tp=16) in layouts(shape(prepared.architecture), system)
