"""Facts of the user's own: a folder of the same tree as `data/`, or loose files, laid over ours.

A chip needs a few lines in plain words:

    kind: chip
    like: b200-sxm          # optional: start from one we know
    memory: 256 GB
    mem_bw: 10 TB/s
    fp8: 4000 TFLOPS
    price: {own: 2.1 USD/h}

Values replace ours field by field. What a file means is told by its folder (`chips/`, `systems/`,
`models/`, `prices/`), else by its `kind`, else by its fields.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.catalogue.entries import Entries
from assay.catalogue.evidence import KINDS, weigh
from assay.catalogue.fields import (
    CHIP_DIMENSIONS,
    CHIP_TEXTS,
    CHIP_WORDS,
    KINDS_OF_CHIP,
    SYSTEM_DIMENSIONS,
    SYSTEM_TEXTS,
    SYSTEM_WORDS,
)
from assay.catalogue.files import ENTRY_FOLDERS, TABLE_FOLDERS
from assay.catalogue.reader import read_yaml
from assay.catalogue.records import price
from assay.errors import BadFact, BadInput, UnknownName
from assay.units import SI_UNIT, parse_quantity, show, split_quantity

_FOLDERS = {"chips": "chip", "systems": "system", "models": "model", "prices": "price"}
_TABLES = ("calibrations", "measurements", "workloads")
_KINDS = {
    **dict.fromkeys(("chip", *KINDS_OF_CHIP), "chip"),
    "system": "system",
    **dict.fromkeys(("model", "models"), "model"),
    **dict.fromkeys(("price", "prices", *KINDS), "price"),
}
_CHIP_HEAD = (
    "id",
    "name",
    "vendor",
    "kind",
    "generation",
    "status",
    "memory_kind",
    "aliases",
    "facts",
    "like",
)
_CHIP_ONLY = ("chip_kind", "price", "topology", "node", "max_chips")
_SYSTEM_HEAD = ("id", "name", "chip", "topology", "aliases", "facts", "like", "kind", "derived")
_IDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def lay_over(entries: Entries, path: Path, folder: str, find_chip: Callable[[str], str | None]) -> None:
    """Lay one file of the user over `entries`.

    Args:
        entries: changed in place.
        path: the file.
        folder: what `user_files` says of it.
        find_chip: chip id by any of its names, or None.

    Raises:
        BadFact: names file and field.
    """
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise BadFact(f"{path}: holds no mapping.", "Write `field: value`, one a line.")
    if folder in TABLE_FOLDERS:
        entries.tables[f"{folder}/{path.stem}"] = content
        return
    if path.stem == "sources" and not folder:
        for ident, entry in content.items():
            entries.sources[ident] = entry if isinstance(entry, Mapping) else {"where": str(entry)}
        return
    kind = ENTRY_FOLDERS.get(folder) or _kind_of(content, path)
    if kind == "chip":
        _chip(entries, content, path, find_chip)
    elif kind == "system":
        _system(entries, content, path)
    elif kind == "model":
        _models(entries, content, path)
    else:
        _prices(entries, content, path, find_chip)


def _kind_of(content: Mapping[str, Any], path: Path) -> str:
    word = str(content.get("kind") or "").lower()
    if word in _KINDS:
        return _KINDS[word]
    if not word:
        if "models" in content or "architecture" in content:
            return "model"
        if "prices" in content:
            return "price"
        if "chip" in content:
            return "system"
        known = {*CHIP_WORDS, *CHIP_DIMENSIONS}
        if any(key in known for key in content) or "facts" in content or "like" in content:
            return "chip"
    raise BadFact(
        f"{path}: cannot tell what it describes (kind = {word!r}).",
        "Write kind: chip, system, model or prices.",
    )


def _ident(content: Mapping[str, Any], path: Path) -> str:
    ident = str(content.get("id") or path.stem)
    if not _IDENT.fullmatch(ident):
        raise BadFact(f"{path}: id = {ident[:80]!r}.", "Use letters, digits, dots and dashes.")
    return ident


def _chip(
    entries: Entries, content: Mapping[str, Any], path: Path, find: Callable[[str], str | None]
) -> None:
    ident = _ident(content, path)
    base = _base(entries.chips, content, ident, path, find, "chip")
    fields = _fields(content, path, CHIP_WORDS, CHIP_DIMENSIONS, CHIP_TEXTS, (*_CHIP_HEAD, *_CHIP_ONLY))
    _check(fields, CHIP_DIMENSIONS, entries.ranges, path)
    kind = str(content.get("chip_kind") or content.get("kind") or "").lower()
    if kind in KINDS_OF_CHIP:
        base["kind"] = kind
    if base.get("kind") == "dataflow":
        base.setdefault("memory_kind", "sram")
        if "sram" in fields and "memory_capacity" not in fields:
            fields["memory_capacity"] = fields["sram"]
    _head(base, content, ("name", "vendor", "generation", "status", "memory_kind"), path)
    _merge(base, fields, path)
    base |= {"id": ident, "file": str(path), "aliases": _aliases(content, base, path)}
    base.setdefault("name", ident)
    for key in ("topology", "node", "max_chips"):
        if key in content:
            base.setdefault("node_of", {})[key] = content[key]
    entries.chips[ident] = base
    if "price" in content:
        _chip_prices(entries, ident, content["price"], path)


def _base(
    known: Mapping[str, dict[str, Any]],
    content: Mapping[str, Any],
    ident: str,
    path: Path,
    find: Callable[[str], str | None],
    what: str,
) -> dict[str, Any]:
    like = content.get("like")
    if like is None:
        return copy.deepcopy(known.get(ident, {}))
    source = find(str(like))
    if source is None or source not in known:
        error = UnknownName(what, str(like), known)
        raise BadFact(f"{path}: like: {error.message}", error.hint)
    base = copy.deepcopy(known[source])
    base["aliases"] = []
    base.pop("name", None)
    return base


def _head(base: dict[str, Any], content: Mapping[str, Any], keys: Sequence[str], path: Path) -> None:
    for key in keys:
        value = content.get(key)
        if isinstance(value, (list, Mapping)):
            raise BadFact(f"{path}: {key} is no text.", "Write one value.")
        if value is not None:
            base[key] = str(value)


def _aliases(content: Mapping[str, Any], base: Mapping[str, Any], path: Path) -> list[str]:
    own = content.get("aliases")
    if own is None:
        return list(base.get("aliases") or [])
    if not isinstance(own, list):
        raise BadFact(f"{path}: aliases is no list.", "Write [one, two].")
    return [str(alias) for alias in own]


def _fields(
    content: Mapping[str, Any],
    path: Path,
    words: Mapping[str, str],
    dimensions: Mapping[str, str],
    texts: Sequence[str],
    head: Sequence[str],
) -> dict[str, Any]:
    """Return the facts of a user's entry, from `facts:` and from the top level, under our names."""
    inner = content.get("facts") or {}
    if not isinstance(inner, Mapping):
        raise BadFact(f"{path}: facts is no mapping.", "Write one field a line.")
    loose = {key: value for key, value in content.items() if key not in head}
    found: dict[str, Any] = {}
    for key, value in (*inner.items(), *loose.items()):
        name = words.get(key.lower(), key.lower())
        if name == "link_bandwidth" and isinstance(value, str) and not value.strip()[:1].isdigit():
            name = "link"
        if name not in dimensions and name not in texts:
            from difflib import get_close_matches

            close = get_close_matches(key.lower(), [*words, *dimensions, *texts], n=2, cutoff=0.5)
            hint = (
                f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(sorted(dimensions))}."
            )
            raise BadFact(f"{path}: unknown field {key!r}.", hint)
        if name in found:
            raise BadFact(f"{path}: {name} is given twice.", "Keep one of the two.")
        found[name] = _as_fact(value, dimensions.get(name, ""), f"{path}: {key}")
    return found


