"""The size of a vocabulary of byte-pair encoding that its training texts bear.

A pair of tokens is merged into a new one if it is the most frequent pair of the training texts, so that merges become rarer and rarer. The
embedding of a token that occurs a few times is hardly trained, and the network remembers texts by it: merges end where a pair occurs less
often than `MIN_COUNT` times. Gowda and May (Findings of EMNLP 2020, arXiv:2004.02334) recommend, for translation, the largest vocabulary of
which 95% of the tokens occur 100 times or more; LOG.md has the study behind the number here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from studygroup.data.texts.store import chunked

MIN_COUNT = 100
"""Number of times that a pair must occur in the training texts to become a token."""


def supported_merges(pieces: Sequence[str], encode: Callable[[list[str]], Iterable[NDArray[np.int64]]], texts: Iterator[str]) -> int:
    """Return how many merges of a vocabulary have a pair that occurs at least `MIN_COUNT` times in the texts.

    Args:
        pieces: the tokens that are merges, in the order of their merges; a token's id is not needed.
        encode: returns the positions in `pieces` of the tokens of each text; -1 for other tokens.
        texts: the training texts; they are read until every merge is known to be frequent enough.
    """
    halves = split_merges(pieces)
    found = np.zeros(len(pieces), dtype=np.int64)
    counts = found
    for chunk in chunked(texts, len):
        for positions in encode(chunk):
            found += np.bincount(positions[positions >= 0], minlength=len(pieces))
        counts = pair_counts(found, halves)
        if counts.min(initial=MIN_COUNT) >= MIN_COUNT:
            break
    return int((counts >= MIN_COUNT).sum())


def split_merges(pieces: Sequence[str]) -> list[tuple[int, ...]]:
    """Return for each merge the positions of its parts that are merges themselves."""
    rank = {piece: position for position, piece in enumerate(pieces)}
    parts: list[tuple[int, ...]] = []
    for position, piece in enumerate(pieces):
        symbols = list(piece)
        while len(symbols) > 2:
            pairs = [rank.get(left + right, position) for left, right in pairwise(symbols)]
            first = min(range(len(pairs)), key=pairs.__getitem__)  # the earliest merge, the leftmost of equal ones
            if pairs[first] >= position:
                break
            symbols[first : first + 2] = [symbols[first] + symbols[first + 1]]
        parts.append(tuple(rank[symbol] for symbol in symbols if symbol in rank))
    return parts


def pair_counts(found: NDArray[np.int64], parts: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """Return how often each merge was made: as often as its token occurs, and for every later merge that it is a part of.

    Args:
        found: (n,) how often each token occurs in encoded texts.
        parts: of `split_merges`.
    """
    counts = found.tolist()
    for position in range(len(counts) - 1, -1, -1):
        for part in parts[position]:
            counts[part] += counts[position]
    return np.array(counts, dtype=np.int64)
