"""The kernel in its two forms: plain Python, and the same source compiled by numba.

Every function of the kernel's modules is compiled from its own code object with the others of the same kind
in reach, so nothing exists twice. Compiled code is kept in the user's cache, in a folder named after the
source: a changed source never meets old code.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

from assay.catalogue.compiled import cache_directory
from assay.errors import BadInput
from assay.simulate.state import State

#: Modules of the kernel, callees first.
MODULES = (
    "walking",
    "queues",
    "log",
    "intake",
    "prefix",
    "scheduler",
    "replica",
    "routing",
    "health",
    "events",
)

ENTRIES = ("begin", "run")
_MARK = "ready"


@dataclass(frozen=True, slots=True)
class Kernel:
    """The entry points: `begin(state, users)` and `run(state)`, and whether they are compiled."""

    begin: Callable[[State, int], None]
    run: Callable[[State], int]
    compiled: bool


def available() -> bool:
    """Return whether numba is installed."""
    return find_spec("numba") is not None


def ready() -> bool:
    """Return whether the compiled kernel has been made before and only needs to be loaded."""
    return available() and (_folder() / _MARK).exists()


def kernel(compiled: bool) -> Kernel:
    """Return the kernel in one of its forms.

    Raises:
        BadInput: compiled is wanted and numba is missing.
    """
    if not compiled:
        from assay.simulate.events import begin, run

        return Kernel(begin, run, False)
    if not available():
        raise BadInput(
            "The compiled kernel needs numba.", "Install assay-llm[fast], or leave it to plain Python."
        )
    return _compiled()


@lru_cache(maxsize=1)
def _compiled() -> Kernel:
    import numba

    config: Any = numba.config

    modules = [import_module(f"assay.simulate.{name}") for name in MODULES]
    namespace: dict[str, Any] = {}
    functions: list[FunctionType] = []
    for module in modules:
        namespace |= {key: value for key, value in vars(module).items() if not key.startswith("__")}
        functions += [
            f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__
        ]
    namespace |= {"__name__": __name__, "__builtins__": __builtins__}
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_folder())
    try:
        for function in functions:
            twin = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__)
            # a cached function holds all that it calls, so only the entries are kept
            entry = function.__name__ in ENTRIES
            namespace[function.__name__] = numba.njit(cache=entry, error_model="numpy")(twin)
    finally:
        config.CACHE_DIR = before
    from assay.simulate.reference import Reference

    begin, run = namespace["begin"], namespace["run"]

    def begin_by_reference(state: State, users: int) -> None:
        begin(Reference(*state), users)

    def run_by_reference(state: State) -> int:
        return int(run(Reference(*state)))

    return Kernel(begin_by_reference, run_by_reference, True)


def mark() -> None:
    """Note that the compiled kernel is in the cache."""
    with suppress(OSError):
        (_folder() / _MARK).touch()


def _folder() -> Path:
    return cache_directory() / f"kernel-{_fingerprint()}"


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    total = hashlib.sha256()
    for name in (*MODULES, "state", "reference", "compiled"):
        total.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return total.hexdigest()[:12]
