"""What a data set has to offer to be prepared: the contract of the sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from studygroup.data.images.transform import Augment

OnError = Literal["stop", "skip"]
Chunk = tuple[NDArray[Any], NDArray[np.int64]]
"""Some samples, in order: inputs (n, ...) and labels (n,)."""


@dataclass(frozen=True)
class RawSplit:
    """The samples of one split.

    Attributes:
        count: how many there are; fewer may come if broken ones are skipped.
        chunks: the samples, read as they are asked for, once.
    """

    count: int
    chunks: Iterator[Chunk]


@dataclass(frozen=True)
class RawDataset:
    """What is in a source.

    Attributes:
        classes: names, in the order of the labels.
        shape: of one sample's input, e.g. (channels, height, width); what lies in the chunks may have to be converted to it.
        dtype: of the inputs.
        parts: `train` and `test`, or `train` alone if the source has no test set of its own.
        broken: names of the samples that could not be read; complete once the parts are read.
    """

    classes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: dict[str, RawSplit]
    broken: list[str] = field(default_factory=list)


class Source(Protocol):
    """A data set where it lies. To open one checks that it is there, and reads as little as possible.

    Attributes:
        name: what the data set is called in tables.
        augment: the augmentation that suits it.
    """

    name: str
    augment: Augment

    def key(self) -> str:
        """Hash of everything that the prepared samples depend on: the content of the files, and the options."""

    def read(self) -> RawDataset:
        """Start to read.

        Raises:
            UserError: the content is not what it should be, or cannot be read. (An `OSError` would be taken for the cache's.)
        """


@dataclass(frozen=True)
class ReadOptions:
    """What the user asked for, as the sources need it.

    Attributes:
        path: where the data lies, if given.
        image_size: height and width of the images; None for the data's own.
        channels: 1 or 3; None for the data's own.
        broken: what an unreadable image does.
        download: whether a missing file may be fetched.
        cache: where fetched files and prepared data are kept.
        progress: whether progress bars are shown.
    """

    path: Path | None
    image_size: int | None
    channels: int | None
    on_error: OnError
    download: bool
    cache: Path
    progress: bool
