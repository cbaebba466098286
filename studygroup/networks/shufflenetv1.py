"""ShuffleNet with 3 groups (Zhang et al., CVPR 2018, arXiv:1707.01083).

The definition and parameter counts are those of the CRD benchmark (Tian et al., ICLR 2020), for small images: a 1x1 stem of 24
channels without stride or max-pool; stages of 240, 480, 960 channels with 4, 8, 4 units; a unit's inner width is a quarter of
the width of its last convolution. Departure from the paper, as there: a ReLU after the depthwise convolution, too.
Initialisation: torch's own, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import Shuffle, with_batch_norm, with_relu

GROUPS = 3
STEM = 24


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolutions: (B, c, h, w) -> (B, width, h / stride, w / stride).

    At stride 1, the input is added; at stride 2, it is pooled and concatenated to the output of the convolutions.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Args: channels: of the input. width: of the output, including the input's channels at stride 2. stride: 1 or 2."""
        super().__init__()
        out = width - channels if stride == 2 else width
        inner = out // 4
        first = 1 if channels == STEM else GROUPS  # the stem's few channels are not grouped
        self.body = nn.Sequential(
            *with_relu(nn.Conv2d(channels, inner, 1, groups=first, bias=False)),
            Shuffle(first),
            *with_relu(nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)),
            *with_batch_norm(nn.Conv2d(inner, out, 1, groups=GROUPS, bias=False)),
        )
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y = self.body(x)
        out: Tensor = self.relu(y + x if self.pool is None else torch.cat([y, self.pool(x)], 1))
        return out


def shufflenetv1(*, num_classes: int, in_channels: int = 3) -> Chain:
    """Make ShuffleNet as a chain `stem | stage1 | stage2 | stage3 | head`.

    Args:
        num_classes: C, length of the logits.
        in_channels: channels of the input images.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    stem = nn.Sequential(*with_relu(nn.Conv2d(in_channels, STEM, 1, bias=False)))
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": stem}}
    channels = STEM
    for number, (width, depth) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
        blocks: dict[str, nn.Module] = {}
        for position in range(depth):
            blocks[f"stage{number}_block{position + 1}"] = ShuffleUnit(channels, width, 2 if position == 0 else 1)
            channels = width
        stages[f"stage{number}"] = blocks
    stages["head"] = {"pool": Pool(), "classifier": nn.Linear(channels, num_classes)}
    return Chain(stages)
