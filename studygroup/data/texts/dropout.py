"""Token dropout: tokens of training texts that the network does not see.

Each token is replaced by the unknown token with probability P (word dropout: Iyyer et al., ACL 2015; with the unknown token, so that the
others keep their places, as in Bowman et al., CoNLL 2016, arXiv:1511.06349). Of Hugging Face models it is replaced by their mask token,
and special tokens are kept. Which ones is a function of (seed, epoch, step), the same on any number of ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from studygroup.data.tokenizer import Tokenizer
from studygroup.data.transforms import Transform
from studygroup.errors import UserError


class TokenDropout(Transform):
    """A transform of texts with token dropout."""

    def __init__(self, transform: Transform, probability: float, tokenizer: Tokenizer) -> None:
        """Args: transform: to ids on the device. probability: P in (0, 1). tokenizer: that the ids are of.

        Raises:
            UserError: it has no token to put in the place of others.
        """
        if tokenizer.replacement is None:
            raise UserError(
                f"token_dropout is {probability:g}, but the tokenizer has neither a mask token nor an unknown token; leave it out"
            )
        self.transform = transform
        self.device = transform.device
        self.probability = probability
        self.replacement = tokenizer.replacement
        self.kept = torch.tensor(sorted({tokenizer.pad, *tokenizer.special}), device=self.device)

    def __call__(self, raw: Tensor, *, seed: int | None = None, rows: Tensor | None = None, total: int | None = None) -> Tensor:
        """Replace tokens of ids (b, T), if there is a seed: without one (in evaluation) nothing is left out.

        Args:
            raw: (b, T) ids.
            seed: of the choice.
            rows: (b,) positions in the whole batch; None if this is the whole batch.
            total: its size.
        """
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            dropped = torch.rand(len(raw) if total is None else total, raw.shape[1], generator=generator) < self.probability
            dropped = (dropped if rows is None else dropped[rows]).to(self.device, non_blocking=True)
            raw = raw.to(self.device, non_blocking=True)
            raw = raw.masked_fill(dropped & ~torch.isin(raw, self.kept), self.replacement)
        return self.transform(raw)
