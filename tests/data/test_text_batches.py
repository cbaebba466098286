"""Batches of texts: samples of similar length share a step; the rest is as for images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from studygroup.batch import Partition
from studygroup.data import Batches, Ragged, Split, Transform, batches, evaluation_batches, reading_order
from studygroup.distributed.context import DistContext
from studygroup.errors import UserError


class Identity(Transform):
    """Transform that returns the token ids."""

    device = torch.device("cpu")

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        return raw


IDS = Identity()


def split_of(lengths: np.ndarray) -> Split:
    """Text i is i + 1, `lengths[i]` times."""
    rows = [np.full(length, i + 1, dtype=np.int64) for i, length in enumerate(lengths.tolist())]
    return Split(Ragged.of(rows), np.arange(len(lengths)) % 3)


def long_tailed(n: int, seed: int = 0) -> np.ndarray:
    """Lengths like those of reviews: half of them up to 75 tokens, some of 512, the maximum."""
    return np.random.default_rng(seed).lognormal(4.3, 0.9, n).astype(np.int64).clip(0, 512)


def unsorted(made: Batches, epoch: int) -> list[np.ndarray]:
    return made._random_positions(epoch)


def padded_fraction(made: Batches, epoch: int) -> float:
    """Fraction of an epoch's tokens that are padding."""
    total = real = 0
    for batch in made.epoch(epoch):
        total += batch.inputs.numel()
        real += int((batch.inputs != 0).sum())
    return 1 - real / total


def sizes_of(made: Batches) -> list[list[int]]:
    """Samples of each student in each step, by the rule written out."""
    return [
        [max(min(size, samples - step * size), 0) for samples, size in zip(made.samples_per_epoch, made.sizes, strict=True)]
        for step in range(made.steps())
    ]


@given(
    n=st.integers(4, 120),
    students=st.integers(1, 4),
    size=st.integers(1, 9),
    division=st.sampled_from(["none", "fixed", "epoch"]),
    per_student=st.booleans(),
    overlap=st.sampled_from([0.0, 0.3]),
    epoch=st.integers(0, 2),
    pool=st.sampled_from([1, 3, 50]),
)
def test_students_see_the_same_samples_as_without_lengths(
    n: int, students: int, size: int, division: str, per_student: bool, overlap: float, epoch: int, pool: int
) -> None:
    if size < students:
        size += students
    lengths = np.random.default_rng(n).integers(0, 30, n)
    partition = Partition(students, division, overlap, per_student)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "STEPS_PER_POOL", pool)
        try:
            made = Batches(split_of(lengths), IDS, batch_size=size, partition=partition, seed=3)
        except UserError:
            return
        steps = list(made.epoch(epoch))
        positions = made.student_positions(epoch)
    plain = unsorted(made, epoch)
    for own, other, samples, size in zip(positions, plain, made.samples_per_epoch, made.sizes, strict=True):
        assert sorted(own[:samples].tolist()) == sorted(other[:samples].tolist()), "the same samples, each as often"
        assert own[samples:].tolist() == other[samples:].tolist(), "the same sample is dropped"
        whole = samples // size * size
        assert own[whole:].tolist() == other[whole:].tolist(), "a smaller last batch stays the last"
    assert [[*(batch.sizes or (len(batch),))] for batch in steps] == sizes_of(made)
    for batch in steps:
        longest = max(int(lengths[batch.indices.numpy()].max()), 1)
        assert batch.inputs.shape == (len(batch), longest)
        for row, i in zip(batch.inputs.tolist(), batch.indices.tolist(), strict=True):
            assert row == [i + 1] * int(lengths[i]) + [0] * (longest - int(lengths[i]))
        assert batch.labels.tolist() == [i % 3 for i in batch.indices.tolist()]


