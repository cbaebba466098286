"""Residual networks for small images (He et al., CVPR 2016, arXiv:1512.03385).

Two families, as in the distillation literature:
- `resnetN`, N = 6 n + 2: n basic blocks in each of three stages of 16, 32, 64 channels (`x4`: 32 | 64, 128, 256), strides
  1, 2, 2 (section 4.2 of the paper; the definition and parameter counts of the CRD benchmark, Tian et al., ICLR 2020).
- `resnet18|34|50`: four stages of 64, 128, 256, 512 channels, strides 1, 2, 2, 2 (table 1).

Stems: `small` is the paper's for images of 32 pixels, a 3x3 convolution at stride 1; `large` the paper's for 224 pixels, a 7x7
convolution at stride 2 and a 3x3 max-pool at stride 2; `medium` is in between, a 3x3 convolution at stride 2, as in MobileNetV2.
The rest of the network is the same.

Departure: shortcuts are a 1x1 convolution and a batch norm where the shape changes (option B), identity elsewhere.
Initialisation: Kaiming normal, fan-out, for convolutions; batch norm 1 and 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from studygroup.networks.chain import Chain, Pool
from studygroup.networks.layers import convolution, with_batch_norm


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
        self.relu = nn.ReLU()
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
        self.relu = nn.ReLU()
        self.shortcut = shortcut(channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Args: x: (B, c, h, w)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))
        return out


def shortcut(channels: int, width: int, stride: int) -> nn.Module:
    """Make the shortcut: the identity, or a projection where the shape changes."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(*with_batch_norm(convolution(channels, width, 1, stride)))


def make_stem(in_channels: int, width: int, stem: str) -> nn.Sequential:
    """Make the stem: (B, in_channels, H, W) -> (B, width, H / s, W / s), s = 1, 2 or 4 for small, medium or large."""
    layers = with_batch_norm(convolution(in_channels, width, 7 if stem == "large" else 3, 1 if stem == "small" else 2))
    if stem == "large":
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))  # before the ReLU: the same output, and the block ends in its activation
    return nn.Sequential(*layers, nn.ReLU())


def resnet(
    block: type[BasicBlock | Bottleneck],
    depths: Sequence[int],
    widths: Sequence[int],
    *,
    num_classes: int,
    in_channels: int = 3,
    stem: str = "small",
) -> Chain:
    """Make a residual network as a chain `stem | stage1 | ... | head`.

    Args:
        block: the kind of residual block.
        depths: number of blocks of each stage.
        widths: channels of the stem, then of each stage (before a bottleneck's expansion).
        num_classes: C, length of the logits.
        in_channels: channels of the input images.
        stem: small, medium or large.

    Returns:
        A network (B, in_channels, H, W) -> (B, C) for any H, W of at least 1.
    """
    stages: dict[str, dict[str, nn.Module]] = {"stem": {"stem": make_stem(in_channels, widths[0], stem)}}
    channels = widths[0]
    for number, (depth, width) in enumerate(zip(depths, widths[1:], strict=True), start=1):
        blocks: dict[str, nn.Module] = {}
        for position in range(depth):
            blocks[f"stage{number}_block{position + 1}"] = block(channels, width, 2 if number > 1 and position == 0 else 1)
            channels = width * block.expansion
        stages[f"stage{number}"] = blocks
    stages["head"] = {"pool": Pool(), "classifier": nn.Linear(channels, num_classes)}
    return Chain(stages)


def narrow(depth: int, factor: int = 1, *, num_classes: int, in_channels: int = 3, stem: str = "small") -> Chain:
    """Make `resnet<depth>` with three stages; `factor` 4 widens it to 32 | 64, 128, 256. Arguments as `resnet`."""
    widths = (16 if factor == 1 else 8 * factor, 16 * factor, 32 * factor, 64 * factor)
    return resnet(BasicBlock, [(depth - 2) // 6] * 3, widths, num_classes=num_classes, in_channels=in_channels, stem=stem)


resnet8, resnet14, resnet20, resnet26 = (partial(narrow, depth) for depth in (8, 14, 20, 26))
resnet32, resnet44, resnet56, resnet110 = (partial(narrow, depth) for depth in (32, 44, 56, 110))
resnet8x4, resnet32x4 = partial(narrow, 8, 4), partial(narrow, 32, 4)
resnet18 = partial(resnet, BasicBlock, (2, 2, 2, 2), (64, 64, 128, 256, 512))
resnet34 = partial(resnet, BasicBlock, (3, 4, 6, 3), (64, 64, 128, 256, 512))
resnet50 = partial(resnet, Bottleneck, (3, 4, 6, 3), (64, 64, 128, 256, 512))
