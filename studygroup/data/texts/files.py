"""Files of text, read line by line: plain or gzipped, in any encoding, with what is broken in them told by row and line."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from studygroup.data.source import OnError
from studygroup.errors import UserError, one_line

MAX_TEXT = 1 << 24
"""Characters of a field, and of a line: what is longer is no text but e.g. a quote that is never closed."""
MANY_BROKEN = 1000
"""Broken rows from which on most rows must be good."""
BUFFER = 1 << 18

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Bytes that cannot be decoded become half of a surrogate pair, which no decoder lets through: so it is seen which rows are broken.
MARK = "\udcff"
MARKING = "studygroup.mark"


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return MARK, error.end
    raise error


codecs.register_error(MARKING, _mark)


class Meter:
    """How many bytes of a file have been read."""

    def __init__(self) -> None:
        self.count = 0

    def done(self) -> int:
        """See `TextPart`."""
        return self.count


class Metered(io.FileIO):
    """A file whose reading is counted."""

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path)
        self.meter = meter

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        size = super().readinto(buffer) or 0
        self.meter.count += size
        return size


class BrokenRows:
    """What could not be read: collected where that is asked for, else the first is an error."""

    def __init__(self, on_error: OnError, where: str) -> None:
        self.on_error, self.where = on_error, where
        self.names: list[str] = []

    def add(self, name: str, number: int) -> None:
        """Take note of one.

        Args:
            name: which, and what is wrong with it, e.g. "row 17 of reviews.csv (line 18: 2 columns instead of 3)".
            number: how many rows have been read with it.

        Raises:
            UserError: rows are not to be skipped, or most of them would be.
        """
        if self.on_error == "stop":
            raise UserError(f"{name} cannot be read; repair or remove it, or skip what is broken (--on-error skip)")
        self.names.append(name)
        if len(self.names) >= MANY_BROKEN and 2 * len(self.names) > number:
            raise UserError(
                f"{len(self.names)} of the first {number} rows of {self.where} cannot be read, e.g. {name}; is it in another format?"
            )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into an error that names it and the remedy."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise UserError(f"{path} is damaged or cut off ({one_line(error)}); get it again") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or one_line(error)}; change its permissions, or give another file"
        ) from error


def check_encoding(encoding: str | None) -> None:
    """Is it one that Python knows?

    Raises:
        UserError: it is not, or is none of text.
    """
    if encoding is None:
        return
    try:
        b"".decode(encoding)
        "".encode(encoding)
    except (LookupError, ValueError) as error:
        raise UserError(f"unknown encoding {encoding!r}; give one like utf-8, utf-16, latin-1, cp1252, gb18030 or shift_jis") from error


def encoding_of(start: bytes, encoding: str | None) -> str:
    """The encoding of a file: what was asked for, else what its first four bytes say, else UTF-8."""
    if encoding is None:
        return next((name for mark, name in BYTE_ORDER_MARKS if start.startswith(mark)), "utf-8")
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def undecodable(encoding: str) -> str:
    """What is wrong with a text in which something was marked."""
    return f"bytes that are not {encoding.removesuffix('-sig')}; another encoding is given by --encoding"


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8: has no half of a surrogate pair, that is, nothing that was marked either."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_size(path: Path) -> int:
    """The size of a file in bytes; errors are raised as `reading` says."""
    with reading(path):
        return path.stat().st_size


@contextmanager
def opened(path: Path, meter: Meter | None = None) -> Iterator[BinaryIO]:
    """The bytes of a file, unzipped if it is called `.gz`; errors are raised as `reading` says."""
    with reading(path), io.BufferedReader(Metered(path, meter or Meter()), BUFFER) as raw:
        if path.suffix.lower() == ".gz":
            with gzip.open(raw) as unzipped:
                yield io.BufferedReader(cast(io.RawIOBase, unzipped), BUFFER)
        else:
            yield raw


def find_encoding(path: Path, encoding: str | None) -> str:
    """The encoding of a file, see `encoding_of`."""
    with opened(path) as file:
        return encoding_of(file.read(4), encoding)


def file_lines(path: Path, encoding: str, meter: Meter | None = None) -> Iterator[str]:
    """The lines of a file, as they are read; see `decoded_lines`.

    Raises:
        UserError: it cannot be read, is damaged, or has a line that is none.
    """
    with opened(path, meter) as file:
        yield from decoded_lines(file, encoding, str(path))


def decoded_lines(file: BinaryIO, encoding: str, where: str) -> Iterator[str]:
    """The lines of a binary file with their ends. What cannot be decoded is marked (`is_utf8` sees it).

    Raises:
        UserError: a line is far too long.
    """
    text = io.TextIOWrapper(file, encoding, errors=MARKING, newline="")
    try:
        number = 0
        while line := text.readline(MAX_TEXT + 1):
            number += 1
            if len(line) > MAX_TEXT:
                raise UserError(f"line {number} of {where} has more than {MAX_TEXT} characters; is it a table of texts?")
            yield line
    finally:
        text.detach()  # closing the file is left to whoever opened it


def csv_rows(lines: Iterator[str], delimiter: str) -> Generator[tuple[int, list[str], str], None, None]:
    """The rows of a table in the format of RFC 4180: quotes around a field, doubled inside of it; line breaks in quotes.

    Yields:
        The number of the line that a row begins in, from 1; its fields; what is wrong with it, or nothing. Empty lines are left out.
    """
    # A setting of the whole process: it is raised, and never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_TEXT))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [], _words(str(error))
            continue
        if fields:
            yield line, fields, ""


def _words(error: str) -> str:
    """What an error of the module csv means."""
    if "unexpected end" in error:
        return "a quote that is not closed"
    if "expected after" in error:
        return "a quote within quotes that is not doubled"
    if "field limit" in error:
        return f"more than {MAX_TEXT} characters, or a quote that is not closed"
    return error
