"""A training batch, and how its samples are divided among students and ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from studygroup.errors import UserError

Division = Literal["none", "fixed", "epoch"]


@dataclass(frozen=True)
class Partition:
    """Division of an epoch's samples among a method's students.

    Attributes:
        students: K, the number of students.
        division: `"none"`: all students get the same batch. `"fixed"`: the training set is divided into K subsets once per run.
            `"epoch"`: a new division in every epoch.
        overlap: fraction in [0, 1] of the other students' samples that a student gets, too; at 1 every student gets all samples.
        per_student: True: `batch_size` samples per student and step. False: `batch_size` samples per step in total
            (largest remainder method).
        views: number of independently augmented views of each sample; student s sees view s.
    """

    students: int = 1
    division: Division = "none"
    overlap: float = 0.0
    per_student: bool = False
    views: int = 1

    def __post_init__(self) -> None:
        if self.division not in ("none", "fixed", "epoch"):
            raise UserError(f"division is {self.division!r}; it must be none, fixed or epoch")
        if not 0.0 <= self.overlap <= 1.0:
            raise UserError(f"overlap is {self.overlap}; it must be in [0, 1]")
        if self.students < 1:
            raise UserError(f"students is {self.students}; it must be at least 1")


@dataclass(frozen=True, eq=False)
class LabelLoss:
    """How labels enter the cross-entropy with them, the same for all batches of a run.

    Attributes:
        smoothing: E in [0, 1): the label's distribution is (1 - E) one-hot + E / C.
        class_weights: (C,) float32 factors on the loss of a sample, by its class; None for 1.
    """

    smoothing: float = 0.0
    class_weights: Tensor | None = None


@dataclass(frozen=True)
class LabelMix:
    """Second classes of samples whose inputs are mixed of two.

    Attributes:
        labels: (B,) int64 classes of the second inputs.
        share: (B,) float32 weights of the first inputs, in [0.5, 1].
    """

    labels: Tensor
    share: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> LabelMix:
        """Return the mix with both tensors changed."""
        return LabelMix(change(self.labels), change(self.share))


@dataclass(frozen=True)
class LabelTargets:
    """What the samples of a batch should be classified as: the argument of `losses.cross_entropy`.

    Attributes:
        labels: (B,) int64 class indices.
        mix: second classes and weights, if the inputs are mixed.
        loss: smoothing and class weights; None for the plain cross-entropy.
        weights: (B,) factors on the cross-entropy of each sample, see `Batch.label_weights`; None for 1.
        gather: values of these samples (b, ...) -> of the same samples on all ranks (B, ...); None if they are on this rank alone.
    """

    labels: Tensor
    mix: LabelMix | None = None
    loss: LabelLoss | None = None
    weights: Tensor | None = None
    gather: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def map(self, change: Callable[[Tensor], Tensor]) -> LabelTargets:
        """Return the targets with every tensor (B,) changed, such as by a selection of samples, which are not gathered."""
        weights = None if self.weights is None else change(self.weights)
        return replace(self, labels=change(self.labels), mix=self.mix and self.mix.map(change), weights=weights, gather=None)

    def all_gather(self, rows: Tensor) -> Tensor:
        """Gather per-sample values (b, ...) of all ranks; see `Batch.all_gather`."""
        return rows if self.gather is None else self.gather(rows)

    def split(self, sizes: Sequence[int]) -> list[LabelTargets]:
        """Split into consecutive parts."""
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        return [self.map(lambda rows, low=low, high=low + size: rows[low:high]) for low, size in zip(starts, sizes, strict=True)]  # type: ignore[misc]

    @staticmethod
    def cat(parts: Sequence[LabelTargets]) -> LabelTargets:
        """Join the parts of one batch."""
        mixes = [part.mix for part in parts if part.mix is not None]
        mix = LabelMix(torch.cat([mix.labels for mix in mixes]), torch.cat([mix.share for mix in mixes])) if mixes else None
        weights = [part.weights for part in parts if part.weights is not None]
        labels = torch.cat([part.labels for part in parts])
        return replace(parts[0], labels=labels, mix=mix, weights=torch.cat(weights) if weights else None, gather=None)


@dataclass(frozen=True)
class StudentBatch:
    """One student's samples of a batch: inputs (b, ...) and targets."""

    inputs: Tensor
    targets: LabelTargets

    @property
    def labels(self) -> Tensor:
        """Return the class indices (b,)."""
        return self.targets.labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RankShard:
    """Location of a rank's samples in the global batch, if the samples of a step are sharded over ranks.

    Attributes:
        sizes: samples per student in the global batch; a single number if it is not divided among students.
        rows: (b,) indices of this rank's samples in the global batch, on the device.
        gather: local rows (b, ...) -> global rows (B, ...) in their order; gradient flows to the local ones.
        gather_student: the same for the samples of each student, if the batch is divided among students; None for one whose samples are not
            divided among ranks.
        global_batch: the batch of all ranks, for a method that compares its samples with each other.
    """

    sizes: tuple[int, ...]
    rows: Tensor
    gather: Callable[[Tensor], Tensor]
    gather_student: tuple[Callable[[Tensor], Tensor] | None, ...] = ()
    global_batch: Batch | None = None


