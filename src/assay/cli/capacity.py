"""`assay capacity`: a day or a week of traffic over candidate deployments; which is cheapest and holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from assay.cli.flags import Count, Facts
from assay.cli.progress import progress
from assay.errors import NotMet

_INTERRUPTED = 130


def capacity(
    study: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(accepts_keys=False)] = None,
    workers: Count | None = None,
    facts: Facts = (),
    json: bool = False,
) -> int:
    """Compare candidate deployments over a day or a week of traffic.

    Args:
        study: YAML file: model, traffic, limits, candidates, routers, scaling.
        out: file of results, one run a line; a second call skips what it holds. Beside the study without it.
        workers: processes at most; without it as many as there are processors.
        facts: folder of your own chips, systems, prices, models, workloads; may be repeated.
        json: write the comparison as JSON.
    """
    from assay.plan.capacity import cases, compared, run
    from assay.plan.capacity_file import read

    asked = read(study, facts)
    results = out or study.with_suffix(".results.jsonl")
    found: list[tuple[Any, dict[str, Any]]] = []
    with progress() as report:
        try:
            found.extend(run(asked, results, workers or 0, report))
        except KeyboardInterrupt:
            if not found:
                raise
    data = compared(asked, found)
    if json:
        from assay.report.export import write_json

        write_json(data, sys.stdout)
    else:
        from assay.report.capacity import capacity_page
        from assay.report.terminal import put

        put(capacity_page(data))
    if len(found) < len(cases(asked)):
        return _INTERRUPTED
    if data["best"] is None:
        raise NotMet("No candidate keeps enough requests within the limits.", "Add replicas or candidates.")
    return 0
