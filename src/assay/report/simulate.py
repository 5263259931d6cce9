"""The page of `assay simulate`: percentiles, service, queue over time, money and energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from assay.report.figures import number
from assay.report.panels import grid
from assay.units import show

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72
_TITLES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "e2e_s": "E2E"}
#: Figures whose interval over seeds is shown -> title and unit.
_SEEDED = {
    "ttft_s.mean": ("TTFT mean", "s"),
    "ttft_s.p50": ("TTFT p50", "s"),
    "ttft_s.p99": ("TTFT p99", "s"),
    "tpot_s.mean": ("TPOT mean", "s"),
    "tpot_s.p99": ("TPOT p99", "s"),
    "e2e_s.mean": ("E2E mean", "s"),
    "e2e_s.p99": ("E2E p99", "s"),
    "goodput_per_s": ("goodput", "/s"),
    "good_share": ("within limits", "%"),
    "output_tokens_per_s": ("output", "tok/s"),
    "usd_per_million_output_tokens": ("per million output tokens", "USD"),
    "joules_per_output_token": ("per output token", "J"),
}
_COLUMNS = ("mean", "p50", "p90", "p99", "p99_9")


def simulate_page(data: Mapping[str, Any], headline: str) -> Iterator[RenderableType]:
    """Yield the parts of the page.

    Args:
        data: `Outcome.json()` with `pace`, and with `saturation` where it was searched for.
        headline: what was simulated, in words.
    """
    yield Text(headline, style="bold")
    yield Text(_ended(data))
    yield Text()
    yield percentiles(data)
    yield Text()
    yield from service(data)
    yield from timeline(data["timeline"])
    yield from tipping(data.get("saturation"))
    yield from seeds(data.get("seeds"))
    for note in data["notes"]:
        yield Text(f"note: {note}", style="yellow")
    if data["quantile_error"]:
        yield Text(f"quantiles from a histogram, within {data['quantile_error']:.1%}", style="dim")


def _ended(data: Mapping[str, Any]) -> str:
    parts = [
        f"{data['completed']:,} of {data['requests']:,} requests completed in {show(data['duration_s'], 's')}"
    ]
    parts += [
        f"{data[name]:,} {name}" for name in ("rejected", "deferred", "failed", "unserved") if data[name]
    ]
    return ", ".join(parts)


def percentiles(data: Mapping[str, Any]) -> RenderableType:
    """Return the table of latencies."""
    table = grid("left", "right", "right", "right", "right", "right")
    table.add_row("", *(Text(name.replace("_", "."), style="dim") for name in _COLUMNS))
    for key, title in _TITLES.items():
        table.add_row(title, *(show(float(data[key][name]), "s") for name in _COLUMNS))
    return table


def service(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield throughput, goodput, utilisation, cache and what it costs."""
    table = grid("left", "left")
    rows: list[tuple[str, str]] = [
        (
            "requests",
            f"{number(data['requests_per_s'])}/s, {number(data['goodput_per_s'])}/s within the limits "
            f"({data['good_share']:.1%})",
        ),
        (
            "output",
            f"{number(data['output_tokens_per_s'])} tok/s on {data['chips']:,} "
            f"chip{'' if data['chips'] == 1 else 's'}, "
            f"{number(data['output_tokens_per_s_per_chip'])} tok/s/chip",
        ),
        (
            "steps",
            f"units busy {data['utilisation']:.1%}, {data['prompt_share']:.0%} of it with prompts, "
            f"mean batch {number(data['mean_batch'])}",
        ),
        (
            "cache",
            f"peak {data['cache_peak']:.0%} of {number(data['cache_tokens'])} tokens, "
            f"{data['hit_rate']:.1%} of input tokens hit, {data['preemptions']:,} preemptions",
        ),
    ]
    if data["usd_per_request"] is not None:
        rows.append(
            (
                "money",
                f"{number(data['usd_per_million_output_tokens'])} USD per million output tokens, "
                f"{data['usd_per_request'] * 1e3:.3g} USD per thousand requests",
            )
        )
    if data["joules_per_request"] is not None:
        rows.append(
            (
                "energy",
                f"{number(data['joules_per_request'])} J a request, "
                f"{number(data['joules_per_output_token'])} J an output token, "
                f"{number(data['watts_per_chip'])} W a chip",
            )
        )
    rows += _options(data)
    for name, text in rows:
        table.add_row(Text(name, style="dim"), text)
    yield table
    yield Text()


def _options(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is only known where it was asked for: the calibrated pace, carbon, KV tiers."""
    if data.get("pace") is not None:
        yield "pace", spoken(data["pace"])
    if data["kg_co2_per_request"] is not None:
        yield (
            "carbon",
            f"{show(data['kg_co2_per_request'] * 1e3, 'g')} CO2 a request, "
            f"{show(data['kg_co2_per_million_output_tokens'] * 1e3, 'g')} per million output tokens",
        )
    for tier in data["tiers"]:
        yield (
            f"tier {tier['tier']}",
            f"peak {tier['peak']:.0%} of {number(tier['tokens'])} tokens, "
            f"{tier['hit_rate']:.1%} of input tokens hit, {number(tier['moved_tokens'])} tokens moved",
        )


def spoken(pace: Mapping[str, Any]) -> str:
    """Return the pace of steps in words."""
    return (
        f"steps x{pace['value']:.2f} of bare physics, 80 % interval {pace['low']:.2f}-{pace['high']:.2f}, "
        f"{pace['basis']}"
    )


def timeline(samples: Mapping[str, Sequence[float]]) -> Iterator[RenderableType]:
    """Yield requests waiting and running over the run as rows of blocks."""
    if len(samples["at"]) < 2:
        return
    for name in ("waiting", "running"):
        yield Text(f"{name:>8} {blocks(samples[name])} max {max(samples[name]):,.0f}")
    yield Text(f"{'':>8} 0{show(samples['at'][-1], 's'):>{_WIDTH - 1}}", style="dim")


def blocks(values: Sequence[float], width: int = _WIDTH) -> str:
    """Return values as a row of block characters, each the greatest of its share."""
    top = max(*values, 1e-12)
    edges = [k * len(values) // width for k in range(width + 1)]
    picked = [max(values[low : max(high, low + 1)]) for low, high in pairwise(edges)]
    return "".join(_BLOCKS[min(int(value / top * 8 + 0.999), 8)] for value in picked)


def tipping(found: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """Yield where the deployment tips."""
    if not found:
        return
    share, unit = found["share"], found["unit"]
    if found["load"]:
        yield Text(
            f"\nup to {number(found['load'])}{unit} {share:.0%} of the requests meet the limits", style="bold"
        )
    else:
        yield Text(f"\nno load was found at which {share:.0%} of the requests meet the limits", style="bold")


def seeds(found: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """Yield the means over seeds with their intervals."""
    if not found:
        return
    yield Text(f"\nmeans of {found['runs']} seeds; {found['level']:.0%} intervals of the mean:", style="bold")
    table = grid("left", "right", "right", "left", "right")
    for name, (title, unit) in _SEEDED.items():
        if name not in found["figures"]:
            continue
        figure = found["figures"][name]
        mean, low, high = (_seeded(figure[key], unit) for key in ("mean", "low", "high"))
        half = (figure["high"] - figure["mean"]) / figure["mean"] if figure["mean"] else 0.0
        table.add_row(title, mean, low, f"to {high}", Text(f"±{half:.1%}", style="dim"))
    yield table


def _seeded(value: float, unit: str) -> str:
    return f"{value:.2%}" if unit == "%" else show(value, unit)
