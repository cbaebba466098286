"""Texts in a flat file in the cache, and the chunks in which texts are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 4096
CHUNK_BYTES = 2**23
"""A chunk ends with so many rows, or earlier if their texts are together so large."""
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Texts:
    """N labelled texts in a file, which are read on demand.

    Attributes:
        path: file of (M,) uint8: the texts in UTF-8, one after the other.
        offset: position of the first text in the file.
        ends: (N,) int64: where each text ends, in bytes from the offset; it begins where the text before ends.
        labels: (N,) int64.
    """

    path: Path
    offset: int
    ends: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Return the size of each text in bytes (N,)."""
        return np.diff(self.ends, prepend=np.int64(0))

    def text(self, position: int) -> str:
        """Read one text."""
        if not 0 <= position < len(self):
            raise IndexError(f"text {position} of {len(self)}")
        return next(self.texts([position]))

    def texts(self, positions: Iterable[int] | NDArray[np.int64] | None = None) -> Iterator[str]:
        """Yield the texts at some positions, by default all; ascending order is the fastest.

        The file is read, not memory-mapped, so that texts that have been read do not count as memory of this process.
        """
        ends = self.ends
        with self.path.open("rb", buffering=2**16) as file:
            current = -1
            for position in range(len(self)) if positions is None else positions:
                start = self.offset + (int(ends[position - 1]) if position else 0)
                stop = self.offset + int(ends[position])
                if start != current:  # seeking empties the buffer
                    file.seek(start)
                yield file.read(stop - start).decode("utf-8")
                current = stop


def chunked(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield items in chunks of `CHUNK_ROWS`, or smaller ones that exceed `CHUNK_BYTES`."""
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += size_of(item)
        if len(chunk) == CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
