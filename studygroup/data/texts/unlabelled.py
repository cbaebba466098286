"""Rows of a table that is classified: with a label or without, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from studygroup.data.cache.entries import check_skipped
from studygroup.data.source import Meter
from studygroup.data.texts.columns import choose_columns_to_predict, refuse_delimiter, refuse_encoding
from studygroup.data.texts.files import UnreadableRows, check_encoding
from studygroup.data.texts.frames import Frame
from studygroup.data.texts.records import Format, class_name, find_text_problem, join_texts
from studygroup.data.texts.table import open_table, options_of_table
from studygroup.options import DataOptions, TableOptions


class TableRow(NamedTuple):
    """A row of a table.

    Attributes:
        number: from 1, without a header.
        text: the text columns, joined by a space.
        label: name of its class, empty if the row has none; None if the table has no labels.
    """

    number: int
    text: str
    label: str | None


def read_table(path: Path, options: DataOptions, trained: TableOptions) -> Iterator[TableRow]:
    """Check a table, and return its rows; no more than one is in memory.

    Args:
        path: CSV, TSV, JSONL, each perhaps gzipped, or Parquet.
        options: columns, encoding, delimiter, and what to do about unreadable rows.
        trained: how the training data was read. Its encoding is taken if none is given and the table has a place for one, its columns where
            none are given and the table has them.

    Raises:
        UserError: the table cannot be read, or it is not clear which columns hold the texts; while it is read, also for an unreadable row,
            unless these are skipped.
    """
    encoding = options.encoding or (trained.encoding if "encoding" in options_of_table(path) else None)
    check_encoding(encoding)
    options = replace(options, encoding=encoding)
    names = open_table(path, _with_columns(options, trained), one_column=True).names  # columns may be given by number
    options = with_trained_columns(options, trained, names)
    return _rows(open_table(path, options, one_column=True), path.name, options)


def read_frame(frame: Any, options: DataOptions, trained: TableOptions) -> Iterator[TableRow]:
    """Check a DataFrame, and return its rows; arguments and errors as of `read_table`."""
    refuse_delimiter(options, "the DataFrame")
    refuse_encoding(options, "the DataFrame")
    table = Frame(frame)
    return _rows(table, "the DataFrame", with_trained_columns(options, trained, table.names))


def with_trained_columns(options: DataOptions, trained: TableOptions, names: Sequence[str]) -> DataOptions:
    """Return the options with the columns of the training where none are given and the table has them."""
    filled = _with_columns(options, trained)
    texts = filled.text_columns if all(name in names for name in filled.text_columns) else options.text_columns
    return replace(options, text_columns=texts, label_column=filled.label_column if filled.label_column in names else options.label_column)


def _with_columns(options: DataOptions, trained: TableOptions) -> DataOptions:
    label = trained.label_column if options.label_column is None else options.label_column
    return replace(options, text_columns=options.text_columns or trained.text_columns, label_column=label)


def _rows(table: Format, name: str, options: DataOptions) -> Iterator[TableRow]:
    columns = choose_columns_to_predict(table.names, options, name, table.first_rows, hint=table.column_hint)
    names = [*columns.texts, *([columns.label] if columns.label is not None else [])]
    unreadable = UnreadableRows(options.on_error, name)

    def rows() -> Iterator[TableRow]:
        for number, record in enumerate(table.records(names, Meter()), 1):
            texts, labels = record.values[: len(columns.texts)], record.values[len(columns.texts) :]
            if problem := record.problem or find_text_problem(texts, columns.texts, table.text_problem):
                unreadable.add(f"row {number} of {name} ({record.location}{problem})", number)
            else:
                yield TableRow(number, join_texts(str(text) for text in texts), class_name(labels[0]) if labels else None)
        check_skipped(unreadable.names, "row", name, options.on_error)

    return rows()
