"""A progress bar on stderr for what takes longer than two seconds, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PATIENCE = 2.0


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Yield a function `(what is done, share done)`; an interruption says how far it came."""
    started, bar, last = time.monotonic(), _Bar(), [""]

    def report(what: str, share: float) -> None:
        last[0] = f"{share:.0%} was done, last: {what}."
        if sys.stderr.isatty() and time.monotonic() - started > _PATIENCE:
            bar.show(what, share)

    try:
        yield report
    except KeyboardInterrupt:
        raise KeyboardInterrupt(last[0]) from None
    finally:
        bar.close()


class _Bar:
    """A rich progress bar, made when it is first shown."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.task: Any = None

    def show(self, what: str, share: float) -> None:
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(what, total=1.0)
            self.bar.start()
        self.bar.update(self.task, description=what, completed=share)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
