"""The kernel in its two forms: plain Python, and the same source compiled by numba (see `making`).

Machine code is kept in the user's cache, in a file named after the source: a changed source never meets old
code, nor does another processor. Loading it takes llvmlite, which comes with numba, and not numba itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from assay.catalogue.compiled import cache_directory
from assay.errors import BadInput
from assay.simulate.state import State

#: Modules of the kernel, callees first.
MODULES = (
    "walking",
    "queues",
    "log",
    "intake",
    "blocks",
    "offload",
    "prefix",
    "turns",
    "scheduler",
    "replica",
    "routing",
    "health",
    "events",
)

ENTRY = "serve"


@dataclass(frozen=True, slots=True)
class Kernel:
    """The entry point `serve(state, users)`, and whether it is compiled."""

    serve: Callable[[State, int], int]
    compiled: bool


def available() -> bool:
    """Return whether numba is installed."""
    return find_spec("numba") is not None


def ready() -> bool:
    """Return whether the compiled kernel has been made before and only needs to be loaded."""
    return available() and _file().exists()


def kernel(compiled: bool) -> Kernel:
    """Return the kernel in one of its forms.

    Raises:
        BadInput: compiled is wanted and numba is missing.
    """
    if not compiled:
        from assay.simulate.events import serve

        return Kernel(serve, False)
    if not available():
        raise BadInput(
            "The compiled kernel needs numba.", "Install assay-llm[fast], or leave it to plain Python."
        )
    return Kernel(_loaded(), True)


@lru_cache(maxsize=1)
def _loaded() -> Callable[[State, int], int]:
    """Return the compiled entry point, made first where the cache does not have it."""
    from llvmlite import binding

    llvm: Any = binding
    about, code = _kept(llvm) or _made(llvm)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in about["outside"]:
        if not llvm.address_of_symbol(name):
            llvm.add_symbol(name, _outside(name))
    machine = llvm.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="jitdefault")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address(about["entry"])
    )

    def serve(state: State, users: int, _engine: Any = engine) -> int:
        given: Any = state
        words = np.array([(array.ctypes.data, len(array)) for array in given], dtype=np.int64)
        return int(call(words.ctypes.data, users))

    return serve


def _outside(name: str) -> int:
    """Return the address of a function that the code names and does not have.

    All but the C library's belong to the exits of Python errors, and the kernel raises none.
    """
    library: Any = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    known = getattr(library, name.removeprefix("numba_"), library.abort)
    return int(ctypes.cast(known, ctypes.c_void_p).value or 0)


def _processor(llvm: Any) -> str:
    return f"{llvm.get_default_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


def _kept(llvm: Any) -> tuple[dict[str, Any], bytes] | None:
    """Return (about, machine code) from the cache; None where missing, damaged or of another processor."""
    with suppress(OSError, ValueError, KeyError):
        head, _, code = _file().read_bytes().partition(b"\n")
        about: dict[str, Any] = json.loads(head)
        same = hashlib.sha256(code).hexdigest() == about["digest"]
        if same and about["processor"] == _processor(llvm):
            return about, code
    return None


def _made(llvm: Any) -> tuple[dict[str, Any], bytes]:
    """Return (about, machine code) made now, and keep it in the cache where that can be written."""
    from assay.simulate.making import make

    made = make(MODULES, ENTRY)
    about = {
        "entry": made.entry,
        "outside": made.outside,
        "processor": _processor(llvm),
        "digest": hashlib.sha256(made.code).hexdigest(),
    }
    with suppress(OSError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}")
        new.write_bytes(json.dumps(about).encode() + b"\n" + made.code)
        new.replace(file)
    return about, made.code


def _file() -> Path:
    return cache_directory() / f"kernel-{_fingerprint()}.o"


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    total = hashlib.sha256(f"{version('numba')} {version('llvmlite')}".encode())
    for name in (*MODULES, "state", "rows", "forms", "making", "compiled"):
        total.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return total.hexdigest()[:12]
