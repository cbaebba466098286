"""Remember what the students of a group predicted for each training sample: a moving average of their logits.

Temporal ensembling (Laine and Aila, ICLR 2017, arXiv:1610.02242): a <- m a + (1 - m) z at each visit of a sample, and the average is
a / w, with w the sum of the weights so far.
Shapes: N training samples, b of them, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from studygroup.batch import Batch
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

    def exchange(self, batch: Batch, logits: Sequence[Tensor]) -> list[Tensor | None]:
        """Return what each student imitates on its own samples, if it has any, and count this visit of all of them."""
        if batch.sizes is None:
            indices, now = [batch.indices] * len(logits), torch.stack(tuple(logits)).mean(0)
        else:
            indices, now = [*batch.indices.split(batch.sizes)], torch.cat(tuple(logits))
        targets = [self.targets(own, z) if len(own) else None for own, z in zip(indices, logits, strict=True)]
        self.update(batch.all_gather(batch.indices), batch.all_gather(now.detach()))  # the memory is the same on all ranks
        return targets
