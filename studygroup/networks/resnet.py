"""Residual networks for small images (He et al., CVPR 2016, arXiv:1512.03385).

Two families, as the distillation literature uses them:
- `resnetN`, N = 6 n + 2: n basic blocks in each of three stages of 16, 32, 64 channels (`x4`: 32 | 64, 128, 256), strides
  1, 2, 2 (section 4.2 of the paper; the definition and parameter counts of the CRD benchmark, Tian et al., ICLR 2020).
- `resnet18|34|50`: four stages of 64, 128, 256, 512 channels, strides 1, 2, 2, 2, with a 3x3 stem and no max-pool.

Departure: shortcuts are a 1x1 convolution and a batch norm where the shape changes (option B), identity elsewhere.
Initialisation: Kaiming normal, fan-out, for convolutions; batch norm 1 and 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (B, c, h, w) -> (B, width, h / stride, w / stride)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Args: channels: of the input. width: of the output. stride: of the first convolution."""
        super().__init__()
        self.conv1 = convolution(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut: (B, c, h, w) -> (B, 4 width, h / stride, w / stride)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Args: channels: of the input. width: of the inner map. stride: of the 3x3 convolution."""
        super().__init__()
        self.conv1 = convolution(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut(channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))
        return out


def convolution(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size at stride 1."""
    layer = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def shortcut(channels: int, width: int, stride: int) -> nn.Module:
    """The identity, or a projection where the shape changes."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(convolution(channels, width, 1, stride), nn.BatchNorm2d(width))


def resnet(
    block: type[BasicBlock | Bottleneck],
    depths: Sequence[int],
    widths: Sequence[int],
    *,
    num_classes: int,
    in_channels: int = 3,
) -> Chain:
    """A residual network as a chain `stem | stage1 | ... | head`.

    Args:
        block: the kind of residual block.
        depths: number of blocks of each stage.
        widths: channels of the stem, then of each stage (before a bottleneck's expansion).
        num_classes: C, length of the logits.
        in_channels: channels of the input images.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    stem = nn.Sequential(convolution(in_channels, widths[0], 3), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True))
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": stem}}
    channels = widths[0]
    for number, (depth, width) in enumerate(zip(depths, widths[1:], strict=True), start=1):
        blocks: dict[str, nn.Module] = {}
        for position in range(depth):
            blocks[f"stage{number}_block{position + 1}"] = block(channels, width, 2 if number > 1 and position == 0 else 1)
            channels = width * block.expansion
        stages[f"stage{number}"] = blocks
    stages["head"] = {"pool": Pool(), "classifier": nn.Linear(channels, num_classes)}
    return Chain(stages)


def narrow(depth: int, factor: int = 1, *, num_classes: int, in_channels: int = 3) -> Chain:
    """`resnet<depth>` with three stages; `factor` 4 widens it to 32 | 64, 128, 256. Arguments as `resnet`."""
    stem = 16 if factor == 1 else 8 * factor
    widths = (stem, 16 * factor, 32 * factor, 64 * factor)
    return resnet(BasicBlock, [(depth - 2) // 6] * 3, widths, num_classes=num_classes, in_channels=in_channels)


def wide(depths: Sequence[int], block: type[BasicBlock | Bottleneck], *, num_classes: int, in_channels: int = 3) -> Chain:
    """`resnet18`, `resnet34` or `resnet50` with a stem for small images. Arguments as `resnet`."""
    return resnet(block, depths, (64, 64, 128, 256, 512), num_classes=num_classes, in_channels=in_channels)
