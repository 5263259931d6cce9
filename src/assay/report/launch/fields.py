"""Fields of what is emitted beside flags: settings, JSON values of flags, objects of Kubernetes.

The table is `catalogue/data/engines/fields.yaml`, every document with the source it was read from. A field
that the table does not have, or a value of another type, is an error of assay's and is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from assay.catalogue.load import catalogue
from assay.errors import BadFact

_SIMPLE: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "number": (int, float),
    "bool": (bool,),
    "str": (str,),
    "any": (object,),
}
#: What every object of Kubernetes begins with.
_OBJECT: Mapping[str, Any] = {"apiVersion": "str", "kind": "str"}


@lru_cache(maxsize=1)
def table() -> Mapping[str, Any]:
    """Return the table of documents, shapes and sources."""
    content: Mapping[str, Any] = catalogue().table("engines/fields")
    return content


def verify(document: str, value: Mapping[str, Any]) -> None:
    """Refuse a document with a field or a value that its makers do not know.

    Args:
        document: name in the table, `trtllm-yaml`, `LeaderWorkerSet` ...
        value: the document.

    Raises:
        BadFact: an unknown document, field, choice or type, with its path.
    """
    entry = table()["documents"].get(document)
    if entry is None:
        raise BadFact(f"Nothing is known about {document}.", "Add it to engines/fields.yaml with its source.")
    allowed = dict(entry["fields"])
    if "kind" in value:
        allowed |= _OBJECT
        if value.get("apiVersion") != entry["version"]:
            raise BadFact(f"{document} is {entry['version']} here, not {value.get('apiVersion')}.")
    _match(value, allowed, document)


def _match(value: object, wanted: Any, path: str) -> None:
    """Compare a value with what is wanted in its place: a mapping, a list, a shape, a type, a choice."""
    if isinstance(wanted, Mapping):
        if not isinstance(value, Mapping):
            raise BadFact(f"{path} is {value!r}, not a mapping.")
        for key, item in value.items():
            inner = wanted.get(key, wanted.get("*"))
            if inner is None:
                raise BadFact(f"{path} has no field {key}.", "Add it to engines/fields.yaml with its source.")
            _match(item, inner, f"{path}.{key}")
    elif isinstance(wanted, list):
        if not isinstance(value, list | tuple):
            raise BadFact(f"{path} is {value!r}, not a list.")
        for item in value:
            _match(item, wanted[0], f"{path}[]")
    elif wanted in table()["shapes"]:
        _match(value, table()["shapes"][wanted], path)
    elif wanted in _SIMPLE:
        if not isinstance(value, _SIMPLE[wanted]) or (
            isinstance(value, bool) and wanted in ("int", "number")
        ):
            raise BadFact(f"{path} is {value!r}, not of type {wanted}.")
    elif value not in str(wanted).split("|"):
        raise BadFact(f"{path} is {value!r}, not one of {wanted}.")
