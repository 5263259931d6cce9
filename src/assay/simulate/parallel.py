"""Runs that do not depend on each other, over the processors of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from assay.errors import BadInput

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """Return the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def each(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int = 0
) -> Iterator[tuple[int, Result]]:
    """Yield (place of the item, result), each as soon as it is there.

    When the caller stops listening, because of Ctrl-C or an error, runs that have not finished are ended.

    Args:
        work: a function at the top of a module, since other processes import it.
        items: what it is called with; sent to the other processes.
        workers: processes; 0 = as many as there are processors; one = this process itself.

    Raises:
        BadInput: a process was killed, as happens when memory runs out.
        AssayError: as raised by `work`.
    """
    workers = min(workers or processors(), len(items))
    if workers <= 1:
        yield from ((place, work(item)) for place, item in enumerate(items))
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    finished = False
    try:
        with _ignoring_interrupts():
            futures: dict[Future[Result], int] = {
                pool.submit(work, item): place for place, item in enumerate(items)
            }
        for future in as_completed(futures):
            yield futures[future], future.result()
        finished = True
    except BrokenProcessPool:
        raise BadInput(
            "A process that simulated was ended from outside: memory may have run out.",
            "Use fewer processes (--workers 1) or less traffic.",
        ) from None
    finally:
        pool.shutdown(wait=finished, cancel_futures=True)
        if not finished:
            for child in multiprocessing.active_children():
                child.terminate()


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one: they inherit what is ignored."""
    try:
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, where signals cannot be set
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
