"""OpenTelemetry spans of GenAI clients and servers: OTLP JSON as collectors write it, or one span a line.

Semantic conventions for generative AI: `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens` (formerly
`prompt_tokens`, `completion_tokens`), `gen_ai.conversation.id`, `gen_ai.server.time_to_first_token`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from assay.workload.readers.records import NANO, Row, Unreadable, nanoseconds, number
from assay.workload.readers.rows import shown

_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
_CACHED = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cached_tokens")
_TTFT = ("gen_ai.server.time_to_first_token", "gen_ai.latency.time_to_first_token")
_START = (("startTimeUnixNano", "ns"), ("start_time_unix_nano", "ns"), ("start_time", ""), ("startTime", ""))
_END = (("endTimeUnixNano", "ns"), ("end_time_unix_nano", "ns"), ("end_time", ""), ("endTime", ""))
_LISTS = (
    ("resourceSpans", "resource_spans"),
    ("scopeSpans", "scope_spans", "instrumentationLibrarySpans"),
    ("spans",),
)
_VALUES = ("intValue", "int_value", "doubleValue", "double_value", "stringValue", "string_value")


def is_span(record: Mapping[str, Any]) -> bool:
    """Return whether an object is a span with attributes, or an export of spans."""
    if any(key in record for key in _LISTS[0]):
        return True
    return "attributes" in record and any(key in record for key, _ in _START)


def spans(record: Mapping[str, Any]) -> Iterator[Row]:
    """Yield a row for every span that counts tokens; other spans (tools, retrieval) are no requests.

    Raises:
        Unreadable: a span whose tokens or times are no numbers.
    """
    for span in _spans(record, 0) if any(key in record for key in _LISTS[0]) else iter([record]):
        attributes = _attributes(span.get("attributes"))
        isl, osl = _first(attributes, _INPUT), _first(attributes, _OUTPUT)
        if isl is None and osl is None:
            continue
        start = _time(span, _START)
        end = _time(span, _END) if any(key in span for key, _ in _END) else None
        yield Row(
            start,
            number(attributes, isl or _INPUT[0], text=True),
            number(attributes, osl or _OUTPUT[0], text=True),
            session=str(attributes.get("gen_ai.conversation.id") or ""),
            measured={
                "e2e_s": float("nan") if end is None else (end - start) / NANO,
                "ttft_s": _optional(attributes, _TTFT),
                "cached_tokens": _optional(attributes, _CACHED),
            },
        )


def _spans(record: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    for key in _LISTS[depth]:
        items = record.get(key)
        if items is None:
            continue
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Unreadable(f"{key} is {shown(items)}, not a list of objects")
        for item in items:
            if depth == len(_LISTS) - 1:
                yield item
            else:
                yield from _spans(item, depth + 1)


def _attributes(given: object) -> Mapping[str, Any]:
    """Return attributes as a mapping, from a mapping or OTLP's list of {key, value: {intValue: ...}}."""
    if isinstance(given, dict):
        return given
    found: dict[str, Any] = {}
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict) and isinstance(item.get("key"), str):
            value = item.get("value")
            if isinstance(value, dict):
                value = next((value[kind] for kind in _VALUES if kind in value), None)
            found[item["key"]] = value
    return found


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if attributes.get(name) is not None), None)


def _optional(attributes: Mapping[str, Any], names: tuple[str, ...]) -> float:
    name = _first(attributes, names)
    if name is None:
        return float("nan")
    return number(attributes, name, text=True)


def _time(span: Mapping[str, Any], names: tuple[tuple[str, str], ...]) -> int:
    for key, unit in names:
        if span.get(key) is not None:
            return nanoseconds(span, key, unit)
    raise Unreadable(f"no {names[0][0]}")
