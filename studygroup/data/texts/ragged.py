"""Rows of token ids of different lengths, concatenated in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """N rows of token ids, which are padded when they are read.

    Attributes:
        tokens: (M,) rows one after the other, of any integer type, memory-mapped or not.
        ends: (N,) int64: where each row ends in `tokens`; it begins where the row before ends. A row may be empty.
        pad: id of the padding, at the end of rows.

    Example:
        >>> import numpy as np
        >>> from studygroup import data
        >>> rows = data.Ragged.of([np.array([5, 6, 7]), np.array([8])])
        >>> len(rows), rows.lengths
        (2, array([3, 1]))
    """

    tokens: NDArray[np.integer[Any]]
    ends: NDArray[np.int64]
    pad: int = 0

    @classmethod
    def of(cls, rows: Sequence[NDArray[np.int64]], pad: int = 0) -> Ragged:
        """Concatenate rows (t_i,) in memory."""
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, dtype=np.int64), *rows]), ends, pad)

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) number of tokens of each row."""
        return np.diff(self.ends, prepend=np.int64(0))

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Read rows (b,) in any order, also repeated -> (b, T) int64, padded to the longest of them; T is at least 1."""
        return self.gather(rows, 1)

    def gather(self, rows: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """Read rows (b,) -> (b, T) int64, padded to `width` or to the longest of them, whichever is more."""
        tokens, lengths = self.concat(rows)
        is_token = np.arange(max(int(lengths.max(initial=1)), width)) < lengths[:, None]  # (b, T)
        padded = np.full(is_token.shape, self.pad, dtype=np.int64)
        padded[is_token] = tokens
        return padded

    def concat(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
        """Return the tokens of rows (b,) one after the other, and the number of tokens of each row (b,)."""
        rows = np.asarray(rows, dtype=np.int64)
        stops = np.asarray(self.ends[rows], dtype=np.int64)
        lengths = stops - np.where(rows > 0, self.ends[rows - 1], 0)
        shifts = stops - np.cumsum(lengths)  # from a token's position in the result to that in `tokens`
        return self.tokens[np.repeat(shifts, lengths) + np.arange(lengths.sum())], lengths
