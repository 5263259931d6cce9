"""`assay system`: a system, its chip and its network, every fact with its source."""

from __future__ import annotations

import sys

from assay.catalogue.load import catalogue
from assay.cli.flags import Facts, Name
from assay.report.facts import system_json, system_page


def system(name: Name, /, *, facts: Facts = (), json: bool = False) -> int:
    """Show a system: its chip, its network, every fact with its source.

    Args:
        name: system, or a chip for the first system that has it.
        facts: folder of your own systems; may be repeated.
        json: write it as JSON, figures in SI units.
    """
    known = catalogue(facts)
    if json:
        from assay.report.export import write_json

        write_json(system_json(known, name), sys.stdout)
    else:
        from assay.report.terminal import put

        put(system_page(known, name))
    return 0