def _check(
    fields: Mapping[str, Mapping[str, Any]],
    dimensions: Mapping[str, str],
    ranges: Mapping[str, Mapping[str, str]],
    path: Path,
) -> None:
    """Refuse a value that is no quantity, or so far off that its unit must be missing."""
    for name, fact in fields.items():
        dimension = dimensions.get(name)
        if dimension is None or (isinstance(fact.get("value"), str) and name in CHIP_TEXTS):
            continue
        found = weigh(fact, dimension, f"{path}: {name}")
        limits = ranges.get(dimension)
        if found is None or limits is None:
            continue
        low, high = (parse_quantity(limits[end], dimension) for end in ("low", "high"))
        if not low <= found.low <= found.high <= high:
            raise BadFact(
                f"{path}: {name} = {show(found.value, SI_UNIT[dimension])} is not between {limits['low']} "
                f"and {limits['high']}.",
                "Is its unit missing?",
            )


def _as_fact(value: Any, dimension: str, where: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"basis": "user", "source": "user"} | dict(value)
    if isinstance(value, list):
        raise BadFact(f"{where} is a list.", "Write one value.")
    fact = {"value": value, "source": "user", "basis": "user"}
    if dimension and isinstance(value, str):
        try:
            number, unit = split_quantity(value, dimension)
        except BadInput:
            return fact
        return {"value": number, "unit": unit} | {"source": "user", "basis": "user"}
    return fact


