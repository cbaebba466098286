"""Arrays of images and labels in a NumPy archive: `images` (N, H, W, C) uint8 and `labels` (N,), names or whole numbers. No test set."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup.data.source import Chunk, ImageSource, RawImages, RawSplit
from studygroup.errors import UserError, one_line
from studygroup.options import DataOptions

SUFFIX = ".npz"
CHUNK = 1024


class Npz(ImageSource):
    """An archive as `numpy.savez` writes it. Nothing in it is unpickled."""

    description = "arrays in a NumPy archive (.npz): images (N, H, W, C), uint8, C = 1 or 3, and labels (N,): give its path"
    requires_path = True

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        if path is None or not path.is_file():
            raise UserError(f"{path} does not exist; give a NumPy archive ({SUFFIX}) with images and labels")
        self.file = path
        self.name = path.stem

    @cached_property
    def arrays(self) -> tuple[NDArray[np.uint8], tuple[str, ...], NDArray[np.int64]]:
        """Images (N, H, W, C), names of the classes, and labels (N,)."""
        try:
            with self.file.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                images, labels = archive["images"], archive["labels"]
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.file} cannot be read ({one_line(error)}); it must be a NumPy archive with images and labels") from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
            raise UserError(
                f"the images in {self.file} have the shape {images.shape} and the type {images.dtype}; give (N, H, W, C), uint8, "
                "with C = 1 or 3"
            )
        if labels.dtype.kind not in "iuUb" or labels.shape != images.shape[:1]:
            raise UserError(
                f"the labels in {self.file} have the shape {labels.shape} and the type {labels.dtype}; give a name or number per image"
            )
        classes, numbers = np.unique(labels, return_inverse=True)
        return images, tuple(map(str, classes.tolist())), numbers.astype(np.int64)

    def key(self) -> str:
        """See `Source`."""
        images, classes, labels = self.arrays
        found = hashlib.blake2b(repr((images.shape, classes)).encode() + labels.tobytes(), digest_size=16)
        found.update(images.tobytes())
        return found.hexdigest()

    def read(self) -> RawImages:
        """See `Source`."""
        images, classes, _ = self.arrays
        height, width, channels = images.shape[1:]
        return RawImages(classes=classes, splits={"train": RawSplit(self._chunks(), len(images))}, shape=(channels, height, width))

    def _chunks(self) -> Iterator[Chunk]:
        images, _, labels = self.arrays
        for start in range(0, len(images), CHUNK):
            yield np.ascontiguousarray(images[start : start + CHUNK].transpose(0, 3, 1, 2)), labels[start : start + CHUNK]
