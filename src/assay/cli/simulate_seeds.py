"""`assay simulate --seeds N`: the same run with several seeds, side by side."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from dataclasses import replace
from typing import Any

from assay.cli.progress import progress
from assay.cli.simulate_job import INTERRUPTED, Asked, concluded, execute, prepare, show
from assay.simulate.confidence import LEVEL, means, over
from assay.simulate.parallel import each


def run_seeds(asked: Asked, seeds: int, workers: int, *, json: bool) -> int:
    """Run the seeds from `--seed` on and print means and intervals; Ctrl-C keeps the seeds that finished.

    Args:
        asked: the flags.
        seeds: how many.
        workers: processes; 0 = as many as there are processors.
        json: print JSON instead of a page.
    """
    job = prepare(asked)  # a mistake is said once, before processes start
    items = [_with_seed(asked, asked.load.seed + k) for k in range(seeds)]
    finished: dict[int, dict[str, Any]] = {}
    whole = False
    with progress() as report:
        try:
            for place, data in each(one, items, workers):
                finished[place] = data
                report(f"{len(finished)} of {seeds} seeds", len(finished) / seeds)
            whole = True
        except KeyboardInterrupt:
            if len(finished) < 2:
                raise
    runs = [finished[place] for place in sorted(finished)]
    data = means(runs)
    data["notes"] = list(dict.fromkeys(note for run in runs for note in run["notes"]))
    if not whole:
        data["notes"].insert(0, f"interrupted: {len(runs)} of {seeds} seeds are counted")
    if len({run["duration_s"] for run in runs}) == 1:
        data["notes"].append("the seeds agree in everything: nothing of this load is drawn")
    data["seeds"] = {"runs": len(runs), "level": LEVEL, "figures": over(runs)}
    show(data, job, json=json)
    return 0 if whole else INTERRUPTED


def one(asked: Asked) -> dict[str, Any]:
    """Return the figures of one seed.

    Raises:
        KeyboardInterrupt: it was interrupted, so that its figures are not those of a whole run.
    """
    with redirect_stderr(io.StringIO()):  # what a trace lacks has been said
        job = prepare(asked)
    run = execute(job, keep=False, report=_silent)
    if not run.whole:
        raise KeyboardInterrupt
    return concluded(asked, job, run).json()


def _with_seed(asked: Asked, seed: int) -> Asked:
    return replace(asked, load=replace(asked.load, seed=seed))


def _silent(what: str, share: float) -> None:
    """Show nothing: seeds are counted, not their requests."""
