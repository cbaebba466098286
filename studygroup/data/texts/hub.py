"""Data sets of Hugging Face's library `datasets`: by name, or a folder that its `save_to_disk` wrote.

    hub:NAME  hub:OWNER/NAME  hub:OWNER/NAME@CONFIG      fetched once with --download, and kept in the cache
    hub:FOLDER                                           read where it is

No code comes with the data: the library is of a version that runs none. Columns are chosen as in a table; a column of class labels, if
there is exactly one, is the label's. The test set is the split `test` or, if there is none or its labels are hidden (all -1), `validation`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from studygroup.data.cache.disk import writing
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import TEST_NAMES, TRAIN_NAMES, list_files
from studygroup.data.texts.columns import Columns, choose
from studygroup.data.texts.files import BrokenRows, Meter
from studygroup.data.texts.records import FIRST_ROWS, Record, rows_of
from studygroup.data.texts.source import RawTexts, RawTextSplit, TextReadOptions, no_encoding
from studygroup.errors import UserError, one_line
from studygroup.lock import file_lock

VERSION = 4
"""Of the library: the first that runs no code of data sets."""
BATCH = 256
"""Rows that are read at a time."""
MARKS = ("dataset_dict.json", "state.json")
"""What save_to_disk leaves, one or the other."""

logger = logging.getLogger(__name__)


class HubSplit:
    """A split of a data set, as a table."""

    damage = "half of a surrogate pair, which is no character"
    hint = ""

    def __init__(self, split: Any, where: str) -> None:
        self.split, self.where = split.with_format(None), where
        self.size: int = split.num_rows
        self.names: list[str] = list(split.features)

    def classes(self, name: str) -> tuple[str, ...] | None:
        """The names of a column of class labels; None for another column."""
        names = getattr(self.split.features[name], "names", None)
        return None if names is None else tuple(names)

    def first(self) -> list[Sequence[object]]:
        """See `Format`."""
        return list(self._values(self.names, 0, min(FIRST_ROWS, self.size)))

    def records(self, wanted: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        classes = [self.classes(name) for name in wanted]
        for values in self._values(wanted, 0, self.size):
            meter.count += 1
            named = [value if known is None else _named(value, known) for value, known in zip(values, classes, strict=True)]
            yield Record("", named, "")

    def hidden(self, name: str) -> bool:
        """Whether a column of class labels tells none, as is usual for the tests of competitions."""
        if self.classes(name) is None:
            return False
        return all(label is None or label < 0 for (label,) in self._values([name], 0, min(FIRST_ROWS, self.size)))

    def _values(self, names: Sequence[str], start: int, stop: int) -> Iterator[tuple[Any, ...]]:
        """The values of some columns, row by row."""
        chosen = self.split.select_columns(list(dict.fromkeys(names)))
        try:
            for begin in range(start, stop, BATCH):
                batch = chosen[begin : min(begin + BATCH, stop)]
                yield from zip(*(batch[name] for name in names), strict=True)
        except Exception as error:  # the library, arrow and the file system have many
            raise UserError(f"{self.where} cannot be read ({one_line(error)}); get it again") from error


def _named(label: object, classes: Sequence[str]) -> str | None:
    """The name of a class; None for a label that stands for none."""
    return classes[label] if isinstance(label, int) and 0 <= label < len(classes) else None


class Hub:
    """The data set `request.path`: a folder, or the name of one that was or is to be fetched."""

    def __init__(self, options: TextReadOptions) -> None:
        if options.path is None:
            raise UserError("hub stands for any data set of Hugging Face's hub; give its name as hub:NAME, or a folder of save_to_disk")
        no_encoding(options, f"hub:{options.path}")
        self.options = options
        self.library = _library(f"hub:{options.path}")
        self.place = options.path if options.path.is_dir() else self._fetched(str(options.path))
        self.name = options.path.resolve().name if options.path.is_dir() else str(options.path)
        if not any((self.place / mark).is_file() for mark in MARKS):
            raise UserError(f"{self.place} was not written by save_to_disk: it has no {' or '.join(MARKS)}; give such a folder, or a table")

    def key(self) -> str:
        """See `TextSource`."""
        names = list_files(self.place, {".arrow", ".json"})
        found = fingerprints(self.place, names, self.options.cache, purpose="hub", progress=False)
        content = (self.columns, list(self.splits), [(name, digest) for name, (digest, _) in zip(names, found, strict=True)])
        return hashlib.blake2b(repr(content).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()

    def read(self) -> RawTexts:
        """See `TextSource`."""
        broken = BrokenRows(self.options.on_error, self.name)
        parts = {}
        for split, table in self.splits.items():
            meter = Meter()
            parts[split] = RawTextSplit(rows_of(table, self.columns, table.where, broken, meter), table.size, meter.done)
        return RawTexts(self.splits["train"].classes(self.columns.label), parts, broken.names)

    @cached_property
    def columns(self) -> Columns:
        """Which columns hold texts and labels."""
        train = self._all["train"]
        typed = [name for name in train.names if train.classes(name) is not None]
        return choose(train.names, self.options, train.where, train.first, typed=typed if len(typed) == 1 else ())

    @cached_property
    def splits(self) -> dict[str, HubSplit]:
        """`train` and `test`, or `train` alone."""
        found, label = self._all, self.columns.label
        splits = {"train": found["train"]}
        for name, table in found.items():
            if name == "train":
                continue
            if missing := [column for column in (*self.columns.texts, label) if column not in table.names]:
                raise UserError(f"{table.where} has no column {missing[0]!r}, but {splits['train'].where} has; both need it")
            if table.classes(label) != splits["train"].classes(label):
                raise UserError(f"the classes of {table.where} are others than those of {splits['train'].where}; both need the same")
            if table.hidden(label):
                logger.warning("%s is not used: its labels are hidden", table.where)
            elif "test" not in splits:
                splits["test"] = table
            else:
                logger.warning("%s is not used beside %s", table.where, splits["test"].where)
        return splits

    @cached_property
    def _all(self) -> dict[str, HubSplit]:
        """The split for training, as `train`, and those for tests by their names, in the order in which they are preferred."""
        try:
            data = self.library.load_from_disk(str(self.place))
        except Exception as error:  # as above
            raise UserError(f"{self.place} cannot be read as a data set ({one_line(error)}); get it again") from error
        if not hasattr(data, "keys"):
            return {"train": HubSplit(data, self.name)}
        inside = {name.lower(): name for name in data}
        train = next((inside[name] for name in TRAIN_NAMES if name in inside), None)
        if train is None:
            raise UserError(f"{self.name} has no split for training; it has {', '.join(data)}")
        tests = [inside[name] for name in TEST_NAMES if name in inside]
        if left := [name for name in data if name not in (train, *tests)]:
            logger.warning("not used of %s: the splits %s", self.name, ", ".join(left))
        return {"train": HubSplit(data[train], f"{self.name} {train}")} | {
            name: HubSplit(data[name], f"{self.name} {name}") for name in tests
        }

    def _fetched(self, name: str) -> Path:
        """The folder in the cache with a data set of the hub, which is fetched if that is asked for."""
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w.-]+)?", name) or name.startswith("."):
            raise UserError(f"hub:{name} is neither a folder nor the name of a data set; give hub:OWNER/NAME, or hub:OWNER/NAME@CONFIG")
        cache = self.options.cache
        home = cache / "downloads" / "hub" / name.replace("/", "--")
        if home.is_dir():
            return home
        if not self.options.download:
            raise UserError(f"hub:{name} is not there; fetch it with --download, or give a folder that save_to_disk wrote as hub:FOLDER")
        with writing(cache):
            home.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(home.with_name(home.name + ".lock")):
                if not home.is_dir():  # else just fetched by another process
                    self._fetch(name, home)
        return home

    def _fetch(self, name: str, home: Path) -> None:
        path, _, config = name.partition("@")
        work = Path(tempfile.mkdtemp(prefix=f"{home.name}.tmp-", dir=home.parent))
        try:
            try:
                data = self.library.load_dataset(path, config or None)
            except Exception as error:  # as above
                raise UserError(f"hub:{name} cannot be fetched ({one_line(error)}); check the name and the network") from error
            data.save_to_disk(str(work))
            work.chmod(0o755)  # mkdtemp's folders are private; a cache may be shared
            os.replace(work, home)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _library(what: str) -> Any:
    """The library.

    Raises:
        UserError: it is not installed, or of a version that might run code.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{what} needs the library datasets; pip install datasets") from error
    if int(datasets.__version__.split(".")[0]) < VERSION:
        raise UserError(f"{what} needs datasets {VERSION} or newer, not {datasets.__version__}; pip install --upgrade datasets")
    return datasets
