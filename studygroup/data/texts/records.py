"""What the formats of tables have in common: records of the chosen columns, which become texts and labels, or are broken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from studygroup.data.texts.columns import Columns
from studygroup.data.texts.files import BrokenRows, Meter, is_utf8
from studygroup.data.texts.source import Row, shorten

FIRST_ROWS = 200
"""Rows that are looked at to find out which columns there are, and which is which."""


class Record(NamedTuple):
    """What a row of a table has in the wanted columns.

    Attributes:
        place: where it is, beside its number, e.g. "line 18: ".
        values: in the order of the wanted columns; none if there is a problem.
        problem: what is wrong with it, or nothing.
    """

    place: str
    values: Sequence[object]
    problem: str


class Format(Protocol):
    """A table in one of the formats.

    Attributes:
        size: of the table, in the units in which a meter counts.
        hint: what may be wrong, beside its name, if a column is not there; a clause.
    """

    size: int
    hint: str

    @property
    def names(self) -> list[str]:
        """Of all columns, in order."""

    @property
    def damage(self) -> str:
        """What is wrong with a text that is none of Unicode."""

    def first(self) -> Sequence[Sequence[object]]:
        """Some rows, with the values of all columns, or fewer values where a row is broken."""

    def records(self, wanted: Sequence[str], meter: Meter) -> Iterator[Record]:
        """The rows, with the values of these columns, which must be there; how far they are read is counted by the meter."""


def rows_of(table: Format, columns: Columns, name: str, broken: BrokenRows, meter: Meter) -> Iterator[Row]:
    """The texts and labels of a table. Rows are numbered from 1, a header is none.

    Args:
        table: where they come from.
        columns: which are read.
        name: the table's, to tell where a broken row is.
        broken: takes those.
        meter: counts how much of the table has been read.
    """
    wanted = (*columns.texts, columns.label)
    for number, record in enumerate(table.records(wanted, meter), 1):
        problem = record.problem or _problem(record.values, wanted, table.damage)
        if problem:
            broken.add(f"row {number} of {name} ({record.place}{problem})", number)
        else:
            *texts, label = record.values
            yield joined_text(str(text) for text in texts), label_name(label)


def joined_text(texts: Iterator[str]) -> str:
    """Several columns as one text: with a space between those that are not empty."""
    return " ".join(text for text in texts if text)


def label_name(value: object) -> str:
    """A label as the name of its class: without spaces around it, a whole number without fraction; empty if there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _problem(values: Sequence[object], wanted: Sequence[str], damage: str) -> str:
    """What is wrong with texts and label, or nothing."""
    for name, text in zip(wanted, values[:-1], strict=False):
        if not isinstance(text, str):
            what = "is missing" if text is None else f"is {shorten(repr(text))}, not a text"
            return f"column {shorten(name)!r} {what}"
        if not is_utf8(text):
            return f"column {shorten(name)!r} has {damage}"
    label = values[-1]
    if not isinstance(label, str | int | float | None):
        return f"the label is {shorten(repr(label))}, not a name or number"
    text = label_name(label)
    return "no label" if not text else "" if is_utf8(text) else f"the label has {damage}"
