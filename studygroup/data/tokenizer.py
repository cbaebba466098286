"""The contract of tokenizers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Tokenizer(Protocol):
    """Function from texts to token ids.

    Attributes:
        vocabulary: number of ids, which are 0 to `vocabulary` - 1.
        pad: id of the padding.
        max_length: default maximum number of tokens of a text.
        replacement: id of the mask token or else of the unknown token; None if there is neither.
        special: ids that are no part of a text, such as those of its begin and end.
    """

    vocabulary: int
    pad: int
    max_length: int
    replacement: int | None
    special: Collection[int]

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """Convert texts to their ids (t,) int64, without padding.

        Args:
            texts: any texts, also empty ones.
            max_length: maximum number of ids; None for no limit. Special tokens at the end of a truncated text are kept.
        """

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder, which is created if needed, for `load_tokenizer`."""

    def describe(self) -> dict[str, object]:
        """Return a description in JSON's types; tokenizers with equal descriptions give the same ids."""
