"""The page and the JSON of `assay model`."""

from __future__ import annotations

import io
import json
from typing import Any

from assay.catalogue.schema import ModelEntry
from assay.llm.architecture import Architecture
from assay.report.model import model_json, model_page
from assay.report.terminal import WIDTH, put

SMALL = {
    "hidden": 64,
    "vocab": 1000,
    "num_layers": 4,
    "max_context": 32768,
    "attn": {
        "full": {"type": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 16},
        "local": {"type": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 16, "window": 128},
    },
    "ffn": {
        "dense": {"type": "dense", "intermediate": 128},
        "moe": {
            "type": "moe",
            "n_routed": 8,
            "topk": 2,
            "intermediate": 32,
            "n_shared": 1,
            "shared_intermediate": 32,
        },
    },
    "schedule": [[1, "full", "dense"], [3, "local", "moe"]],
}
#: Names that scripts rely on.
CONTRACT = {
    "params_total",
    "params_active",
    "params_active_definition",
    "weight_bytes",
    "kv_bytes_per_token",
    "state_bytes_per_sequence",
    "layers",
}


def small() -> dict[str, Any]:
    return model_json("small", Architecture.from_dict(SMALL))


def test_contract_keys_and_plain_json() -> None:
    data = small()
    assert set(data) >= CONTRACT
    assert json.loads(json.dumps(data)) == data


def test_memory_terms_add_up() -> None:
    data = small()
    # one growing layer: 2 KV heads x (16 + 16) x 2 B; three windows of 128 positions
    assert data["kv_bytes_per_token"] == 2 * 32 * 2
    assert data["state_bytes_per_sequence"] == 3 * 128 * 2 * 32 * 2
    assert data["kv_bytes_per_token"] == sum(
        term["bytes_per_token"].get("bf16", 0) for term in data["memory"]
    )
    assert data["state_bytes_per_sequence"] == sum(
        term["bytes_per_sequence"]["bf16"] for term in data["memory"]
    )


def test_structure_is_told() -> None:
    data = small()
    assert data["experts"] == {"routed": 8, "active": 2, "shared": 1}
    assert [(item["name"], item["layers"]) for item in data["attention"]] == [("full", 1), ("local", 3)]
    assert data["weight_bytes"] == 2 * data["params_total"]


def test_page_shows_every_term_with_its_formula() -> None:
    entry = ModelEntry(
        "small", "org/small", "2026-01-01", "mit", SMALL, {}, ("A figure is unchecked.",), ("A paper",)
    )
    stream = io.StringIO()
    put(model_page("small", Architecture.from_dict(SMALL), entry), stream)
    text = stream.getvalue()
    assert "small  org/small · released 2026-01-01 · mit" in text
    assert "1 layers × (128 B × T)" in text
    assert "3 layers × (128 B × min(T, 128))" in text
    assert "1 × full (gqa), 3 × local (gqa)" in text
    assert "! A figure is unchecked." in text
    assert "Sources: A paper" in text
    assert max(map(len, text.splitlines())) <= WIDTH
