"""The data of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from studygroup.data import Dataset, Split, Transform
from studygroup.training.settings import Settings


@dataclass(frozen=True, eq=False)
class DataSplits:
    """A prepared data set, split for a run.

    Attributes:
        dataset: classes, kind of inputs and the test split.
        train: training samples.
        holdout: samples that select the student; may be empty.
        augment: augmentation of training batches.
    """

    dataset: Dataset
    train: Split
    holdout: Split
    augment: str

    def transform(self, settings: Settings) -> Transform:
        """Return the transform from stored samples to network inputs, for training and evaluation."""
        device = settings.torch_device()
        return self.dataset.inputs.transform(device, settings.memory_format(device), self.augment)

    def digest(self) -> str:
        """Return a digest of which samples are for training and which are held out."""
        rows = (split.rows.tobytes() if split.rows is not None else b"all" for split in (self.train, self.holdout))
        return hashlib.sha256(b"".join(rows)).hexdigest()[:16]
