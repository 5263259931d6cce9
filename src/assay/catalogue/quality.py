"""What a narrower weight format costs in quality, as published (`data/quality/formats.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.catalogue.load import catalogue

#: Formats that the choice of 4 bits can mean.
_FOUR = ("nvfp4", "mxfp4")
_MOST = 3


def quality_note(model: str, weights: str, facts: Sequence[Path] = ()) -> str | None:
    """Return what is published about the quality of a model in a format that is not its checkpoint's.

    Args:
        model: name in the catalogue; a model from a file has no published quality.
        weights: weight format of a deployment (`fp8`, `fp4` ...), or the words of the native one.
        facts: folders of the user's own facts.

    Returns:
        One sentence with scores and sources, a sentence that nothing is published, or None where the
        weights are the checkpoint's own.

    Raises:
        UnknownName: no such model.
    """
    known = catalogue(facts)
    entry = known.model(model)
    formats = entry.architecture.get("formats") or {}
    own = {str(formats.get("experts", "")), str(formats.get("other", ""))}
    same = (len(own) == 1 and weights in own) or (weights == "fp4" and bool(own & set(_FOUR)))
    if weights in ("", "native") or " " in weights or same:
        return None
    wanted = _FOUR if weights == "fp4" else (weights,)
    rows = [row for row in known.table("quality/formats")["rows"] if _fits(row, entry.name, wanted)]
    if not rows:
        stored = " and ".join(sorted(item for item in own if item))
        return f"nobody among assay's sources compares the quality of {entry.name} in {weights} with {stored}"
    parts = "; ".join(_scored(row) for row in sorted(rows, key=_loss)[:_MOST])
    rest = f"; {len(rows) - _MOST} more" if len(rows) > _MOST else ""
    return f"quality of {entry.name} in {weights}, as published: {parts}{rest}"


def _fits(row: Mapping[str, Any], model: str, wanted: Sequence[str]) -> bool:
    return bool(row["model"] == model and row["format"] in wanted)


def _loss(row: Mapping[str, Any]) -> float:
    """Return a key that puts the greatest loss first: change of the score, in points."""
    if "recovery" in row:
        return (float(row["recovery"]) - 1.0) * 100.0
    return float(row["score"]) - float(row["reference"])


def _scored(row: Mapping[str, Any]) -> str:
    what = f"{row['benchmark']} in {row['format']}"
    where = f"({row['source']}, {row['date']})"
    if "recovery" in row:
        return f"{what} {float(row['recovery']):.1%} of {row['against']} {where}"
    change = float(row["score"]) - float(row["reference"])
    scores = f"{row['score']:g}, in {row['against']} {row['reference']:g}: {change:+.1f}"
    return f"{what} {scores} {row['unit']} {where}"
