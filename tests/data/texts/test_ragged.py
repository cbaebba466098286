"""Rows of tokens, compared with padding one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from studygroup.data import Ragged, Split

ROWS = st.lists(st.lists(st.integers(0, 60_000), max_size=6), max_size=8)


def arrays(rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.int64) for row in rows]


def padded(rows: list[list[int]], pad: int, width: int) -> list[list[int]]:
    width = max([1, width, *map(len, rows)])
    return [row + [pad] * (width - len(row)) for row in rows]


@given(rows=ROWS, data=st.data(), pad=st.integers(0, 5), width=st.integers(0, 9), dtype=st.sampled_from([np.uint16, np.int32, np.int64]))
def test_rows_are_padded_to_the_longest(rows: list[list[int]], data: st.DataObject, pad: int, width: int, dtype: type) -> None:
    ragged = Ragged.of(arrays(rows), pad)
    ragged = Ragged(ragged.tokens.astype(dtype), ragged.ends, pad)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10) if rows else st.just([]))  # in any order, repeated, none
    positions = np.array(chosen, dtype=np.int64)
    found = ragged[positions]
    assert found.dtype == np.int64
    assert found.shape[0] == len(chosen)
    assert found.tolist() == padded([rows[i] for i in chosen], pad, 1)
    assert ragged.gather(positions, width).tolist() == padded([rows[i] for i in chosen], pad, width)
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    tokens, lengths = ragged.concat(positions)
    assert tokens.tolist() == [token for i in chosen for token in rows[i]]
    assert lengths.tolist() == [len(rows[i]) for i in chosen]


def test_empty_rows_have_a_width_of_one() -> None:
    ragged = Ragged.of(arrays([[], [], [7]]), pad=3)
    assert ragged[np.zeros(0, dtype=np.int64)].shape == (0, 1)
    assert ragged[np.array([0, 1])].tolist() == [[3], [3]]


def test_splits_of_texts() -> None:
    split = Split(Ragged.of(arrays([[1, 2, 3], [], [4], [5, 6]])), np.array([0, 1, 2, 3]))
    assert split.lengths is not None
    assert split.lengths.tolist() == [3, 0, 1, 2]
    part = split.take(np.array([3, 2, 1])).take(np.array([2, 0]))
    assert part.lengths is not None
    assert part.lengths.tolist() == [0, 2]
    inputs, labels = part.gather(torch.tensor([1, 0, 1]))
    assert inputs.dtype == torch.int64
    assert inputs.tolist() == [[5, 6], [0, 0], [5, 6]]
    assert labels.tolist() == [3, 1, 3]
    assert part.gather(np.array([0]), width=4)[0].tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("width", [1, 5])
def test_images_have_no_lengths(width: int) -> None:
    split = Split(np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2), np.array([0, 1]))
    assert split.lengths is None
    assert split.gather(np.array([1]), width)[0].tolist() == [[[[4, 5], [6, 7]]]]
