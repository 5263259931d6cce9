"""Models by name or by file, ready to be sharded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from assay.catalogue.load import catalogue
from assay.catalogue.schema import ModelEntry
from assay.engine.replica import Model
from assay.llm.architecture import Architecture


def is_file(name: str) -> bool:
    """Return whether a model argument is meant as a path of a config.json."""
    return name.endswith(".json") or name.startswith((".", "/")) or Path(name).is_file()


@lru_cache(maxsize=256)
def model(name: str, facts: tuple[Path, ...] = ()) -> tuple[Model, ModelEntry | None]:
    """Return a model and its catalogue entry; a file has none.

    Args:
        name: catalogue name, alias, Hugging Face id, or path of a Hugging Face config.json.
        facts: folders of the user's own facts.

    Raises:
        UnknownName: not in the catalogue and not a file.
        UnknownArchitecture, BadInput: a config.json that cannot be read or counted.
    """
    if is_file(name):
        from assay.llm.huggingface import load_config

        return Model.of(Path(name).stem, load_config(Path(name))), None
    entry = catalogue(facts).model(name)
    return Model.of(entry.name, Architecture.from_dict(entry.architecture)), entry
