"""Data sets of Hugging Face's library `datasets`: by name, or a folder that its `save_to_disk` wrote.

    hub:NAME  hub:OWNER/NAME  hub:OWNER/NAME@CONFIG      downloaded once with --download, and kept in the cache
    hub:FOLDER                                           read where it is

No code comes with the data: only versions of the library that run none are accepted. Columns are chosen as in a table; a column of class
labels, if there is exactly one, is the label. The hold-out set is the split `validation`, the test set the split `test`, unless its labels
are hidden (all -1).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from studygroup.data.cache.disk import cache_errors
from studygroup.data.cache.entries import digest
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import SPLIT_NAMES, list_files
from studygroup.data.source import Meter, RawSplit, RawTexts, TextSource
from studygroup.data.texts.columns import Columns, choose_columns, refuse_delimiter, refuse_encoding
from studygroup.data.texts.files import UnreadableRows
from studygroup.data.texts.records import FIRST_ROWS, SURROGATE, Record, read_rows
from studygroup.errors import UserError, one_line
from studygroup.lock import file_lock
from studygroup.options import DataOptions

VERSION = 4
"""First major version of the library that runs no code of data sets."""
BATCH = 256
"""Rows that are read at a time."""
SAVED_FILES = ("dataset_dict.json", "state.json")
"""Files of save_to_disk, of which a folder has one."""

logger = logging.getLogger(__name__)


class HubSplit:
    """A split of a data set, as a table (see `Format`)."""

    text_problem = SURROGATE
    column_hint = ""

    def __init__(self, split: Any, title: str) -> None:
        self.split, self.title = split.with_format(None), title
        self.size: int = split.num_rows
        self.names: list[str] = list(split.features)

    def classes(self, column: str) -> tuple[str, ...] | None:
        """Return the names of a column of class labels; None for another column."""
        names = getattr(self.split.features[column], "names", None)
        return None if names is None else tuple(names)

    def first_rows(self) -> list[Sequence[object]]:
        """See `Format`."""
        return list(self._values(self.names, 0, min(FIRST_ROWS, self.size)))

    def records(self, columns: Sequence[str], meter: Meter) -> Iterator[Record]:
        """See `Format`."""
        classes = [self.classes(name) for name in columns]
        for values in self._values(columns, 0, self.size):
            meter.count += 1
            named = [value if names is None else _class_name(value, names) for value, names in zip(values, classes, strict=True)]
            yield Record("", named, "")

    def has_hidden_labels(self, column: str) -> bool:
        """Return whether a column of class labels has none, as is usual for the test sets of competitions."""
        if self.classes(column) is None:
            return False
        return all(label is None or label < 0 for (label,) in self._values([column], 0, min(FIRST_ROWS, self.size)))

    def _values(self, columns: Sequence[str], start: int, stop: int) -> Iterator[tuple[Any, ...]]:
        """Yield the values of some columns, row by row."""
        chosen = self.split.select_columns(list(dict.fromkeys(columns)))
        try:
            for begin in range(start, stop, BATCH):
                batch = chosen[begin : min(begin + BATCH, stop)]
                yield from zip(*(batch[name] for name in columns), strict=True)
        except Exception as error:  # the library, arrow and the file system raise many classes
            raise UserError(f"{self.title} cannot be read ({one_line(error)}); get it again") from error


def _class_name(label: object, classes: Sequence[str]) -> str | None:
    """Return the name of a class; None for a label without a class."""
    return classes[label] if isinstance(label, int) and 0 <= label < len(classes) else None


class Hub(TextSource):
    """A folder that `save_to_disk` wrote, or a data set of the hub by its name."""

    description = "a data set of Hugging Face's hub (hub:NAME, --download), or a folder of save_to_disk (hub:FOLDER); the extra `datasets`"

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        if path is None:
            raise UserError("hub is for any data set of Hugging Face's hub; give its name as hub:NAME, or a folder of save_to_disk")
        refuse_encoding(options, f"hub:{path}")
        refuse_delimiter(options, f"hub:{path}")
        self.library = _library(f"hub:{path}")
        self.folder = path if path.is_dir() else self._find_download(str(path))
        self.name = path.resolve().name if path.is_dir() else str(path)
        if not any((self.folder / file).is_file() for file in SAVED_FILES):
            raise UserError(
                f"{self.folder} was not written by save_to_disk: it has no {' or '.join(SAVED_FILES)}; give such a folder, or a table"
            )

    def key(self) -> str:
        """See `Source`."""
        names = list_files(self.folder, {".arrow", ".json"})
        found = fingerprints(self.folder, names, self.cache, purpose="hub", progress=False)
        return digest(self.columns, list(self.splits), [(name, content) for name, (content, _) in zip(names, found, strict=True)])

    def read(self) -> RawTexts:
        """See `Source`."""
        unreadable = UnreadableRows(self.options.on_error, self.name)
        splits = {}
        for split, table in self.splits.items():
            meter, numbers = Meter(), list[str]()
            rows = read_rows(table, self.columns, table.title, unreadable, meter, numbers)
            splits[split] = RawSplit(rows, table.size, meter, numbers)
        return RawTexts(self.splits["train"].classes(self.columns.label), splits, unreadable.names)

    @cached_property
    def columns(self) -> Columns:
        """The columns with texts and labels."""
        train = self.all_splits["train"]
        labels = [name for name in train.names if train.classes(name) is not None]
        return choose_columns(train.names, self.options, train.title, train.first_rows, label_columns=labels if len(labels) == 1 else ())

    @cached_property
    def splits(self) -> dict[str, HubSplit]:
        """The splits that are used: `train`, perhaps `val`, perhaps `test`."""
        label = self.columns.label
        splits = {"train": self.all_splits["train"]}
        for name, table in self.all_splits.items():
            if name == "train":
                continue
            if missing := [column for column in (*self.columns.texts, label) if column not in table.names]:
                raise UserError(f"{table.title} has no column {missing[0]!r}, but {splits['train'].title} has; both need it")
            if table.classes(label) != splits["train"].classes(label):
                raise UserError(f"the classes of {table.title} differ from those of {splits['train'].title}; both need the same")
            if table.has_hidden_labels(label):
                logger.warning("%s is not used: its labels are hidden", table.title)
            else:
                splits[name] = table
        return splits

    @cached_property
    def all_splits(self) -> dict[str, HubSplit]:
        """The splits by their use: `train`, `val` and `test`."""
        try:
            data = self.library.load_from_disk(str(self.folder))
        except Exception as error:  # as above
            raise UserError(f"{self.folder} cannot be read as a data set ({one_line(error)}); get it again") from error
        if not hasattr(data, "keys"):
            return {"train": HubSplit(data, self.name)}
        inside = {name.lower(): name for name in data}
        found = {split: next((inside[name] for name in names if name in inside), None) for split, names in SPLIT_NAMES.items()}
        used = {split: name for split, name in found.items() if name is not None}
        if "train" not in used:
            raise UserError(f"{self.name} has no split for training; it has {', '.join(data)}")
        if unused := [name for name in data if name not in used.values()]:
            logger.warning("not used of %s: the splits %s", self.name, ", ".join(unused))
        return {split: HubSplit(data[name], f"{self.name} {name}") for split, name in used.items()}

    def _find_download(self, name: str) -> Path:
        """Return the folder in the cache with a data set of the hub; download it if the options allow it."""
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w.-]+)?", name) or name.startswith("."):
            raise UserError(f"hub:{name} is neither a folder nor the name of a data set; give hub:OWNER/NAME, or hub:OWNER/NAME@CONFIG")
        folder = self.cache / "downloads" / "hub" / name.replace("/", "--")
        if folder.is_dir():
            return folder
        if not self.options.download:
            raise UserError(f"hub:{name} is not there; fetch it with --download, or give a folder that save_to_disk wrote as hub:FOLDER")
        with cache_errors(self.cache):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(folder.with_name(folder.name + ".lock")):
                if not folder.is_dir():  # another process may have downloaded it before it released the lock
                    self._download(name, folder)
        return folder

    def _download(self, name: str, folder: Path) -> None:
        path, _, config = name.partition("@")
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
        try:
            try:
                data = self.library.load_dataset(path, config or None)
            except Exception as error:  # as above
                raise UserError(f"hub:{name} cannot be fetched ({one_line(error)}); check the name and the network") from error
            data.save_to_disk(str(unfinished))
            unfinished.chmod(0o755)  # mkdtemp's folders are private; a cache may be shared
            os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _library(data: str) -> Any:
    """Import the library `datasets`.

    Raises:
        UserError: it is not installed, or of a version that might run code.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{data} needs the library datasets; pip install 'studygroup[datasets]'") from error
    if int(datasets.__version__.split(".")[0]) < VERSION:
        raise UserError(f"{data} needs datasets {VERSION} or newer, not {datasets.__version__}; pip install --upgrade datasets")
    return datasets
