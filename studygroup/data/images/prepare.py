"""Images in the cache: `inputs` (N, C, H, W) uint8, `labels` (N,) and `moments` (N, 2, C), for the normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.entries import text_digest
from studygroup.data.dataset import Split
from studygroup.data.images.decode import fit_array
from studygroup.data.inputs import Images, Inputs
from studygroup.data.prepare import ArrayType, Preparation, Prepared
from studygroup.data.source import Chunk, RawImages, RawSplit
from studygroup.data.tokenizer import Tokenizer
from studygroup.errors import UserError


@dataclass(frozen=True, eq=False)
class StoredImages:
    """The images of one split.

    Attributes:
        split: images and labels, memory-mapped.
        moments: (N, 2, C) int64: sums of each image's pixel values, and of their squares, per channel.
    """

    split: Split
    moments: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels (N,)."""
        return self.split.labels

    def __len__(self) -> int:
        return len(self.split)


class ImagePreparation(Preparation[RawImages, StoredImages]):
    """Preparation of images: resized, and with the sums that their normalisation needs."""

    category = "prepared"
    noun = "image"
    unit = "samples"

    def key_options(self) -> tuple[object, ...]:
        """See `Preparation`."""
        return self.options.image_size, self.options.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width) of the prepared images."""
        channels, height, width = self.raw.shape
        size = self.options.image_size
        return self.options.channels or channels, size or height, size or width

    def array_types(self) -> Mapping[str, ArrayType]:
        """See `Preparation`."""
        shape = self.shape
        return {
            "labels": ((), np.dtype(np.int64)),
            "inputs": (shape, np.dtype(np.uint8)),
            "moments": ((2, shape[0]), np.dtype(np.int64)),
        }

    def chunks(self, split: RawSplit[Chunk]) -> Iterator[tuple[NDArray[Any], ...]]:
        """See `Preparation`."""
        for images, labels in split.items:
            images = fit_array(images, self.shape)
            yield labels, images, pixel_moments(images)

    def finish(self, folder: Path) -> tuple[str, ...]:
        """Check that every class has images left if unreadable ones were skipped."""
        classes, unreadable = self.raw.classes, self.raw.unreadable
        for name in self.raw.splits if unreadable else ():
            counts = np.bincount(np.load(folder / f"{name}_labels.npy"), minlength=len(classes))
            if empty := [label for label, count in zip(classes, counts, strict=True) if not count]:
                raise UserError(
                    f"no image of class {empty[0]!r} of {self.source.name} ({name}) can be read: {unreadable[0]}, …; repair or remove them"
                )
        return classes

    def open_split(self, folder: Path, name: str) -> StoredImages:
        """See `Preparation`."""
        inputs, labels, moments = (np.load(folder / f"{name}_{array}.npy", mmap_mode="r") for array in ("inputs", "labels", "moments"))
        if not len(inputs) == len(labels) == len(moments):
            raise ValueError("arrays of different lengths")
        # A plain view: indexing a memory map's own class is slower. Labels are small and are read.
        return StoredImages(Split(inputs.view(np.ndarray), np.array(labels)), moments.view(np.ndarray))

    def encode(
        self,
        prepared: Prepared[StoredImages],
        train: NDArray[np.int64],
        division: tuple[int, int] | None,
        tokenizer: str | Tokenizer,
    ) -> tuple[dict[str, Split], Inputs, str]:
        """Compute the normalisation from the samples to learn from."""
        stored = prepared.splits["train"]
        channels, height, width = stored.split.inputs.shape[1:]
        mean, std = statistics(stored.moments if len(train) == len(stored) else stored.moments[train], height * width)
        key = prepared.key if division is None else text_digest(f"{prepared.key} stratified {division[0]} {division[1]}")
        return {name: images.split for name, images in prepared.splits.items()}, Images((channels, height, width), mean, std), key


def pixel_moments(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the exact sums of pixel values and of their squares: (n, C, H, W) uint8 -> (n, 2, C)."""
    sums = images.sum(axis=(2, 3), dtype=np.int64)
    squares = np.square(images, dtype=np.uint16).sum(axis=(2, 3), dtype=np.int64)
    return np.stack([sums, squares], axis=1)


def statistics(moments: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation per channel of pixels scaled to [0, 1], from exact sums.

    Args:
        moments: (N, 2, C) sums of each image's pixel values and of their squares.
        pixels: height x width.

    Returns:
        C means and C standard deviations; a deviation of 0 is replaced by 1.
    """
    n = len(moments) * pixels
    totals = [(int(sums), int(squares)) for sums, squares in moments.sum(axis=0).T]
    mean = tuple(sums / n / 255 for sums, _ in totals)
    std = tuple(math.sqrt(n * squares - sums * sums) / n / 255 or 1.0 for sums, squares in totals)
    return mean, std
