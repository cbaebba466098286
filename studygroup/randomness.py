"""Random generators without hidden state: each is seeded by the run's seed and the words that say what it is for.

So a resumed run needs no saved generator state.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, *words: str | int) -> int:
    """Derive a 63-bit seed for one purpose, e.g. `derive_seed(seed, "order", epoch)`."""
    text = "\x1f".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *words: str | int) -> torch.Generator:
    """Return a new CPU generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *words))


def beta(alpha: float, generator: torch.Generator, draws: int = 1) -> Tensor:
    """Draw (draws,) float64 from Beta(alpha, alpha), in [0, 1]; 1 if alpha is 0 (no mixing)."""
    if alpha == 0.0:
        return torch.ones(draws, dtype=torch.float64)
    # Two Gamma(alpha) draws each; torch.distributions takes no generator, _standard_gamma does.
    gammas = torch._standard_gamma(torch.full((2, draws), alpha, dtype=torch.float64), generator=generator)
    return gammas[0] / gammas.sum(0)
