"""Tables in CSV and TSV: a row a line, quotes around fields that hold delimiters, quotes (doubled) or line breaks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

from studygroup.data.texts.columns import LABEL_NAMES, TEXT_NAMES, plain
from studygroup.data.texts.files import Meter, csv_rows, file_lines, file_size, find_encoding, undecodable
from studygroup.data.texts.records import FIRST_ROWS, Record
from studygroup.data.texts.source import TextReadOptions, shorten
from studygroup.errors import UserError


class Delimited:
    """A CSV or TSV file. Its first row names the columns; if the user knows them by number, it has no such row."""

    def __init__(self, path: Path, options: TextReadOptions, delimiter: str) -> None:
        self.path, self.options, self.delimiter = path, options, delimiter
        asked = [*options.text_columns, *([options.label_column] if options.label_column is not None else [])]
        self.numbered = bool(asked) and all(name.isdecimal() for name in asked)
        self.hint = "" if self.numbered else "; if its first row is no header, give columns by number (--text-columns 2 --label-column 1)"
        self.size = file_size(path)

    @cached_property
    def encoding(self) -> str:
        """The file's, as asked for or found."""
        return find_encoding(self.path, self.options.encoding)

    @property
    def damage(self) -> str:
        """See `Format`."""
        return undecodable(self.encoding)

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        with closing(self._rows(Meter())) as rows:
            _, fields, problem = next(rows, (0, [], "it is empty"))
        if problem:
            raise UserError(f"{self.path} has no first row that can be read ({problem}); give a table of texts and labels")
        if len(fields) == 1:
            what = "tabs" if self.delimiter == "\t" else "commas"
            raise UserError(f"{self.path} has a single column, {shorten(fields[0])!r}; separate texts and labels by {what}")
        if not self.numbered:
            return [name.strip() for name in fields]
        if any(plain(name) in TEXT_NAMES for name in fields) and any(plain(name) in LABEL_NAMES for name in fields):
            shown = ", ".join(shorten(name) for name in fields)
            raise UserError(f"the first row of {self.path} is a header; give columns by its names ({shown}) instead of numbers")
        return [str(i + 1) for i in range(len(fields))]

    def first(self) -> list[Sequence[object]]:
        """See `Format`."""
        with closing(self._rows(Meter())) as rows:
            return [fields for _, fields, problem in islice(rows, not self.numbered, FIRST_ROWS) if not problem]

    def records(self, wanted: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        places = [self.names.index(name) for name in wanted]
        count = len(self.names)
        with closing(self._rows(meter)) as rows:
            for line, fields, problem in islice(rows, not self.numbered, None):
                place = f"line {line}: "
                if problem:
                    yield Record(place, (), problem)
                elif len(fields) != count:
                    yield Record(place, (), f"{len(fields)} column{'s' if len(fields) > 1 else ''} instead of {count}")
                else:
                    yield Record(place, [fields[i] for i in places], "")

    def _rows(self, meter: Meter) -> Generator[tuple[int, list[str], str], None, None]:
        return csv_rows(file_lines(self.path, self.encoding, meter), self.delimiter)
