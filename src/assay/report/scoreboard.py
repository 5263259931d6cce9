"""Accuracy as pages: the terminal table of `assay validate`, docs/accuracy.md, README table, ratchet."""

from __future__ import annotations

import html as escape
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from assay.errors import BadInput

#: Markers in README.md between which the table is written.
MARKERS = ("<!-- accuracy -->", "<!-- /accuracy -->")

#: How much worse, relative, a figure may get by rounding and reordering before the ratchet catches.
SLACK = 0.02

_METRICS = {
    "tpot": "TPOT",
    "ttft": "TTFT",
    "throughput": "throughput per chip",
    "e2e": "E2E",
    "energy": "energy per token",
}
_COLUMNS = {
    "n": "points",
    "median_ape": "median error",
    "mape": "mean error",
    "p90_ape": "90th percentile",
    "median_ratio": "predicted / measured",
    "coverage80": "inside 80 % interval",
    "width80": "width of it",
    "below_floor": "better than physics",
}


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent, a dash where it is unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def cell(name: str, value: float | int | None) -> str:
    """Return a figure of a metric as text."""
    if value is None:
        return "–"
    if name == "n":
        return f"{int(value):,}"
    return f"{value:.3f}" if name == "median_ratio" else percent(float(value))


def page(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the parts of the terminal page of a validation.

    Args:
        result: what `Validation.json` returns.
    """
    yield Text(f"{result['answered']:,} of {result['points']:,} points answered")
    for reason, count in result["unanswered"].items():
        yield Text(f"  {count:>6,}  {reason}", style="dim")
    yield _table(result["metrics"], "metric")
    apart = result["apart"]
    if apart["points"]:
        flags = ", ".join(f"{name} {count:,}" for name, count in apart["flags"].items())
        yield Text(f"{apart['points']:,} points are set apart and not in the figures above: {flags}")
        if apart["points"] == result["points"]:
            yield _table(apart["metrics"], "set apart")
    for key, groups in result["by"].items():
        for metric, words in _METRICS.items():
            if rows := _grouped(groups, metric):
                yield Text(f"{words} by {key}", style="bold")
                yield _table(rows, key)
    worst = result["worst"]
    if worst:
        yield Text("Furthest off", style="bold")
        for item in worst:
            yield Text(
                f"  {_METRICS[item['metric']]} x{item['ratio']:.2f}  {item['what']}  ({item['reason']})"
            )


def _grouped(groups: Mapping[str, Any], metric: str, least: int = 1) -> dict[str, Mapping[str, Any]]:
    """Return the figures of a metric in each group that has at least so many points of it."""
    found = {name: item["metrics"].get(metric, {}) for name, item in groups.items()}
    return {name: figures for name, figures in found.items() if figures.get("n", 0) >= least}


def _table(rows: Mapping[str, Mapping[str, Any]], first: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column(first)
    for name in ("n", "median_ape", "mape", "p90_ape", "median_ratio", "coverage80", "width80"):
        table.add_column(_COLUMNS[name], justify="right")
    for label, figures in rows.items():
        if figures["n"]:
            cells = [cell(name, figures[name]) for name in list(_COLUMNS)[:-1]]
            table.add_row(_METRICS.get(label, label), *cells)
    return table


def markdown_table(rows: Mapping[str, Mapping[str, Any]], first: str, columns: Sequence[str]) -> str:
    """Return rows of figures as a Markdown table."""
    lines = [
        "| " + " | ".join([first, *(_COLUMNS[name] for name in columns)]) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for label, figures in rows.items():
        if figures.get("n"):
            cells = [cell(name, figures.get(name)) for name in columns]
            lines.append("| " + " | ".join([_METRICS.get(label, label), *cells]) + " |")
    return "\n".join(lines)


def accuracy_page(
    results: Mapping[str, Mapping[str, Any]], questions: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return `docs/accuracy.md`.

    Args:
        results: name of a set of points -> its validation (`Validation.json`) with `by`.
        questions: question in words -> validation with that group left out.
    """
    columns = ("n", "median_ape", "p90_ape", "median_ratio", "coverage80", "width80")
    parts = [
        "# Accuracy",
        "",
        "This page is written by `python scripts/accuracy.py`. Its figures are tested: the build fails when",
        "one gets worse. Errors are |predicted / measured - 1|. A point without a prediction is counted with",
        "the reason; a point whose source or own numbers contradict themselves is set apart, not dropped.",
        "",
        "The tables by set score points that the calibration was fitted to: they say how well it describes",
        "what is known, not how well it foresees. That is the table of questions, where whole groups are",
        "left out of the fit; `python scripts/accuracy.py FOLDER --left-out` computes it.",
        "",
    ]
    if questions:
        parts += ["## On what was never seen", "", question_table(questions), ""]
    for name, result in results.items():
        parts += [f"## {name}", ""]
        share = result["answered"] / max(result["points"], 1)
        parts += [f"{result['answered']:,} of {result['points']:,} points answered ({percent(share)}).", ""]
        parts += [markdown_table(result["metrics"], "metric", columns), ""]
        if result["unanswered"]:
            listed = "; ".join(f"{reason} {count:,}" for reason, count in result["unanswered"].items())
            parts += [f"Not answered: {listed}.", ""]
        if result["apart"]["points"]:
            listed = "; ".join(f"{flag} {count:,}" for flag, count in result["apart"]["flags"].items())
            parts += [f"Set apart: {result['apart']['points']:,} points ({listed}).", ""]
        for key, groups in result["by"].items():
            for metric in ("tpot", "throughput", "ttft"):
                if rows := _grouped(groups, metric, 5):
                    parts += [f"### {_METRICS[metric]} by {key}", "", markdown_table(rows, key, columns), ""]
    return "\n".join(parts).rstrip() + "\n"


def question_table(questions: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of questions: median error of each metric, and how many lie in their interval."""
    metrics = ("tpot", "throughput", "ttft")
    head = [f"{_METRICS[name]}: median error | in 80 % interval" for name in metrics]
    lines = ["| question | " + " | ".join(head) + " |", "|---|" + "---:|---:|" * len(metrics)]
    for question, result in questions.items():
        cells = []
        for name in metrics:
            figures = result["metrics"][name]
            cells += [percent(figures["median_ape"]), percent(figures["coverage80"])]
        lines.append(f"| {question} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def readme(text: str, table: str) -> str:
    """Return README text with the table between its markers.

    Raises:
        BadInput: the markers are not there, once each and in order.
    """
    start, end = MARKERS
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise BadInput(f"README.md needs {start} and {end}, once each and in order.")
    before, rest = text.split(start)
    return f"{before}{start}\n{table}\n{end}{rest.split(end)[1]}"


def ratchet(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures that may not get worse: source -> metric -> n, median error."""
    return {
        source: {
            metric: {"n": figures["n"], "median_ape": round(figures["median_ape"], 4)}
            for metric, figures in item["metrics"].items()
            if figures["n"] >= 5
        }
        for source, item in result["by"]["source"].items()
        if any(figures["n"] >= 5 for figures in item["metrics"].values())
    }


def worse(now: Mapping[str, Any], before: Mapping[str, Any], slack: float = SLACK) -> list[str]:
    """Return what got worse since the ratchet was written, one sentence each.

    Args:
        now, before: what `ratchet` returns.
        slack: relative play.
    """
    out = []
    for source, metrics in before.items():
        for metric, figures in metrics.items():
            today = now.get(source, {}).get(metric)
            if today is None or today["n"] < figures["n"]:
                count = 0 if today is None else today["n"]
                out.append(f"{source}: {metric} answers {count} points, {figures['n']} before")
            elif today["median_ape"] > figures["median_ape"] * (1 + slack) + 1e-3:
                was = percent(figures["median_ape"])
                out.append(f"{source}: {metric} is off by {percent(today['median_ape'])}, {was} before")
    return out


def html(result: Mapping[str, Any], points: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Return the validation as one HTML file without scripts: tables, and predicted against measured.

    Args:
        result: what `Validation.json` returns.
        points: metric -> (measured, predicted) pairs, SI.
        title: of the page.
    """
    parts = [f"<h1>{escape.escape(title)}</h1>"]
    parts.append(f"<p>{result['answered']:,} of {result['points']:,} points answered.</p>")
    parts.append(_html_table(result["metrics"], "metric"))
    parts += [_plot(_METRICS[metric], pairs) for metric, pairs in points.items() if len(pairs)]
    for reason, count in result["unanswered"].items():
        parts.append(f"<p class=dim>{count:,} not answered: {escape.escape(reason)}</p>")
    for key, groups in result["by"].items():
        for metric, words in _METRICS.items():
            if rows := _grouped(groups, metric):
                parts.append(f"<h2>{words} by {escape.escape(key)}</h2>{_html_table(rows, key)}")
    if result["worst"]:
        rows_ = "".join(
            f"<tr><td>{_METRICS[item['metric']]}<td>{item['ratio']:.2f}<td>{escape.escape(item['what'])}"
            f"<td>{escape.escape(item['reason'])}<td>{escape.escape(item['source'])}"
            for item in result["worst"]
        )
        head = "<tr><th>metric<th>predicted / measured<th>what<th>why<th>source"
        parts.append(f"<h2>Furthest off</h2><table>{head}{rows_}</table>")
    top = f"<!doctype html><meta charset=utf-8><title>{escape.escape(title)}</title><style>{_STYLE}</style>"
    return top + "\n".join(parts)


_STYLE = (
    "body{font:14px system-ui;max-width:70em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}.dim{color:#666}svg{margin:1em 1em 1em 0}"
)


def _html_table(rows: Mapping[str, Mapping[str, Any]], first: str) -> str:
    head = "".join(f"<th>{name}" for name in _COLUMNS.values())
    body = "".join(
        f"<tr><td>{escape.escape(_METRICS.get(label, label))}"
        + "".join(f"<td>{cell(name, figures[name])}" for name in _COLUMNS)
        for label, figures in rows.items()
        if figures["n"]
    )
    return f"<table><tr><th>{escape.escape(first)}{head}{body}</table>"


def _plot(title: str, pairs: Sequence[tuple[float, float]], size: int = 320) -> str:
    """Return an SVG of predicted against measured, both logarithmic, with the diagonal."""
    from math import log10

    logs = [
        (log10(measured), log10(predicted)) for measured, predicted in pairs if measured > 0 and predicted > 0
    ]
    if not logs:
        return ""
    low = min(min(pair) for pair in logs)
    span = max(max(max(pair) for pair in logs) - low, 1e-9)
    dots = "".join(
        f'<circle cx="{(x - low) / span * size:.1f}" cy="{size - (y - low) / span * size:.1f}" r="1.5"/>'
        for x, y in logs[:4000]
    )
    return (
        f'<svg width="{size}" height="{size + 24}" viewBox="0 -4 {size} {size + 24}" role="img" '
        f'aria-label="{title}: predicted against measured"><g fill="#357" fill-opacity=".4">{dots}</g>'
        f'<path d="M0 {size}L{size} 0" stroke="#c33" fill="none"/>'
        f'<text x="4" y="{size + 16}">{title}: measured →, predicted ↑</text></svg>'
    )
