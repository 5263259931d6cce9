"""Names in published measurements -> names of the catalogue, with the reason when there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import AssayError

_VENDORS = re.compile(r"^(nvidia|amd|intel|aws|google|huawei|instinct|geforce|data-center-gpu|virtualized)-")
_NARROW = ("fp4", "nvfp4", "mxfp4", "int4")
_SPACES = re.compile(r"[^a-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Device:
    """What a source calls one accelerator.

    Attributes:
        system: system id of the catalogue, "" if unknown.
        share: part of a catalogue chip that it is.
        cores: ranks that the source counts on one of them in a TP degree.
        problem: why it is not in the catalogue, "" if it is.
    """

    system: str
    share: float = 1.0
    cores: int = 1
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Formats:
    """Number formats of a deployment; "" = not published."""

    weights: str = ""
    activations: str = ""
    kv: str = ""


def key(name: str) -> str:
    """Return a name in lower case with runs of other characters as one dash."""
    plain = name.lower().replace("(r)", "").replace("(tm)", "").replace("+", "")
    return _SPACES.sub("-", plain).strip("-")


@cache
def table() -> Mapping[str, Any]:
    """Return the name tables of `data/measurements/names.yaml`."""
    loaded: Mapping[str, Any] = catalogue().table("measurements/names")
    return loaded


@cache
def accelerator(name: str) -> Device:
    """Return the device that a published accelerator name stands for."""
    tables = table()
    word = key(name)
    while word not in tables["accelerators"] and (shorter := _VENDORS.sub("", word)) != word:
        word = shorter
    if word in tables["unanswerable_accelerators"]:
        return Device("", problem=tables["unanswerable_accelerators"][word])
    entry = tables["accelerators"].get(word, {"as": word})
    system = _system(entry["as"])
    if not system:
        return Device("", problem="accelerator not in catalogue" if word else "accelerator not stated")
    return Device(system, float(entry.get("share", 1.0)), int(entry.get("cores", 1)))


def _system(name: str) -> str:
    known = catalogue()
    try:
        return str(known.system(name).id)
    except AssayError:
        pass
    try:
        chip = known.chip(name).id
    except AssayError:
        return ""
    return next((item for item in known.systems() if known.system(item).chip.id == chip), "")


@cache
def model(*names: str) -> tuple[str, str]:
    """Return (catalogue name, "") of the first name that is known, or ("", why not)."""
    tables = table()
    for name in names:
        for word in _shorter(name):
            if word in tables["unanswerable_models"]:
                return "", str(tables["unanswerable_models"][word])
            found = _model(str(tables["models"].get(word, tables["prefixes"].get(word, word))))
            if found:
                return found, ""
    return "", "model not in catalogue" if any(names) else "model not stated"


def _shorter(name: str) -> list[str]:
    """Return the name without its publisher, then with one format or tuning ending less each time."""
    plain = re.sub(r"\(.*?\)", "", name).strip() or name
    word = key(plain.rsplit("/", 1)[-1])
    words = [key(plain), word] if word else []
    endings = sorted((str(item) for item in table()["endings"]), key=len, reverse=True)
    while word:
        ending = next((item for item in endings if word.endswith(f"-{item}")), None)
        if ending is None:
            return words
        word = word[: -len(ending) - 1]
        words.append(word)
    return words


def _model(name: str) -> str:
    try:
        return str(catalogue().model(name).name)
    except AssayError:
        return ""


def native(name: str, formats_: Formats) -> Formats:
    """Return formats with the checkpoint's own weights where a wider label can only mean those.

    A model whose experts are published in 4 bit is served as it is: "FP8" or "BF16" then names the rest.
    """
    stored = catalogue().model(name).architecture.get("formats", {}).get("experts", "")
    wide = formats_.weights in ("fp8", "bf16")
    return Formats("", "", formats_.kv) if stored in _NARROW and wide else formats_


@cache
def domain(system: str) -> int:
    """Return the chips of one scale-up domain of a system."""
    return int(catalogue().system(system).domain)


@cache
def family(name: str) -> str:
    """Return the family of a catalogue model: the unit that "unseen model" leaves out."""
    families: Mapping[str, str] = table()["families"]
    found = max((prefix for prefix in families if name.startswith(prefix)), key=len, default="")
    return families[found] if found else name


@cache
def engine(name: str) -> str:
    """Return the engine id of a published engine or framework name, "" if unknown."""
    low = name.lower()
    return next((known for part, known in table()["engines"] if part in low), "")


@cache
def formats(quantisation: str, kv: str = "") -> Formats:
    """Return the formats that a published quantisation stands for; unknown words give "" throughout."""
    known: Mapping[str, list[str]] = table()["formats"]
    word = key(quantisation)
    entry = known.get(word) or known.get(word.split("-")[0]) or ["", "", ""]
    cache_format = {"fp8-e4m3": "fp8", "fp8-e5m2": "fp8", "fp16": "bf16", "auto": ""}.get(key(kv), key(kv))
    return Formats(entry[0], entry[1], cache_format or entry[2])
