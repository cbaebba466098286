"""Tables in JSONL: an object per line, whose keys are the columns."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

from studygroup.data.source import Meter
from studygroup.data.texts.columns import refuse_delimiter
from studygroup.data.texts.files import UNDECODABLE, encoding_problem, file_lines, file_size, find_encoding
from studygroup.data.texts.records import FIRST_ROWS, SURROGATE, Record
from studygroup.errors import UserError
from studygroup.escape import shortened
from studygroup.options import DataOptions

MISSING = object()


class JsonLines:
    """A JSONL file. Its columns are the keys of the first rows' objects; a row may lack columns that are not used."""

    text_problem = SURROGATE
    column_hint = ""

    def __init__(self, path: Path, options: DataOptions) -> None:
        refuse_delimiter(options, str(path))
        self.path, self.options = path, options
        self.size = file_size(path)

    @cached_property
    def encoding(self) -> str:
        """The file's encoding, as given or found."""
        return find_encoding(self.path, self.options.encoding)

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        names = list(dict.fromkeys(key for row in self._first_objects for key in row))
        if not names:
            raise UserError(f"the first lines of {self.path} hold no JSON objects; give one with a text and a label on each line")
        return names

    def first_rows(self) -> list[Sequence[object]]:
        """See `Format`."""
        return [[row.get(name) for name in self.names] for row in self._first_objects]

    def records(self, columns: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        with closing(self._objects(meter)) as objects:
            for number, row, problem in objects:
                values = tuple(row.get(name, MISSING) for name in columns)
                if not problem and MISSING in values:
                    problem = f"no {shortened(columns[values.index(MISSING)])!r}"
                yield Record(f"line {number}: ", values, problem)

    @cached_property
    def _first_objects(self) -> list[dict[str, object]]:
        with closing(self._objects(Meter())) as objects:
            return [row for _, row, _ in islice(objects, FIRST_ROWS) if row]

    def _objects(self, meter: Meter) -> Generator[tuple[int, dict[str, object], str], None, None]:
        """Yield number, object and problem of each line that is not blank."""
        for number, line in enumerate(file_lines(self.path, self.encoding, meter), 1):
            if UNDECODABLE in line:
                yield number, {}, encoding_problem(self.encoding)
            elif not line.isspace():
                yield number, *_parse(line)


def _parse(line: str) -> tuple[dict[str, object], str]:
    """Return the object of a line, and its problem or an empty string."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}, "no JSON"
    return (row, "") if isinstance(row, dict) else ({}, "no JSON object")
