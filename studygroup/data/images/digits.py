"""scikit-learn's handwritten digits (Alpaydin and Kaynak, 1998): 1,797 grey images of 8 x 8 pixels, ten classes, no test set."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from studygroup.data.images.transform import Augment
from studygroup.data.source import Chunk, RawDataset, RawSplit, ReadOptions
from studygroup.errors import UserError


class Digits:
    """The data set that comes with the installation."""

    name = "digits"
    augment: Augment = "crop"

    def __init__(self, options: ReadOptions) -> None:
        if options.path is not None:
            raise UserError(f"digits comes with scikit-learn and has no place of its own; leave out {str(options.path)!r}")

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

    def read(self) -> RawDataset:
        """See `Source`."""
        images, labels = self.samples
        part = RawSplit(len(labels), iter([(images, labels)]))
        return RawDataset(tuple("0123456789"), images.shape[1:], images.dtype, {"train": part})
