"""Averages of networks of one architecture: of their floating-point parameters and buffers; whole numbers are the first network's."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def average(networks: Sequence[nn.Module]) -> nn.Module:
    """Return a copy of the first network with the average of all networks' values, computed in float64.

    Args:
        networks: at least one; of one architecture.
    """
    result = copy.deepcopy(networks[0])
    for target, *values in zip(*map(_floats, (result, *networks)), strict=True):
        target.copy_(torch.stack([value.double() for value in values]).mean(0))
    return result


@torch.no_grad()
def pull_together(networks: Sequence[nn.Module], share: float) -> None:
    """Move each network towards the average of all, in place: w <- (1 - share) w + share mean(w).

    Args:
        networks: at least one; of one architecture.
        share: of the way to the average, in [0, 1].
    """
    for values in zip(*map(_floats, networks), strict=True):
        mean = torch.stack(values).mean(0)
        for value in values:
            value.lerp_(mean, share)


def _floats(network: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
