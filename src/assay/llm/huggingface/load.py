"""Reading `config.json`: finding the text part, the reader of its class, and what it leaves open."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.architecture import Architecture
from assay.llm.huggingface import quantization
from assay.llm.huggingface.classes import CLASSES, MODEL_TYPES, Reader
from assay.llm.huggingface.fields import Fields

#: A configuration is a few kilobytes; quantised ones that list every module reach a megabyte.
LARGEST_FILE = 20_000_000
#: Where multimodal configurations keep the language model.
NESTED = ("text_config", "llm_config", "language_config", "thinker_config")


def load_config(source: str | os.PathLike[str] | Mapping[str, Any]) -> Architecture:
    """Return the architecture of a Hugging Face configuration.

    Args:
        source: a `config.json`, the folder that holds it, or its parsed content.

    Raises:
        BadInput: no such file, larger than 20 MB, not JSON, not an object, or a value that cannot be.
        UnknownArchitecture: a class, model type, field or word that assay cannot count; it is named.
    """
    config = source if isinstance(source, Mapping) else _parse(Path(source))
    if not isinstance(config, Mapping):
        raise BadInput(f"A configuration must be a JSON object, not {type(config).__name__}.")
    text = _text(config)
    kind, reader = _reader(config, text)
    fields = Fields(text, "config.json" if text is config else "config.json: text part")
    fields.known("architectures", "model_type", "quantization_config", *NESTED)
    arch = reader(fields)
    tied = config.get("tie_word_embeddings")
    if isinstance(tied, bool):
        arch["tie"] = tied
    fields.refuse_unknown(kind)
    arch["formats"] = quantization.formats(config, text, arch["num_layers"])
    arch["name"] = str(config.get("_name_or_path") or config.get("name_or_path") or "")
    return Architecture.from_dict(arch)


def _parse(path: Path) -> Any:
    """Return the parsed file.

    Raises:
        BadInput: it cannot be read as JSON, or is too large.
    """
    if path.is_dir():
        path /= "config.json"
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise BadInput(f"{path} has {size / 1e6:.0f} MB.", "A config.json has at most 20 MB.")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_constant)
    except OSError as problem:
        raise BadInput(f"Cannot read {path}: {problem.strerror or problem}.") from None
    except RecursionError:
        raise BadInput(f"{path} is nested too deeply.", "A config.json has a few levels.") from None
    except ValueError as problem:
        raise BadInput(f"{path} is not JSON: {problem}.", "Is it complete?") from None


def _constant(name: str) -> NoReturn:
    raise BadInput(f"The configuration contains {name}.", "Numbers must be finite.")


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's part of a configuration, which may be all of it."""
    for name in NESTED:
        part = config.get(name)
        if part is None:
            continue
        if not isinstance(part, Mapping):
            raise BadInput(f"config.json: {name} must be an object, not {type(part).__name__}.")
        return _text(part) if any(part.get(inner) for inner in NESTED) else part
    return config


def _reader(config: Mapping[str, Any], text: Mapping[str, Any]) -> tuple[str, Reader]:
    """Return the name and the reader of the text part's class, by model type, then by class name."""
    named: list[str] = []
    for part in (text, config):
        kind = part.get("model_type")
        classes = part.get("architectures") or []
        names = [kind] if isinstance(kind, str) else []
        names += [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
        for name in names:
            known = CLASSES.get(name, name.lower())
            if known in MODEL_TYPES:
                return name, MODEL_TYPES[known]
        named += names
    if not named:
        raise BadInput(
            "config.json has neither 'model_type' nor 'architectures'.", "Is it a model configuration?"
        )
    raise UnknownArchitecture(
        f"assay does not know the model class {' / '.join(dict.fromkeys(named))}.",
        "`assay list models` shows what it knows; write an architecture file for others.",
    )