def _merge(base: dict[str, Any], fields: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    facts = base.setdefault("facts", {})
    for name, fact in fields.items():
        facts[name] = dict(fact) if "value" in fact else {**facts.get(name, {}), **fact}
        if "value" not in facts[name]:
            raise BadFact(f"{path}: {name} has no value.", "Write {value: ..., unit: ...}.")


def _chip_prices(entries: Entries, ident: str, content: Any, path: Path) -> None:
    table = content if isinstance(content, Mapping) else {"own": content}
    for kind, value in table.items():
        if kind not in KINDS:
            raise BadFact(f"{path}: price: unknown kind {kind!r}.", f"Write one of {', '.join(KINDS)}.")
        row = dict(value) if isinstance(value, Mapping) else {"usd_per_hour": value}
        _add_price(entries, row | {"chip": ident}, kind, path)


def _add_price(entries: Entries, row: dict[str, Any], kind: str, path: Path) -> None:
    row |= {"kind": kind, "file": str(path), "source": "user"}
    price(row, kind, str(path))
    entries.prices.append(row)


def _system(entries: Entries, content: Mapping[str, Any], path: Path) -> None:
    ident = _ident(content, path)
    base = _base(
        entries.systems,
        content,
        ident,
        path,
        lambda name: name if name in entries.systems else None,
        "system",
    )
    fields = _fields(content, path, SYSTEM_WORDS, SYSTEM_DIMENSIONS, SYSTEM_TEXTS, _SYSTEM_HEAD)
    _check(fields, SYSTEM_DIMENSIONS, entries.ranges, path)
    _head(base, content, ("name", "chip", "topology"), path)
    if "chip" not in base:
        raise BadFact(f"{path}: no `chip`.", "Name the chip in it.")
    _merge(base, fields, path)
    base |= {"id": ident, "file": str(path), "aliases": _aliases(content, base, path)}
    base.setdefault("name", ident)
    entries.systems[ident] = base


def _models(entries: Entries, content: Mapping[str, Any], path: Path) -> None:
    models = content.get("models") if "models" in content else {_ident(content, path): content}
    if not isinstance(models, Mapping):
        raise BadFact(f"{path}: models is no mapping.", "Write one model a key.")
    for name, entry in models.items():
        if not isinstance(entry, Mapping):
            raise BadFact(f"{path}: models: {name} is no mapping.")
        entries.models[name] = {**entries.models.get(name, {}), **entry, "file": str(path)}


def _prices(
    entries: Entries, content: Mapping[str, Any], path: Path, find: Callable[[str], str | None]
) -> None:
    kind = str(content.get("kind") or "").lower()
    rows = content.get("prices")
    if not isinstance(rows, list):
        raise BadFact(f"{path}: prices is no list.", "Write - {chip: ..., usd_per_hour: ..., kind: own}.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or "chip" not in row:
            raise BadFact(f"{path}: price {number} has no chip.")
        own = str(row.get("kind") or kind).lower()
        if own not in KINDS:
            raise BadFact(f"{path}: price {number}: kind = {own!r}.", f"Write one of {', '.join(KINDS)}.")
        ident = find(str(row["chip"]))
        if ident is None:
            raise BadFact(f"{path}: price {number}: unknown chip {row['chip']!r}.")
        _add_price(entries, dict(row) | {"chip": ident}, own, path)
