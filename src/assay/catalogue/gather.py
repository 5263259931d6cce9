"""All entries: our data files, the user's laid over them, and a system for every chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.catalogue import compiled
from assay.catalogue.entries import Entries, index, squeeze
from assay.catalogue.files import user_files
from assay.errors import BadFact, UnknownName


def gather(root: Path, extra: Sequence[Path]) -> Entries:
    """Return chips and systems as written; models and tables only where the user brings some.

    Args:
        root: folder of the data files.
        extra: folders or files of the user, later ones win.

    Raises:
        BadFact: names file and field.
        BadInput: a path that does not exist.
    """
    entries = Entries()
    for kind, target in (("chips", entries.chips), ("systems", entries.systems)):
        for file, content in compiled.section(kind, root).items():
            target[str(content["id"])] = {**content, "file": file}
    files = user_files(extra)
    if not files:
        return entries
    from assay.catalogue.overlay import lay_over

    names: dict[str, str] = {}

    def find(name: str) -> str | None:
        if not names:
            names.update(index(entries.chips))
        return names.get(squeeze(name))

    defaults = compiled.section("defaults", root)["defaults.yaml"]
    entries.ranges = defaults["ranges"]
    entries.models.update(models(root))
    for path, folder in files:
        lay_over(entries, path, folder, find)
        names.clear()
    _join(entries, find, defaults["derived_system"])
    return entries


def models(root: Path) -> dict[str, dict[str, Any]]:
    """Return our models as written, by name."""
    return {
        name: {**entry, "file": file}
        for file, content in compiled.section("models", root).items()
        for name, entry in content["models"].items()
    }


def prices(root: Path, entries: Entries) -> dict[str, list[Mapping[str, Any]]]:
    """Return the price rows by chip, ours and the user's, each with `kind` and `file`; no placeholders."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    ours = (
        {**row, "kind": content["kind"], "file": file}
        for file, content in compiled.section("prices", root).items()
        for row in content.get("prices", ())
    )
    for row in (*ours, *entries.prices):
        if not row.get("excluded"):
            found.setdefault(str(row.get("chip")), []).append(row)
    return found


def _join(
    entries: Entries, find: Callable[[str], str | None], defaults: Mapping[str, Mapping[str, Any]]
) -> None:
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
            entries.systems[ident] = derive_system(chip_entry, defaults)


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
    most = defaults["dataflow_chips"]["value"] if chip.get("kind") == "dataflow" else size
    if networked and isinstance(size, int) and isinstance(node, int):
        most = max(most, size, node * defaults["nodes"]["value"])
    assumed = {"source": "ASSAY", "basis": "assumed"}
    return {
        "id": chip["id"],
        "name": chip.get("name") or chip["id"],
        "chip": chip["id"],
        "topology": own.get("topology", defaults["topology"]["value"] if linked else "none"),
        "derived": True,
        "hint": "no link rate is given, so single chips are planned; write `link: 450 GB/s`, `domain: 8`.",
        "aliases": [],
        "file": chip["file"],
        "facts": {
            "domain": domain,
            "node": {"value": node, **assumed},
            "max_chips": {"value": own.get("max_chips", most), **assumed},
        },
    }
