"""Energy by phase on a page: one line, joules of what comes in and of what goes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from assay.report.figures import number
from assay.study.answer import Row


def energy_line(row: Row) -> Iterator[Text]:
    """Yield what the boards take by phase, and a facility with a PUE; nothing without power."""
    energy = row.energy
    if not energy:
        return
    parts = [
        f"{_joules(energy['joules_per_input_token'])} per input token",
        f"{_joules(energy['joules_per_generated_token'])} per generated token",
        f"prompts take {number(100 * energy['prompt_share'], 2)} % of it",
    ]
    if "facility" in energy:
        facility = energy["facility"]
        whole = _joules(facility["joules_per_output_token"])
        parts.append(f"facility at PUE {facility['pue']:g}: {whole} per output token")
    yield Text(f"Boards: {' · '.join(parts)}", style="dim")


def _joules(figure: Mapping[str, Any]) -> str:
    return f"{number(float(figure['value']), 2)} J"
