"""Tables of texts and labels: CSV, TSV, JSONL (each may be gzipped) and Parquet.

    reviews.csv                               divided at random into training and test set
    reviews/train.csv  reviews/test.csv       with a test set
    reviews/train.csv  reviews/val.csv        with a hold-out set; with or without test.csv

`train` may also be called `training`, `val` `valid` or `validation`, and `test` `testing`, in any case. The encoding is the given one,
else that of a byte order mark, else UTF-8. CSV and TSV have quotes as spreadsheets write them, and a first row with the names of the
columns; a table without such a row is read by giving its columns as numbers from 1. What separates the columns is given or found.
`choose_columns` finds the columns.
Several text columns are joined by a space. A label is a name or a number, and is stripped. Unreadable rows are named by their number, from
1, without the header.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from studygroup.data.cache.entries import digest
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import SPLIT_NAMES, folders
from studygroup.data.source import Meter, RawSplit, RawTexts, TextSource
from studygroup.data.texts.columns import Columns, choose_columns
from studygroup.data.texts.delimited import Delimited
from studygroup.data.texts.files import UnreadableRows, check_encoding, read_errors
from studygroup.data.texts.json_lines import JsonLines
from studygroup.data.texts.parquet import Parquet
from studygroup.data.texts.records import Format, read_rows
from studygroup.errors import UserError
from studygroup.options import DataOptions
from studygroup.regular import NOT_REGULAR

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*DELIMITERS, *JSON_LINES, *(suffix + ".gz" for suffix in (*DELIMITERS, *JSON_LINES)), ".parquet")

logger = logging.getLogger(__name__)


def table_suffix(path: Path) -> str | None:
    """Return the suffix of a table, in lower case and with `.gz`; None if the file is not named like one."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)


def is_table(path: Path) -> bool:
    """Return whether there is a table at the path: a file named like one, or a folder with such a file for training.

    A folder with sub-folders is none: the data is more likely in these, and the file a list of it.
    """
    if path.is_dir():
        return bool(_find_tables(path, SPLIT_NAMES["train"])) and not folders(path)
    return path.is_file() and table_suffix(path) is not None


class Table(TextSource):
    """A table, or a folder with the tables of the splits."""

    description = f"a table of texts and labels ({', '.join(SUFFIXES)}), or a folder with such tables train and test: give its path"
    requires_path = True

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        if path is None or not path.exists():
            raise UserError(f"{path} does not exist; give a table of texts and labels ({', '.join(SUFFIXES)})")
        check_encoding(options.encoding)
        self.files = _find_splits(path) if path.is_dir() else {"train": path}
        self.folder = next(iter(self.files.values())).parent
        self.name = path.resolve().name
        if not path.is_dir():
            self.name = self.name[: -len(table_suffix(self.files["train"]) or "")] or self.name
        self.tables = {split: open_table(file, options) for split, file in self.files.items()}

    @cached_property
    def columns(self) -> Columns:
        """The columns of the training table, which the other table must have, too."""
        table = self.tables["train"]
        columns = choose_columns(table.names, self.options, self.files["train"].name, table.first_rows, hint=table.column_hint)
        for split, other in self.tables.items():
            if missing := [name for name in (*columns.texts, columns.label) if name not in other.names]:
                raise UserError(f"{self.files[split].name} has no column {missing[0]!r}, but {self.files['train'].name} has; both need it")
        return columns

    def key(self) -> str:
        """See `Source`."""
        names = [path.name for path in self.files.values()]
        found = fingerprints(self.folder, names, self.cache, purpose="table", progress=False)
        content = [(split, table_suffix(path), content) for (split, path), (content, _) in zip(self.files.items(), found, strict=True)]
        delimiters = [table.delimiter for table in self.tables.values() if isinstance(table, Delimited) and table.delimiter != table.usual]
        return digest(self.columns, self.options.encoding, content, *delimiters)

    def read(self) -> RawTexts:
        """See `Source`."""
        unreadable = UnreadableRows(self.options.on_error, self.name)
        splits = {}
        for split, table in self.tables.items():
            meter, numbers = Meter(), list[str]()
            rows = read_rows(table, self.columns, self.files[split].name, unreadable, meter, numbers)
            splits[split] = RawSplit(rows, table.size, meter, numbers)
        return RawTexts(None, splits, unreadable.names)


def open_table(path: Path, options: DataOptions, *, one_column: bool = False) -> Format:
    """Open the table in a file by its suffix.

    Raises:
        UserError: it is not named like a table, or cannot be read with these options.
    """
    suffix = table_suffix(path)
    if suffix is None:
        raise UserError(f"{path} is no table by its name; known: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path} {f'is {NOT_REGULAR}' if path.exists() else 'does not exist'}; give a table")
    if suffix == ".parquet":
        return Parquet(path, options)
    suffix = suffix.removesuffix(".gz")
    if suffix in JSON_LINES:
        return JsonLines(path, options)
    return Delimited(path, options, DELIMITERS[suffix], one_column=one_column)


def options_of_table(path: Path) -> frozenset[str]:
    """Return the names of the `TableOptions` that a table, or a folder of tables, has a place for."""
    suffix = table_suffix(_find_splits(path)["train"] if path.is_dir() else path) or ""
    columns = frozenset({"text_columns", "label_column"})
    if suffix == ".parquet":
        return columns
    return columns | {"encoding"} | (frozenset() if suffix.startswith(JSON_LINES) else {"delimiter"})


def _find_splits(folder: Path) -> dict[str, Path]:
    """Return the tables in a folder by split: `train`, and `val` and `test` if there are such."""
    found = {split: _find_tables(folder, names) for split, names in SPLIT_NAMES.items()}
    if not found["train"]:
        raise UserError(f"{folder} has no table for training; call it e.g. train.csv ({', '.join(SUFFIXES)})")
    for tables in found.values():
        stems = [_stem(path) for path in tables]
        if len(set(stems)) < len(stems):
            raise UserError(f"{folder} has both {tables[0].name} and {tables[1].name}; remove or rename one")
    used = {split: tables[0] for split, tables in found.items() if tables}
    if unused := [path.name for tables in found.values() for path in tables[1:]]:
        logger.warning("not used in %s beside %s: %s", folder, " and ".join(path.name for path in used.values()), ", ".join(unused))
    return used


def _find_tables(folder: Path, stems: Sequence[str]) -> list[Path]:
    """Return the tables in a folder with one of these names, in their order."""
    with read_errors(folder):
        files = sorted(path for path in folder.iterdir() if path.is_file() and table_suffix(path) and _stem(path) in stems)
    return sorted(files, key=lambda path: stems.index(_stem(path)))


def _stem(path: Path) -> str:
    """Return a table's name without its suffix, in lower case."""
    return path.name[: -len(table_suffix(path) or "")].lower()
