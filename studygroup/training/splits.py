"""The data of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from studygroup.batch import LabelLoss
from studygroup.data import Dataset, Flips, Split, Tokens, Transform, Unlabelled
from studygroup.data.texts.dropout import TokenDropout
from studygroup.errors import UserError, unknown_name
from studygroup.training.settings import Settings


@dataclass(frozen=True, eq=False)
class DataSplits:
    """A prepared data set, split for a run.

    Attributes:
        dataset: classes, kind of inputs and the test split.
        train: training samples.
        holdout: samples that select the student; may be empty.
        augment: augmentation of training batches.
        flips: the decision on flips, if a preset depends on it.
        unlabelled: samples without labels that join the batches; None for none.
    """

    dataset: Dataset
    train: Split
    holdout: Split
    augment: str
    flips: Flips | None = None
    unlabelled: Unlabelled | None = None

    def transform(self, settings: Settings) -> Transform:
        """Return the transform from stored samples to network inputs, for training and evaluation."""
        device = settings.torch_device()
        inputs = self.dataset.inputs
        transform = inputs.transform(device, settings.memory_format(device), self.augment)
        if not settings.token_dropout:
            return transform
        if not isinstance(inputs, Tokens):
            raise UserError(f"token_dropout is {settings.token_dropout:g}, but {self.dataset.name} has no tokens; leave it out for images")
        return TokenDropout(transform, settings.token_dropout, inputs.tokenizer)

    def label_loss(self, settings: Settings) -> LabelLoss | None:
        """Return smoothing and class weights; None for the plain cross-entropy.

        The weights are scaled to a mean of 1 over the training samples, so that they change neither the size of the loss nor, with that,
        the best learning rate.

        Raises:
            UserError: a weight is given for a class that the data does not have.
        """
        given, classes = settings.class_weights, self.dataset.classes
        if given is None:
            return LabelLoss(settings.label_smoothing) if settings.label_smoothing else None
        counts = np.bincount(self.train.labels, minlength=len(classes))
        if isinstance(given, str):
            weights = 1.0 / np.maximum(counts, 1)
        else:
            for name in given:
                if name not in classes:
                    raise unknown_name("class in class_weights", name, classes)
            weights = np.array([given.get(name, 1.0) for name in classes])
        weights = weights * counts.sum() / (weights * counts).sum()
        return LabelLoss(settings.label_smoothing, torch.tensor(weights, dtype=torch.float32, device=settings.torch_device()))

    def without_test(self) -> DataSplits:
        """Return the same data with an empty test set."""
        return replace(self, dataset=replace(self.dataset, test=self.dataset.test.take(np.arange(0))))

    def check(self, settings: Settings) -> None:
        """Raise UserError if the settings ask for what the data does not have."""
        self.transform(settings)
        self.label_loss(settings)
        if settings.patience is not None and not len(self.holdout):
            raise UserError(f"patience is {settings.patience}, but there is no hold-out set to wait for; give --holdout, or no patience")

    def digest(self) -> str:
        """Return a digest of which samples are for training and which are held out."""
        rows = (split.rows.tobytes() if split.rows is not None else b"all" for split in (self.train, self.holdout))
        return hashlib.sha256(b"".join(rows)).hexdigest()[:16]
