"""Tables in JSONL: an object a line, whose keys are the columns."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path

from studygroup.data.texts.files import MARK, Meter, file_lines, file_size, find_encoding, undecodable
from studygroup.data.texts.records import FIRST_ROWS, Record
from studygroup.data.texts.source import TextReadOptions, shorten
from studygroup.errors import UserError

MISSING = object()


class JsonLines:
    """A JSONL file. Its columns are the keys of the first rows' objects; a row may leave out those that are not asked for."""

    damage = "half of a surrogate pair, which is no character"
    hint = ""

    def __init__(self, path: Path, options: TextReadOptions) -> None:
        self.path, self.options = path, options
        self.size = file_size(path)

    @cached_property
    def encoding(self) -> str:
        """The file's, as asked for or found."""
        return find_encoding(self.path, self.options.encoding)

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        names = list(dict.fromkeys(key for row in self._some for key in row))
        if not names:
            raise UserError(f"the first lines of {self.path} hold no JSON objects; give one with a text and a label on each line")
        return names

    def first(self) -> list[Sequence[object]]:
        """See `Format`."""
        return [[row.get(name) for name in self.names] for row in self._some]

    def records(self, wanted: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        with closing(self._objects(meter)) as objects:
            for number, row, problem in objects:
                values = tuple(row.get(name, MISSING) for name in wanted)
                if not problem and MISSING in values:
                    problem = f"no {shorten(wanted[values.index(MISSING)])!r}"
                yield Record(f"line {number}: ", values, problem)

    @cached_property
    def _some(self) -> list[dict[str, object]]:
        with closing(self._objects(Meter())) as objects:
            return [row for _, row, _ in islice(objects, FIRST_ROWS) if row]

    def _objects(self, meter: Meter) -> Generator[tuple[int, dict[str, object], str], None, None]:
        """The number of each line that is not blank, its object, and what is wrong with it."""
        for number, line in enumerate(file_lines(self.path, self.encoding, meter), 1):
            if MARK in line:
                yield number, {}, undecodable(self.encoding)
            elif not line.isspace():
                yield number, *_object(line)


def _object(line: str) -> tuple[dict[str, object], str]:
    """The object of a line, and what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}, "no JSON"
    return (row, "") if isinstance(row, dict) else ({}, "no JSON object")
