"""Tables in CSV and TSV: a line per row, quotes around fields that contain delimiters, quotes (doubled) or line breaks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

from studygroup.data.source import Meter
from studygroup.data.texts.columns import LABEL_NAMES, TEXT_NAMES, normalise
from studygroup.data.texts.files import csv_rows, encoding_problem, file_lines, file_size, find_encoding
from studygroup.data.texts.labels import shorten
from studygroup.data.texts.records import FIRST_ROWS, Record
from studygroup.errors import UserError
from studygroup.options import DataOptions


class Delimited:
    """A CSV or TSV file. Its first row names the columns, unless the options give columns by number."""

    def __init__(self, path: Path, options: DataOptions, delimiter: str) -> None:
        self.path, self.options, self.delimiter = path, options, delimiter
        given = [*options.text_columns, *([options.label_column] if options.label_column is not None else [])]
        self.numbered = bool(given) and all(name.isdecimal() for name in given)
        hint = "; if its first row is no header, give columns by number (--text-columns 2 --label-column 1)"
        self.column_hint = "" if self.numbered else hint
        self.size = file_size(path)

    @cached_property
    def encoding(self) -> str:
        """The file's encoding, as given or found."""
        return find_encoding(self.path, self.options.encoding)

    @property
    def text_problem(self) -> str:
        """See `Format`."""
        return encoding_problem(self.encoding)

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        with closing(self._rows(Meter())) as rows:
            _, fields, problem = next(rows, (0, [], "it is empty"))
        if problem:
            raise UserError(f"{self.path} has no first row that can be read ({problem}); give a table of texts and labels")
        if len(fields) == 1:
            delimiter = "tabs" if self.delimiter == "\t" else "commas"
            raise UserError(f"{self.path} has a single column, {shorten(fields[0])!r}; separate texts and labels by {delimiter}")
        if not self.numbered:
            return [name.strip() for name in fields]
        if any(normalise(name) in TEXT_NAMES for name in fields) and any(normalise(name) in LABEL_NAMES for name in fields):
            shown = ", ".join(shorten(name) for name in fields)
            raise UserError(f"the first row of {self.path} is a header; give columns by its names ({shown}) instead of numbers")
        return [str(i + 1) for i in range(len(fields))]

    def first_rows(self) -> list[Sequence[object]]:
        """See `Format`."""
        with closing(self._rows(Meter())) as rows:
            return [fields for _, fields, problem in islice(rows, not self.numbered, FIRST_ROWS) if not problem]

    def records(self, columns: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        positions = [self.names.index(name) for name in columns]
        count = len(self.names)
        with closing(self._rows(meter)) as rows:
            for line, fields, problem in islice(rows, not self.numbered, None):
                location = f"line {line}: "
                if problem:
                    yield Record(location, (), problem)
                elif len(fields) != count:
                    yield Record(location, (), f"{len(fields)} column{'s' if len(fields) > 1 else ''} instead of {count}")
                else:
                    yield Record(location, [fields[i] for i in positions], "")

    def _rows(self, meter: Meter) -> Generator[tuple[int, list[str], str], None, None]:
        return csv_rows(file_lines(self.path, self.encoding, meter), self.delimiter)
