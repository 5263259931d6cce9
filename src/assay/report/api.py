"""Self-hosting against APIs on a page: from which load the deployment above is cheaper than each host."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number
from assay.report.panels import grid
from assay.study.answer import Row

_MOST = 8


def api_panel(row: Row) -> Iterator[RenderableType]:
    """Yield the hosts of the row's model, cheapest first; nothing where none was asked for."""
    if not row.api:
        return
    yield Text("\nSelf-host or API: cheaper than the host from this load on, 80 % range:", style="bold")
    table = grid("left", "right", "right", "right", "right", "right", "right")
    words = ("host", "$/M in", "cached", "$/M out", "$/1000 requests", "load", "requests/s")
    table.add_row(*(Text(word, style="dim") for word in words))
    for item in row.api["offers"][:_MOST]:
        prices, load = item["usd_per_million"], item["break_even_load"]
        cached = prices["cached_input"]
        rate = item["break_even_requests_per_s"]
        low, value, high = (100 * float(load[part]) for part in ("low", "value", "high"))
        share = f"{number(value, 2)} % ({number(low, 2)}–{number(high, 2)})" if value <= 100 else "never"
        table.add_row(
            item["provider"],
            number(float(prices["input"])),
            "–" if cached is None else number(float(cached)),
            number(float(prices["output"])),
            number(1000 * float(item["usd_per_request"])),
            share,
            "–" if rate is None else number(float(rate)),
        )
    yield table
    if (rest := len(row.api["offers"]) - _MOST) > 0:
        yield Text(f"{rest} dearer ones with --json", style="dim")
    asked = f"Asked in {row.api['date']}, {row.api['source']}"
    yield Text(f"{asked}; load is a share of the row's own.", style="dim")
