"""The public names of assay, each imported when it is first used.

>>> import assay
>>> assay.Question(model="kimi-k2", platforms=("h200",)).osl
512
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.errors import AssayError
    from assay.estimate import Estimate
    from assay.llm.layout import Layout
    from assay.plan import answer, predict
    from assay.study.answer import Answer, Row
    from assay.study.deployment import Deployment
    from assay.study.question import Question

__version__ = "0.1.0"

#: Public name -> the module it lives in.
_HOMES = {
    "Answer": "assay.study.answer",
    "AssayError": "assay.errors",
    "Deployment": "assay.study.deployment",
    "Estimate": "assay.estimate",
    "Layout": "assay.llm.layout",
    "Question": "assay.study.question",
    "Row": "assay.study.answer",
    "answer": "assay.plan",
    "predict": "assay.plan",
}

__all__ = [
    "Answer",
    "AssayError",
    "Deployment",
    "Estimate",
    "Layout",
    "Question",
    "Row",
    "__version__",
    "answer",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
