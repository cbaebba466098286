"""Splits and their division."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from studygroup.data import Split, hold_out
from studygroup.data.dataset import divide, stratified_order
from studygroup.errors import UserError


def numbered(n: int) -> Split:
    """Image i is all i; its label is i % 3."""
    return Split(np.broadcast_to(np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), (n, 1, 2, 2)).copy(), np.arange(n) % 3)


def test_gather_keeps_the_order_of_the_positions() -> None:
    inputs, labels = numbered(10).gather(np.array([7, 2, 2, 9]))
    assert inputs.dtype == torch.uint8
    assert inputs.shape == (4, 1, 2, 2)
    assert inputs[:, 0, 0, 0].tolist() == [7, 2, 2, 9]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 2, 2, 0]


def test_gather_takes_tensors() -> None:
    assert numbered(10).gather(torch.tensor([3, 1]))[0][:, 0, 0, 0].tolist() == [3, 1]


def test_take_of_take_is_a_view() -> None:
    split = numbered(10)
    part = split.take(np.array([9, 5, 1])).take(np.array([2, 0]))
    assert part.inputs is split.inputs
    assert len(part) == 2
    inputs, labels = part.gather(np.array([0, 1]))
    assert inputs[:, 0, 0, 0].tolist() == [1, 9]
    assert labels.tolist() == part.labels.tolist() == [1, 0]


def test_gathered_tensors_are_copies() -> None:
    split = numbered(4)
    inputs, labels = split.gather(np.arange(4))
    inputs.zero_()
    labels.zero_()
    assert split.inputs[3].max() == 3
    assert split.labels.tolist() == [0, 1, 2, 0]


def labels_of(n: int, classes: int = 3) -> NDArray[np.int64]:
    """Labels (n,), of which half are of class 0."""
    return np.where(np.arange(n) % 2, 0, np.arange(n) // 2 % classes)


@given(n=st.integers(2, 300), fraction=st.floats(0, 0.9), seed=st.integers(0, 5))
def test_hold_out_is_disjoint_and_exhaustive(n: int, fraction: float, seed: int) -> None:
    learned, held, unused = hold_out(labels_of(n), holdout=fraction, seed=seed)
    assert sorted([*learned, *held]) == list(range(n))
    assert len(unused) == 0
    assert len(held) == min(max(round(fraction * n), 1 if fraction else 0), n - 1)


def sizes(**options: Any) -> list[int]:
    return [len(part) for part in hold_out(labels_of(100), **options)]


def test_hold_out_sizes() -> None:
    assert sizes(holdout=10, train_size=50) == [50, 10, 40]
    assert sizes(holdout=0.1, train_size=0.5) == [45, 10, 45]
    assert sizes(holdout=0, train_size=1.0) == [100, 0, 0]
    assert sizes(holdout=0.001) == [99, 1, 0]


def test_hold_out_depends_on_the_seed_and_not_on_train_size() -> None:
    labels = labels_of(100)
    learned, held, unused = hold_out(labels, holdout=20, train_size=40, seed=3)
    more, same, fewer = hold_out(labels, holdout=20, train_size=60, seed=3)
    assert held.tolist() == same.tolist()
    assert set(learned) < set(more)
    assert unused[:20].tolist() == fewer.tolist()
    assert sorted([*learned, *held, *unused]) == list(range(100))
    assert held.tolist() != hold_out(labels, holdout=20, train_size=40, seed=4)[1].tolist()
    assert held.tolist() != list(range(20)), "it is drawn at random"


@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=12), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_prefixes_of_a_stratified_order_are_stratified(counts: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    order = stratified_order(labels, torch.Generator().manual_seed(seed))
    assert sorted(order) == list(range(len(labels)))
    length = round(share * (len(labels) - len(counts)))
    found = np.bincount(labels[order[:length]], minlength=len(counts))
    numbers = np.array(counts)
    assert (found < numbers).all(), "one sample of each class is left"
    # For some threshold x of the keys, n_c x samples of each class, rounded up or down; a used-up class only bounds x below.
    lowest = ((found - 1) / numbers).max()
    highest = np.where(found == numbers - 1, np.inf, (found + 1) / numbers).min()
    assert lowest < highest


def test_equal_classes_are_divided_equally() -> None:
    labels = np.arange(1000) % 10
    learned, held, unused = hold_out(labels, holdout=0.1, train_size=300, seed=1)
    assert np.bincount(labels[held]).tolist() == [10] * 10
    assert np.bincount(labels[learned]).tolist() == [30] * 10
    assert np.bincount(labels[unused[:100]]).tolist() == [10] * 10
    assert [np.bincount(labels[part]).tolist() for part in divide(labels, 0.2, 0)] == [[80] * 10, [20] * 10]


def test_a_rare_class_is_held_out_in_proportion_on_average() -> None:
    labels = np.repeat([0, 1], [3000, 6])
    held = [int((labels[hold_out(labels, holdout=0.1, seed=seed)[1]] == 1).sum()) for seed in range(300)]
    assert set(held) == {0, 1}
    assert 0.4 < np.mean(held) < 0.8


@pytest.mark.parametrize(
    ("holdout", "train_size", "named"),
    [
        (-1, None, "-1"),
        (101, None, "101"),
        (1.0, None, "holdout"),
        (100, None, "100"),
        (10, 91, "91"),
        (1.5, None, "1.5"),
        (0.1, 0, "train_size"),
    ],
)
def test_impossible_sizes_are_refused(holdout: float, train_size: float | None, named: str) -> None:
    with pytest.raises(UserError, match=named):
        hold_out(labels_of(100), holdout=holdout, train_size=train_size)


def test_nan_is_refused() -> None:
    with pytest.raises(UserError, match="nan"):
        hold_out(labels_of(100), holdout=float("nan"))


@given(n=st.integers(2, 200), fraction=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_divide(n: int, fraction: float, seed: int) -> None:
    train, test = divide(labels_of(n), fraction, seed)
    assert sorted([*train, *test]) == list(range(n))
    assert len(train) >= 1
    assert (len(test) > 0) == (fraction > 0)
