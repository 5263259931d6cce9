"""Reading and writing architectures: what is accepted, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, BadInput, UnknownArchitecture
from assay.llm.architecture import Architecture
from assay.llm.forward import operators
from assay.llm.huggingface import load_config

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "data" / "configs").glob("*.json"))


def arch(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "hidden": 1024,
        "vocab": 32000,
        "tie": False,
        "num_layers": 4,
        "max_context": 4096,
        "attn": {"full": {"type": "gqa", "heads": 8, "kv_heads": 2, "head_dim": 128}},
        "ffn": {"dense": {"type": "dense", "intermediate": 2816}},
        "schedule": [[4, "full", "dense"]],
    }
    return data | changes


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_writes_what_it_reads(path: Path) -> None:
    found = load_config(path)
    data = json.loads(json.dumps(found.to_dict()))
    again = Architecture.from_dict(data)
    assert again == found
    assert operators(again) == operators(found)


def test_all_facts_round_trip(shared: Path) -> None:
    for path in sorted((shared / "facts" / "models").glob("*.json")):
        data = json.loads(path.read_text())["arch"]
        found = Architecture.from_dict(data)
        assert Architecture.from_dict(found.to_dict()) == found, path.stem


def test_formats_default_to_bf16_and_fill_each_other() -> None:
    assert Architecture.from_dict(arch()).formats == {"experts": "bf16", "other": "bf16"}
    stated = Architecture.from_dict(arch(formats={"other": "fp8", "head": "bf16"}))
    assert stated.formats == {"experts": "fp8", "other": "fp8", "head": "bf16"}


GQA = {"type": "gqa", "heads": 8, "kv_heads": 2, "head_dim": 128}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"depth": 3}, "depth"),
        ({"attn": {"full": {"type": "hyena", "heads": 8}}}, "hyena"),
        ({"attn": {"full": GQA | {"rotary_rank": 3}}}, "rotary_rank"),
        ({"attn": {"full": GQA | {"qk_norm": "batch"}}}, "batch"),
        ({"ffn": {"dense": {"type": "kan", "intermediate": 8}}}, "kan"),
        ({"residual": {"kind": "mystery"}}, "mystery"),
        (
            {
                "attn": {
                    "full": GQA
                    | {"block_index": {"heads": 4, "dim": 8, "block": 8, "topk_blocks": 2, "x": 1}}
                }
            },
            "x",
        ),
    ],
)
def test_unknown_words_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownArchitecture, match=named):
        Architecture.from_dict(arch(**changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden": 0}, "hidden"),
        ({"hidden": -4}, "hidden"),
        ({"hidden": float("nan")}, "hidden"),
        ({"hidden": float("inf")}, "hidden"),
        ({"hidden": "1024"}, "hidden"),
        ({"hidden": True}, "hidden"),
        ({"hidden": 10**30}, "hidden"),
        ({"vocab": 0.5}, "vocab"),
        ({"tie": "no"}, "tie"),
        ({"attn": []}, "attn"),
        ({"attn": {"full": GQA | {"heads": 0}}}, "heads"),
        ({"attn": {"full": GQA | {"sinks": 1}}}, "sinks"),
        ({"attn": {"full": {"type": "gqa", "heads": 8}}}, "kv_heads"),
        ({"attn": {"full": GQA | {"rel": 3}}}, "rel"),
        ({"schedule": []}, "schedule"),
        ({"schedule": [[4, "full"]]}, "schedule"),
        ({"schedule": [[0, "full", "dense"]]}, "schedule"),
        ({"schedule": [[4, "sliding", "dense"]]}, "sliding"),
        ({"schedule": [[10**9, "full", "dense"]]}, "layers"),
        ({"mtp": {"count": 1, "block": [["full", "moe"]], "extra": 0}}, "moe"),
        ({"mtp": {"count": 1, "block": "full", "extra": 0}}, "block"),
        ({"formats": ["fp8"]}, "formats"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        Architecture.from_dict(arch(**changes))


def test_what_is_missing_is_named() -> None:
    data = arch()
    del data["vocab"]
    with pytest.raises(BadInput, match="vocab"):
        Architecture.from_dict(data)
    with pytest.raises(AssayError):
        Architecture.from_dict([])  # type: ignore[arg-type]
