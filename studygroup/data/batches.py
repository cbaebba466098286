"""The batches of an epoch, dealt to students as a method wants: a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from studygroup import randomness
from studygroup.batch import Batch, Partition, RankShard
from studygroup.data.dataset import Split
from studygroup.data.inputs import Transform
from studygroup.distributed.context import SINGLE_PROCESS, DistContext
from studygroup.errors import UserError

POOL = 50
"""Steps whose samples are sorted by length together."""
EVALUATION_TOKENS = 2**15
"""Padded tokens of a batch of texts in evaluation, at most: 64 texts of 512 tokens."""


class Batches:
    """The training split as batches, each a gather and a batched augmentation on the device.

    An epoch has one order for everybody. A student who is dealt a share meets its own samples in that order, so that one student
    who is dealt everything meets exactly what it would without dealing.

    Batch norm needs two samples: a trailing batch, or a student's trailing share, of one sample is dropped, unless its regular size
    is 1. A student whose samples are used up sits out the rest of the epoch's steps, usually one, with an empty share.

    Texts of similar length share a step, so that little is padded: a share's random order is cut into pools of at most 50 steps, at
    least two pools so that a text meets others in each epoch; the samples of a pool are sorted by length, and its steps, the same
    ones of all shares, come in random order. A last step of fewer samples stays the last.

    On several ranks, each prepares the samples of its part only, with the augmentation and the width that they have in the whole batch.

    Args:
        split: the training samples, N of them.
        preprocess: what makes network inputs of them.
        batch_size: samples per step, or per student and step if `dealing.per_student`.
        dealing: how samples are dealt to students.
        seed: of order, division and augmentation.
        ranks: the processes that a batch is spread over.
        whole_batch: whether every rank needs the whole batch beside its part.

    Raises:
        UserError: too few samples for the students, or too small a batch.
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
    ) -> None:
        self.split = split
        self.lengths = split.lengths
        self.ranks = ranks
        self.whole_batch = whole_batch
        self.preprocess = preprocess
        self.partition = partition or Partition()
        self.seed = seed
        self.partitioned = self.partition.division != "none"
        total, students = len(split), self.partition.students if self.partitioned else 1
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; at least 1 is needed")
        if students > total:
            raise UserError(f"{total} samples cannot be dealt to {students} students; give more samples or fewer students")
        if self.partitioned and self.partition.per_student:
            self.sizes = [batch_size] * students
        elif batch_size < students:
            raise UserError(f"batch_size is {batch_size} for {students} students together; give at least {students}")
        else:
            self.sizes = _parts(batch_size, students)
        own = _parts(total, students)
        # How many samples of an epoch each student meets, after a trailing single one is dropped.
        self.met = [_met(n + self._extra(n), b) for n, b in zip(own, self.sizes, strict=True)]
        if not self.steps():
            raise UserError(f"{total} samples for {students} students in batches of {batch_size}: nobody has two; give more samples")

    def steps(self) -> int:
        """Steps per epoch, the same for all epochs."""
        return max(-(-n // b) for n, b in zip(self.met, self.sizes, strict=True))

    def student_positions(self, epoch: int) -> list[NDArray[np.int64]]:
        """K arrays (n_k,): the positions that each student is dealt in an epoch, in the order in which they are met.

        Without dealing there is one array, the whole order. A trailing position that is dropped is still among them.
        """
        shares = self._drawn(epoch)
        return shares if self.lengths is None else self._grouped(shares, self.lengths, epoch)

    def _drawn(self, epoch: int) -> list[NDArray[np.int64]]:
        """The shares in the epoch's random order."""
        total = len(self.split)
        order = torch.randperm(total, generator=randomness.generator(self.seed, "order", epoch)).numpy()
        if not self.partitioned:
            return [order]
        words = ("division",) if self.partition.division == "fixed" else ("division", epoch)
        generator = randomness.generator(self.seed, *words)
        partitioned = torch.randperm(total, generator=generator).numpy()
        shares = []
        for own in np.split(partitioned, np.cumsum(_parts(total, self.partition.students))[:-1]):
            mine = np.zeros(total, dtype=bool)
            mine[own] = True
            if extra := self._extra(len(own)):
                others = np.flatnonzero(~mine)
                mine[others[torch.randperm(len(others), generator=generator).numpy()[:extra]]] = True
            shares.append(order[mine[order]])
        return shares

    def _grouped(self, shares: list[NDArray[np.int64]], lengths: NDArray[np.int64], epoch: int) -> list[NDArray[np.int64]]:
        """The shares in an order in which what is met in a step is of similar length."""
        grouped = [share.copy() for share in shares]
        generator = randomness.generator(self.seed, "steps", epoch)
        # Between two of these steps, every share has its regular size in all of them, or in none.
        changes = sorted({0}.union(*((met // size, -(-met // size)) for met, size in zip(self.met, self.sizes, strict=True))))
        for first, last in pairwise(changes):
            pools = max(-(-(last - first) // POOL), min(last - first, 2))
            for pool in np.array_split(np.arange(first, last), pools):
                order = torch.randperm(len(pool), generator=generator).numpy()
                for share, size, met in zip(grouped, self.sizes, self.met, strict=True):
                    low, high = pool[0] * size, (pool[-1] + 1) * size
                    if high <= met:
                        own = share[low:high]
                        share[low:high] = own[np.argsort(lengths[own], kind="stable")].reshape(-1, size)[order].reshape(-1)
        return grouped

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on: the very ones that follow when the epoch is run from its beginning."""
        shares = self.student_positions(epoch)
        device = self.preprocess.device
        for step in range(start, self.steps()):
            parts = [
                share[step * size : min((step + 1) * size, met)] for share, size, met in zip(shares, self.sizes, self.met, strict=True)
            ]
            positions = np.concatenate(parts)
            sizes = tuple(len(part) for part in parts)
            if (spans := self.ranks.spans(sizes)) is None:
                yield self._batch(positions, sizes, epoch, step)
                continue
            rows = [_rows(sizes, found) for rank in range(self.ranks.world_size) if (found := self.ranks.spans(sizes, rank)) is not None]
            mine = rows[self.ranks.rank]
            on_device = mine.to(device, non_blocking=True)
            whole = self._batch(positions, sizes, epoch, step) if self.whole_batch else None
            own = whole.take(on_device) if whole else self._batch(positions, sizes, epoch, step, mine)
            part = RankShard(sizes, on_device, partial(self.ranks.gather_rows, rows=rows, local_rows=on_device), whole)
            yield replace(own, sizes=tuple(high - low for low, high in spans) if self.partitioned else None, shard=part)

    def _batch(self, positions: NDArray[np.int64], sizes: tuple[int, ...], epoch: int, step: int, rows: Tensor | None = None) -> Batch:
        """The batch of the samples at `positions`, or what stands at its places `rows`."""
        device = self.preprocess.device
        chosen = positions if rows is None else positions[rows.numpy()]
        width = 1 if self.lengths is None else int(self.lengths[positions].max(initial=1))
        raw, labels = self.split.gather(chosen, width)
        raw = raw.to(device, non_blocking=True)
        views = tuple(
            self.preprocess(raw, seed=randomness.derive_seed(self.seed, "augment", epoch, step, view), rows=rows, total=len(positions))
            for view in range(max(self.partition.views, 1))
        )
        return Batch(
            views[0],
            labels.to(device, non_blocking=True),
            torch.from_numpy(chosen).to(device, non_blocking=True),
            sizes if self.partitioned else None,
            views if self.partition.views > 1 else (),
        )

    def _extra(self, own: int) -> int:
        """How many of the others' samples a student with `own` samples of its own is dealt as well."""
        return round(self.partition.overlap * (len(self.split) - own)) if self.partitioned else 0


def reading_order(split: Split) -> NDArray[np.int64]:
    """Positions (N,) of a split in the order in which `evaluation_batches` has them: the longest text first, images as they are."""
    lengths = split.lengths
    return np.arange(len(split)) if lengths is None else np.argsort(-lengths, kind="stable")


def evaluation_batches(split: Split, preprocess: Transform, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples of a split, each once, in `reading_order`, never augmented.

    Args:
        split: the samples.
        preprocess: what makes network inputs of them.
        batch_size: samples per batch; of long texts fewer, so that a batch has at most `EVALUATION_TOKENS` tokens, padded ones too.

    Yields:
        The inputs, as networks take them, and labels (b,) int64, on the device.
    """
    order, lengths = reading_order(split), split.lengths
    start = 0
    while start < len(order):
        # A batch is as wide as its first text, the longest of those that are left.
        width = 1 if lengths is None else max(int(lengths[order[start]]), 1)
        size = batch_size if lengths is None else max(min(batch_size, EVALUATION_TOKENS // width), 1)
        raw, labels = split.gather(order[start : start + size])
        yield preprocess(raw), labels.to(preprocess.device, non_blocking=True)
        start += size


def _rows(sizes: Sequence[int], spans: Sequence[tuple[int, int]]) -> Tensor:
    """Places (b,) in a batch of the parts `spans` of shares that follow each other."""
    starts = np.cumsum([0, *sizes])
    return torch.cat([torch.arange(start + low, start + high) for start, (low, high) in zip(starts[:-1].tolist(), spans, strict=True)])


def _parts(total: int, students: int) -> list[int]:
    """`total` in equal whole parts; the first students get the remainder, one each."""
    return [total // students + (k < total % students) for k in range(students)]


def _met(samples: int, size: int) -> int:
    return samples - 1 if size > 1 and samples % size == 1 else samples
