"""What one step learns from: a batch, and how its samples are dealt to students."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studygroup.errors import UserError

Division = Literal["none", "fixed", "epoch"]


@dataclass(frozen=True)
class Partition:
    """How a method wants the samples of an epoch dealt to its students.

    Attributes:
        students: K, the number of students that samples are dealt to.
        division: `"none"`: one batch for all. `"fixed"`: the training set is divided into K shares once, for the whole run.
            `"epoch"`: divided anew at every epoch.
        overlap: share in [0, 1] of the other students' samples that each student is dealt as well; 1 gives everybody everything.
        per_student: True: every student draws `batch_size` samples per step. False: the students' samples of a step
            together are `batch_size` (largest remainder).
        views: number of independently augmented views of each sample, one per student.
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
            raise UserError(f"overlap is {self.overlap}; it must lie in [0, 1]")
        if self.students < 1:
            raise UserError(f"students is {self.students}; at least 1 is needed")


@dataclass(frozen=True)
class StudentBatch:
    """One student's part of a batch: inputs (b, ...) and labels (b,)."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RankShard:
    """What a batch is a part of, if the samples of a step are spread over ranks.

    Attributes:
        sizes: samples of each share of the whole batch; one share if it was not dealt.
        rows: (b,) places of the part's samples in the whole, on the device.
        gather: own rows (b, ...) -> the whole's (B, ...), in its order, with gradient to the own ones.
        whole: the whole batch, for a method that relates its samples to each other.
    """

    sizes: tuple[int, ...]
    rows: Tensor
    gather: Callable[[Tensor], Tensor]
    whole: Batch | None = None


@dataclass(frozen=True)
class Batch:
    """B samples on the device.

    Attributes:
        inputs: (B, ...) as the networks take them, augmented.
        labels: (B,) int64 class indices.
        indices: (B,) int64 positions in the training set, for methods that remember samples.
        sizes: how many of the samples, in order, belong to each student; None if the batch is everybody's.
        views: the further views of the same samples, each (B, ...), if the method asked for several; view 0 is `inputs`.
        shard: this rank's shard of a batch that is spread over ranks; None if this is the whole batch.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor
    sizes: tuple[int, ...] | None = None
    views: tuple[Tensor, ...] = ()
    shard: RankShard | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def student_sizes(self) -> tuple[int, ...]:
        """Samples of each share; one share if the batch was not dealt."""
        return self.sizes if self.sizes is not None else (len(self),)

    @property
    def whole(self) -> Batch:
        """The batch that this is a part of; itself if it is everything."""
        if self.shard is None:
            return self
        if self.shard.whole is None:
            raise UserError("the method relates the samples of a batch to each other; it must set whole_batch")
        return self.shard.whole

    def all_gather(self, own: Tensor) -> Tensor:
        """Something about the own samples (b, ...) -> the same of the whole batch's (B, ...).

        A loss that is computed from it must be the same function on all parts; gradient reaches each part's own samples.
        """
        return own if self.shard is None else self.shard.gather(own)

    def local(self, everything: Tensor) -> Tensor:
        """Something about the whole batch's samples (B, ...) -> the same of the own ones (b, ...)."""
        return everything if self.shard is None else everything[self.shard.rows]

    def view(self, student: int) -> Tensor:
        """The view (B, ...) of the samples that student number `student` sees."""
        return self.views[student] if self.views else self.inputs

    def per_student(self, students: int) -> list[StudentBatch]:
        """Each student's own samples; the same `Share` object for all if the batch was not dealt. A share may be empty.

        Raises:
            UserError: the batch was dealt to another number of students.
        """
        if self.sizes is None:
            return [StudentBatch(self.inputs, self.labels)] * students
        if len(self.sizes) != students:
            raise UserError(
                f"the batch was dealt to {len(self.sizes)} students, not to {students}; deal it to the group that learns from it"
            )
        return [StudentBatch(x, y) for x, y in zip(self.inputs.split(self.sizes), self.labels.split(self.sizes), strict=True)]

    def split(self, parts: int) -> list[Batch]:
        """At most `parts` smaller batches that together are this one; each student's share is cut evenly."""
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
        """The samples at positions `chosen` (b,) as a batch of their own, which is a part of nothing."""
        return Batch(
            self.inputs[chosen],
            self.labels[chosen],
            self.indices[chosen],
            None if sizes is None else tuple(sizes),
            tuple(view[chosen] for view in self.views),
        )
