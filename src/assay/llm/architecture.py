"""The architecture of one model: its layers in order, and the shapes of every block in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.blocks import (
    FFNS,
    MAY_BE_ZERO,
    MIXERS,
    Ffn,
    MemoryTable,
    Mixer,
    Mtp,
    Residual,
)
from assay.llm.records import number, read, write

#: More layers than any model has; a larger schedule is a mistake.
MOST_LAYERS = 100_000
_NUMBERS = (
    "hidden",
    "vocab",
    "num_layers",
    "max_context",
    "norms_per_layer",
    "extra_params",
    "prefill_layers",
)
_FLAGS = ("tie", "one_norm_per_block", "no_norm_blocks")
_REQUIRED = ("hidden", "vocab", "num_layers", "attn", "ffn", "schedule")
_OTHER = ("max_context", "mtp", "residual", "extra_memory", "formats", "name")
_KEYS = frozenset(_NUMBERS + _FLAGS + _REQUIRED + _OTHER)
_OPTIONAL_ZERO = MAY_BE_ZERO | {"extra_params", "max_context"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that decides operator counts, parameters and cache sizes of one model.

    Attributes:
        hidden: width of the residual stream, elements.
        vocab: rows of the embedding table and of the LM head.
        num_layers: layers as the publisher counts them.
        attn: name -> mixer; `ffn`: name -> feed-forward; `none` in the schedule means absent.
        schedule: run-length list of (count, mixer, ffn), from the first layer to the last.
        tie: whether the LM head is the embedding table.
        max_context: positions the model was trained for; 0 = unknown.
        mtp: multi-token prediction modules.
        residual: form of a residual stream wider than one hidden vector.
        extra_memory: token-indexed memory tables, outside `total` parameters.
        norms_per_layer: normalisations of width `hidden` in a layer (2 unless stated).
        one_norm_per_block: each schedule entry has one normalisation (single-mixer blocks).
        no_norm_blocks: entries without a mixer have no normalisation of their own.
        extra_params: parameters outside every block form, elements.
        prefill_layers: layers that run over the whole prompt; the later ones run over its last window
            only. 0 = all layers.
        formats: native weight format by group; `experts` and `other` always present.
        name: name in words.
    """

    hidden: int
    vocab: int
    num_layers: int
    attn: Mapping[str, Mixer]
    ffn: Mapping[str, Ffn]
    schedule: tuple[tuple[int, str, str], ...]
    tie: bool = False
    max_context: int = 0
    mtp: Mtp | None = None
    residual: Residual | None = None
    extra_memory: MemoryTable | None = None
    norms_per_layer: int = 2
    one_norm_per_block: bool = False
    no_norm_blocks: bool = False
    extra_params: int = 0
    prefill_layers: int = 0
    formats: Mapping[str, str] = field(default_factory=lambda: {"experts": "bf16", "other": "bf16"})
    name: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """Read the normalised `arch` object of a model's facts.

        Raises:
            UnknownArchitecture: a block type or field that assay cannot count.
            BadInput: a value of the wrong type, NaN, negative, zero or absurd, or a broken schedule.
        """
        if not isinstance(data, Mapping):
            raise BadInput(f"An architecture must be an object, not {type(data).__name__}.")
        _check_keys(data)
        values: dict[str, Any] = {
            key: number(data[key], f"arch.{key}", zero=key in _OPTIONAL_ZERO)
            for key in _NUMBERS
            if key in data
        }
        for key in _FLAGS:
            if key in data:
                if not isinstance(data[key], bool):
                    raise BadInput(f"arch.{key} is {data[key]!r}.", "It must be true or false.")
                values[key] = data[key]
        values["attn"] = _blocks(MIXERS, data["attn"], "arch.attn")
        values["ffn"] = _blocks(FFNS, data["ffn"], "arch.ffn")
        values["schedule"] = _schedule(data["schedule"], values["attn"], values["ffn"])
        for key, kind in (("mtp", Mtp), ("residual", Residual), ("extra_memory", MemoryTable)):
            if data.get(key) is not None:
                values[key] = read(kind, data[key], f"arch.{key}")
        if "mtp" in values:
            for pair in values["mtp"].block:
                _check_pair(pair, values["attn"], values["ffn"], "arch.mtp.block")
        values["formats"] = _formats(data.get("formats"))
        values["name"] = str(data.get("name", ""))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data that `from_dict` reads back."""
        data = write(self)
        data["attn"] = {name: write(block) for name, block in self.attn.items()}
        data["ffn"] = {name: write(block) for name, block in self.ffn.items()}
        data["schedule"] = [list(entry) for entry in self.schedule]
        data["formats"] = dict(self.formats)
        return data


def _check_keys(data: Mapping[str, Any]) -> None:
    unknown = sorted(str(key) for key in data if key not in _KEYS)
    if unknown:
        raise UnknownArchitecture(
            f"arch has an unknown field {unknown[0]!r}.", f"Known: {', '.join(sorted(_KEYS))}."
        )
    missing = [key for key in _REQUIRED if key not in data]
    if missing:
        raise BadInput(f"arch lacks {', '.join(missing)}.")


def _blocks(kinds: Mapping[str, type[Any]], data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise BadInput(f"{where} must be an object, not {type(data).__name__}.")
    blocks: dict[str, Any] = {}
    for name, block in data.items():
        kind = block.get("type") if isinstance(block, Mapping) else None
        if not isinstance(kind, str) or kind not in kinds:
            raise UnknownArchitecture(f"{where}.{name} has type {kind!r}.", f"Known: {', '.join(kinds)}.")
        blocks[name] = read(kinds[kind], block, f"{where}.{name}", ignore=("type",))
    return blocks


def _schedule(data: Any, attn: Mapping[str, Any], ffn: Mapping[str, Any]) -> tuple[tuple[int, str, str], ...]:
    if not isinstance(data, list | tuple) or not data:
        raise BadInput("arch.schedule must be a list of [count, mixer, ffn].")
    entries = []
    for entry in data:
        if not isinstance(entry, list | tuple) or len(entry) != 3:
            raise BadInput(f"arch.schedule has {entry!r}.", "Each entry is [count, mixer, ffn].")
        count = number(entry[0], "arch.schedule count")
        _check_pair((entry[1], entry[2]), attn, ffn, "arch.schedule")
        entries.append((count, str(entry[1]), str(entry[2])))
    if sum(count for count, _, _ in entries) > MOST_LAYERS:
        raise BadInput(f"arch.schedule has more than {MOST_LAYERS} layers.")
    return tuple(entries)


def _check_pair(pair: tuple[Any, Any], attn: Mapping[str, Any], ffn: Mapping[str, Any], where: str) -> None:
    for name, known in zip(pair, (attn, ffn), strict=True):
        if name != "none" and name not in known:
            raise BadInput(f"{where} names {name!r}.", f"Known: {', '.join(known)}.")


def _formats(data: Any) -> dict[str, str]:
    if data is None:
        return {"experts": "bf16", "other": "bf16"}
    if not isinstance(data, Mapping) or not all(isinstance(v, str) for v in data.values()):
        raise BadInput("arch.formats must map weight groups to format names.")
    other = data.get("other", "bf16")
    return {"experts": data.get("experts", other), "other": other} | dict(data)
