"""Random numbers without hidden state: every stream is a function of the seed and of what it is for.

A run that is resumed needs no saved generator: it asks for the same stream by the same words again.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """A 63-bit seed for the purpose that `words` name, e.g. `derive(seed, "order", epoch)`."""
    text = "\x1f".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """A fresh CPU generator for the purpose that `words` name."""
    return torch.Generator().manual_seed(derive_seed(seed, *words))
