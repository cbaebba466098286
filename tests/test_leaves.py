"""Batches, clocks, random streams, schedules and errors."""

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


sizes_of_shares = st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any).map(tuple)


@given(sizes_of_shares, st.integers(1, 9))
def test_a_batch_that_is_cut_is_whole_again(sizes: tuple[int, ...], parts: int) -> None:
    batch = numbered(sum(sizes), sizes, views=2)
    cut = batch.split(parts)
    assert 1 <= len(cut) <= parts
    assert all(len(part) for part in cut)
    assert sorted(int(label) for part in cut for label in part.labels) == list(range(len(batch)))
    for number, whole in enumerate(batch.per_student(len(sizes))):
        pieces = [part.per_student(len(sizes))[number] for part in cut]
        assert torch.equal(torch.cat([piece.labels for piece in pieces]), whole.labels), "each student's share, in order"
        lengths = [len(piece) for piece in pieces]
        if len(cut) == parts:
            assert max(lengths) - min(lengths) <= 1, "cut evenly"
    for part in cut:
        assert torch.equal(part.inputs[:, 0], part.labels.float())
        assert torch.equal(part.indices, part.labels + 100)
        assert torch.equal(part.views[1], part.inputs + 0.1)


@given(st.integers(1, 20), st.integers(1, 25))
def test_an_undealt_batch_is_cut_evenly(count: int, parts: int) -> None:
    cut = numbered(count).split(parts)
    assert len(cut) == min(count, parts)
    assert max(map(len, cut)) - min(map(len, cut)) <= 1
    assert all(part.sizes is None for part in cut)
    assert torch.cat([part.labels for part in cut]).tolist() == list(range(count))


def test_shares_of_a_dealt_batch() -> None:
    shares = numbered(6, (3, 0, 3)).per_student(3)
    assert [share.labels.tolist() for share in shares] == [[0, 1, 2], [], [3, 4, 5]]
    assert [len(share) for share in shares] == [3, 0, 3]
    assert torch.equal(shares[2].inputs[:, 0], torch.tensor([3.0, 4.0, 5.0]))


def test_a_batch_that_is_everybodys_has_one_share() -> None:
    batch = numbered(4)
    shares = batch.per_student(3)
    assert all(share is shares[0] for share in shares)
    assert shares[0].inputs is batch.inputs, "so that own logits can be reused as imitated ones"


def test_a_batch_dealt_to_another_group_is_refused() -> None:
    with pytest.raises(UserError, match="2 students, not to 3"):
        numbered(4, (2, 2)).per_student(3)


def test_views() -> None:
    batch = numbered(3)
    assert batch.view(5) is batch.inputs
    assert torch.equal(numbered(3, views=2).view(1), numbered(3).inputs + 0.1)


@pytest.mark.parametrize(
    ("options", "shown"),
    [({"division": "weekly"}, "weekly"), ({"overlap": -0.1}, "-0.1"), ({"overlap": 1.1}, "1.1"), ({"students": 0}, "0")],
)
def test_dealing_that_cannot_be_is_named(options: dict[str, str | float | int], shown: str) -> None:
    with pytest.raises(UserError, match=shown):
        Partition(**options)  # type: ignore[arg-type]


def test_a_clock_counts_in_epochs() -> None:
    assert Clock(epoch=3, epochs=10, step=1, steps=4).progress == 3.25
    assert Clock().progress == 0.0


def test_streams_depend_on_seed_moment_and_purpose_only() -> None:
    def drawn(clock: Clock, purpose: str = "roles") -> list[float]:
        return torch.rand(4, generator=clock.generator(purpose)).tolist()

    moment = Clock(epoch=2, epochs=9, step=3, steps=5, seed=1)
    torch.manual_seed(99)
    assert drawn(moment) == drawn(Clock(epoch=2, epochs=20, step=3, steps=7, seed=1))
    others = [Clock(2, 9, 4, 5, 1), Clock(3, 9, 3, 5, 1), Clock(2, 9, 3, 5, 2)]
    assert all(drawn(other) != drawn(moment) for other in others)
    assert drawn(moment, "other") != drawn(moment)
    state = torch.get_rng_state()
    drawn(moment)
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


def test_imitation_ramp_of_two_hundred_epochs() -> None:
    expected = {0: 0.006738, 10: 0.060055, 20: 0.286505, 30: 0.731616, 40: 1.0, 41: 1.0, 199: 1.0}
    assert {epoch: round(ramp(epoch, 0, 0.2 * 200), 6) for epoch in expected} == expected


def test_the_ramp_is_one_outside_and_where_it_is_empty() -> None:
    assert ramp(3, 5, 10) == 1.0, "literally so before the start"
    assert ramp(5, 5, 10) == pytest.approx(math.exp(-5))
    assert ramp(0, 0, 0) == 1.0
    assert ramp(5, 5, 5) == 1.0


@given(st.floats(0, 50), st.floats(0.1, 50), st.floats(0, 1), st.floats(0, 1))
def test_the_ramp_rises(start: float, length: float, one: float, other: float) -> None:
    low, high = sorted((start + length * one, start + length * other))
    assert math.exp(-5) - 1e-9 <= ramp(low, start, start + length) <= ramp(high, start, start + length) + 1e-9 <= 1 + 2e-9


def test_milestones_lower_the_rate_from_their_own_epoch_on() -> None:
    factors = [milestones(epoch, (2, 4), 0.1) for epoch in range(6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert milestones(3, (), 0.1) == 1.0


def test_cosine_and_warm_up() -> None:
    assert [cosine(done, 8) for done in (0, 2, 4, 8, 9)] == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.0, 0.0])
    assert [warmup(done, 4) for done in (0, 1, 4, 5)] == [0.0, 0.25, 1.0, 1.0]
    assert warmup(0, 0) == 1.0


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert isinstance(unknown_name("fruit", "aple", ["apple", "pear"]), ValueError)
    assert str(unknown_name("fruit", "aple", ["apple", "cherry"])) == "unknown fruit 'aple'; did you mean apple?"
    assert str(unknown_name("fruit", "xyz", ["pear", "apple"])) == "unknown fruit 'xyz'; known: apple, pear"
    assert str(unknown_name("fruit", "xyz", [f"{number}-fold" for number in range(60)])).endswith(", and 10 more")
    assert str(unknown_name("fruit", "aple", ["pear", "apple"])) == "unknown fruit 'aple'; did you mean apple?", "pear is too far"
    assert str(unknown_name("fruit", "aple", ["pear", "apples", "apple"])) == "unknown fruit 'aple'; did you mean apple or apples?"
