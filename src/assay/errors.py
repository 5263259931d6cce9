"""Errors meant for the user: what is wrong, where, and what to do next.

Every error a user can cause is an `AssayError`. The command line prints `str(error)` and exits with
`exit_code`; it never shows a traceback for one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class AssayError(Exception):
    """A mistake or a limit that the user can act on.

    Args:
        message: one sentence that says what is wrong and where.
        hint: what to do next; appended to the message.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message} {hint}".strip())

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error cross from another process with its kind and all it says."""
        return _again, (type(self), self.args, self.__dict__)


class BadInput(AssayError):
    """A value, flag or file that cannot be used as given."""


class BadFact(AssayError):
    """A fact (chip, system, price, model) that is missing, malformed or contradicts itself."""


class UnknownName(AssayError):
    """A name that is not in the catalogue; says what is closest."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(set(known))
        close = difflib.get_close_matches(name.lower(), choices, n=3, cutoff=0.5)
        show = "claims" if what == "claim" else f"list {what}s"
        hint = f"Did you mean {' or '.join(close)}?" if close else f"`assay {show}` shows all."
        super().__init__(f"No {what} {name!r}.", hint)
        self.name = name
        self.close = close


class UnknownArchitecture(AssayError):
    """A model configuration whose class or field assay does not know how to count."""


class DoesNotFit(AssayError):
    """The model does not fit the memory it was asked to run in."""

    exit_code = 3


class NotMet(AssayError):
    """No deployment meets the stated objective; says what is closest and what is missing."""

    exit_code = 3


class NoEvidence(AssayError):
    """A figure is needed that nobody has published; assay refuses to invent it."""

    exit_code = 3


def _again(kind: type[AssayError], args: tuple[Any, ...], fields: Mapping[str, Any]) -> AssayError:
    """Return an error as it was raised elsewhere."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
