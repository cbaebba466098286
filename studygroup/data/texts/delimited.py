"""Tables in CSV and TSV: a line per row, quotes around fields that contain delimiters, quotes (doubled) or line breaks.

The delimiter is the given one, else the one that the file's name promises, unless another one divides the first rows into equal numbers of
columns and this one does not.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

from studygroup.data.source import Meter
from studygroup.data.texts.columns import LABEL_NAMES, TEXT_NAMES, normalise
from studygroup.data.texts.files import csv_rows, encoding_problem, file_lines, file_size, find_encoding
from studygroup.data.texts.labels import is_number
from studygroup.data.texts.records import FIRST_ROWS, Record
from studygroup.errors import UserError
from studygroup.escape import shortened
from studygroup.options import DataOptions

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}
"""The delimiters that are looked for, and their names in messages."""
SNIFFED_ROWS = 50
"""Number of rows from which the delimiter is found."""
MIN_EQUAL = 0.5
"""Share of these rows that must have as many columns as the header, or another delimiter is looked for."""
MAX_HEADER = 50
"""Number of characters of the longest name of a column that does not look like data."""

logger = logging.getLogger(__name__)


class Delimited:
    """A CSV or TSV file. Its first row names the columns, unless the options give columns by number.

    Args:
        path: of the file.
        options: how it is read.
        usual: delimiter of files with this suffix.
        one_column: whether a file with a single column will do.
    """

    def __init__(self, path: Path, options: DataOptions, usual: str, *, one_column: bool = False) -> None:
        self.path, self.options, self.usual, self.one_column = path, options, usual, one_column
        given = [*options.text_columns, *([options.label_column] if options.label_column is not None else [])]
        self.numbered = bool(given) and all(name.isdecimal() for name in given)
        hint = "; if its first row is no header, give columns by number (--text-columns 2 --label-column 1)"
        self.column_hint = "" if self.numbered else hint
        self.size = file_size(path)

    @cached_property
    def encoding(self) -> str:
        """The file's encoding, as given or found."""
        return find_encoding(self.path, self.options.encoding)

    @cached_property
    def delimiter(self) -> str:
        """The character between columns, as given or found; one that is not the usual one is logged."""
        if self.options.delimiter is not None:
            return "\t" if self.options.delimiter in ("tab", "\\t") else self.options.delimiter
        if self._equal_rows(self.usual) >= MIN_EQUAL:
            return self.usual
        found = max(DELIMITERS, key=lambda delimiter: (self._equal_rows(delimiter), delimiter == self.usual))
        if found == self.usual or self._equal_rows(found) < MIN_EQUAL:
            return self.usual
        logger.warning("%s: columns are separated by %s; give another delimiter by --delimiter", self.path.name, DELIMITERS[found])
        return found

    def _equal_rows(self, delimiter: str) -> float:
        """Return the share of the first rows with as many columns as the header, if these are several; 0 if it has one."""
        with closing(self._rows(Meter(), delimiter)) as rows:
            lengths = [0 if problem else len(fields) for _, fields, problem in islice(rows, SNIFFED_ROWS)]
        return lengths.count(lengths[0]) / len(lengths) if lengths and lengths[0] > 1 else 0.0

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
        if len(fields) == 1 and not self.one_column:
            delimiter = DELIMITERS.get(self.delimiter, repr(self.delimiter))
            raise UserError(
                f"{self.path} has a single column, {shortened(fields[0])!r}; separate texts and labels by {delimiter}, or name what "
                "separates them (--delimiter)"
            )
        if not self.numbered:
            names = [name.strip() for name in fields]
            if found := self._data_in(names):
                logger.warning(
                    "%s: the first row is taken for the names of the columns, but %r looks like data; if there is no header, give columns "
                    "by number, e.g. --text-columns 1 --label-column 2",
                    self.path.name,
                    shortened(found),
                )
            return names
        if any(normalise(name) in TEXT_NAMES for name in fields) and any(normalise(name) in LABEL_NAMES for name in fields):
            shown = ", ".join(shortened(name) for name in fields)
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

    def _data_in(self, names: Sequence[str]) -> str:
        """Return what looks like data in the first row: a number, a sentence, or a value that its column has again; else an empty text."""
        with closing(self._rows(Meter())) as rows:
            first = [fields for _, fields, problem in islice(rows, 1, FIRST_ROWS) if not problem]
        for i, name in enumerate(names):
            again = name and any(len(fields) == len(names) and fields[i].strip() == name for fields in first)
            if is_number(name) or len(name) > MAX_HEADER or again:
                return name
        return ""

    def _rows(self, meter: Meter, delimiter: str | None = None) -> Generator[tuple[int, list[str], str], None, None]:
        return csv_rows(file_lines(self.path, self.encoding, meter), delimiter or self.delimiter)
