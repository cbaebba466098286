"""Tables in Parquet, through pyarrow: in batches of rows, of the chosen columns only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from studygroup.data.source import Meter
from studygroup.data.texts.columns import refuse_delimiter, refuse_encoding
from studygroup.data.texts.files import BUFFER, UNDECODABLE
from studygroup.data.texts.records import FIRST_ROWS, Record
from studygroup.errors import UserError, one_line
from studygroup.options import DataOptions

BATCH = 256
"""Rows that are read at a time."""


class Parquet:
    """A Parquet file."""

    text_problem = "bytes that are not utf-8"
    column_hint = ""

    def __init__(self, path: Path, options: DataOptions) -> None:
        refuse_encoding(options, str(path))
        refuse_delimiter(options, str(path))
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise UserError(
                f"{path} needs pyarrow to be read; pip install 'studygroup[parquet]', or write the table as CSV or JSONL"
            ) from error
        self.path, self.parquet = path, parquet
        with self._open() as file:
            self.size: int = file.metadata.num_rows

    @cached_property
    def names(self) -> list[str]:
        """See `Format`."""
        with self._open() as file:
            return [field.name for field in file.schema_arrow]

    def first_rows(self) -> list[Sequence[object]]:
        """See `Format`."""
        with self._open() as file:
            batch = next(file.iter_batches(FIRST_ROWS), None)
            return [] if batch is None else list(zip(*(_values(column) for column in batch.columns), strict=True))

    def records(self, columns: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        with self._open() as file:
            for batch in file.iter_batches(BATCH, columns=list(columns)):
                for values in zip(*(_values(batch.column(name)) for name in columns), strict=True):
                    meter.count += 1
                    yield Record("", values, "")

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import pyarrow as pa

        try:
            # A buffer for each column, else all columns of a row group are in memory at once.
            with self.parquet.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.path} cannot be read as Parquet ({one_line(error)}); get or write it again") from error


def _values(column: Any) -> list[object]:
    """Return the values of a column; texts that are not valid UTF-8 become `UNDECODABLE`."""
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        return [_value(value) for value in column]
    return values


def _value(value: Any) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return UNDECODABLE
