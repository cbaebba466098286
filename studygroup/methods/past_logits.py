"""What the students of a group have predicted for each training sample, as a moving average of their logits.

Temporal ensembling (Laine and Aila, ICLR 2017, arXiv:1610.02242): a <- m a + (1 - m) z at each visit of a sample, and the average is
a / w, with w the sum of the weights so far.
Shapes: N training samples, b of them, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from studygroup.losses.numerics import as_float32


class PastLogits(nn.Module):
    """The moving averages; they are part of the state dict, so that a resumed run has them."""

    def __init__(self, samples: int, classes: int, momentum: float) -> None:
        """Args: samples: N. classes: C. momentum: m, the weight of the past."""
        super().__init__()
        self.momentum = momentum
        self.sums: Tensor  # (N, C)
        self.weights: Tensor  # (N,)
        self.register_buffer("sums", torch.zeros(samples, classes))
        self.register_buffer("weights", torch.zeros(samples))

    def targets(self, indices: Tensor, logits: Tensor) -> Tensor:
        """Return the averages (b, C) of samples; of one that was never visited, its own logits, from which nothing is learned."""
        weights = self.weights[indices].unsqueeze(1)
        return torch.where(weights > 0, self.sums[indices] / weights, logits.detach().to(self.sums.dtype))

    @torch.no_grad()
    def update(self, indices: Tensor, logits: Tensor) -> None:
        """Count a visit of samples (b,) with logits (b, C); of a sample that several students visited, the mean of theirs."""
        visited, rows = indices.unique(return_inverse=True)
        visits = torch.bincount(rows, minlength=len(visited)).unsqueeze(1)
        now = self.sums.new_zeros(len(visited), logits.shape[1]).index_add_(0, rows, as_float32(logits).to(self.sums.dtype)) / visits
        self.sums[visited] = self.momentum * self.sums[visited] + (1 - self.momentum) * now
        self.weights[visited] = self.momentum * self.weights[visited] + (1 - self.momentum)
