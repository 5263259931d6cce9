"""The prefix cache on a page: what its tiers hold and find, and what new and cached input cost apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number, tokens
from assay.report.panels import grid
from assay.study.answer import Row
from assay.units import show

_KINDS = {"new_input": "new input", "cached_input": "cached input", "output": "output, without the input"}


def cache_line(row: Row) -> Iterator[Text]:
    """Yield one sentence on the prefix cache of a row; nothing without one."""
    if not row.cache:
        return
    parts = [f"{number(100 * row.cache['hit'])} % of the input found in the prefix cache"]
    parts += [
        f"{number(100 * tier['hit'])} % in {tier['tier']}, {tokens(round(tier['tokens']))} tokens a cache"
        for tier in row.cache.get("tiers", ())
    ]
    yield Text(" · ".join(parts), style="dim")


def cache_panel(row: Row) -> Iterator[RenderableType]:
    """Yield the prefix cache of a row: tiers, times, and input apart; nothing without one."""
    cache = row.cache
    if not cache:
        return
    router = f", router: {cache['router']}" if "router" in cache else ""
    yield Text(f"\nPrefix cache: {number(100 * cache['hit'])} % of the input found{router}", style="bold")
    if "tiers" in cache:
        yield _tiers(cache["tiers"])
    fetch = cache.get("seconds_fetch", 0.0)
    loading = f", {show(fetch, 's')} to load it" if fetch else ""
    yield Text(
        f"A prompt computes {show(cache['seconds_new'], 's')}{loading}; "
        f"without the cache {show(cache['seconds_new'] + cache['seconds_saved'], 's')}"
    )
    if any(cache.get("apart", {}).values()):
        yield _apart(cache["apart"])


def _tiers(listed: list[Mapping[str, Any]]) -> RenderableType:
    table = grid("left", "right", "right", "right", "right")
    titles = ("tier", "tokens a cache", "found", "computed again", "a token loads in")
    table.add_row(*(Text(title, style="dim") for title in titles))
    for tier in listed:
        load = show(tier["seconds_per_token"], "s") if "seconds_per_token" in tier else ""
        again = f"{number(100 * tier['computed_again'])} %" if tier["computed_again"] else ""
        table.add_row(tier["tier"], f"{tier['tokens']:,.0f}", f"{number(100 * tier['hit'])} %", again, load)
    return table


def _apart(apart: Mapping[str, Mapping[str, Mapping[str, float]]]) -> RenderableType:
    table = grid("left", "right", "right")
    table.add_row(*(Text(title, style="dim") for title in ("tokens apart", "$/M", "J/token")))
    for kind, title in _KINDS.items():
        cells = (apart[kind].get(name) for name in ("usd_per_million", "joules"))
        table.add_row(title, *("–" if cell is None else number(cell["value"]) for cell in cells))
    return table
