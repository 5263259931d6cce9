"""How a deployment is described to the calibration: in the words that published measurements use.

The correction finds what was measured by its conditions, so that a plan must state each as sources state
theirs; otherwise its points lie beside all evidence. Physics counts the exact conditions before.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from assay.catalogue.load import catalogue
from assay.catalogue.schema import System
from assay.llm.architecture import Architecture
from assay.llm.formats import FOUR_BIT, native_formats
from assay.plan.predict import formats
from assay.study.conditions import Setting


def published(setting: Setting, architecture: Architecture, system: System) -> Setting:
    """Return a setting as sources describe such a deployment.

    Weights by the name of their format, not `native`; the KV format only where it is not the one that a
    point without it is counted in; the number of drafts not at all: hardly any source publishes it.
    """
    weights = setting.weights
    if weights == "native":
        weights = native_formats(architecture)["experts"]
    if weights in FOUR_BIT - {"int4"}:
        weights = "fp4"
    usual = formats(system, replace(setting, kv=""))[1]
    return replace(setting, weights=weights, kv="" if setting.kv == usual else setting.kv, draft_tokens=0)


def length_spread() -> float:
    """Return the relative half width around their mean that lengths of planned requests are taken to have."""
    return _spread(catalogue().hash)


@lru_cache(maxsize=2)
def _spread(version: str) -> float:
    """Read it once for each state of the catalogue."""
    del version
    return float(catalogue().table("measurements/usual")["spread"]["value"])
