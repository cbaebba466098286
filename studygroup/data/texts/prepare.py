"""From a source of texts to a prepared data set of token ids."""

from __future__ import annotations

import hashlib

import numpy as np

from studygroup.data.dataset import Dataset, Split, divide
from studygroup.data.inputs import Tokens
from studygroup.data.texts.source import TextReadOptions
from studygroup.data.texts.sources import find_text
from studygroup.data.texts.store import store
from studygroup.data.texts.tokenizers import Tokenizer
from studygroup.data.texts.tokens import tokenise, trained_tokenizer


def open_texts(
    name: str,
    options: TextReadOptions,
    *,
    tokenizer: str | Tokenizer,
    vocabulary: int,
    max_length: int | None,
    test_size: float,
    split_seed: int,
) -> Dataset:
    """Open a data set of texts; what is not prepared yet is read once and kept in the cache.

    The texts are stored as they are, then divided; the vocabulary is learnt from the training split; then all are written as tokens.

    Args:
        name: of the source.
        options: what was asked for.
        tokenizer: its kind, or one that is there.
        vocabulary: number of tokens of `bpe`, at most.
        max_length: tokens that a text is cut to; None for the tokenizer's own number.
        test_size: share or number of the texts that are kept for the test if the data has no test set of its own.
        split_seed: of that division.

    Raises:
        UserError: the data cannot be used; the message names what is wrong and the remedy.
    """
    source = find_text(name, options)
    texts = store(source, options.cache, on_error=options.on_error, progress=options.progress)
    everything = np.arange(len(texts.splits["train"]))
    learned, tested = (everything, None) if "test" in texts.splits else divide(len(everything), test_size, split_seed)
    if isinstance(tokenizer, str):
        tokenizer = trained_tokenizer(texts, learned, tokenizer, options.cache, vocabulary=vocabulary)
    length = max_length or tokenizer.max_length
    tokens = tokenise(texts, tokenizer, options.cache, length, progress=options.progress)
    splits = {part: Split(tokens[part], texts.splits[part].labels) for part in texts.splits}
    if tested is not None:
        splits = {"train": splits["train"].take(learned), "test": splits["train"].take(tested)}
    words = (texts.key, tokenizer.describe(), length, None if tested is None else (len(tested), split_seed))
    key = hashlib.blake2b(repr(words).encode(), digest_size=16).hexdigest()
    return Dataset(source.name, texts.classes, splits["train"], splits["test"], Tokens(tokenizer, length), "none", key)
