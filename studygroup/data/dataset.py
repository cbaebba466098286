"""Prepared samples, and how they are divided into training, hold-out and test sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studygroup import randomness
from studygroup.data.images.transform import Augment
from studygroup.data.inputs import Images, Inputs
from studygroup.data.texts.ragged import Ragged
from studygroup.errors import UserError

Positions = Tensor | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """N prepared samples, or a chosen part of them; the samples themselves stay in their file until they are gathered.

    Attributes:
        inputs: all stored samples: those of this split are the rows `rows` of it. Images (M, C, H, W) uint8, memory-mapped, or M texts.
        labels: (N,) int64, of this split's samples.
        rows: (N,) int64, or None if the split is all of `inputs`, in order.
    """

    inputs: Any  # NDArray[np.uint8] or Ragged; who reads images knows that it has an array
    labels: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """(N,) tokens of each text; None for samples that are all of one size."""
        if not isinstance(self.inputs, Ragged):
            return None
        return self.inputs.lengths if self.rows is None else self.inputs.lengths[self.rows]

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The samples at positions `indices` (n,) as a split of their own; no sample is copied or read."""
        indices = np.asarray(indices, dtype=np.int64)
        rows = indices if self.rows is None else self.rows[indices]
        return Split(self.inputs, self.labels[indices], rows)

    def gather(self, positions: Positions, width: int = 1) -> tuple[Tensor, Tensor]:
        """Read samples.

        Args:
            positions: (b,) of this split, in any order.
            width: number of tokens that texts are padded to at least; they are padded to the longest of them anyway.

        Returns:
            The inputs and labels (b,) int64 at these positions, in their order, on the CPU. Images are (b, C, H, W) uint8, texts
            (b, T) int64.
        """
        chosen = np.asarray(positions.cpu() if isinstance(positions, Tensor) else positions, dtype=np.int64)
        rows = chosen if self.rows is None else self.rows[chosen]
        inputs = self.inputs.gather(rows, width) if isinstance(self.inputs, Ragged) else self.inputs[rows]
        return torch.from_numpy(inputs), torch.from_numpy(self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set.

    Attributes:
        name: what it is called in tables: the source's name, or the folder's.
        classes: the names of the C classes; a label is an index into them.
        train: the training split; hold-out samples are taken from it (`hold_out`).
        test: the test split; empty only if the data has none and `test_size` is 0.
        inputs: what its samples are: images or texts.
        augment: the augmentation that suits the data.
        key: hash of the source's content, of the preparation's options and of the division into training and test set.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    inputs: Inputs
    augment: Augment
    key: str

    @property
    def images(self) -> Images:
        """Their shape and normalisation.

        Raises:
            UserError: they are no images.
        """
        if not isinstance(self.inputs, Images):
            raise UserError(f"{self.name} has {self.inputs.what}s; take a data set of images")
        return self.inputs


def count(amount: float, total: int, what: str) -> int:
    """How many of `total` samples an amount means: a share if it is at most 1 (at least one sample unless it is 0), else a number.

    Raises:
        UserError: the amount is negative, above `total`, or a number that is not whole.
    """
    if not amount >= 0 or (amount > 1 and amount != int(amount)):
        raise UserError(f"{what} is {amount:g}; give a share in [0, 1] or a whole number of samples")
    number = max(round(amount * total), 1 if amount > 0 else 0) if amount <= 1 else int(amount)
    if number > total:
        raise UserError(f"{what} is {amount:g}, but there are {total} samples to choose from; give at most {total}")
    return number


def hold_out(
    n: int, *, holdout: float = 0.1, train_size: float | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the training split at random into samples to learn from and samples to select by.

    The hold-out depends on the seed and its own size only, not on `train_size`; a smaller training set is part of a larger one.

    Args:
        n: number of samples in the training split.
        holdout: number of hold-out samples (above 1) or their share of the n (at most 1); 0 for none.
        train_size: number of training samples (above 1) or their share of what the hold-out leaves (at most 1); None for all of it.
        seed: of the division.

    Returns:
        Training positions and hold-out positions, each sorted; they share none.

    Raises:
        UserError: the sizes cannot be had, or nothing is left to learn from.
    """
    held = count(holdout, n, "holdout")
    if holdout < 1:  # rounding leaves one
        held = min(held, n - 1)
    if held >= n:
        raise UserError(f"holdout is {holdout:g} and leaves none of the {n} samples to learn from; give less")
    order = torch.randperm(n, generator=randomness.generator(seed, "holdout")).numpy()
    learned = n - held if train_size is None else count(train_size, n - held, "train_size")
    if learned == 0:
        raise UserError("train_size is 0; give a share in (0, 1] or a number of samples")
    return np.sort(order[held : held + learned]), np.sort(order[:held])


def divide(n: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions (sorted) of the training and the test set of n samples, of which `share` in [0, 1) are for the test, at random."""
    test = min(count(share, n, "test_size"), n - 1)
    order = torch.randperm(n, generator=randomness.generator(seed, "test")).numpy()
    return np.sort(order[test:]), np.sort(order[:test])
