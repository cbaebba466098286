"""The contract of tokenizers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

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
        unknown: (u,) ids that stand for what the vocabulary lacks: the unknown token, and single bytes of characters.
    """

    vocabulary: int
    pad: int
    max_length: int
    replacement: int | None
    special: Collection[int]
    unknown: Ids

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


MAX_UNKNOWN = 0.05
"""Share of unknown tokens above which texts are warned of."""


def count_unknown(ids: NDArray[np.integer[Any]], tokenizer: Tokenizer) -> int:
    """Return how many of some ids (t,) stand for what the tokenizer's vocabulary lacks."""
    return int(np.isin(ids, tokenizer.unknown).sum())


def unknown_warning(unknown: int, total: int, source: str) -> str | None:
    """Describe a share of unknown tokens above `MAX_UNKNOWN`, in one line with the remedy; return None if it is smaller."""
    if not total or unknown / total <= MAX_UNKNOWN:
        return None
    return (
        f"{unknown / total:.0%} of the tokens of {source} are unknown to the tokenizer, and the network cannot read them (chars knows "
        "a-z, digits and ASCII punctuation; bpe the characters of its training texts); train with --tokenizer bpe on such texts, or "
        "check --encoding"
    )