def test_the_steps_of_a_sorted_pool_are_shuffled_alike_for_all_students(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STEPS_PER_POOL", 5)
    lengths = np.random.default_rng(0).permutation(200)
    made = Batches(split_of(lengths), IDS, batch_size=4, partition=Partition(4, "fixed", 0.0, True), seed=0)

    def orders(epoch: int) -> list[list[list[int]]]:
        """Order of the steps, numbered by length, in each student's pools."""
        found = []
        for own, other in zip(made.student_positions(epoch), unsorted(made, epoch), strict=True):
            order = []
            for pool in range(0, 12, 4):  # each student has 12 whole steps and 2 more samples: pools of 4 steps
                cut = slice(pool * 4, (pool + 4) * 4)
                ranked = other[cut][np.argsort(lengths[other[cut]])].reshape(4, 4).tolist()
                order.append([ranked.index(step) for step in own[cut].reshape(4, 4).tolist()])
            found.append(order)
        return found

    first = orders(0)
    assert first[0] == first[1] == first[2] == first[3]
    assert all(sorted(order) == [0, 1, 2, 3] for order in first[0])
    assert len({tuple(order) for order in first[0]}) > 1, "pools are shuffled independently"
    assert orders(1) != first


def test_padding_is_small() -> None:
    lengths = long_tailed(20_000)
    split = split_of(lengths)
    made = Batches(split, IDS, batch_size=64, seed=0)
    assert padded_fraction(made, 0) < 0.08
    assert padded_fraction(Batches(split, IDS, batch_size=64, partition=Partition(4, "epoch", 0.0, True), seed=0), 0) < 0.11
    assert padded_fraction(Batches(split, IDS, batch_size=64, partition=Partition(8, "epoch"), seed=0), 0) < 0.15, (
        "parts of 8 differ more in length"
    )
    random = unsorted(made, 0)[0][: len(lengths) // 64 * 64].reshape(-1, 64)
    assert 1 - lengths[random].sum() / (lengths[random].max(axis=1).sum() * 64) > 0.5


def test_lengths_are_not_in_order_over_an_epoch_and_differ_between_epochs() -> None:
    lengths = long_tailed(6400)
    made = Batches(split_of(lengths), IDS, batch_size=64, seed=0)
    widths = np.array([batch.inputs.shape[1] for batch in made.epoch(0)], dtype=np.float64)
    assert len(widths) == 100
    assert abs(np.corrcoef(widths, np.arange(100))[0, 1]) < 0.3
    assert 30 < (np.diff(widths) > 0).sum() < 70
    one, other = made.student_positions(0)[0], made.student_positions(1)[0]
    assert not np.array_equal(one, other)
    assert {*map(frozenset, one.reshape(-1, 64).tolist())}.isdisjoint(map(frozenset, other.reshape(-1, 64).tolist())), "other batches"
    few = Batches(split_of(lengths[:640]), IDS, batch_size=64, seed=0)
    batch_sets = [{*map(frozenset, few.student_positions(epoch)[0].reshape(-1, 64).tolist())} for epoch in range(2)]
    assert batch_sets[0].isdisjoint(batch_sets[1]), "also if all steps are a single pool"
    again = Batches(split_of(lengths), IDS, batch_size=64, seed=0)
    assert np.array_equal(again.student_positions(1)[0], other)
    assert not np.array_equal(Batches(split_of(lengths), IDS, batch_size=64, seed=1).student_positions(0)[0], one)


@pytest.mark.parametrize("partition", [Partition(), Partition(3, "epoch", 0.2, True), Partition(2, "fixed", views=2)])
def test_an_epoch_can_start_at_any_step(partition: Partition) -> None:
    def make() -> Batches:
        return Batches(split_of(long_tailed(50)), IDS, batch_size=5, partition=partition, seed=2)

    whole = list(make().epoch(1))
    for start in range(0, len(whole) + 1, 3):
        for one, other in zip(make().epoch(1, start), whole[start:], strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.indices, other.indices)
            assert one.sizes == other.sizes


def test_views_of_texts_are_the_same_tensor() -> None:
    batch = next(Batches(split_of(long_tailed(50)), IDS, batch_size=5, partition=Partition(2, views=2), seed=2).epoch(0))
    assert batch.views[0] is batch.views[1] is batch.inputs


def test_a_single_student_sees_the_unpartitioned_batches() -> None:
    def make(partition: Partition) -> Batches:
        return Batches(split_of(long_tailed(50)), IDS, batch_size=7, partition=partition, seed=5)

    for one, other in zip(make(Partition(1, "fixed", 0.0, True)).epoch(0), make(Partition()).epoch(0), strict=True):
        assert torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("whole_batch", [False, True])
@pytest.mark.parametrize("sharding", ["samples", "students"])
def test_shards_have_the_width_of_the_whole_batch(sharding: str, whole_batch: bool) -> None:
    def make(ranks: DistContext) -> Batches:
        partition = Partition(2, "fixed")
        return Batches(split_of(long_tailed(60)), IDS, batch_size=12, partition=partition, seed=0, ranks=ranks, whole_batch=whole_batch)

    whole = list(make(DistContext()).epoch(0))
    shards = [list(make(DistContext(rank, 2, sharding)).epoch(0)) for rank in range(2)]  # type: ignore[arg-type]
    narrow = 0
    for step, batch in enumerate(whole):
        for part in (shards[0][step], shards[1][step]):
            assert part.shard is not None
            assert torch.equal(part.inputs, batch.inputs[part.shard.rows])
            narrow += int((part.inputs[:, -1] == 0).all())
            if whole_batch:
                assert torch.equal(part.global_batch.inputs, batch.inputs)
    assert narrow, "padded to the width of the whole batch"


def test_evaluation_reads_every_text_once_longest_first() -> None:
    lengths = long_tailed(500)
    split = split_of(lengths)
    order = reading_order(split)
    found = list(evaluation_batches(split, IDS, 100))
    assert [inputs.shape[1] for inputs, _ in found] == sorted((inputs.shape[1] for inputs, _ in found), reverse=True)
    assert max(inputs.numel() for inputs, _ in found) <= batches.EVALUATION_TOKENS
    assert len(found[0][0]) == 2**15 // 512 < max(len(inputs) for inputs, _ in found) == 100
    assert sorted(order.tolist()) == list(range(500))
    seen = [row[row != 0].tolist() for inputs, _ in found for row in inputs]
    assert seen == [[i + 1] * int(lengths[i]) for i in order.tolist()]
    assert torch.cat([labels for _, labels in found]).tolist() == split.labels[order].tolist()


def test_evaluation_of_empty_and_of_very_long_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "EVALUATION_TOKENS", 10)
    found = [inputs.shape for inputs, _ in evaluation_batches(split_of(np.array([0, 30, 0, 3, 4, 0])), IDS, 4)]
    assert found == [(1, 30), (2, 4), (3, 1)]
    assert list(evaluation_batches(split_of(np.zeros(0, dtype=np.int64)), IDS, 4)) == []


def test_images_are_read_in_their_order() -> None:
    assert reading_order(Split(np.zeros((3, 1, 2, 2), dtype=np.uint8), np.zeros(3, dtype=np.int64))).tolist() == [0, 1, 2]


def test_global_random_state_is_neither_used_nor_changed() -> None:
    before = torch.random.get_rng_state()
    make: Callable[[], Batches] = lambda: Batches(split_of(long_tailed(50)), IDS, batch_size=5, seed=2)  # noqa: E731
    one = make().student_positions(0)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    assert np.array_equal(make().student_positions(0)[0], one[0])
