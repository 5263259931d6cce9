"""`assay check`: integrity of the facts, the user's own included."""

from __future__ import annotations

import sys
from collections import Counter

from assay.catalogue.check import check as findings
from assay.cli.flags import Facts


def check(*, facts: Facts = (), json: bool = False) -> int:
    """Check the facts: sources resolve, units are known, values are sane, totals agree.

    Args:
        facts: folder or file of your own facts; may be repeated.
        json: write the findings as JSON.
    """
    found = findings(extra=facts)
    levels = Counter(item.level for item in found)
    if json:
        from assay.report.export import write_json

        fields = ("level", "file", "field", "message")
        write_json([{name: getattr(item, name) for name in fields} for item in found], sys.stdout)
    else:
        for item in found:
            print(item)
        print(f"{levels['error']} errors, {levels['warning']} warnings")
    return 2 if levels["error"] else 0
