"""Residual networks with the structure and the key names of torchvision and timm, written from the paper's table 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.networks.reference_mobilenetv2 import with_statistics

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3 and 1x1 with the stride at the 3x3."""

    def __init__(self, channels: int, width: int, stride: int, wide: bool) -> None:
        super().__init__()
        out = 4 * width if wide else width
        kernels = ((1, 1, width), (3, stride, width), (1, 1, out)) if wide else ((3, stride, width), (3, 1, width))
        self.count = len(kernels)
        inner = channels
        for number, (kernel, step, size) in enumerate(kernels, start=1):
            setattr(self, f"conv{number}", nn.Conv2d(inner, size, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(size))
            inner = size
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number < self.count:
                y = torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Reference(nn.Module):
    """The network for images of 224 pixels."""

    def __init__(self, name: str, classes: int, channels: int = 3) -> None:
        super().__init__()
        wide = name == "resnet50"
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inner = 64
        for number, (depth, width) in enumerate(zip(DEPTHS[name], (64, 128, 256, 512), strict=True), start=1):
            blocks = []
            for position in range(depth):
                blocks.append(Block(inner, width, 2 if number > 1 and position == 0 else 1, wide))
                inner = 4 * width if wide else width
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def trained_reference(name: str, classes: int, channels: int = 3) -> Reference:
    """A network whose weights and running statistics are those of no initialisation."""
    torch.manual_seed(3)
    network = Reference(name, classes, channels)
    with_statistics(network)
    return network
