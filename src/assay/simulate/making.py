"""Machine code of the kernel, made by numba from the functions that plain Python runs; needs numba.

Every function of the kernel's modules is compiled from its own code object with the others of the same kind
in reach, so nothing exists twice. Compiled code sees the state as a pointer to pairs of words, address and
length of each array: passed as a named tuple, every call of every function would copy a few hundred words.
What comes out asks nothing of numba any more, so a later run loads neither numba nor its memory.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType
from typing import Any

from assay.simulate.forms import kind
from assay.simulate.state import State

numba: Any = import_module("numba")
types: Any = import_module("numba.core.types")
cgutils: Any = import_module("numba.core.cgutils")
templates: Any = import_module("numba.core.typing.templates")
arrayobj: Any = import_module("numba.np.arrayobj")
extending: Any = import_module("numba.extending")
ir: Any = import_module("llvmlite.ir")
llvm: Any = import_module("llvmlite.binding")


class StateType(types.Type):
    """Type of the state in compiled code."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__(name="State")


def _array(field: str) -> Any:
    """Return numba's type of a field of the state."""
    return types.Array(numba.from_dtype(kind(field)), 1, "C", aligned=True)


ARRAYS: dict[str, Any] = {field: _array(field) for field in State._fields}


class StateFields(templates.AttributeTemplate):
    """Types of `state.units` and the like."""

    key = StateType

    def generic_resolve(self, typ: Any, attr: str) -> Any:
        """Return the type of a field."""
        return ARRAYS.get(attr)


def _field(context: Any, builder: Any, typ: Any, value: Any, attr: str) -> Any:
    """Build the array of a field from its address and length."""
    kind, place, word = ARRAYS[attr], 2 * State._fields.index(attr), ir.IntType(64)
    words = builder.bitcast(value, word.as_pointer())
    address, length = (builder.load(builder.gep(words, [ir.Constant(word, place + k)])) for k in (0, 1))
    made = arrayobj.make_array(kind)(context, builder)
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    arrayobj.populate_array(
        made,
        data=builder.inttoptr(address, made.data.type),
        shape=cgutils.pack_array(builder, [length]),
        strides=cgutils.pack_array(builder, [size]),
        itemsize=size,
        meminfo=None,
    )
    return made._getvalue()


extending.register_model(StateType)(extending.models.OpaqueModel)
templates.infer_getattr(StateFields)
extending.lower_getattr_generic(StateType)(_field)


@dataclass(frozen=True, slots=True)
class Made:
    """Machine code: `entry(pointer to the words, users) -> reason` in an object file.

    Attributes:
        code: the object file.
        entry: name of the function in it.
        outside: functions it names and does not have.
    """

    code: bytes
    entry: str
    outside: tuple[str, ...]


def make(modules: tuple[str, ...], entry: str) -> Made:
    """Return the machine code of a function of the kernel and all that it calls, for this processor.

    Args:
        modules: modules of the kernel, callees first.
        entry: the function that is called from outside, in the last of them.
    """
    namespace: dict[str, Any] = {}
    functions: list[FunctionType] = []
    for module in (import_module(f"assay.simulate.{part}") for part in modules):
        namespace |= {key: value for key, value in vars(module).items() if not key.startswith("__")}
        functions += [
            f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__
        ]
    namespace |= {"__name__": __name__, "__builtins__": __builtins__}
    twins = {}
    for function in functions:
        name = function.__name__
        twins[name] = FunctionType(function.__code__, namespace, name, function.__defaults__)
        namespace[name] = numba.njit(error_model="numpy")(twins[name])
    made: Any = numba.cfunc(types.int64(StateType(), types.int64))(twins[entry])
    module = llvm.parse_assembly(made.inspect_llvm())
    outside = (f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    return Made(target().emit_object(module), made.native_name, tuple(outside))


def target() -> Any:
    """Return LLVM's target for this processor; its code may lie anywhere."""
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="jitdefault",
    )
