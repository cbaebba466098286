"""DataFrames of pandas, which need not be installed, as tables of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from studygroup.data.source import Meter
from studygroup.data.texts.records import FIRST_ROWS, SURROGATE, Record
from studygroup.errors import UserError


def is_frame(data: object) -> bool:
    """Return whether an object is a DataFrame of pandas."""
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "itertuples") and hasattr(data, "columns")


def frame_rows(frame: Any) -> Iterator[dict[str, object]]:
    """Yield the rows of a DataFrame in JSON's types; its index is left out, and missing values are null.

    Raises:
        UserError: it has no rows, or two columns of the same name.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise UserError(f"the DataFrame has more than one column {next(name for name in names if names.count(name) > 1)!r}; rename them")
    if not len(frame):
        raise UserError("the DataFrame has no rows; give texts and labels")
    for row in frame.itertuples(index=False, name=None):
        yield {name: plain_value(value) for name, value in zip(names, row, strict=True)}


def plain_value(value: object) -> object:
    """Convert a value of a cell to JSON's types."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if value != value or type(value).__name__ in ("NAType", "NaTType") else str(value)


class Frame:
    """A DataFrame as a table (`records.Format`).

    Raises:
        UserError: it has no rows.
    """

    text_problem = SURROGATE
    column_hint = ""

    def __init__(self, frame: Any) -> None:
        if not len(frame):
            raise UserError("the DataFrame has no rows; give texts")
        self.frame = frame
        self.size = len(frame)

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        return [str(name) for name in self.frame.columns]

    def first_rows(self) -> list[Sequence[object]]:
        """See `Format`."""
        return [list(row.values()) for row in islice(frame_rows(self.frame), FIRST_ROWS)]

    def records(self, columns: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        for row in frame_rows(self.frame):
            meter.count += 1
            yield Record("", [row[name] for name in columns], "")
