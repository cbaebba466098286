"""Modules around the networks that are exported."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.data import Images


class Normalised(nn.Module):
    """A network behind scaling and normalisation: images (B, C, H, W) uint8 -> logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, images: Images) -> None:
        super().__init__()
        self.network = network
        transform = images.transform()
        self.register_buffer("scale", transform.scale)
        self.register_buffer("shift", transform.shift)

    def forward(self, images: Tensor) -> Tensor:
        """Args: images: (B, C, H, W) uint8."""
        logits: Tensor = self.network(images.float() * self.scale - self.shift)
        return logits


class WithPadding(nn.Module):
    """A network that appends padding to each text first, for an exporter that cannot take its operations on very short texts."""

    def __init__(self, network: nn.Module, pad: int, count: int = 64) -> None:
        """Args: network: of texts, in which padding has no influence. pad: id of the padding. count: number of ids to append."""
        super().__init__()
        self.network = network
        self.pad = pad
        self.count = count

    def forward(self, ids: Tensor) -> Tensor:
        """Args: ids: (B, T)."""
        logits: Tensor = self.network(F.pad(ids, (0, self.count), value=self.pad))
        return logits


def float32_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network in float32 and eval mode, on the CPU."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    return copied.to(device="cpu", dtype=torch.float32, memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]
