"""The contract of the formats of tables: records of the chosen columns, which become texts and labels, or are unreadable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from studygroup.data.source import Meter, Row
from studygroup.data.texts.columns import Columns
from studygroup.data.texts.files import UnreadableRows, is_utf8
from studygroup.escape import shortened

FIRST_ROWS = 200
"""Number of rows that are read to find the columns and to tell text and label apart."""
SURROGATE = "half of a surrogate pair, which is no character"


class Record(NamedTuple):
    """The chosen columns of a row.

    Attributes:
        location: location of the row beside its number, e.g. "line 18: ".
        values: values in the order of the columns; empty if there is a problem.
        problem: why the row cannot be read, or an empty string.
    """

    location: str
    values: Sequence[object]
    problem: str


class Format(Protocol):
    """A table in one of the formats.

    Attributes:
        size: size of the table, in the units of its meter.
        column_hint: another possible cause of a missing column, as a clause of a message.
    """

    size: int
    column_hint: str

    @property
    def names(self) -> list[str]:
        """Return the names of all columns, in order."""

    @property
    def text_problem(self) -> str:
        """Return the problem of a text that is not valid Unicode, for messages."""

    def first_rows(self) -> Sequence[Sequence[object]]:
        """Return some rows, with the values of all columns, or fewer values where a row is unreadable."""

    def records(self, columns: Sequence[str], meter: Meter) -> Iterator[Record]:
        """Yield the rows with the values of these columns, which exist; the meter counts how much has been read."""


def read_rows(table: Format, columns: Columns, name: str, unreadable: UnreadableRows, meter: Meter, numbers: list[str]) -> Iterator[Row]:
    """Yield the texts and labels of a table. Rows are numbered from 1, without a header.

    Args:
        table: the table.
        columns: columns to read.
        name: name of the table, for messages.
        unreadable: collects unreadable rows.
        meter: counts how much of the table has been read.
        numbers: collects the numbers of the rows whose texts are yielded.
    """
    names = (*columns.texts, columns.label)
    for number, record in enumerate(table.records(names, meter), 1):
        problem = record.problem or _find_problem(record.values, names, table.text_problem)
        if problem:
            unreadable.add(f"row {number} of {name} ({record.location}{problem})", number)
        else:
            *texts, label = record.values
            numbers.append(str(number))
            yield join_texts(str(text) for text in texts), class_name(label)


def join_texts(texts: Iterator[str]) -> str:
    """Join several columns by a space, without empty ones."""
    return " ".join(text for text in texts if text)


def class_name(value: object) -> str:
    """Convert a label to the name of its class: stripped, a whole number without fraction; empty if there is no label."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def find_text_problem(texts: Sequence[object], names: Sequence[str], text_problem: str) -> str:
    """Return the problem of the texts of a row, or an empty string."""
    for name, text in zip(names, texts, strict=False):
        if not isinstance(text, str):
            problem = "is missing" if text is None else f"is {shortened(repr(text))}, not a text"
            return f"column {shortened(name)!r} {problem}"
        if not is_utf8(text):
            return f"column {shortened(name)!r} has {text_problem}"
    return ""


def _find_problem(values: Sequence[object], names: Sequence[str], text_problem: str) -> str:
    """Return the problem of the texts and the label of a row, or an empty string."""
    if problem := find_text_problem(values[:-1], names, text_problem):
        return problem
    label = values[-1]
    if not isinstance(label, str | int | float | None):
        return f"the label is {shortened(repr(label))}, not a name or number"
    text = class_name(label)
    return "no label" if not text else "" if is_utf8(text) else f"the label has {text_problem}"
