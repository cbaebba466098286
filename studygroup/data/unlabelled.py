"""Samples without labels that join the batches of a training: the images in a folder, or the texts of a table or a folder.

They are prepared once, into the cache, exactly as the training samples are: images in their size, texts by their tokenizer. The folders of
images, and of `.txt` files, may have sub-folders; what these are called does not matter, and a column with labels is not read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from studygroup.data.cache.entries import digest
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.class_folders import FolderContent, Sample
from studygroup.data.dataset import Dataset, Split
from studygroup.data.images.folder import IMAGES, Folder
from studygroup.data.images.prepare import ImagePreparation
from studygroup.data.inputs import Images, Tokens
from studygroup.data.source import ImageSource, Meter, RawSplit, RawTexts, Row, TextSource
from studygroup.data.texts.files import UnreadableRows
from studygroup.data.texts.folder import TEXTS, read_files
from studygroup.data.texts.prepare import TextPreparation
from studygroup.data.texts.table import SUFFIXES, table_suffix
from studygroup.data.texts.unlabelled import read_table
from studygroup.errors import UserError
from studygroup.options import DataOptions

NO_LABEL = -1
"""Label of samples without one."""
CLASS = ("unlabelled",)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Samples without labels, and how many of them a batch has.

    Attributes:
        split: the samples, all with the label `NO_LABEL`.
        share: fraction of a batch that they are, in (0, 1).
        name: of the folder or table.
        key: hash of their content and of how they were prepared.
    """

    split: Split
    share: float
    name: str
    key: str


def open_unlabelled(given: str | Path, options: DataOptions, dataset: Dataset, share: float) -> Unlabelled:
    """Prepare samples without labels as the training samples of a data set are.

    Args:
        given: a folder of images, or a table or folder of texts.
        options: how the training data was read.
        dataset: the training data.
        share: fraction of a batch.

    Raises:
        UserError: they are of another kind than the training samples, there are none, or one cannot be read.

    Example:
        >>> from studygroup import data, options
        >>> reading = options.DataOptions("digits")
        >>> data.open_unlabelled(".", reading, data.open_data(reading), 0.5).share  # a folder with digit.png
        0.5
    """
    path, texts = Path(given).expanduser(), isinstance(dataset.inputs, Tokens)
    wanted = f"a table ({', '.join(SUFFIXES)}) or a folder of .txt files" if texts else "a folder of images"
    if not path.exists():
        raise UserError(f"unlabelled is {given}, which does not exist; give {wanted}")
    if not path.is_dir() and not (texts and table_suffix(path)):
        raise UserError(f"unlabelled is {given}, but {dataset.name} has {dataset.inputs.noun}s; give {wanted}")
    if path.is_dir():
        kind, other = (TEXTS, IMAGES) if texts else (IMAGES, TEXTS)
        if not kind.list_files(path):
            inside = f"it has {other.noun}s, and {dataset.name} has" if other.list_files(path) else "it has no"
            raise UserError(f"unlabelled is {given}, but {inside} {kind.noun}s; give {wanted}")
    if isinstance(dataset.inputs, Images):
        plain = replace(options, image_size=None, channels=None)
        prepared = ImagePreparation(ImagesOf(path, plain, dataset.inputs.shape), plain, fewest_classes=1).prepare()
        split, name, key = prepared.splits["train"].split, prepared.name, prepared.key
        split = replace(split, names=prepared.names.get("train"))
    else:
        assert isinstance(dataset.inputs, Tokens)
        options = replace(options, max_length=dataset.inputs.max_length)
        source = TextFilesOf(path, options) if path.is_dir() else RowsOf(path, options)
        tokens = TextPreparation(source, options, fewest_classes=1)
        stored = tokens.prepare()
        splits, _, key = tokens.encode(stored, np.arange(len(stored.splits["train"])), None, dataset.inputs.tokenizer)
        split, name = replace(splits["train"], names=stored.names.get("train")), stored.name
    return Unlabelled(replace(split, labels=np.full(len(split), NO_LABEL)), share, name, key)


def _flat(folder: Path, names: list[str]) -> FolderContent:
    return FolderContent(folder, CLASS, {"train": [Sample(name, 0) for name in names]})


class ImagesOf(Folder):
    """The images in a folder at any depth."""

    def __init__(self, path: Path, options: DataOptions, shape: tuple[int, int, int]) -> None:
        """Args: path: the folder. options: how to read it. shape: (channels, height, width) of the training images."""
        ImageSource.__init__(self, path, options)
        self.name = path.resolve().name
        self.content = _flat(path, IMAGES.list_files(path))
        self.shape = shape  # takes the place of what the folder's own images would suggest


class TextFilesOf(TextSource):
    """The `.txt` files in a folder at any depth."""

    def __init__(self, path: Path, options: DataOptions) -> None:
        super().__init__(path, options)
        self.name = path.resolve().name
        self.content = _flat(path, TEXTS.list_files(path))

    def key(self) -> str:
        """See `Source`."""
        found = self.content.fingerprints(self.cache, purpose="texts", progress=self.options.progress)
        return digest(CLASS, self.options.encoding, [(name, content) for _, name, content, _ in found])

    def read(self) -> RawTexts:
        """See `Source`."""
        unreadable, meter, names = UnreadableRows(self.options.on_error, self.name), Meter(), list[str]()
        files = [(sample.name, CLASS[0]) for sample in self.content.samples["train"]]
        rows = read_files(self.content.root, files, self.options.encoding, unreadable, meter, names)
        return RawTexts(CLASS, {"train": RawSplit(rows, len(files), meter, names)}, unreadable.names)


class RowsOf(TextSource):
    """The texts of a table; columns and encoding are those of the training table if it has them."""

    def __init__(self, path: Path, options: DataOptions) -> None:
        super().__init__(path, options)
        self.file = path
        self.name = path.name.removesuffix(table_suffix(path) or "") or path.name
        self.how = replace(options, text_columns=(), label_column=None, delimiter=None, encoding=None)
        first = next(read_table(path, self.how, options), None)
        if first is None:
            raise UserError(f"unlabelled is {path}, which has no rows; give a table with texts")
        if first.label is not None:
            logger.warning("note: the labels in %s are not read: --unlabelled takes its texts only", path.name)

    def key(self) -> str:
        """See `Source`."""
        ((content, _),) = fingerprints(self.file.parent, [self.file.name], self.cache, purpose="table", progress=False)
        columns = list(self.options.text_columns), self.options.label_column
        return digest(CLASS, content, table_suffix(self.file), self.options.encoding, *columns)

    def read(self) -> RawTexts:
        """See `Source`."""
        meter, names = Meter(), list[str]()

        def rows() -> Iterator[Row]:
            for row in read_table(self.file, self.how, self.options):
                meter.count += 1
                names.append(str(row.number))
                yield row.text, CLASS[0]

        return RawTexts(CLASS, {"train": RawSplit[Any](rows(), 1, meter, names)}, [])
