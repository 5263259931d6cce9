"""The catalogue as others use it: chips, systems, models and prices by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.catalogue import compiled, records
from assay.catalogue.evidence import KINDS, choose
from assay.catalogue.overlay import Entries, lay_over, user_files
from assay.catalogue.schema import Chip, Fact, ModelEntry, Price, System
from assay.errors import AssayError, BadFact, BadInput, UnknownName

_SQUEEZE = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 200


def squeeze(name: str) -> str:
    """Return a name without case, dots, dashes and underscores: "Kimi_K2.5" is "kimik25"."""
    return _SQUEEZE.sub("", name.lower())


class Catalogue:
    """Facts by name; every part is read when first asked for.

    Args:
        extra: folders or files of the user, later ones win.
        root: folder of the data files.
    """

    def __init__(self, extra: Sequence[Path] = (), root: Path = compiled.DATA) -> None:
        self.extra = tuple(extra)
        self.root = root
        self._chips: dict[str, Chip] = {}
        self._systems: dict[str, System] = {}
        self._models: dict[str, ModelEntry] = {}

    # names ------------------------------------------------------------------------------------------

    def chips(self) -> tuple[str, ...]:
        """Return the ids of all chips."""
        return tuple(self._entries.chips)

    def systems(self) -> tuple[str, ...]:
        """Return the ids of all systems."""
        return tuple(self._entries.systems)

    def models(self) -> tuple[str, ...]:
        """Return the names of all models."""
        return tuple(self._model_entries)

    def chip_id(self, name: str) -> str:
        """Return the id of a chip by any of its names; a system's name means its chip.

        Raises:
            UnknownName: with the closest names.
        """
        found = self._find_chip(name)
        if found is not None:
            return found
        system = self._system_names.get(squeeze(name))
        if system is not None:
            return str(self._entries.systems[system]["chip"])
        raise self._unknown("chip", name, self._entries.chips)

    def system_id(self, name: str) -> str:
        """Return the id of a system by any of its names; a chip's name means its first published system.

        Raises:
            UnknownName: with the closest names.
        """
        key = squeeze(name)
        if key in self._system_names:
            return self._system_names[key]
        chip = self._find_chip(name)
        if chip is not None:
            options = [ident for ident, entry in self._entries.systems.items() if entry["chip"] == chip]
            published = [ident for ident in options if not self._entries.systems[ident].get("derived")]
            return (published or options)[0]
        raise self._unknown("system", name, self._entries.systems)

    def model_id(self, name: str) -> str:
        """Return the catalogue name of a model by any of its names or its Hugging Face id.

        Raises:
            UnknownName: with the closest names.
        """
        key = squeeze(name)
        if key in self._model_names:
            return self._model_names[key]
        raise self._unknown("model", name, self._model_entries)

    # records ----------------------------------------------------------------------------------------

    def chip(self, name: str) -> Chip:
        """Return a chip.

        Raises:
            UnknownName: no such chip.
            NoEvidence: a fact that a prediction needs is unpublished.
            BadFact: a malformed value, with its file and field.
        """
        ident = self.chip_id(name)
        if ident not in self._chips:
            raw = self._entries.chips[ident]
            self._chips[ident] = records.chip(raw, str(raw["file"]))
        return self._chips[ident]

    def system(self, name: str) -> System:
        """Return a system with its chip.

        Raises:
            UnknownName: no such system.
            NoEvidence: its chip lacks a published fact.
            BadFact: a malformed value, with its file and field.
        """
        ident = self.system_id(name)
        if ident not in self._systems:
            raw = self._entries.systems[ident]
            chip = self.chip(str(raw["chip"]))
            self._systems[ident] = records.system(raw, chip, str(raw["file"]))
        return self._systems[ident]

    def model(self, name: str) -> ModelEntry:
        """Return a model.

        Raises:
            UnknownName: no such model.
        """
        ident = self.model_id(name)
        if ident not in self._models:
            raw = self._model_entries[ident]
            self._models[ident] = records.model(ident, raw, str(raw["file"]))
        return self._models[ident]

    def facts(self, what: str, name: str) -> Mapping[str, Fact]:
        """Return everything published about a chip or system, also of one that cannot be predicted.

        Args:
            what: "chip" or "system".
            name: any of its names.
        """
        entry = self.entry(what, name)
        return records.facts_of(entry, str(entry["file"]))

    def entry(self, what: str, name: str) -> Mapping[str, Any]:
        """Return a chip, system or model as written (id, name, vendor, status, aliases, facts, file)."""
        if what == "model":
            return self._model_entries[self.model_id(name)]
        if what == "chip":
            return self._entries.chips[self.chip_id(name)]
        return self._entries.systems[self.system_id(name)]

    def prices(self, chip_id: str, kind: str | None = None) -> tuple[Price, ...]:
        """Return the published prices of a chip, oldest first; placeholders are left out.

        Args:
            chip_id: any name of the chip.
            kind: one of own, contract, list, spot; None = all.
        """
        ident = self.chip_id(chip_id)
        if kind is not None and kind not in KINDS:
            raise BadInput(f"Unknown kind of price {kind!r}.", f"Use one of {', '.join(KINDS)}.")
        return tuple(price for price in self._prices.get(ident, ()) if kind in (None, price.kind))

    def price(self, chip_id: str, kind: str) -> Price:
        """Return the price to use: the newest of its kind, with the range of the last twelve months.

        Raises:
            NoEvidence: nobody has published one of this kind.
        """
        prices = self.prices(chip_id)
        if kind not in KINDS:
            raise BadInput(f"Unknown kind of price {kind!r}.", f"Use one of {', '.join(KINDS)}.")
        return choose(prices, self.chip_id(chip_id), kind)

    def table(self, name: str) -> Any:
        """Return a data file by its path without suffix: `calibrations/kernels`, `latency`.

        Raises:
            BadFact: no such file, or it is malformed.
        """
        if name in self._entries.tables:
            return self._entries.tables[name]
        parts = Path(name).parts
        if not name or Path(name).is_absolute() or ".." in parts:
            raise BadFact(f"No data {name!r}.")
        return next(iter(compiled.section(name, self.root).values()))

    def source(self, id: str) -> str:
        """Return where a source is.

        Raises:
            UnknownName: no such source.
        """
        if id == "user":
            return "the user's own file"
        sources = self._sources
        if id not in sources:
            raise UnknownName("source", id, sources)
        return str(sources[id]["where"])

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the content of our data files and of the user's."""
        total = compiled.content_hash(self.root)
        files = user_files(self.extra)
        if not files:
            return total
        mixed = hashlib.sha256(total.encode())
        for path, _ in files:
            mixed.update(path.name.encode() + b"\n" + path.read_bytes())
        return mixed.hexdigest()

    # inside -----------------------------------------------------------------------------------------

    def _find_chip(self, name: str) -> str | None:
        return self._chip_names.get(squeeze(name))

    def _unknown(self, what: str, name: str, known: Iterable[str]) -> AssayError:
        if not name.strip() or len(name) > _LONGEST_NAME:
            return BadInput(f"{name[:40]!r} is no name of a {what}.", f"`assay list {what}s` shows all.")
        names = {"chip": self._chip_aliases, "system": self._system_aliases, "model": self._model_aliases}[what]
        return UnknownName(what, name, {*known, *names})

    @cached_property
    def _sources(self) -> Mapping[str, Mapping[str, Any]]:
        content: Mapping[str, Mapping[str, Any]] = self.table("sources")
        return content

    @cached_property
    def _entries(self) -> Entries:
        entries = Entries()
        for kind, target in (("chips", entries.chips), ("systems", entries.systems)):
            for file, content in compiled.section(kind, self.root).items():
                target[str(content["id"])] = {**content, "file": file}
        names: dict[str, str] = {}

        def find(name: str) -> str | None:
            if not names:
                names.update(_index(entries.chips))
            return names.get(squeeze(name))

        files = user_files(self.extra)
        if any(folder in ("models", "") for _, folder in files):
            entries.models.update(self._own_models())
        for path, folder in files:
            lay_over(entries, path, folder, find)
            names.clear()
        if files:
            self._join(entries, find)
        return entries

    def _join(self, entries: Entries, find: Callable[[str], str | None]) -> None:
        """Point the systems of the user at chips, and give every chip without a system one."""
        for system in entries.systems.values():
            chip = find(str(system["chip"]))
            if chip is None:
                error = UnknownName("chip", str(system["chip"]), entries.chips)
                raise BadFact(f"{system['file']}: chip: {error.message}", error.hint)
            system["chip"] = chip
        housed = {system["chip"] for system in entries.systems.values()}
        for ident, chip_entry in list(entries.chips.items()):
            if ident not in housed:
                entries.systems[ident] = derive_system(chip_entry, self.table("defaults")["derived_system"])

    def _own_models(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for file, content in compiled.section("models", self.root).items():
            for name, entry in content["models"].items():
                found[name] = {**entry, "file": file}
        return found

    @cached_property
    def _model_entries(self) -> Mapping[str, dict[str, Any]]:
        return (self._entries.models if self.extra else {}) or self._own_models()

    @cached_property
    def _chip_names(self) -> Mapping[str, str]:
        return _index(self._entries.chips)

    @cached_property
    def _system_names(self) -> Mapping[str, str]:
        return _index(self._entries.systems)

    @cached_property
    def _model_names(self) -> Mapping[str, str]:
        return _index(self._model_entries)

    @property
    def _chip_aliases(self) -> Iterable[str]:
        return _aliases(self._entries.chips)

    @property
    def _system_aliases(self) -> Iterable[str]:
        return (*_aliases(self._entries.systems), *self._chip_aliases)

    @property
    def _model_aliases(self) -> Iterable[str]:
        return _aliases(self._model_entries)

    @cached_property
    def _prices(self) -> Mapping[str, tuple[Price, ...]]:
        found: dict[str, list[Price]] = {}
        rows = [
            (row, str(content["kind"]), file)
            for file, content in compiled.section("prices", self.root).items()
            for row in content.get("prices", ())
        ]
        rows += [(row, str(row["kind"]), str(row["file"])) for row in self._entries.prices]
        for row, kind, file in rows:
            if not row.get("excluded"):
                price = records.price(row, kind, f"{file}: {row.get('chip')}")
                found.setdefault(price.chip, []).append(price)
        return {chip: tuple(sorted(prices, key=lambda p: p.date)) for chip, prices in found.items()}


def _index(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return squeezed name -> id; ids win over aliases, later aliases over earlier ones."""
    names: dict[str, str] = {}
    for ident, entry in entries.items():
        for alias in (*(entry.get("aliases") or ()), entry.get("hf_id") or ""):
            if alias:
                names[squeeze(str(alias))] = ident
                names.setdefault(squeeze(str(alias).rpartition("/")[2]), ident)
    names.update({squeeze(ident): ident for ident in entries})
    return names


def _aliases(entries: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    return tuple(str(alias) for entry in entries.values() for alias in entry.get("aliases") or ())


def derive_system(chip: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a system for a chip that comes without one.

    Its domain is the chip's own `link_domain`, else a node of the default size where it has a link, else
    one chip; with a network card several nodes are joined.

    Args:
        chip: the chip as written.
        defaults: `derived_system` of `data/defaults.yaml`.
    """
    facts = chip.get("facts") or {}
    own = chip.get("node_of") or {}
    linked = (facts.get("link_bandwidth") or {}).get("value") is not None
    node = own.get("node", defaults["node"]["value"] if linked else 1)
    domain = facts.get("link_domain") or {"value": node, "source": "ASSAY", "basis": "assumed"}
    networked = (facts.get("nic_bandwidth") or {}).get("value") is not None
    size = domain.get("value")
    most = size
    if networked and isinstance(size, int) and isinstance(node, int):
        most = max(size, node * defaults["nodes"]["value"])
    assumed = {"source": "ASSAY", "basis": "assumed"}
    return {
        "id": chip["id"],
        "name": chip.get("name") or chip["id"],
        "chip": chip["id"],
        "topology": own.get("topology", defaults["topology"]["value"] if linked else "none"),
        "derived": True,
        "aliases": [],
        "file": chip["file"],
        "facts": {
            "domain": domain,
            "node": {"value": node, **assumed},
            "max_chips": {"value": own.get("max_chips", most), **assumed},
        },
    }
