"""One text file as checked rows: tells tables from objects, and which objects they are, by their content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from assay.errors import BadInput
from assay.workload.readers import agents, records, rows, spans, tables
from assay.workload.readers.rows import Rows
from assay.workload.readers.source import BadRow, Source

_LARGEST_DOCUMENT = 1 << 28
_MOONCAKE = {"timestamp", "input_length", "output_length"}


class TextReader:
    """Reads one text file.

    Attributes:
        source: the file.
        name: of the file.
        format: key of `traces.FORMATS`, once the first rows were seen.
        notes: what was assumed.
    """

    def __init__(self, source: Source, columns: Mapping[str, str], time_unit: str) -> None:
        """Take a file and what the user says of its columns."""
        self.source, self.columns, self.time_unit = source, columns, time_unit
        self.name = source.name
        self.notes: list[str] = []
        self.format = ""
        self.extract: records.Extractor | None = None

    def chunks(self) -> Iterator[Rows]:
        """Yield rows whose values were checked."""
        start = self.source.head.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
        first = start.partition("\n")[0].strip()
        if start.startswith("[") or first == "{":
            found = self._document()
        elif start.startswith("{"):
            found = self._lines()
        else:
            found = self._table()
        for part in found:
            yield rows.checked(part)

    def _table(self) -> Iterator[Rows]:
        head = self.source.head.decode("utf-8", "replace")
        table = tables.layout(head, self.name, self.columns, self.time_unit)
        self.format = table.format
        if table.format == "azure":
            self.format = "azure-2024" if "+00:00" in head else "azure-2023"
        self.notes = table.notes
        for first, lines in self.source.blocks():
            yield tables.read_rows(lines, first, table)

    def _lines(self) -> Iterator[Rows]:
        for first, lines in self.source.blocks():
            bad: list[BadRow] = []
            found = list(records.parsed(lines, first, bad))
            if self.extract is None and found:
                self._recognise([record for _, record in found])
            if self.extract is None:
                yield Rows(np.empty(0, np.int64), None, np.empty(0), np.empty(0), bad=bad)
            else:
                yield records.read_rows(iter(found), self.extract, bad)

    def _document(self) -> Iterator[Rows]:
        text, size = [], 0
        for _, lines in self.source.blocks():
            text.append("\n".join(lines))
            size += len(text[-1])
            if size > _LARGEST_DOCUMENT:
                raise BadInput(
                    f"{self.name!r} is one JSON document of over 256 MiB.", "Write one object a line."
                )
        found = records.document("\n".join(text), self.name)
        self.notes.append("The file is one JSON document: lines are numbers of its objects.")
        if found:
            self._recognise(found)
        if self.extract is not None:
            yield records.read_rows(iter(enumerate(found, 1)), self.extract, [])

    def _recognise(self, found: list[Mapping[str, Any]]) -> None:
        """Settle format and extractor by the first object that is known.

        Raises:
            BadInput: none is.
        """
        problem: BadInput | None = None
        for record in found:
            try:
                self.format, self.extract = _extractor(record, self.columns, self.time_unit, self.name)
            except BadInput as error:
                problem = problem or error
            else:
                return
        if problem is not None:
            raise problem


def _extractor(
    record: Mapping[str, Any], columns: Mapping[str, str], time_unit: str, name: str
) -> tuple[str, records.Extractor]:
    """Return name and extractor of the format an object is of.

    Raises:
        BadInput: none.
    """
    event = record.get("event")
    keys = set(record)
    known: tuple[tuple[str, bool, Callable[[], records.Extractor]], ...] = (
        (
            "dynamo",
            isinstance(event, dict) and event.get("schema") == agents.DYNAMO_SCHEMA,
            lambda: agents.dynamo,
        ),
        ("tracelab", keys >= {"timing_events", "input_tokens_total"}, lambda: agents.tracelab),
        ("opentelemetry", spans.is_span(record), lambda: spans.spans),
        ("bailian", keys >= {"chat_id", "hash_ids", "input_length"}, records.bailian),
        ("mooncake", keys >= _MOONCAKE and not time_unit, lambda: records.mooncake),
    )
    for format_name, matches, extractor in known:
        if matches and not columns:
            return format_name, extractor()
    return "jsonl", records.generic(record, columns, time_unit, name)
