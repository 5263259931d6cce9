"""The kernel's state behind one pointer, for the compiled kernel; needs numba.

Passed as a named tuple, every call of every function would copy a few hundred words.
"""

from __future__ import annotations

from typing import Any

from assay.simulate.state import State

try:
    from numba.core import types
    from numba.experimental import structref

    unliteral: Any = types.unliteral
    define_proxy: Any = structref.define_proxy

    @structref.register
    class StateType(types.StructRef):
        """Type of `Reference` in compiled code."""

        def preprocess_fields(self, fields: Any) -> Any:
            """Return the fields without literal types."""
            return tuple((name, unliteral(kind)) for name, kind in fields)

    class Reference(structref.StructRefProxy):
        """A pointer to the arrays of a `State`."""

        def __new__(cls, *arrays: Any) -> Any:
            """Take the arrays in the order of `State`."""
            make: Any = structref.StructRefProxy.__new__
            return make(cls, *arrays)

    define_proxy(Reference, StateType, list(State._fields))
except ImportError:  # plain Python runs on the state itself
    Reference = None  # type: ignore[assignment,misc]
