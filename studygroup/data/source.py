"""The contract of a data source. To add one: a file with a subclass of `ImageSource` or `TextSource`, and a line in `SOURCES`.

Other packages add sources by the entry point group `studygroup.data`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from studygroup.options import DataOptions

Kind = Literal["images", "texts"]
Chunk = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Some images, in order: pixels (n, C, H, W) and labels (n,)."""
Row = tuple[str, str]
"""A text and the name of its class. The text is unchanged: not stripped, with its case, line breaks and tags; it may be empty."""
ItemT = TypeVar("ItemT")


class Meter:
    """Counter of what has been read of a source: bytes, rows or files."""

    def __init__(self) -> None:
        self.count = 0


@dataclass(frozen=True)
class RawSplit(Generic[ItemT]):
    """The samples of one split.

    Attributes:
        items: chunks of images, or rows of texts; read lazily, once.
        size: amount to read, for the progress bar, in the units of `meter`. Of images, their number; fewer may come if some are unreadable.
        meter: amount read so far; None if samples are counted.
        names: file or row number of each readable sample, appended before it is yielded; None for sources without such names.
    """

    items: Iterator[ItemT]
    size: int
    meter: Meter | None = None
    names: list[str] | None = None


@dataclass(frozen=True)
class RawDataset(Generic[ItemT]):
    """The content of a source.

    Attributes:
        classes: names, in the order of the labels; None if they are the labels of the texts, sorted.
        splits: `train`, `val` if the source has a hold-out set, and `test` if it has a test set.
        unreadable: names of the samples that could not be read, e.g. "row 17 of reviews.csv (line 18: 2 columns instead of 3)";
            complete once the splits are read.
    """

    classes: tuple[str, ...] | None
    splits: dict[str, RawSplit[ItemT]]
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RawImages(RawDataset[Chunk]):
    """The content of a source of images.

    Attributes:
        shape: (channels, height, width) of the images; they may be converted to another one when they are prepared.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]


RawTexts = RawDataset[Row]
RawT = TypeVar("RawT", bound=RawDataset[Any])


class Source(ABC, Generic[RawT]):
    """A data set in its original files. The constructor checks that they exist, and reads as little as possible.

    Attributes:
        kind: kind of samples.
        name: name of the data set in tables.
        description: one line for `studygroup list data`.
        requires_path: whether the data set must be given with a path (`NAME:PATH`).
        flips: whether mirrored images are of the same class; None if their class names or the images must tell.
    """

    kind: ClassVar[Kind]
    name: str
    description: ClassVar[str]
    requires_path: ClassVar[bool] = False
    flips: bool | None = None

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        """Find the files.

        Args:
            path: location of the data, if given; for `hub:NAME` the name.
            options: how the data is read.

        Raises:
            UserError: the files do not exist, or cannot be read with these options.
        """
        self.path = path
        self.options = options
        self.cache = cache_folder(options.cache)

    def original_sizes(self) -> Sequence[tuple[int, int]]:
        """Return (width, height) of image files of different sizes, as far as they can be read, for the description of the data."""
        return ()

    @abstractmethod
    def key(self) -> str:
        """Return a hash of everything that the samples depend on: the content of the files, and the options.

        Raises:
            UserError: the content cannot be used with these options.
        """

    @abstractmethod
    def read(self) -> RawT:
        """Start to read.

        Raises:
            UserError: the content is invalid or cannot be read. Iterating over a split raises it, too: for a damaged file, or for an
                unreadable sample unless such are skipped. (An `OSError` would be reported as an error of the cache.)
        """


class ImageSource(Source[RawImages]):
    """A data set of images."""

    kind = "images"


class TextSource(Source[RawTexts]):
    """A data set of texts."""

    kind = "texts"


def cache_folder(cache: str | Path | None) -> Path:
    """Return the folder for downloads and prepared data: the given one, `$STUDYGROUP_CACHE`, or `~/.cache/studygroup`."""
    return Path(cache or os.environ.get("STUDYGROUP_CACHE") or "~/.cache/studygroup").expanduser().absolute()
