"""A file as numbered lines of text, plain or gzip, in blocks of bounded memory.

What is damaged (compressed data that end early, a line without end) becomes a `BadRow`, and everything before
it is still read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.errors import BadInput

_BLOCK = 1 << 20
_PIECE = 1 << 14
_HEAD = 1 << 16
_LONGEST_LINE = 1 << 26
_GZIP_OR_ZLIB = 31
_TAR_MAGIC = slice(257, 262)

#: First bytes of what is not text -> what it is and what to do.
_MAGIC = {
    b"PK\x03\x04": ("a zip archive", "Unpack it first."),
    b"\xfd7zXZ": ("an xz archive", "Unpack it first, or pack it with gzip."),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "Unpack it first, or pack it with gzip."),
    b"BZh": ("a bzip2 archive", "Unpack it first, or pack it with gzip."),
    b"PAR1": ("a Parquet file", "Write it as CSV with columns arrival, input_tokens, output_tokens."),
    b"version https://git-lfs": ("a Git LFS pointer", "Fetch the file itself with `git lfs pull`."),
    b"\xff\xfe": ("UTF-16 text", "Save it as UTF-8."),
    b"\xfe\xff": ("UTF-16 text", "Save it as UTF-8."),
}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row and what is wrong with it.

    Attributes:
        line: line in the (uncompressed) file, 1 first; 0 = the file as a whole.
        reason: in words.
    """

    line: int
    reason: str

    def __str__(self) -> str:
        """Return `line 7: 0 output tokens`."""
        return f"line {self.line:,}: {self.reason}" if self.line else self.reason


class Source:
    """A file opened for one pass.

    Attributes:
        name: the file, for errors.
        head: its first bytes, uncompressed.
        damage: what could not be read so far.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and look at its first bytes.

        Raises:
            BadInput: it does not exist, is a directory, is empty or is no text.
        """
        self.name = path.name or str(path)
        self.path = path
        self.damage: list[BadRow] = []
        if path.is_dir():
            raise BadInput(
                f"{str(path)!r} is a directory.", "Give a file, or a folder of ServeGen's chunk-*-trace.csv."
            )
        try:
            with path.open("rb") as file:
                start = file.read(4)
        except OSError as error:
            raise BadInput(
                f"Cannot read {str(path)!r}: {error.strerror or error}.", "Give a trace."
            ) from None
        self.gzip = start[:2] == b"\x1f\x8b"
        self.head = self._look()
        self._refuse_what_is_no_text()

    @property
    def tar(self) -> bool:
        """Whether the file is a tar archive, packed or not."""
        return self.head[_TAR_MAGIC] == b"ustar"

    def _look(self) -> bytes:
        head = b""
        for data in self._bytes():
            head += data
            if len(head) >= _HEAD:
                break
        return head

    def _refuse_what_is_no_text(self) -> None:
        if not self.head:
            damage, self.damage = self.damage, []
            if damage:
                raise BadInput(f"{self.name!r} cannot be unpacked: {damage[0].reason}.", "Fetch it again.")
            raise BadInput(f"{self.name!r} is empty.", "Give a file with at least one request.")
        self.damage = []
        for magic, (what, action) in _MAGIC.items():
            if self.head.startswith(magic):
                raise BadInput(f"{self.name!r} is {what}.", action)
        if not self.tar and b"\0" in self.head:
            raise BadInput(f"{self.name!r} is a binary file.", "Give a CSV or JSONL trace.")

    def blocks(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of the first line, lines without their ends), some MiB at a time."""
        number, rest, skipping = 1, b"", False
        for data in self._bytes():
            head, newline, tail = data.rpartition(b"\n")
            if not newline:
                rest += b"" if skipping else data
                if len(rest) > _LONGEST_LINE:
                    self.damage.append(BadRow(number, f"no line end within {_LONGEST_LINE >> 20} MiB"))
                    rest, skipping = b"", True
                continue
            lines = _text(rest + head).split("\n")
            if skipping:
                lines[0], skipping = "", False
            yield number, _unmarked(lines)
            number += len(lines)
            rest = tail
        if rest and not (self.damage and self.damage[-1].line == 0):
            yield number, _unmarked(_text(rest).split("\n"))
        if self.damage and self.damage[-1].line == 0:
            self.damage[-1] = BadRow(number, self.damage[-1].reason)

    def _bytes(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            raw = iter(lambda: file.read(_BLOCK), b"")
            try:
                yield from self._inflated(raw) if self.gzip else raw
            except OSError as error:
                self.damage.append(BadRow(0, f"reading stopped: {error.strerror or error}"))

    def _inflated(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        """Yield uncompressed bytes in blocks; damage is noted and ends the data."""
        ready: list[bytes] = []
        size = 0
        try:
            for piece in _pieces(raw):
                ready.append(piece)
                size += len(piece)
                if size >= _BLOCK:
                    yield b"".join(ready)
                    ready, size = [], 0
        except EOFError:
            self.damage.append(BadRow(0, "the compressed data end early; the file is cut short"))
        except zlib.error as error:
            self.damage.append(
                BadRow(0, f"the compressed data are damaged ({error}); rows above may be wrong too")
            )
        if ready:
            yield b"".join(ready)


def _pieces(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the members of a gzip file, uncompressed, in pieces so small that damage costs little.

    Raises:
        EOFError: the data end within a member.
        zlib.error: the data are damaged.
    """
    stream = zlib.decompressobj(_GZIP_OR_ZLIB)
    for packed in raw:
        left = packed
        while left:
            if stream.eof:
                left = left.lstrip(b"\0")  # padding between members
                if not left:
                    break
                stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            data = stream.decompress(left, _PIECE)
            left = stream.unused_data if stream.eof else stream.unconsumed_tail
            if data:
                yield data
    data = stream.flush()
    if data:
        yield data
    if not stream.eof:
        raise EOFError


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\r")


def _unmarked(lines: list[str]) -> list[str]:
    """Return lines without the byte order mark of UTF-8."""
    lines[0] = lines[0].removeprefix("\ufeff")
    return lines
