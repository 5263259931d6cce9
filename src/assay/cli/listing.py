"""`assay list`: compact tables of what the catalogue knows."""

from __future__ import annotations

import sys
from typing import Literal

from assay.cli.flags import Facts, Name
from assay.report.listing import COLUMNS, page, rows


def listing(
    what: Literal["models", "chips", "systems", "prices", "workloads"],
    match: Name | None = None,
    /,
    *,
    facts: Facts = (),
    json: bool = False,
) -> int:
    """List models, chips, systems, prices or workloads.

    Args:
        what: which list.
        match: show only rows that hold this text.
        facts: folder of your own facts; may be repeated.
        json: write it as JSON, figures in SI units.
    """
    found = rows(what, facts, match or "")
    if json:
        from assay.report.export import write_json

        write_json(found, sys.stdout)
    else:
        from assay.report.terminal import put, terminal

        put(page(found, COLUMNS[what], terminal().width))
    return 0
