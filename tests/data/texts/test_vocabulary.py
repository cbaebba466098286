"""How many tokens of byte-pair encoding the training texts bear, against a plain implementation of byte-pair encoding."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from studygroup.data.texts import vocabulary
from studygroup.data.texts.tokenizers import Bpe, make_tokenizer
from studygroup.data.texts.vocabulary import pair_counts, split_merges, supported_merges


def corpus(words: int, seed: int = 0) -> list[str]:
    """Words of syllables, some of them frequent."""
    drawn = random.Random(seed)
    syllables = [a + b + c for a in "bdgkm" for b in "aeio" for c in ("", "n", "r")]

    def word() -> str:
        return "".join(drawn.choices(syllables, range(len(syllables)), k=drawn.randint(1, 4)))

    return [" ".join(word() for _ in range(8)) for _ in range(words)]


def merged(texts: list[str], count: int) -> list[tuple[str, int]]:
    """The first merges of byte-pair encoding, each with how often its pair occurs then; all pairs are counted anew each time."""
    words = [["▁", *word] for text in texts for word in text.split()]
    found = []
    for _ in range(count):
        pairs = Counter(left + right for word in words for left, right in pairwise(word))
        best = max(pairs.values())
        piece = min(pair for pair, number in pairs.items() if number == best)
        number = 0
        for word in words:
            i = 0
            while i + 1 < len(word):
                if word[i] + word[i + 1] == piece:
                    word[i : i + 2] = [piece]
                    number += 1
                i += 1
        found.append((piece, number))
    return found


def tokens(text: str, pieces: list[str]) -> np.ndarray:
    """Positions of the merges in an encoded text; other tokens are -1."""
    rank = {piece: i for i, piece in enumerate(pieces)}
    ids = []
    for word in text.split():
        symbols = ["▁", *word]
        while len(symbols) > 1:
            ranks = [rank.get(left + right, len(pieces)) for left, right in pairwise(symbols)]
            first = ranks.index(min(ranks))
            if ranks[first] == len(pieces):
                break
            symbols[first : first + 2] = [symbols[first] + symbols[first + 1]]
        ids += [rank.get(symbol, -1) for symbol in symbols]
    return np.array(ids, dtype=np.int64)


def test_pair_counts_are_those_of_the_merges() -> None:
    texts = corpus(60)
    made = merged(texts, 80)
    pieces = [piece for piece, _ in made]
    ids = np.concatenate([tokens(text, pieces) for text in texts])
    counts = pair_counts(np.bincount(ids[ids >= 0], minlength=80), split_merges(pieces))
    assert counts.tolist() == [number for _, number in made]


def test_a_merge_is_split_into_what_was_merged() -> None:
    assert split_merges(["ab", "bc", "abc", "abcab"]) == [(), (), (0,), (2, 0)]
    assert split_merges(["bc", "ab", "abc"]) == [(), (), (0,)], "the earlier merge is made first"


@pytest.mark.parametrize("least", [2, 10, 40])
def test_merges_that_are_too_rare_are_left_out(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    texts = corpus(60)
    made = merged(texts, 80)
    pieces = [piece for piece, _ in made]
    monkeypatch.setattr(vocabulary, "MIN_COUNT", least)
    monkeypatch.setattr("studygroup.data.texts.store.CHUNK_ROWS", 7)
    found = supported_merges(pieces, lambda chunk: [tokens(text, pieces) for text in chunk], iter(texts))
    assert found == sum(number >= least for _, number in made)


def test_texts_are_read_only_until_all_merges_are_frequent_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studygroup.data.texts.store.CHUNK_ROWS", 10)
    monkeypatch.setattr(vocabulary, "MIN_COUNT", 20)
    texts = iter(["ab " * 5] * 1000)
    assert supported_merges(["ab"], lambda chunk: [tokens(text, ["ab"]) for text in chunk], texts) == 1
    assert len(list(texts)) == 990


def test_the_vocabulary_follows_the_amount_of_text(tmp_path: Path) -> None:
    corpora = [corpus(size) for size in (5, 50, 500)]
    sizes = [make_tokenizer("bpe", partial(iter, texts)).vocabulary for texts in corpora]
    assert sizes[0] < sizes[1] < sizes[2] < 16_000
    given = make_tokenizer("bpe", lambda: iter(corpus(50)), vocabulary=2000).vocabulary
    assert given > sizes[1], "a vocabulary that is asked for is made"


def test_every_token_is_frequent_in_the_end() -> None:
    texts = corpus(200)
    made = make_tokenizer("bpe", lambda: iter(texts))
    assert isinstance(made, Bpe)
    assert made.supported_size(iter(texts)) == made.vocabulary, "what is left is all frequent enough"
