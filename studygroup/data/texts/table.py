"""Tables of texts and labels: CSV, TSV, JSONL (each may be gzipped) and Parquet.

    reviews.csv                               divided at random into training and test set
    reviews/train.csv  reviews/test.csv       with a test set of its own

`train` may also be called `training`, and `test` `testing` or, if there is none, `val`, `valid` or `validation`, in any case. Files are in
UTF-8, or what a byte order mark says, or what is asked for. CSV and TSV have quotes as spreadsheets write them, and a first row that names
the columns; a table without such a row is read by giving its columns as numbers from 1. See `columns.choose` for how columns are found that
are not named. Several text columns are joined by a space. A label is a name or a number; spaces around it do not count. What is on_error is
told by the number of its row, from 1, without the header.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import TEST_NAMES, TRAIN_NAMES, folders
from studygroup.data.texts.columns import Columns, choose
from studygroup.data.texts.delimited import Delimited
from studygroup.data.texts.files import BrokenRows, Meter, check_encoding, reading
from studygroup.data.texts.json_lines import JsonLines
from studygroup.data.texts.parquet import Parquet
from studygroup.data.texts.records import Format, rows_of
from studygroup.data.texts.source import RawTexts, RawTextSplit, TextReadOptions
from studygroup.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*DELIMITERS, *JSON_LINES, *(suffix + ".gz" for suffix in (*DELIMITERS, *JSON_LINES)), ".parquet")

logger = logging.getLogger(__name__)


def suffix_of(path: Path) -> str | None:
    """The suffix by which a file is a table, in lower case and with `.gz`; None if it is none."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)


def is_table(path: Path) -> bool:
    """Whether there is a table at the path: a file with the suffix of one, or a folder with such a file for training.

    A folder that has sub-folders is none: their content is more likely the data, to which the file is a list.
    """
    if path.is_dir():
        return bool(_tables(path, TRAIN_NAMES)) and not folders(path)
    return path.is_file() and suffix_of(path) is not None


class Table:
    """The table at `request.path`, or the tables in that folder."""

    def __init__(self, options: TextReadOptions) -> None:
        if options.path is None or not options.path.exists():
            raise UserError(f"{options.path} does not exist; give a table of texts and labels ({', '.join(SUFFIXES)})")
        check_encoding(options.encoding)
        self.options = options
        self.files = _split(options.path) if options.path.is_dir() else {"train": options.path}
        path = next(iter(self.files.values()))
        self.folder = path.parent
        self.name = options.path.resolve().name
        if not options.path.is_dir():
            self.name = self.name[: -len(suffix_of(path) or "")] or self.name
        self.tables = {split: _open(file, options) for split, file in self.files.items()}

    @cached_property
    def columns(self) -> Columns:
        """Those of the training table, which the other one must have, too."""
        table = self.tables["train"]
        columns = choose(table.names, self.options, self.files["train"].name, table.first, hint=table.hint)
        for split, other in self.tables.items():
            if missing := [name for name in (*columns.texts, columns.label) if name not in other.names]:
                raise UserError(f"{self.files[split].name} has no column {missing[0]!r}, but {self.files['train'].name} has; both need it")
        return columns

    def key(self) -> str:
        """See `TextSource`."""
        names = [path.name for path in self.files.values()]
        found = fingerprints(self.folder, names, self.options.cache, purpose="table", progress=False)
        content = (
            self.columns,
            self.options.encoding,
            [(split, suffix_of(path), digest) for (split, path), (digest, _) in zip(self.files.items(), found, strict=True)],
        )
        return hashlib.blake2b(repr(content).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def read(self) -> RawTexts:
        """See `TextSource`."""
        broken = BrokenRows(self.options.on_error, self.name)
        parts = {}
        for split, table in self.tables.items():
            meter = Meter()
            parts[split] = RawTextSplit(rows_of(table, self.columns, self.files[split].name, broken, meter), table.size, meter.done)
        return RawTexts(None, parts, broken.names)


def _open(path: Path, options: TextReadOptions) -> Format:
    """The table in a file, by its suffix."""
    suffix = suffix_of(path)
    if suffix is None:
        raise UserError(f"{path} is no table by its name; known: {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return Parquet(path, options)
    suffix = suffix.removesuffix(".gz")
    return JsonLines(path, options) if suffix in JSON_LINES else Delimited(path, options, DELIMITERS[suffix])


def _split(folder: Path) -> dict[str, Path]:
    """The tables in a folder by split: `train` and `test`, or `train` alone."""
    train, tests = _tables(folder, TRAIN_NAMES), _tables(folder, TEST_NAMES)
    if not train:
        raise UserError(f"{folder} has no table for training; call it e.g. train.csv ({', '.join(SUFFIXES)})")
    for found in (train, tests):
        stems = [_stem(path) for path in found]
        if len(set(stems)) < len(stems):
            raise UserError(f"{folder} has both {found[0].name} and {found[1].name}; remove or rename one")
    used = [train[0], *tests[:1]]
    if left := [path.name for path in (*train, *tests) if path not in used]:
        logger.warning("not used in %s beside %s: %s", folder, " and ".join(path.name for path in used), ", ".join(left))
    return dict(zip(("train", "test"), used, strict=False))


def _tables(folder: Path, stems: Sequence[str]) -> list[Path]:
    """The tables in a folder that are called like one of these, in their order."""
    with reading(folder):
        files = sorted(path for path in folder.iterdir() if path.is_file() and suffix_of(path) and _stem(path) in stems)
    return sorted(files, key=lambda path: stems.index(_stem(path)))


def _stem(path: Path) -> str:
    """A table's name without its suffix, in lower case."""
    return path.name[: -len(suffix_of(path) or "")].lower()
