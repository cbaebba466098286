"""Texts as tokens, and the tokenizer that is trained on them; both are kept in the cache.

<cache>/tokenizers/<name>-<key>/     see `Tokenizer.save`
<cache>/tokens/<name>-<key>/         train_tokens.npy  train_ends.npy  (test_...)  meta.json
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from studygroup import randomness
from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.cache.entries import cache_dir, cached, digest, open_splits, write_meta
from studygroup.data.prepare import Prepared
from studygroup.data.progress import progress_bar
from studygroup.data.texts.ragged import Ragged
from studygroup.data.texts.store import Texts, chunked
from studygroup.data.texts.tokenizers import BPE, VOCABULARY, load_tokenizer, make_tokenizer
from studygroup.data.texts.vocabulary import MIN_COUNT
from studygroup.data.tokenizer import Tokenizer, count_unknown, unknown_warning
from studygroup.errors import UserError

FORMAT = 1
"""Incremented when the same texts get another vocabulary or other tokens."""
SAMPLE_BYTES = 10**8
"""Maximum size of the texts that a vocabulary is trained on."""

logger = logging.getLogger(__name__)


def trained_tokenizer(
    prepared: Prepared[Texts], positions: NDArray[np.int64], kind: str, cache: Path, *, vocabulary: int | None = None, seed: int = 0
) -> Tokenizer:
    """Return a tokenizer; train it first if it has a vocabulary that is trained and not in the cache.

    Args:
        prepared: the texts.
        positions: (n,) positions in the split `train` of the texts to train on; above 100 MB, a random sample of them is used.
        kind: see `make_tokenizer`. Only those in `BPE` are trained.
        cache: folder of the cache.
        vocabulary: vocabulary size of `bpe`; None for as many tokens as the texts bear.
        seed: seed of the random sample.

    Raises:
        UserError: the tokenizer is unknown, or cannot be loaded or trained.
    """
    if kind not in BPE:
        tokenizer = make_tokenizer(kind, lambda: iter(()))
        if vocabulary is not None:
            logger.warning("vocabulary is %d, but %s has its own, of %d tokens, which is taken", vocabulary, kind, tokenizer.vocabulary)
        return tokenizer
    texts = prepared.splits["train"]
    chosen = sample_texts(texts, np.asarray(positions, dtype=np.int64), seed)
    positions_digest = hashlib.blake2b(chosen.tobytes(), digest_size=16).hexdigest()
    size = vocabulary or (VOCABULARY, MIN_COUNT)
    folder = cache_dir(cache, "tokenizers", prepared.name, digest(FORMAT, prepared.key, kind, size, positions_digest))

    def read() -> Tokenizer | None:
        try:
            return load_tokenizer(folder)
        except UserError:
            return None

    def write(unfinished: Path) -> None:
        logger.info("training a vocabulary on %d texts of %s", len(chosen), prepared.name)
        make_tokenizer(kind, lambda: texts.texts(chosen), vocabulary=vocabulary).save(unfinished)

    tokenizer = cached(folder, cache, read, write)
    if vocabulary is None:
        most = tokenizer.vocabulary == VOCABULARY
        rule = "the most that is chosen" if most else f"as many as occur at least {MIN_COUNT} times in the training texts"
        logger.info("%s: a vocabulary of %d tokens, %s; another one by --vocabulary", prepared.name, tokenizer.vocabulary, rule)
    elif tokenizer.vocabulary < vocabulary:
        logger.warning("the training texts of %s give a vocabulary of %d tokens, not %d", prepared.name, tokenizer.vocabulary, vocabulary)
    return tokenizer


def sample_texts(texts: Texts, positions: NDArray[np.int64], seed: int, size: int = SAMPLE_BYTES) -> NDArray[np.int64]:
    """Return the positions, sorted, of a random sample of texts of at most `size` bytes together (at least one text)."""
    sizes = texts.sizes[positions]
    if sizes.sum() <= size:
        return np.sort(positions)
    order = torch.randperm(len(positions), generator=randomness.generator(seed, "vocabulary")).numpy()
    fitting = int(np.searchsorted(np.cumsum(sizes[order]), size, side="right"))
    return np.sort(positions[order[: max(fitting, 1)]])


def tokenize(prepared: Prepared[Texts], tokenizer: Tokenizer, cache: Path, max_length: int, *, progress: bool = True) -> dict[str, Ragged]:
    """Return the tokens of all texts, by split; each text is truncated to its first `max_length` tokens.

    Args:
        prepared: the texts.
        tokenizer: converts texts to tokens.
        cache: folder of the cache.
        max_length: number of tokens, at least 1.
        progress: show a progress bar.

    Raises:
        UserError: `max_length` is less than 1, or the cache is full or cannot be written.
    """
    if max_length < 1:
        raise UserError(f"max_length is {max_length}; it must be at least 1")
    key = digest(FORMAT, prepared.key, json.dumps(tokenizer.describe(), sort_keys=True), max_length)
    folder = cache_dir(cache, "tokens", prepared.name, key)
    meta, tokens = cached(folder, cache, partial(_open, folder, tokenizer.pad), partial(_write, prepared, tokenizer, max_length, progress))
    if warning := unknown_warning(meta.get("unknown", 0), sum(len(split.tokens) for split in tokens.values()), prepared.name):
        logger.warning(warning)
    return tokens


def _open(folder: Path, pad: int) -> tuple[dict[str, Any], dict[str, Ragged]] | None:
    """Open the meta data and the tokens in a folder; return None if it is missing or damaged."""

    def open_split(folder: Path, name: str) -> Ragged:
        tokens, ends = np.load(folder / f"{name}_tokens.npy", mmap_mode="r"), np.load(folder / f"{name}_ends.npy")
        if len(tokens) != (ends[-1] if len(ends) else 0):
            raise ValueError("arrays of different lengths")
        return Ragged(tokens.view(np.ndarray), ends, pad)

    return open_splits(folder, open_split)


def _write(prepared: Prepared[Texts], tokenizer: Tokenizer, max_length: int, progress: bool, folder: Path) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocabulary <= 2**16 else np.int32)
    rows = {}
    unknown = 0
    total = sum(len(texts) for texts in prepared.splits.values())
    with progress_bar(f"Tokenizing {prepared.name}", total, "samples", show=progress) as advance:
        for name, texts in prepared.splits.items():
            with (
                ArrayFile(folder / f"{name}_tokens.npy", (), dtype) as tokens,
                ArrayFile(folder / f"{name}_ends.npy", (), np.dtype(np.int64)) as ends,
            ):
                for chunk in chunked(texts.texts(), len):
                    encoded = Ragged.of(tokenizer.encode(chunk, max_length))
                    ends.append(tokens.rows + encoded.ends)
                    tokens.append(encoded.tokens.astype(dtype))
                    unknown += count_unknown(encoded.tokens, tokenizer)
                    advance(len(chunk))
            rows[name] = ends.rows
    write_meta(
        folder, {"name": prepared.name, "tokenizer": tokenizer.describe(), "max_length": max_length, "rows": rows, "unknown": unknown}
    )
