"""Models that were added from package data: their shapes recompute to the published parameter totals."""

from __future__ import annotations

import pytest

from assay.catalogue.load import catalogue
from assay.llm.architecture import Architecture
from assay.llm.parameters import Parameters, counts


def towers(name: str) -> int:
    """Parameters of the checkpoint outside the language model: vision towers, a tied head stored again."""
    found = of(name)
    stored_heads = {"falcon-7b", "falcon-40b", "falcon-180b"}
    vision = {"llama-4-maverick": 871_932_416}  # that of Llama 4 Scout
    return found.embedding if name in stored_heads else vision.get(name, 0)


def of(name: str) -> Parameters:
    return counts(Architecture.from_dict(catalogue().model(name).architecture))


@pytest.mark.parametrize(
    "name",
    [
        "bloom-7b1",
        "codellama-34b",
        "ernie-4.5-21b-a3b",
        "falcon-7b",
        "falcon-40b",
        "falcon-180b",
        "llama-3.3-nemotron-super-49b",
        "llama-4-maverick",
        "qwen3-14b",
        "yi-34b",
    ],
)
def test_the_shapes_give_the_published_total_to_the_unit(name: str) -> None:
    found, published = of(name), catalogue().model(name).published["hf_safetensors"]
    assert found.total + found.mtp + towers(name) == published


def test_gemma_4_e2b_leaves_its_towers_and_no_more() -> None:
    """Text 2.3 billion effective as its name says, a table of 2.35, vision and audio towers of 0.49."""
    found, published = of("gemma-4-e2b"), catalogue().model("gemma-4-e2b").published["hf_safetensors"]
    assert found.total == pytest.approx(2.3e9, rel=0.02)
    assert found.memory == 262_144 * 35 * 256
    assert 0.4e9 < published - found.total - found.memory < 0.6e9


def test_decilm_is_counted_as_engines_ran_it() -> None:
    """Four key-value heads in every layer: at most a hundredth above the stored 7.04 billion."""
    published = catalogue().model("decilm-7b").published["total_b"] * 1e9
    assert 1.0 < of("decilm-7b").total / published < 1.01
