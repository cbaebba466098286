"""Texts of a store as tokens, made once and kept in the cache, like the vocabulary that they are made by.

<cache>/tokenizers/<name>-<key>/     as `Tokenizer.save` leaves it
<cache>/tokens/<name>-<key>/         train_tokens.npy  train_ends.npy  (test_...)  meta.json
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from studygroup import randomness
from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.cache.entries import META, cache_dir, cached, hash_of, write_meta
from studygroup.data.progress import progress_bar
from studygroup.data.texts.ragged import Ragged
from studygroup.data.texts.store import Texts, TextStore, chunks
from studygroup.data.texts.tokenizers import BPE, VOCABULARY, Tokenizer, load_tokenizer, make_tokenizer
from studygroup.errors import UserError

FORMAT = 1
"""Counted up when the same texts get another vocabulary or other tokens."""
SAMPLE = 10**8
"""Bytes of texts that a vocabulary is learned from, at most."""

logger = logging.getLogger(__name__)


def trained_tokenizer(
    store: TextStore, positions: NDArray[np.int64], kind: str, cache: Path, *, vocabulary: int = VOCABULARY, seed: int = 0
) -> Tokenizer:
    """The tokenizer that suits a network, with a vocabulary learned from training texts where it has to be learned.

    Args:
        store: the texts.
        positions: (n,) of the texts in the training split to learn from; if they are more than some 100 MB, a random part of them.
        kind: as `make_tokenizer` has it. Only those of `BPE` learn.
        cache: the cache's folder. The same texts and size of the vocabulary give the very same tokenizer again.
        vocabulary: of `bpe`.
        seed: of the random part.

    Raises:
        UserError: there is no such tokenizer, or it cannot be had.
    """
    if kind not in BPE:
        return make_tokenizer(kind, lambda: iter(()), vocabulary=vocabulary)
    texts = store.splits["train"]
    chosen = sample(texts, np.asarray(positions, dtype=np.int64), seed)
    digest = hashlib.blake2b(chosen.tobytes(), digest_size=16).hexdigest()
    home = cache_dir(cache, "tokenizers", store.name, hash_of(FORMAT, store.key, kind, vocabulary, digest))

    def read() -> Tokenizer | None:
        try:
            return load_tokenizer(home)
        except UserError:
            return None

    def write(work: Path) -> None:
        logger.info("learning a vocabulary of %d tokens from %d texts of %s", vocabulary, len(chosen), store.name)
        make_tokenizer(kind, lambda: texts.texts(chosen), vocabulary=vocabulary).save(work)

    tokenizer = cached(home, cache, read, write)
    if tokenizer.vocabulary < vocabulary:
        logger.warning("the training texts of %s give a vocabulary of %d tokens, not %d", store.name, tokenizer.vocabulary, vocabulary)
    return tokenizer


def sample(texts: Texts, positions: NDArray[np.int64], seed: int, size: int = SAMPLE) -> NDArray[np.int64]:
    """Positions, in rising order, of at most `size` bytes of the texts at `positions` (at least one text), at random."""
    sizes = texts.sizes[positions]
    if sizes.sum() <= size:
        return np.sort(positions)
    order = torch.randperm(len(positions), generator=randomness.generator(seed, "vocabulary")).numpy()
    fitting = int(np.searchsorted(np.cumsum(sizes[order]), size, side="right"))
    return np.sort(positions[order[: max(fitting, 1)]])


def tokenise(store: TextStore, tokenizer: Tokenizer, cache: Path, max_length: int, *, progress: bool = True) -> dict[str, Ragged]:
    """The tokens of all texts of a store, by split; each text is cut to its first `max_length` tokens.

    Args:
        store: the texts.
        tokenizer: what makes tokens of them.
        cache: the cache's folder.
        max_length: number of tokens, at least 1.
        progress: show progress bars.

    Raises:
        UserError: `max_length` is less than 1, or the cache has no room or cannot be written.
    """
    if max_length < 1:
        raise UserError(f"max_length is {max_length}; give at least 1")
    key = hash_of(FORMAT, store.key, json.dumps(tokenizer.describe(), sort_keys=True), max_length)
    home = cache_dir(cache, "tokens", store.name, key)
    return cached(home, cache, partial(_open, home, tokenizer.pad), partial(_write, store, tokenizer, max_length, progress))


def _open(home: Path, pad: int) -> dict[str, Ragged] | None:
    """What lies at `home`, or None if it is not there or is damaged."""
    try:
        meta = json.loads((home / META).read_text(encoding="utf-8"))
        found = {}
        for name, rows in meta["rows"].items():
            tokens, ends = np.load(home / f"{name}_tokens.npy", mmap_mode="r"), np.load(home / f"{name}_ends.npy")
            if not (len(ends) == rows and len(tokens) == (ends[-1] if rows else 0)):
                return None
            found[name] = Ragged(tokens.view(np.ndarray), ends, pad)
        return found
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _write(store: TextStore, tokenizer: Tokenizer, max_length: int, progress: bool, work: Path) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocabulary <= 2**16 else np.int32)
    rows = {}
    with progress_bar(f"Tokenising {store.name}", sum(len(texts) for texts in store.splits.values()), "samples", show=progress) as advance:
        for name, texts in store.splits.items():
            with (
                ArrayFile(work / f"{name}_tokens.npy", (), dtype) as tokens,
                ArrayFile(work / f"{name}_ends.npy", (), np.dtype(np.int64)) as ends,
            ):
                for chunk in chunks(texts.texts(), len):
                    found = Ragged.of(tokenizer.encode(chunk, max_length))
                    ends.append(tokens.rows + found.ends)
                    tokens.append(found.tokens.astype(dtype))
                    advance(len(chunk))
            rows[name] = ends.rows
    write_meta(work, {"name": store.name, "tokenizer": tokenizer.describe(), "max_length": max_length, "rows": rows})