@dataclass(frozen=True)
class Batch:
    """B samples on the device.

    Attributes:
        inputs: (B, ...), preprocessed and augmented.
        labels: (B,) int64 class indices; of mixed inputs that of the first one, whose weight is at least 1/2; -1 of samples without one.
        indices: (B,) int64 positions in the training set, for methods that keep a memory of samples; from its size on if not from it.
        sizes: number of consecutive samples of each student; None if all students get the whole batch.
        views: augmented views of the samples, each (B, ...), if the method's partition has several; view 0 is `inputs`.
        shard: position in the global batch; None if this is the global batch.
        mix: second classes and weights, if the inputs are mixed.
        loss: smoothing and class weights; None for the plain cross-entropy.
        label_weights: (B,) float32 factors on each sample's cross-entropy: 0 without a label; the others' are such that the mean over
            all samples of a student is that over those with labels. None if all have labels.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor
    sizes: tuple[int, ...] | None = None
    views: tuple[Tensor, ...] = ()
    shard: RankShard | None = None
    mix: LabelMix | None = None
    loss: LabelLoss | None = None
    label_weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> LabelTargets:
        """Return what `losses.cross_entropy` takes."""
        return LabelTargets(self.labels, self.mix, self.loss, self.label_weights, self.shard.gather if self.shard else None)

    @property
    def student_sizes(self) -> tuple[int, ...]:
        """Return the number of samples of each student; a single number if the batch is not divided."""
        return self.sizes if self.sizes is not None else (len(self),)

    @property
    def global_batch(self) -> Batch:
        """Return the batch of all ranks.

        Raises:
            UserError: the samples are sharded and the method does not set `whole_batch`.
        """
        if self.shard is None:
            return self
        if self.shard.global_batch is None:
            raise UserError("the method compares the samples of a batch with each other; it must set whole_batch = True")
        return self.shard.global_batch

    def all_gather(self, rows: Tensor) -> Tensor:
        """Gather per-sample values (b, ...) of all ranks into those of the global batch (B, ...).

        Every rank must compute the same loss from the result; gradient flows to the rank's own rows.
        """
        return rows if self.shard is None else self.shard.gather(rows)

    def local(self, rows: Tensor) -> Tensor:
        """Select this rank's rows (b, ...) from those of the global batch (B, ...)."""
        return rows if self.shard is None else rows[self.shard.rows]

    def view(self, student: int) -> Tensor:
        """Return the augmented view (B, ...) of a student."""
        return self.views[student] if self.views else self.inputs

    def per_student(self, students: int) -> list[StudentBatch]:
        """Return each student's samples, perhaps none; the same `StudentBatch` object for all if the batch is not divided.

        Raises:
            UserError: the batch is divided among another number of students.
        """
        if self.sizes is None:
            return [StudentBatch(self.inputs, self.targets)] * students
        if len(self.sizes) != students:
            raise UserError(f"the batch is divided among {len(self.sizes)} students, not {students}; set the students of its Partition")
        gathers = self.shard.gather_student if self.shard else [None] * students
        targets = [replace(y, gather=gather) for y, gather in zip(self.targets.split(self.sizes), gathers, strict=True)]
        return [StudentBatch(x, y) for x, y in zip(self.inputs.split(self.sizes), targets, strict=True)]

    def split(self, parts: int) -> list[Batch]:
        """Split into at most `parts` batches, none empty, each with an even part of every student's samples."""
        sizes = self.student_sizes
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        batches = []
        for part in range(parts):
            spans = [(start + size * part // parts, start + size * (part + 1) // parts) for start, size in zip(starts, sizes, strict=True)]
            chosen = torch.cat([torch.arange(low, high) for low, high in spans]).to(self.labels.device)
            if len(chosen):
                batches.append(self.take(chosen, None if self.sizes is None else [high - low for low, high in spans]))
        return batches

    def take(self, chosen: Tensor, sizes: Sequence[int] | None = None) -> Batch:
        """Return the samples at positions `chosen` (b,) as a batch, without its shard."""
        return Batch(
            self.inputs[chosen],
            self.labels[chosen],
            self.indices[chosen],
            None if sizes is None else tuple(sizes),
            tuple(view[chosen] for view in self.views),
            mix=self.mix and self.mix.map(lambda rows: rows[chosen]),
            loss=self.loss,
            label_weights=None if self.label_weights is None else self.label_weights[chosen],
        )
