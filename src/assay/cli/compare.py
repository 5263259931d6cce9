"""`assay compare`: two results of benchmark tools side by side."""

from __future__ import annotations

import sys
from pathlib import Path

from assay.errors import NotMet


def compare(first: Path, second: Path, /, *, json: bool = False) -> int:
    """Set two results of benchmark tools side by side: what each calls what, and what may be compared.

    Args:
        first: result of vllm bench serve, SGLang, aiperf, guidellm or inference-perf.
        second: another one, of the same or of another tool.
        json: write the comparison as JSON.
    """
    from assay.catalogue.load import catalogue
    from assay.measure.compare import compare as side_by_side

    found = side_by_side(first, second)
    if json:
        from assay.report.export import write_json

        write_json(found.json(), sys.stdout)
    else:
        from assay.report.compare import compare_page
        from assay.report.terminal import put

        quantities = catalogue().table("measurements/tools")["quantities"]
        put(compare_page(found.json(), {name: str(item["title"]) for name, item in quantities.items()}))
    if found.differs:
        raise NotMet("The runs did not put the same load on the server: nothing is compared.")
    return 0
