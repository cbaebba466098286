"""Batches and their partition among students, compared with the rules written out sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from studygroup import randomness
from studygroup.batch import Batch, Partition
from studygroup.data import Batches, ImageTransform, Split, evaluation_batches
from studygroup.errors import UserError

PLAIN = ImageTransform((1, 2, 2), (0.0,), (1.0,))
AUGMENTED = ImageTransform((1, 2, 2), (0.2,), (0.5,), "crop+flip")


def numbered(n: int) -> Split:
    """Image i has the pixels i, 0, 0, 255 - i."""
    inputs = np.zeros((n, 1, 2, 2), dtype=np.uint8)
    inputs[:, 0, 0, 0], inputs[:, 0, 1, 1] = np.arange(n), 255 - np.arange(n)
    return Split(inputs, np.arange(n) % 7)


def read(batch: Batch) -> list[int]:
    """Samples of a batch without augmentation, by their pixels."""
    return (batch.inputs[:, 0, 0, 0] * 255).round().int().tolist()


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def expected_order(n: int, seed: int, epoch: int) -> list[int]:
    return torch.randperm(n, generator=randomness.generator(seed, "order", epoch)).tolist()


def trimmed(n: int, size: int) -> int:
    return n - 1 if size > 1 and n % size == 1 else n


@given(n=st.integers(2, 60), size=st.integers(1, 20), seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_epoch_without_partition(n: int, size: int, seed: int, epoch: int) -> None:
    batches = Batches(numbered(n), PLAIN, batch_size=size, seed=seed)
    order = expected_order(n, seed, epoch)[: trimmed(n, size)]
    seen = list(batches.epoch(epoch))
    assert [read(batch) for batch in seen] == [order[i : i + size] for i in range(0, len(order), size)]
    assert len(seen) == batches.steps()
    for batch in seen:
        assert batch.sizes is None
        assert batch.views == ()
        assert batch.indices.tolist() == read(batch)
        assert batch.labels.tolist() == [i % 7 for i in read(batch)]


@given(
    n=st.integers(4, 60),
    students=st.integers(1, 8),
    size=st.integers(1, 24),
    division=st.sampled_from(["fixed", "epoch"]),
    per_student=st.booleans(),
    overlap=st.sampled_from([0.0, 0.3, 1.0]),
    epoch=st.integers(0, 2),
)
def test_epoch_with_partition(n: int, students: int, size: int, division: str, per_student: bool, overlap: float, epoch: int) -> None:
    partition = Partition(students, division, overlap, per_student)  # type: ignore[arg-type]
    own = [n // students + (k < n % students) for k in range(students)]
    expected = [count + round(overlap * (n - count)) for count in own]
    sizes = [size if per_student else size // students + (k < size % students) for k in range(students)]
    possible = students <= n and min(sizes) > 0 and any(trimmed(m, b) > 0 for m, b in zip(expected, sizes, strict=True))
    if not possible:
        with pytest.raises(UserError):
            Batches(numbered(n), PLAIN, batch_size=size, partition=partition, seed=1)
        return
    batches = Batches(numbered(n), PLAIN, batch_size=size, partition=partition, seed=1)
    positions = batches.student_positions(epoch)
    assert [len(mine) for mine in positions] == expected
    order = expected_order(n, 1, epoch)
    rank = {sample: i for i, sample in enumerate(order)}
    for mine in positions:
        assert len(set(mine.tolist())) == len(mine)
        assert [rank[i] for i in mine.tolist()] == sorted(rank[i] for i in mine.tolist()), "in the epoch's order"
    if not overlap:
        assert sorted(np.concatenate(positions).tolist()) == list(range(n)), "disjoint and exhaustive"
    if overlap == 1:
        assert all(mine.tolist() == order for mine in positions)
    seen: list[list[int]] = [[] for _ in range(students)]
    steps = list(batches.epoch(epoch))
    assert len(steps) == batches.steps() == max(-(-trimmed(m, b) // b) for m, b in zip(expected, sizes, strict=True))
    for batch in steps:
        assert batch.sizes is not None
        assert len(batch.sizes) == students
        assert len(batch) == sum(batch.sizes) > 0
        for k, part in enumerate(batch.per_student(students)):
            seen[k] += (part.inputs[:, 0, 0, 0] * 255).round().int().tolist()
            assert len(part) != 1 or sizes[k] == 1
            assert len(part) <= sizes[k]
    assert seen == [mine.tolist()[: trimmed(len(mine), b)] for mine, b in zip(positions, sizes, strict=True)]


@pytest.mark.parametrize("division", ["fixed", "epoch"])
@pytest.mark.parametrize("per_student", [True, False])
def test_a_single_student_sees_the_unpartitioned_batches_bit_for_bit(division: str, per_student: bool) -> None:
    partitioned = Batches(numbered(50), AUGMENTED, batch_size=7, partition=Partition(1, division, 0.0, per_student), seed=5)  # type: ignore[arg-type]
    unpartitioned = Batches(numbered(50), AUGMENTED, batch_size=7, seed=5)
    for epoch in range(2):
        for one, other in zip(partitioned.epoch(epoch), unpartitioned.epoch(epoch), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.indices, other.indices)
            assert one.sizes == (len(other),)


@pytest.mark.parametrize("partition", [Partition(), Partition(3, "epoch", 0.2, True), Partition(3, "fixed", views=3)])
def test_an_epoch_can_start_at_any_step(partition: Partition) -> None:
    whole = list(Batches(numbered(40), AUGMENTED, batch_size=6, partition=partition, seed=2).epoch(3))
    for start in range(len(whole) + 1):
        tail = list(Batches(numbered(40), AUGMENTED, batch_size=6, partition=partition, seed=2).epoch(3, start))
        assert len(tail) == len(whole) - start
        for one, other in zip(tail, whole[start:], strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.indices, other.indices)
            assert one.sizes == other.sizes
            assert equal(one.views, other.views)


def test_a_fixed_partition_is_kept_and_one_per_epoch_changes() -> None:
    def positions(division: str, epoch: int, seed: int = 0) -> list[frozenset[int]]:
        batches = Batches(numbered(40), PLAIN, batch_size=4, partition=Partition(4, division, 0.25, True), seed=seed)  # type: ignore[arg-type]
        return [frozenset(own.tolist()) for own in batches.student_positions(epoch)]

    assert positions("fixed", 0) == positions("fixed", 1) == positions("fixed", 7)
    assert positions("epoch", 0) != positions("epoch", 1)
    assert positions("epoch", 1) == positions("epoch", 1)
    assert positions("fixed", 0, seed=1) != positions("fixed", 0)


def test_a_fixed_partition_is_shuffled_each_epoch() -> None:
    batches = Batches(numbered(40), PLAIN, batch_size=4, partition=Partition(2, "fixed"), seed=0)
    assert batches.student_positions(0)[0].tolist() != batches.student_positions(1)[0].tolist()


def test_a_student_without_samples_left_gets_an_empty_part() -> None:
    batches = Batches(numbered(9), PLAIN, batch_size=1, partition=Partition(2, "fixed", 0.0, True), seed=0)
    assert [batch.sizes for batch in batches.epoch(0)] == [(1, 1)] * 4 + [(1, 0)]


def test_a_last_part_of_one_sample_is_dropped() -> None:
    batches = Batches(numbered(7), PLAIN, batch_size=3, partition=Partition(2, "fixed", 0.0, True), seed=0)
    assert [len(own) for own in batches.student_positions(0)] == [4, 3]
    assert [batch.sizes for batch in batches.epoch(0)] == [(3, 3)]


def test_the_batch_is_split_by_largest_remainder() -> None:
    batches = Batches(numbered(40), PLAIN, batch_size=10, partition=Partition(4, "fixed"), seed=0)
    assert next(batches.epoch(0)).sizes == (3, 3, 2, 2)


def test_views_are_independent_and_the_first_is_the_inputs() -> None:
    batch = next(Batches(numbered(30), AUGMENTED, batch_size=16, partition=Partition(3, views=3), seed=0).epoch(0))
    assert len(batch.views) == 3
    assert batch.views[0] is batch.inputs
    assert not torch.equal(batch.views[0], batch.views[1])
    assert not torch.equal(batch.views[1], batch.views[2])
    alone = next(Batches(numbered(30), AUGMENTED, batch_size=16, seed=0).epoch(0))
    assert torch.equal(alone.inputs, batch.inputs), "more views leave the first as it is"


def test_augmentation_differs_by_epoch_step_and_seed() -> None:
    same = Split(np.tile(numbered(1).inputs, (64, 1, 1, 1)), np.zeros(64, dtype=np.int64))  # 64 times the same image

    def first(seed: int, epoch: int, step: int) -> Tensor:
        return list(Batches(same, AUGMENTED, batch_size=32, seed=seed).epoch(epoch))[step].inputs

    assert torch.equal(first(0, 0, 0), first(0, 0, 0))
    others = [first(1, 0, 0), first(0, 1, 0), first(0, 0, 1)]
    assert not any(torch.equal(first(0, 0, 0), other) for other in others)


def test_global_random_state_is_neither_used_nor_changed() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    one = [batch.inputs for batch in Batches(numbered(20), AUGMENTED, batch_size=5, seed=0).epoch(0)]
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    other = [batch.inputs for batch in Batches(numbered(20), AUGMENTED, batch_size=5, seed=0).epoch(0)]
    assert equal(one, other)


@pytest.mark.parametrize(
    ("n", "size", "partition", "named"),
    [
        (3, 8, Partition(4, "fixed", per_student=True), "3 samples.*4 students"),
        (30, 3, Partition(4, "epoch"), "batch_size is 3"),
        (30, 0, Partition(), "batch_size is 0"),
        (1, 4, Partition(), "1 samples"),
        (4, 4, Partition(4, "fixed", per_student=True), "no student has two"),
    ],
)
def test_too_few_samples_are_refused(n: int, size: int, partition: Partition, named: str) -> None:
    with pytest.raises(UserError, match=named):
        Batches(numbered(n), PLAIN, batch_size=size, partition=partition, seed=0)


def test_evaluation_is_ordered_complete_and_not_augmented() -> None:
    split = numbered(21)
    batches = list(evaluation_batches(split, AUGMENTED, 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 4, 4, 1]
    inputs = torch.cat([inputs for inputs, _ in batches])
    torch.testing.assert_close(inputs, (torch.from_numpy(split.inputs).float() / 255 - 0.2) / 0.5)
    assert torch.cat([labels for _, labels in batches]).tolist() == split.labels.tolist()
