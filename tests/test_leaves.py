"""Batches, clocks, random generators, schedules and errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from studygroup import randomness
from studygroup.batch import Batch, Partition
from studygroup.clock import Clock
from studygroup.errors import UserError, unknown_name
from studygroup.schedules import cosine, milestones, ramp, warmup


def numbered(count: int, sizes: tuple[int, ...] | None = None, views: int = 0) -> Batch:
    inputs = torch.arange(float(count))[:, None]
    return Batch(inputs, torch.arange(count), torch.arange(count) + 100, sizes, tuple(inputs + v / 10 for v in range(views)))


student_sizes = st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any).map(tuple)


@given(student_sizes, st.integers(1, 9))
def test_the_parts_of_a_batch_make_up_the_batch(sizes: tuple[int, ...], parts: int) -> None:
    batch = numbered(sum(sizes), sizes, views=2)
    pieces = batch.split(parts)
    assert 1 <= len(pieces) <= parts
    assert all(len(piece) for piece in pieces)
    assert sorted(int(label) for piece in pieces for label in piece.labels) == list(range(len(batch)))
    for number, whole in enumerate(batch.per_student(len(sizes))):
        own = [piece.per_student(len(sizes))[number] for piece in pieces]
        assert torch.equal(torch.cat([samples.labels for samples in own]), whole.labels), "each student's samples, in order"
        lengths = [len(samples) for samples in own]
        if len(pieces) == parts:
            assert max(lengths) - min(lengths) <= 1, "split evenly"
    for piece in pieces:
        assert torch.equal(piece.inputs[:, 0], piece.labels.float())
        assert torch.equal(piece.indices, piece.labels + 100)
        assert torch.equal(piece.views[1], piece.inputs + 0.1)


@given(st.integers(1, 20), st.integers(1, 25))
def test_an_undivided_batch_is_split_evenly(count: int, parts: int) -> None:
    pieces = numbered(count).split(parts)
    assert len(pieces) == min(count, parts)
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
    assert all(piece.sizes is None for piece in pieces)
    assert torch.cat([piece.labels for piece in pieces]).tolist() == list(range(count))


def test_student_batches_of_a_divided_batch() -> None:
    own = numbered(6, (3, 0, 3)).per_student(3)
    assert [samples.labels.tolist() for samples in own] == [[0, 1, 2], [], [3, 4, 5]]
    assert [len(samples) for samples in own] == [3, 0, 3]
    assert torch.equal(own[2].inputs[:, 0], torch.tensor([3.0, 4.0, 5.0]))


def test_all_students_get_an_undivided_batch() -> None:
    batch = numbered(4)
    own = batch.per_student(3)
    assert all(samples is own[0] for samples in own)
    assert own[0].inputs is batch.inputs, "so that own logits can be reused as imitated ones"


def test_a_batch_divided_among_another_number_of_students_is_refused() -> None:
    with pytest.raises(UserError, match="2 students, not 3"):
        numbered(4, (2, 2)).per_student(3)


def test_views() -> None:
    batch = numbered(3)
    assert batch.view(5) is batch.inputs
    assert torch.equal(numbered(3, views=2).view(1), numbered(3).inputs + 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"division": "weekly"}, "weekly"), ({"overlap": -0.1}, "-0.1"), ({"overlap": 1.1}, "1.1"), ({"students": 0}, "0")],
)
def test_invalid_partitions_are_refused(options: dict[str, str | float | int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Partition(**options)  # type: ignore[arg-type]


def test_a_clock_counts_in_epochs() -> None:
    assert Clock(epoch=3, epochs=10, step=1, steps=4).progress == 3.25
    assert Clock().progress == 0.0


def test_generators_depend_on_seed_step_and_purpose_only() -> None:
    def drawn(at: Clock, purpose: str = "roles") -> list[float]:
        return torch.rand(4, generator=at.generator(purpose)).tolist()

    clock = Clock(epoch=2, epochs=9, step=3, steps=5, seed=1)
    torch.manual_seed(99)
    assert drawn(clock) == drawn(Clock(epoch=2, epochs=20, step=3, steps=7, seed=1))
    others = [Clock(2, 9, 4, 5, 1), Clock(3, 9, 3, 5, 1), Clock(2, 9, 3, 5, 2)]
    assert all(drawn(other) != drawn(clock) for other in others)
    assert drawn(clock, "other") != drawn(clock)
    state = torch.get_rng_state()
    drawn(clock)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_are_derived_from_words() -> None:
    seeds = [
        randomness.derive_seed(seed, *words)
        for seed in (0, 1)
        for words in ((), ("a",), ("b",), ("a", 1), ("a", 11), ("a1", 1), ("a", 1, 1))
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert randomness.derive_seed(0, "order", 3) == randomness.derive_seed(0, "order", 3)
    assert randomness.derive_seed(0, "order", 3) == 554563163506081016, "runs of earlier versions must stay resumable"


def test_the_ramp_of_two_hundred_epochs() -> None:
    expected = {0: 0.006738, 10: 0.060055, 20: 0.286505, 30: 0.731616, 40: 1.0, 41: 1.0, 199: 1.0}
    assert {epoch: round(ramp(epoch, 0, 0.2 * 200), 6) for epoch in expected} == expected


def test_the_ramp_is_one_outside_and_where_it_is_empty() -> None:
    assert ramp(3, 5, 10) == 1.0, "before the start, too"
    assert ramp(5, 5, 10) == pytest.approx(math.exp(-5))
    assert ramp(0, 0, 0) == 1.0
    assert ramp(5, 5, 5) == 1.0


@given(st.floats(0, 50), st.floats(0.1, 50), st.floats(0, 1), st.floats(0, 1))
def test_the_ramp_rises(start: float, length: float, one: float, other: float) -> None:
    low, high = sorted((start + length * one, start + length * other))
    assert math.exp(-5) - 1e-9 <= ramp(low, start, start + length) <= ramp(high, start, start + length) + 1e-9 <= 1 + 2e-9


def test_milestones_lower_the_rate_from_their_epoch_on() -> None:
    factors = [milestones(epoch, (2, 4), 0.1) for epoch in range(6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert milestones(3, (), 0.1) == 1.0


def test_cosine_and_warmup() -> None:
    assert [cosine(done, 8) for done in (0, 2, 4, 8, 9)] == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.0, 0.0])
    assert [warmup(done, 4) for done in (0, 1, 4, 5)] == [0.0, 0.25, 1.0, 1.0]
    assert warmup(0, 0) == 1.0


def test_unknown_names_get_suggestions() -> None:
    assert isinstance(unknown_name("fruit", "aple", ["apple", "pear"]), ValueError)
    assert str(unknown_name("fruit", "aple", ["apple", "cherry"])) == "unknown fruit 'aple'; did you mean apple?"
    assert str(unknown_name("fruit", "xyz", ["pear", "apple"])) == "unknown fruit 'xyz'; known: apple, pear"
    assert str(unknown_name("fruit", "xyz", [f"{number}-fold" for number in range(60)])).endswith(", and 10 more")
    assert str(unknown_name("fruit", "aple", ["pear", "apple"])) == "unknown fruit 'aple'; did you mean apple?", "pear is too far"
    assert str(unknown_name("fruit", "aple", ["pear", "apples", "apple"])) == "unknown fruit 'aple'; did you mean apple or apples?"
