"""Rows of a table that is classified: with a label or without, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from studygroup.data.source import Meter
from studygroup.data.texts.columns import choose_columns_to_predict
from studygroup.data.texts.files import UnreadableRows, check_encoding
from studygroup.data.texts.records import class_name, find_text_problem, join_texts
from studygroup.data.texts.table import open_table
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


def columns_of_training(path: Path, options: DataOptions, trained: TableOptions) -> DataOptions:
    """Return the options with the encoding and the columns of the training where none are given and the table has these columns."""
    encoding = options.encoding or trained.encoding
    check_encoding(encoding)
    options = replace(options, encoding=encoding)
    filled = replace(
        options,
        text_columns=options.text_columns or trained.text_columns,
        label_column=trained.label_column if options.label_column is None else options.label_column,
    )
    names = open_table(path, filled, one_column=True).names
    texts = filled.text_columns if all(name in names for name in filled.text_columns) else options.text_columns
    return replace(options, text_columns=texts, label_column=filled.label_column if filled.label_column in names else options.label_column)


def table_rows(path: Path, options: DataOptions) -> Iterator[TableRow]:
    """Check a table, and iterate over its rows; no more than one is in memory.

    Args:
        path: CSV, TSV, JSONL, each perhaps gzipped, or Parquet.
        options: columns, encoding, delimiter, and what to do about unreadable rows.

    Raises:
        UserError: the table cannot be read, or it is not clear which columns hold the texts; while it is read, also for an unreadable row,
            unless these are skipped.
    """
    check_encoding(options.encoding)
    table = open_table(path, options, one_column=True)
    columns = choose_columns_to_predict(table.names, options, path.name, table.first_rows, hint=table.column_hint)
    names = [*columns.texts, *([columns.label] if columns.label is not None else [])]
    unreadable = UnreadableRows(options.on_error, path.name)

    def rows() -> Iterator[TableRow]:
        for number, record in enumerate(table.records(names, Meter()), 1):
            texts, labels = record.values[: len(columns.texts)], record.values[len(columns.texts) :]
            if problem := record.problem or find_text_problem(texts, columns.texts, table.text_problem):
                unreadable.add(f"row {number} of {path.name} ({record.location}{problem})", number)
            else:
                yield TableRow(number, join_texts(str(text) for text in texts), class_name(labels[0]) if labels else None)

    return rows()
