"""Prepared data sets, and their division into training, hold-out and test sets, stratified by class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studygroup import randomness
from studygroup.data.inputs import Images, Inputs
from studygroup.data.texts.ragged import Ragged
from studygroup.data.texts.store import Texts
from studygroup.errors import UserError

Positions = Tensor | NDArray[np.int64]
HOLDOUT = 0.1
"""Fraction of the training samples that is held out by default, of data without a hold-out set of its own."""


@dataclass(frozen=True, eq=False)
class Split:
    """N prepared samples, all or some of those in a file, which are read when they are gathered.

    Attributes:
        inputs: all M samples of the file: images (M, C, H, W) uint8, memory-mapped, or M texts.
        labels: (N,) int64, of the samples of this split.
        rows: (N,) int64: rows of this split's samples in `inputs`; None for all, in order.
        names: file with the names of all M samples, a JSON string per line; None if they have none.
        texts: all M texts, unchanged; None for images.
    """

    inputs: Any  # NDArray[np.uint8] or Ragged; code that reads images knows that it has an array
    labels: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None
    names: Path | None = None
    texts: Texts | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Return the rows of this split's samples in `inputs` (N,)."""
        return np.arange(len(self), dtype=np.int64) if self.rows is None else self.rows

    def sample_names(self) -> list[str]:
        """Return a name of each sample (N): its file or its row in a table, from 1; of other data its index in the arrays, from 0."""
        if self.names is None:
            return [str(row) for row in self.positions]
        wanted = set(self.positions.tolist())
        with self.names.open(encoding="utf-8") as file:
            found = {row: str(json.loads(line)) for row, line in enumerate(file) if row in wanted}
        return [found[row] for row in self.positions.tolist()]

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Return the number of tokens of each text (N,); None for images."""
        if not isinstance(self.inputs, Ragged):
            return None
        return self.inputs.lengths if self.rows is None else self.inputs.lengths[self.rows]

    def take(self, indices: NDArray[np.int64]) -> Split:
        """Return the samples at positions `indices` (n,) as a split, without reading or copying them."""
        indices = np.asarray(indices, dtype=np.int64)
        rows = indices if self.rows is None else self.rows[indices]
        return replace(self, labels=self.labels[indices], rows=rows)

    def gather(self, positions: Positions, width: int = 1) -> tuple[Tensor, Tensor]:
        """Read samples.

        Args:
            positions: (b,) positions in this split, in any order.
            width: minimum number of tokens that texts are padded to; they are always padded to the longest of them.

        Returns:
            Inputs and labels (b,) int64 in the order of the positions, on the CPU. Images are (b, C, H, W) uint8, texts (b, T) int64.
        """
        chosen = np.asarray(positions.cpu() if isinstance(positions, Tensor) else positions, dtype=np.int64)
        rows = chosen if self.rows is None else self.rows[chosen]
        inputs = self.inputs.gather(rows, width) if isinstance(self.inputs, Ragged) else self.inputs[rows]
        return torch.from_numpy(inputs), torch.from_numpy(self.labels[chosen])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set.

    Attributes:
        name: name in tables: that of the source or of the folder.
        classes: names of the C classes; a label is an index into them.
        train: samples to learn from. Normalisation and vocabulary are computed from them, and from no others.
        holdout: samples that select the student; may be empty.
        unused: training samples that `train_size` leaves, in a stratified order (`hold_out`).
        test: test split; empty only if the data has none and `test_size` is 0.
        own: names of the splits that the source has itself: `train`, perhaps `val`, perhaps `test`.
        inputs: kind of its samples as network inputs: images or texts.
        flips: whether mirrored images are of the same class; None if the source does not know (`images.flips` decides then).
        key: hash of the source's content, of the options and of the division into training and test set.
        original_sizes: (width, height) of the image files before they were resized; empty if the source does not tell.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    holdout: Split
    unused: Split
    test: Split
    own: frozenset[str]
    inputs: Inputs
    flips: bool | None
    key: str
    original_sizes: Sequence[tuple[int, int]] = ()

    @property
    def images(self) -> Images:
        """Return shape and normalisation of the images.

        Raises:
            UserError: the samples are no images.
        """
        if not isinstance(self.inputs, Images):
            raise UserError(f"{self.name} has {self.inputs.noun}s; take a data set of images")
        return self.inputs


def sample_count(amount: float, total: int, option: str) -> int:
    """Convert an amount to a number of samples: a fraction if it is at most 1 (at least one sample unless it is 0), else a number.

    Args:
        amount: fraction or number.
        total: number of samples.
        option: name of the option, for messages.

    Raises:
        UserError: the amount is negative, above `total`, or a number that is not whole.
    """
    if not amount >= 0 or (amount > 1 and amount != int(amount)):
        raise UserError(f"{option} is {amount:g}; give a fraction in [0, 1] or a whole number of samples")
    number = max(round(amount * total), 1 if amount > 0 else 0) if amount <= 1 else int(amount)
    if number > total:
        raise UserError(f"{option} is {amount:g}, but there are {total} samples to choose from; give at most {total}")
    return number


def stratified_order(labels: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """Return a random order of samples (n,) in which every prefix has the classes in nearly the proportions of all samples.

    The j-th of the n_c samples of class c gets the key (j + u_c) / n_c with u_c uniform in [0, 1), by which they are sorted (systematic
    sampling). One sample of each class is kept for the end, so that no class is used up before.

    Args:
        labels: (n,) classes from 0.
        generator: CPU generator.
    """
    order = torch.randperm(len(labels), generator=generator).numpy()
    by_class = np.argsort(labels[order], kind="stable")
    classes = labels[order][by_class]
    counts = np.bincount(classes)
    number = np.arange(len(labels)) - (np.cumsum(counts) - counts)[classes]  # j, of each sample within its class
    offset = torch.rand(len(counts), generator=generator, dtype=torch.float64).numpy()[classes]
    keys = np.where(number == counts[classes] - 1, 1 + offset, (number + offset) / counts[classes])
    result: NDArray[np.int64] = order[by_class[np.argsort(keys, kind="stable")]]
    return result


def hold_out(
    labels: NDArray[np.int64], *, holdout: float = HOLDOUT, train_size: float | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Divide samples at random, stratified by class, into those for training, hold-out samples for selection, and unused ones.

    The hold-out depends on the seed and its own size only, not on `train_size`; a smaller training set is a subset of a larger one.

    Args:
        labels: (n,) labels of the samples.
        holdout: number (above 1) or fraction (at most 1) of the n samples to hold out; 0 for none.
        train_size: number (above 1) or fraction (at most 1) of the remaining samples to train on; None for all.
        seed: seed of the split.

    Returns:
        Training positions and hold-out positions, each sorted, and the unused ones in an order in which every prefix is stratified, too,
        and which does not depend on `train_size`; they are disjoint.

    Raises:
        UserError: the sizes are impossible, or no training samples are left.

    Example:
        >>> import numpy as np
        >>> from studygroup import data
        >>> train, holdout, unused = data.hold_out(np.repeat([0, 1], 50), holdout=0.1)
        >>> len(train), len(holdout), len(unused)
        (90, 10, 0)
    """
    n = len(labels)
    held_out = sample_count(holdout, n, "holdout")
    if holdout < 1:  # a fraction below 1 leaves one sample, however it is rounded
        held_out = min(held_out, n - 1)
    if held_out >= n:
        raise UserError(f"holdout is {holdout:g} and leaves none of the {n} samples to learn from; give less")
    count = n - held_out if train_size is None else sample_count(train_size, n - held_out, "train_size")
    if count == 0:
        raise UserError("train_size is 0; give a fraction in (0, 1] or a number of samples")
    order = stratified_order(labels, randomness.generator(seed, "holdout"))
    return np.sort(order[n - count :]), np.sort(order[:held_out]), order[held_out : n - count]


def divide(labels: NDArray[np.int64], test_size: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide samples at random, stratified by class, into training and test set; return the positions of each, sorted.

    Args:
        labels: (n,) labels of the samples.
        test_size: number (above 1) or fraction (below 1) of test samples; at least one training sample is left.
        seed: seed of the split.
    """
    test = min(sample_count(test_size, len(labels), "test_size"), len(labels) - 1)
    order = stratified_order(labels, randomness.generator(seed, "test"))
    return np.sort(order[test:]), np.sort(order[:test])
