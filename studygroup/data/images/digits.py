"""scikit-learn's handwritten digits (Alpaydin and Kaynak, 1998): 1,797 grey images of 8 x 8 pixels, ten classes, no test set."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup.data.source import Chunk, ImageSource, RawImages, RawSplit
from studygroup.errors import UserError
from studygroup.options import DataOptions


class Digits(ImageSource):
    """The data set that is installed with scikit-learn."""

    name = "digits"
    description = "1,797 handwritten digits, 8x8, grey, 10 classes; installed with scikit-learn"
    flips = False

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        if path is not None:
            raise UserError(f"digits comes with scikit-learn and takes no path; leave out {str(path)!r}")

    @cached_property
    def samples(self) -> Chunk:
        """Images (1797, 1, 8, 8) uint8, from 0 to 255, and labels (1797,)."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images: NDArray[np.uint8] = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
        return images, digits.target.astype(np.int64)

    def key(self) -> str:
        """See `Source`."""
        images, labels = self.samples
        return hashlib.blake2b(images.tobytes() + labels.tobytes(), digest_size=16).hexdigest()

    def read(self) -> RawImages:
        """See `Source`."""
        images, labels = self.samples
        return RawImages(classes=tuple("0123456789"), splits={"train": RawSplit(iter([(images, labels)]), len(labels))}, shape=(1, 8, 8))
