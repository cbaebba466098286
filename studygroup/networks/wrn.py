"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146).

`wrn_D_W`, D = 6 n + 4: n pre-activation blocks in each of three stages of 16 W, 32 W, 64 W channels, strides 1, 2, 2.

The definition and parameter counts are those of the CRD benchmark (Tian et al., ICLR 2020): where a block changes the number
of channels, both of its branches start from the activated map and the shortcut is a 1x1 convolution without batch norm; no dropout.
The last batch norm and ReLU are the first block of the head, so every branch has its own.
Initialisation: Kaiming normal, fan-out, for convolutions; batch norm 1 and 0; the classifier's bias 0.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import convolution


class PreactivationBlock(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution, and a shortcut: (B, c, h, w) -> (B, width, h / stride, w / stride)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Args: channels: of the input. width: of the output. stride: of the first convolution."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = convolution(channels, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.relu = nn.ReLU()
        self.projection = None if stride == 1 and channels == width else convolution(channels, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y = self.relu(self.bn1(x))
        shortcut = x if self.projection is None else self.projection(y)
        out: Tensor = self.conv2(self.relu(self.bn2(self.conv1(y)))) + shortcut
        return out


def wrn(depth: int, factor: int, *, num_classes: int, in_channels: int = 3) -> Chain:
    """Make a wide residual network as a chain `stem | stage1 | stage2 | stage3 | head`.

    Args:
        depth: 6 n + 4.
        factor: W, how much wider than 16, 32, 64 channels.
        num_classes: C, length of the logits.
        in_channels: channels of the input images.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": convolution(in_channels, 16, 3)}}
    channels = 16
    for number, width in enumerate((16 * factor, 32 * factor, 64 * factor), start=1):
        blocks: dict[str, nn.Module] = {}
        for position in range((depth - 4) // 6):
            stride = 2 if number > 1 and position == 0 else 1
            blocks[f"stage{number}_block{position + 1}"] = PreactivationBlock(channels, width, stride)
            channels = width
        stages[f"stage{number}"] = blocks
    linear = nn.Linear(channels, num_classes)
    nn.init.zeros_(linear.bias)
    stages["head"] = {"norm": nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()), "pool": Pool(), "classifier": linear}
    return Chain(stages)


wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2 = (partial(wrn, depth, factor) for depth in (16, 40) for factor in (1, 2))
