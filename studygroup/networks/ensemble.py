"""Several networks as one, which predicts the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Log-probabilities (B, C) of the mean of several networks' softmax probabilities."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        """Args: networks: modules (B, ...) -> logits (B, C), not copied."""
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """Args: inputs: (B, ...)."""
        log_probabilities = torch.stack([F.log_softmax(network(inputs), -1) for network in self.networks])
        return torch.logsumexp(log_probabilities, 0) - math.log(len(self.networks))
