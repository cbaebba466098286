"""The batches of an epoch, partitioned among students as the method needs: a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studygroup import randomness
from studygroup.batch import Batch, LabelLoss, LabelMix, Partition, RankShard
from studygroup.data.dataset import Split
from studygroup.data.transforms import Transform
from studygroup.data.unlabelled import Unlabelled
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError

STEPS_PER_POOL = 50
"""Maximum number of steps whose samples are sorted by length together."""
EVALUATION_TOKENS = 2**15
"""Maximum number of tokens, padding included, of a batch of texts in evaluation: 64 texts of 512 tokens."""


class Batches:
    """The training split as batches, each a gather and a batched augmentation on the device.

    The random order of an epoch is the same for all students; a student sees its own samples in that order. So a single student that gets
    all samples sees exactly what it would without a partition.

    Batch norm needs two samples: a last batch, or a student's last part, of one sample is dropped, unless the regular size is 1. A student
    without samples left gets an empty part in the remaining steps of the epoch, usually one.

    Texts of similar length are batched together to save padding: the random order of each student is cut into pools of at most 50 steps (at
    least two pools, so that the texts of a batch change between epochs); the samples of a pool are sorted by length, and its steps, the
    same ones for all students, are shuffled. A last step with fewer samples stays the last.

    Mixed samples (mixup, CutMix) have partners among the samples of the same student and step, the same on every rank and in every view.

    Samples without labels are a fraction of each student's part of a batch. They are drawn in passes of their own: each is drawn once
    before any is drawn again, and a student without labelled samples left gets none. Those of an epoch go on where the last epoch ended.

    With several ranks, each prepares its shard only, with the augmentation and the padding that the samples have in the whole batch.

    Args:
        split: the N training samples.
        preprocess: converts them to network inputs.
        batch_size: samples per step, or per student and step if `partition.per_student`.
        partition: how samples are partitioned among students; by default all students get the same batch.
        seed: seed of order, partition and augmentation.
        ranks: the processes that a batch is sharded over.
        whole_batch: whether every rank needs the whole batch beside its shard.
        balanced: draw each student's samples of an epoch from its own with replacement, every class with the same probability.
        loss: smoothing and class weights that the batches carry.
        unlabelled: samples without labels; `batch_size` counts them, too.

    Raises:
        UserError: there are too few samples for the students, or the batch is too small.

    Example:
        >>> from studygroup import data
        >>> digits = data.open_dataset("digits")
        >>> batches = data.Batches(digits.train, digits.inputs.transform(), batch_size=64, seed=0)
        >>> batches.steps(), next(batches.epoch(0)).labels.shape
        (23, torch.Size([64]))
    """

    def __init__(
        self,
        split: Split,
        preprocess: Transform,
        *,
        batch_size: int,
        partition: Partition | None = None,
        seed: int = 0,
        ranks: DistContext = SINGLE_PROCESS,
        whole_batch: bool = False,
        balanced: bool = False,
        loss: LabelLoss | None = None,
        unlabelled: Unlabelled | None = None,
    ) -> None:
        self.balanced = balanced
        self.loss = loss
        self.split = split
        self.lengths = split.lengths
        more = None if unlabelled is None else unlabelled.split.lengths
        self.all_lengths = self.lengths if self.lengths is None or more is None else np.concatenate([self.lengths, more])
        self.ranks = ranks
        self.whole_batch = whole_batch
        self.preprocess = preprocess
        self.partition = partition or Partition()
        self.seed = seed
        self.is_partitioned = self.partition.division != "none"
        total, students = len(split), self.partition.students if self.is_partitioned else 1
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        if students > total:
            raise UserError(f"{total} samples cannot be partitioned among {students} students; give more samples or fewer students")
        if self.is_partitioned and self.partition.per_student:
            self.sizes = [batch_size] * students
        elif batch_size < students:
            raise UserError(f"batch_size is {batch_size} for {students} students together; give at least {students}")
        else:
            self.sizes = _split_evenly(batch_size, students)
        self.unlabelled = unlabelled
        self.without_labels = [0] * students if unlabelled is None else [round(unlabelled.share * size) for size in self.sizes]
        if unlabelled is not None and not all(0 < part < size for part, size in zip(self.without_labels, self.sizes, strict=True)):
            raise UserError(
                f"unlabelled_share is {unlabelled.share:g}, which leaves {'a student of ' if students > 1 else ''}a batch of {batch_size} "
                "without labelled or without unlabelled samples; take a larger batch_size, or a share nearer to 0.5"
            )
        # From here on, sizes count samples with labels.
        self.sizes = [size - part for size, part in zip(self.sizes, self.without_labels, strict=True)]
        # Samples of an epoch by student, without a last single one that is dropped, unless others fill its batch.
        self.samples_per_epoch = [
            own + self._overlap_size(own) if part else _drop_single(own + self._overlap_size(own), size)
            for own, size, part in zip(_split_evenly(total, students), self.sizes, self.without_labels, strict=True)
        ]
        if not self.steps():
            raise UserError(f"{total} samples for {students} students in batches of {batch_size}: no student has two; give more samples")

    def steps(self) -> int:
        """Return the number of steps per epoch, the same for all epochs."""
        return max(-(-samples // size) for samples, size in zip(self.samples_per_epoch, self.sizes, strict=True))

    def rows_per_epoch(self) -> int:
        """Return the number of samples of an epoch's batches, counted as often as they occur."""
        students = zip(self.samples_per_epoch, self.sizes, self.without_labels, strict=True)
        return sum(samples + part * -(-samples // size) for samples, size, part in students)

    def student_positions(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the positions of each student's samples in an epoch, in order: K arrays (n_k,).

        Without a partition there is one array with all positions, or as many balanced draws. A last single position that is dropped is
        included.
        """
        positions = self._random_positions(epoch)
        if self.balanced:
            positions = [self._balanced(own, epoch, student) for student, own in enumerate(positions)]
        return positions if self.lengths is None else self._sort_by_length(positions, self.lengths, epoch)

    def _random_positions(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the positions of each student's samples in the epoch's random order."""
        total = len(self.split)
        order = torch.randperm(total, generator=randomness.generator(self.seed, "order", epoch)).numpy()
        if not self.is_partitioned:
            return [order]
        purpose = ("division",) if self.partition.division == "fixed" else ("division", epoch)
        generator = randomness.generator(self.seed, *purpose)
        shuffled = torch.randperm(total, generator=generator).numpy()
        positions = []
        for own in np.split(shuffled, np.cumsum(_split_evenly(total, self.partition.students))[:-1]):
            selected = np.zeros(total, dtype=bool)
            selected[own] = True
            if overlap := self._overlap_size(len(own)):
                others = np.flatnonzero(~selected)
                selected[others[torch.randperm(len(others), generator=generator).numpy()[:overlap]]] = True
            positions.append(order[selected[order]])
        return positions

    def _balanced(self, own: NDArray[np.int64], epoch: int, student: int) -> NDArray[np.int64]:
        """Draw as many positions from `own` with replacement, each of its classes with the same probability."""
        labels = np.asarray(self.split.labels)[own]
        share = 1.0 / np.bincount(labels)[labels]  # a sample's share of its class
        generator = randomness.generator(self.seed, "sampling", epoch, student)
        drawn = torch.multinomial(torch.from_numpy(share), len(own), replacement=True, generator=generator)
        balanced: NDArray[np.int64] = own[drawn.numpy()]
        return balanced

    def _sort_by_length(self, positions: list[NDArray[np.int64]], lengths: NDArray[np.int64], epoch: int) -> list[NDArray[np.int64]]:
        """Reorder each student's samples so that the samples of a step have similar lengths."""
        result = [own.copy() for own in positions]
        generator = randomness.generator(self.seed, "steps", epoch)
        students = list(zip(result, self.sizes, self.samples_per_epoch, strict=True))
        # Between two of these steps, each student has its regular size in all steps, or in none.
        bounds = sorted({0}.union(*((samples // size, -(-samples // size)) for _, size, samples in students)))
        for first, last in pairwise(bounds):
            pools = max(-(-(last - first) // STEPS_PER_POOL), min(last - first, 2))
            for pool in np.array_split(np.arange(first, last), pools):
                order = torch.randperm(len(pool), generator=generator).numpy()
                for own, size, samples in students:
                    low, high = pool[0] * size, (pool[-1] + 1) * size
                    if high <= samples:
                        part = own[low:high]
                        own[low:high] = part[np.argsort(lengths[part], kind="stable")].reshape(-1, size)[order].reshape(-1)
        return result

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on; they do not depend on `start`."""
        students = list(zip(self.student_positions(epoch), self.sizes, self.samples_per_epoch, strict=True))
        device = self.preprocess.device
        for step in range(start, self.steps()):
            parts = [own[step * size : min((step + 1) * size, samples)] for own, size, samples in students]
            if self.unlabelled is not None:
                parts = [np.concatenate([own, more]) for own, more in zip(parts, self._draw_unlabelled(parts, epoch, step), strict=True)]
            positions = np.concatenate(parts)
            sizes = tuple(len(part) for part in parts)
            if (spans := self.ranks.spans(sizes)) is None:
                yield self._batch(positions, sizes, epoch, step)
                continue
            all_spans = [own for rank in range(self.ranks.world_size) if (own := self.ranks.spans(sizes, rank)) is not None]
            rows = [_row_indices(sizes, own) for own in all_spans]
            own_rows = rows[self.ranks.rank]
            on_device = own_rows.to(device, non_blocking=True)
            whole = self._batch(positions, sizes, epoch, step) if self.whole_batch else None
            shard = whole.take(on_device) if whole else self._batch(positions, sizes, epoch, step, own_rows)
            gather = partial(self.ranks.gather_rows, rows=rows, local_rows=on_device)
            gather_student = tuple(map(self._gather_student, zip(*all_spans, strict=True))) if self.is_partitioned else ()
            rank_shard = RankShard(sizes, on_device, gather, gather_student, whole)
            yield replace(shard, sizes=tuple(high - low for low, high in spans) if self.is_partitioned else None, shard=rank_shard)

    def _draw_unlabelled(self, parts: Sequence[NDArray[np.int64]], epoch: int, step: int) -> list[NDArray[np.int64]]:
        """Return each student's samples without labels in a step, counted on from the training samples; none where its part is empty."""
        assert self.unlabelled is not None
        total, size = len(self.unlabelled.split), sum(self.without_labels)
        drawn = (epoch * self.steps() + step) * size + np.arange(size)
        passes, places = drawn // total, drawn % total
        for number in np.unique(passes):
            order = torch.randperm(total, generator=randomness.generator(self.seed, "unlabelled", int(number))).numpy()
            places[passes == number] = order[places[passes == number]]
        found = np.split(len(self.split) + places, np.cumsum(self.without_labels)[:-1])
        return [own if len(part) else own[:0] for own, part in zip(found, parts, strict=True)]

    def _gather(self, chosen: NDArray[np.int64], width: int) -> tuple[Tensor, Tensor]:
        """Read the samples at positions, of which those from the number of training samples on have no labels."""
        if self.unlabelled is None:
            return self.split.gather(chosen, width)
        known = chosen < len(self.split)
        read = [self.split.gather(chosen[known], width)] if known.any() else []
        if not known.all():
            read.append(self.unlabelled.split.gather(chosen[~known] - len(self.split), width))
        back = torch.from_numpy(np.argsort(np.concatenate([np.flatnonzero(known), np.flatnonzero(~known)]), kind="stable"))
        inputs, labels = (torch.cat(tensors)[back] for tensors in zip(*read, strict=True))
        return inputs, labels

    def _gather_student(self, spans: Sequence[tuple[int, int]]) -> Callable[[Tensor], Tensor] | None:
        """Return what gathers a student's samples, given the span on each rank; None if at most one rank has any."""
        if sum(high > low for low, high in spans) < 2:
            return None
        rows = [torch.arange(low, high) for low, high in spans]
        return partial(self.ranks.gather_rows, rows=rows, local_rows=rows[self.ranks.rank].to(self.preprocess.device, non_blocking=True))

    def _batch(self, positions: NDArray[np.int64], sizes: tuple[int, ...], epoch: int, step: int, rows: Tensor | None = None) -> Batch:
        """Return the batch of the samples at `positions`, or its rows `rows`."""
        device = self.preprocess.device
        known = positions < len(self.split)
        # With labels and without, samples are mixed among themselves.
        groups = (
            sizes if self.unlabelled is None else tuple(count for part in _parts(known, sizes) for count in (part.sum(), (~part).sum()))
        )
        mix = self.preprocess.draw_mix(randomness.derive_seed(self.seed, "mix", epoch, step), groups)
        own = torch.arange(len(positions)) if rows is None else rows
        # The samples of other ranks that this rank's are mixed with are prepared here, too.
        needed = own if mix is None or rows is None else torch.cat([own, mix.partners[own]])
        partners = None if mix is None else mix.partners if rows is None else torch.arange(len(own), len(needed))
        chosen = positions[needed.numpy()]
        width = 1 if self.all_lengths is None else int(self.all_lengths[positions].max(initial=1))
        raw, labels = self._gather(chosen, width)
        raw, labels = raw.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        views = tuple(
            self.preprocess(raw, seed=randomness.derive_seed(self.seed, "augment", epoch, step, view), rows=needed, total=len(positions))
            for view in range(max(self.partition.views, 1))
        )
        label_mix = None
        if mix is not None and partners is not None:
            partners = partners.to(device, non_blocking=True)
            label_mix = LabelMix(labels[partners], torch.full((len(own),), mix.share, device=device))
            views = tuple(mix.inputs(view[: len(own)], view[partners]) for view in views)
        return Batch(
            views[0],
            labels[: len(own)],
            torch.from_numpy(chosen[: len(own)]).to(device, non_blocking=True),
            sizes if self.is_partitioned else None,
            views if self.partition.views > 1 else (),
            mix=label_mix,
            loss=self.loss,
            label_weights=None if self.unlabelled is None else label_weights(known, sizes)[own].to(device, non_blocking=True),
        )

    def _overlap_size(self, own: int) -> int:
        """Return how many of the others' samples a student with `own` samples gets as well."""
        return round(self.partition.overlap * (len(self.split) - own)) if self.is_partitioned else 0


def _parts(known: NDArray[np.bool_], sizes: Sequence[int]) -> list[NDArray[np.bool_]]:
    return np.split(known, np.cumsum(sizes)[:-1])


def label_weights(known: NDArray[np.bool_], sizes: Sequence[int]) -> Tensor:
    """Return the factors (B,) on the cross-entropy of the samples of a batch, see `Batch.label_weights`.

    Args:
        known: (B,) whether a sample has a label.
        sizes: number of consecutive samples of each student.
    """
    weights = [part * (len(part) / max(part.sum(), 1)) for part in _parts(known, sizes)]
    return torch.from_numpy(np.concatenate(weights).astype(np.float32))


def reading_order(split: Split) -> NDArray[np.int64]:
    """Return the positions (N,) of a split in the order of `evaluation_batches`: the longest text first; images in their order.

    Example:
        >>> from studygroup import data
        >>> data.reading_order(data.open_dataset("digits").test)[:3]
        array([0, 1, 2])
    """
    lengths = split.lengths
    return np.arange(len(split)) if lengths is None else np.argsort(-lengths, kind="stable")


def evaluation_batches(split: Split, preprocess: Transform, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all samples of a split in `reading_order`, without augmentation.

    Args:
        split: the samples.
        preprocess: converts them to network inputs.
        batch_size: samples per batch; fewer if texts are long, for at most `EVALUATION_TOKENS` tokens with padding.

    Yields:
        Network inputs and labels (b,) int64, on the device.

    Example:
        >>> from studygroup import data
        >>> digits = data.open_dataset("digits")
        >>> [len(labels) for _, labels in data.evaluation_batches(digits.test, digits.inputs.transform(), 200)]
        [200, 159]
    """
    order, lengths = reading_order(split), split.lengths
    start = 0
    while start < len(order):
        # A batch is as wide as its first text, the longest of the rest.
        width = 1 if lengths is None else max(int(lengths[order[start]]), 1)
        size = batch_size if lengths is None else max(min(batch_size, EVALUATION_TOKENS // width), 1)
        raw, labels = split.gather(order[start : start + size])
        yield preprocess(raw), labels.to(preprocess.device, non_blocking=True)
        start += size


def _row_indices(sizes: Sequence[int], spans: Sequence[tuple[int, int]]) -> Tensor:
    """Return the rows (b,) of a batch in the span (start, end) of each student's part; `sizes` are the sizes of the parts."""
    starts = np.cumsum([0, *sizes])
    return torch.cat([torch.arange(start + low, start + high) for start, (low, high) in zip(starts[:-1].tolist(), spans, strict=True)])


def _split_evenly(total: int, students: int) -> list[int]:
    """Split a number into equal whole parts; the first students get the remainder, one each."""
    return [total // students + (k < total % students) for k in range(students)]


def _drop_single(samples: int, size: int) -> int:
    """Return the number of samples without a last batch of one sample, which is dropped."""
    return samples - 1 if size > 1 and samples % size == 1 else samples
