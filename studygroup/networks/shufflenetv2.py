"""ShuffleNetV2 at width 1 (Ma et al., ECCV 2018, arXiv:1807.11164).

The definition and parameter counts are those of the CRD benchmark (Tian et al., ICLR 2020), for small images: a 1x1 stem of 24
channels without stride or max-pool; stages of 116, 232, 464 channels, each a unit that halves the map and 3, 7, 3 that keep it.
Initialisation: torch's own, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import Shuffle, with_batch_norm, with_relu


def _pointwise(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 1, bias=False)


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


class SplitUnit(nn.Module):
    """Three convolutions of half of the channels, then a channel shuffle: (B, c, h, w) -> (B, c, h, w)."""

    def __init__(self, channels: int) -> None:
        """Args: channels: c, even."""
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            *with_relu(_pointwise(half, half)),
            *with_batch_norm(_depthwise(half, 1)),
            *with_batch_norm(_pointwise(half, half)),
        )
        self.shuffle = Shuffle(2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w), at least 0."""
        kept, rest = x.chunk(2, dim=1)
        # The kept half has been through a ReLU already, which a second one does not change: so the unit can end in one.
        out: Tensor = self.relu(self.shuffle(torch.cat([kept, self.body(rest)], 1)))
        return out


class DownUnit(nn.Module):
    """Two branches that halve the map, concatenated and shuffled: (B, c, h, w) -> (B, width, h / 2, w / 2)."""

    def __init__(self, channels: int, width: int) -> None:
        """Args: channels: of the input. width: of the output, even."""
        super().__init__()
        half = width // 2
        self.left = nn.Sequential(*with_batch_norm(_depthwise(channels, 2)), *with_batch_norm(_pointwise(channels, half)))
        self.right = nn.Sequential(
            *with_relu(_pointwise(channels, half)),
            *with_batch_norm(_depthwise(half, 2)),
            *with_batch_norm(_pointwise(half, half)),
        )
        self.shuffle = Shuffle(2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        out: Tensor = self.relu(self.shuffle(torch.cat([self.left(x), self.right(x)], 1)))
        return out


def shufflenetv2(*, num_classes: int, in_channels: int = 3) -> Chain:
    """Make ShuffleNetV2 as a chain `stem | stage1 | stage2 | stage3 | head`; the head starts with the last 1x1 convolution.

    Args:
        num_classes: C, length of the logits.
        in_channels: channels of the input images.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": nn.Sequential(*with_relu(_pointwise(in_channels, 24)))}}
    channels = 24
    for number, (width, depth) in enumerate(((116, 4), (232, 8), (464, 4)), start=1):
        blocks: dict[str, nn.Module] = {f"stage{number}_block1": DownUnit(channels, width)}
        blocks |= {f"stage{number}_block{position}": SplitUnit(width) for position in range(2, depth + 1)}
        channels = width
        stages[f"stage{number}"] = blocks
    last = nn.Sequential(*with_relu(_pointwise(channels, 1024)))
    stages["head"] = {"conv": last, "pool": Pool(), "classifier": nn.Linear(1024, num_classes)}
    return Chain(stages)
