"""Tables in Parquet, through pyarrow: some rows at a time, of the chosen columns only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from studygroup.data.texts.files import BUFFER, Meter
from studygroup.data.texts.records import FIRST_ROWS, Record
from studygroup.data.texts.source import TextReadOptions, no_encoding
from studygroup.errors import UserError, one_line

BATCH = 256
"""Rows that are read at a time."""
BAD = "\udcff"
"""In place of a text that is none, so that its row is found to be broken."""


class Parquet:
    """A Parquet file."""

    damage = "bytes that are not utf-8"
    hint = ""

    def __init__(self, path: Path, options: TextReadOptions) -> None:
        no_encoding(options, str(path))
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise UserError(f"{path} needs pyarrow to be read; pip install pyarrow, or write the table as CSV or JSONL") from error
        self.path, self.parquet = path, parquet
        with self._opened() as file:
            self.size: int = file.metadata.num_rows

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        with self._opened() as file:
            return [field.name for field in file.schema_arrow]

    def first(self) -> list[Sequence[object]]:
        """See `Format`."""
        with self._opened() as file:
            batch = next(file.iter_batches(FIRST_ROWS), None)
            return [] if batch is None else list(zip(*(_values(column) for column in batch.columns), strict=True))

    def records(self, wanted: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        with self._opened() as file:
            for batch in file.iter_batches(BATCH, columns=list(wanted)):
                for values in zip(*(_values(batch.column(name)) for name in wanted), strict=True):
                    meter.count += 1
                    yield Record("", values, "")

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import pyarrow as pa

        try:
            # A buffer of its own for each column, else all of a row group's columns are held at once.
            with self.parquet.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({one_line(error)}); get or write it again") from error


def _values(column: Any) -> list[object]:
    """The values of some rows."""
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        return [_value(value) for value in column]
    return values


def _value(value: Any) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return BAD
