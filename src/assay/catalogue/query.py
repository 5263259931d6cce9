"""The catalogue as others use it: chips, systems, models and prices by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from assay.catalogue import compiled, gather, records
from assay.catalogue.entries import Entries, aliases, index, squeeze
from assay.catalogue.evidence import KINDS, choose
from assay.catalogue.files import user_files
from assay.catalogue.schema import Chip, Fact, ModelEntry, Price, System
from assay.errors import AssayError, BadFact, BadInput, UnknownName

_LONGEST_NAME = 200


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
        self._prices: dict[str, tuple[Price, ...]] = {}
        self._tables: dict[str, Any] = {}

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
        if ident not in self._prices:
            rows = self._price_rows.get(ident, ())
            found = (records.price(row, str(row["kind"]), f"{row['file']}: {ident}") for row in rows)
            self._prices[ident] = tuple(sorted(found, key=lambda price: price.date))
        return tuple(price for price in self._prices[ident] if kind in (None, price.kind))

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
        if self.extra and name in self._entries.tables:
            return self._entries.tables[name]
        parts = Path(name).parts
        if not name or Path(name).is_absolute() or ".." in parts:
            raise BadFact(f"No data {name!r}.")
        if name not in self._tables:
            self._tables[name] = next(iter(compiled.section(name, self.root).values()))
        return self._tables[name]

    def tables(self, folder: str) -> Mapping[str, Any]:
        """Return all data files of a folder by path without suffix, the user's laid over ours; maybe none.

        Args:
            folder: `market`, `claims`, `measurements` ...
        """
        found: dict[str, Any] = {}
        try:
            files = compiled.section(folder, self.root)
            found = {name.removesuffix(".yaml"): content for name, content in files.items()}
        except BadFact:
            if (self.root / folder).is_dir():
                raise
        if self.extra:
            own = self._entries.tables.items()
            found |= {name: content for name, content in own if name.startswith(f"{folder}/")}
        return found

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
        import hashlib

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
        names = aliases(self._model_entries if what == "model" else self._entries.chips)
        if what == "system":
            names += aliases(self._entries.systems)
        return UnknownName(what, name, {*known, *names})

    @cached_property
    def _sources(self) -> Mapping[str, Mapping[str, Any]]:
        content = dict(compiled.section("sources", self.root)["sources.yaml"])
        return content | dict(self._entries.sources) if self.extra else content

    @cached_property
    def _entries(self) -> Entries:
        return gather.gather(self.root, self.extra)

    @cached_property
    def _model_entries(self) -> Mapping[str, dict[str, Any]]:
        return (self._entries.models if self.extra else {}) or gather.models(self.root)

    @cached_property
    def _chip_names(self) -> Mapping[str, str]:
        return index(self._entries.chips)

    @cached_property
    def _system_names(self) -> Mapping[str, str]:
        return index(self._entries.systems)

    @cached_property
    def _model_names(self) -> Mapping[str, str]:
        return index(self._model_entries)

    @cached_property
    def _price_rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return gather.prices(self.root, self._entries)
