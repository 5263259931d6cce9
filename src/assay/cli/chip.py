"""`assay chip`: every fact of a chip with unit, source, date, basis and conflicts."""

from __future__ import annotations

import sys

from assay.catalogue.load import catalogue
from assay.cli.flags import Facts, Name
from assay.report.facts import chip_json, chip_page


def chip(name: Name, /, *, facts: Facts = (), json: bool = False) -> int:
    """Show a chip: every fact with unit, source, date and conflicts.

    Args:
        name: chip, or a system for the chip in it.
        facts: folder of your own chips; may be repeated.
        json: write it as JSON, figures in SI units.
    """
    known = catalogue(facts)
    if json:
        from assay.report.export import write_json

        write_json(chip_json(known, name), sys.stdout)
    else:
        from assay.report.terminal import put

        put(chip_page(known, name))
    return 0
