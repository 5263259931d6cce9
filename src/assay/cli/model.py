"""`assay model`: parameters, formats and memory of a model, every term with its formula."""

from __future__ import annotations

import sys

from assay.cli.flags import Facts, Name
from assay.engine.models import model as load
from assay.report.model import model_json, model_page


def model(name: Name, /, *, facts: Facts = (), json: bool = False) -> int:
    """Show a model: parameters, formats, memory with every term.

    Args:
        name: name, Hugging Face id, or path of a config.json.
        facts: folder of your own models; may be repeated.
        json: write it as JSON.
    """
    found, entry = load(name, facts)
    if json:
        from assay.report.export import write_json

        write_json(model_json(found.name, found.architecture, entry), sys.stdout)
    else:
        from assay.report.terminal import put

        put(model_page(found.name, found.architecture, entry))
    return 0
