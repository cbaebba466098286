"""Text files, read line by line: plain or gzipped, in any encoding; errors name the row and the line."""

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

from studygroup.data.source import Meter
from studygroup.errors import UserError, one_line
from studygroup.options import OnError
from studygroup.regular import open_regular

MAX_TEXT = 1 << 24
"""Maximum number of characters of a field, and of a line; longer ones are e.g. a quote that is never closed."""
MAX_BYTES = 4 * MAX_TEXT
"""Maximum size of a file with one text."""
NO_TEXTS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
"""Names of encodings of Python that are of other things than files of texts."""
MANY_UNREADABLE = 1000
"""Number of unreadable rows from which on most rows must be readable."""
BUFFER = 1 << 18

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

WITHOUT_MARK = {"x0x0": "utf-16-le", "0x0x": "utf-16-be"}
"""Encodings by which of the first four bytes are zero, in files of letters without a byte order mark."""

UNDECODABLE = "\udcff"
"""Replacement of bytes that cannot be decoded: an unpaired surrogate, which no decoder produces, so `is_utf8` finds the rows with it."""
ERROR_HANDLER = "studygroup.undecodable"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return UNDECODABLE, error.end
    raise error


codecs.register_error(ERROR_HANDLER, _replace)


class MeteredFile(io.FileIO):
    """A file that counts the bytes that are read."""

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path)
        self.meter = meter

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer."""
        size = super().readinto(buffer) or 0
        self.meter.count += size
        return size


class UnreadableRows:
    """Collector of the names of unreadable rows; without `skip`, the first one is an error."""

    def __init__(self, on_error: OnError, source: str) -> None:
        self.on_error, self.source = on_error, source
        self.names: list[str] = []

    def add(self, name: str, number: int) -> None:
        """Add a row.

        Args:
            name: the row and its problem, e.g. "row 17 of reviews.csv (line 18: 2 columns instead of 3)".
            number: number of rows read so far, this one included.

        Raises:
            UserError: unreadable rows are not to be skipped, or most rows are unreadable.
        """
        if self.on_error == "stop":
            raise UserError(f"{name} cannot be read; repair or remove it, or skip unreadable rows (--on-error skip)")
        self.names.append(name)
        if len(self.names) >= MANY_UNREADABLE and 2 * len(self.names) > number:
            raise UserError(
                f"{len(self.names)} of the first {number} rows of {self.source} cannot be read, e.g. {name}; is it in another format?"
            )


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Convert errors while a file is read into a `UserError` that names the file and the remedy."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise UserError(f"{path} is damaged or cut off ({one_line(error)}); get it again") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or one_line(error)}; change its permissions, or give another file"
        ) from error


def check_encoding(encoding: str | None) -> None:
    """Raise UserError if Python does not know a text encoding of this name."""
    if encoding is None:
        return
    unknown = UserError(f"unknown encoding {encoding!r}; give one like utf-8, utf-16, latin-1, cp1252, gb18030 or shift_jis")
    try:
        if codecs.lookup(encoding).name.replace("-", "_") in NO_TEXTS:
            raise unknown
        b"".decode(encoding)
        "".encode(encoding)
    except (LookupError, ValueError) as error:
        raise unknown from error


def detect_encoding(start: bytes, encoding: str | None) -> str:
    """Return the encoding of a file: the given one, else what its first four bytes show, a byte order mark or UTF-16 of two letters."""
    if encoding is None:
        found = next((name for mark, name in BYTE_ORDER_MARKS if start.startswith(mark)), None)
        return found or WITHOUT_MARK.get("".join("0" if byte == 0 else "x" for byte in start), "utf-8")
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def encoding_problem(encoding: str) -> str:
    """Return the problem of a text with undecodable bytes, for messages."""
    return f"bytes that are not {encoding.removesuffix('-sig')}; give another encoding by --encoding"


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded in UTF-8: it has no unpaired surrogate, hence no `UNDECODABLE`."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; errors as in `read_errors`."""
    with read_errors(path):
        return path.stat().st_size


@contextmanager
def open_bytes(path: Path, meter: Meter | None = None) -> Iterator[BinaryIO]:
    """Open a file in binary mode, unzipped if its name ends in `.gz`; errors as in `read_errors`."""
    with read_errors(path), io.BufferedReader(MeteredFile(path, meter or Meter()), BUFFER) as raw:
        if path.suffix.lower() == ".gz":
            with gzip.open(raw) as unzipped:
                yield io.BufferedReader(cast(io.RawIOBase, unzipped), BUFFER)
        else:
            yield raw


def find_encoding(path: Path, encoding: str | None) -> str:
    """Return the encoding of a file, see `detect_encoding`."""
    with open_bytes(path) as file:
        return detect_encoding(file.read(4), encoding)


def file_lines(path: Path, encoding: str, meter: Meter | None = None) -> Iterator[str]:
    """Yield the lines of a file, see `decoded_lines`.

    Raises:
        UserError: the file cannot be read or is damaged, or a line is too long.
    """
    with open_bytes(path, meter) as file:
        yield from decoded_lines(file, encoding, str(path))


def decoded_lines(file: BinaryIO, encoding: str, source: str) -> Iterator[str]:
    """Yield the lines of a binary file with their line ends; bytes that cannot be decoded become `UNDECODABLE`.

    Raises:
        UserError: a line is too long.
    """
    text = io.TextIOWrapper(file, encoding, errors=ERROR_HANDLER, newline="")
    number = 0
    try:
        while line := text.readline(MAX_TEXT + 1):
            number += 1
            if len(line) > MAX_TEXT:
                raise UserError(f"line {number} of {source} has more than {MAX_TEXT} characters; is it a table of texts?")
            yield line
    except UnicodeError as error:  # as UTF-16 without the mark that says which of the two bytes is the first
        raise UserError(
            f"line {number + 1} of {source} cannot be read as {encoding} ({one_line(error)}); give another --encoding, such as utf-16-le"
        ) from error
    finally:
        text.detach()  # the caller closes the file


def csv_rows(lines: Iterator[str], delimiter: str) -> Generator[tuple[int, list[str], str], None, None]:
    """Parse a table in the format of RFC 4180: quotes around a field, doubled inside of it; line breaks in quotes.

    Yields:
        The number of the line that a row begins in, from 1; its fields; its problem, or an empty string. Empty lines are skipped.
    """
    # A setting of the whole process: it is only increased.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_TEXT))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, [], _csv_problem(str(error))
            continue
        if fields:
            yield line, fields, ""


def _csv_problem(error: str) -> str:
    """Return a plain description of an error of the module csv."""
    if "unexpected end" in error:
        return "a quote that is not closed"
    if "expected after" in error:
        return "a quote within quotes that is not doubled"
    if "field limit" in error:
        return f"more than {MAX_TEXT} characters, or a quote that is not closed"
    return error


def decode_text(data: bytes, encoding: str | None) -> tuple[str, str]:
    """Return the text of a file, and its problem or an empty string."""
    if len(data) > MAX_BYTES:
        return "", f"more than {MAX_BYTES} bytes"
    found = detect_encoding(data[:4], encoding)
    try:
        return codecs.getincrementaldecoder(found)().decode(data, True), ""  # which asks UTF-16 for its mark
    except UnicodeError:
        return "", encoding_problem(found)


def read_text(path: Path, encoding: str | None) -> tuple[str, str]:
    """Return the text of a file, and its problem or an empty string.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return decode_text(file.read(MAX_BYTES + 1), encoding)
