"""MobileNetV2 with the structure and the key names of torchvision or timm, written from the paper's table 2."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv(channels: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)


class TorchvisionBlock(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(nn.Sequential(conv(channels, inner), nn.BatchNorm2d(inner), nn.ReLU6()))
        layers.append(nn.Sequential(conv(inner, inner, 3, stride, inner), nn.BatchNorm2d(inner), nn.ReLU6()))
        self.conv = nn.Sequential(*layers, conv(inner, width), nn.BatchNorm2d(width))
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class TimmBlock(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expands = expansion > 1
        if self.expands:
            self.conv_pw, self.bn1 = conv(channels, inner), nn.BatchNorm2d(inner)
            self.conv_dw, self.bn2 = conv(inner, inner, 3, stride, inner), nn.BatchNorm2d(inner)
            self.conv_pwl, self.bn3 = conv(inner, width), nn.BatchNorm2d(width)
        else:
            self.conv_dw, self.bn1 = conv(inner, inner, 3, stride, inner), nn.BatchNorm2d(inner)
            self.conv_pw, self.bn2 = conv(inner, width), nn.BatchNorm2d(width)
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        if self.expands:
            y = nn.functional.relu6(self.bn1(self.conv_pw(x)))
            y = nn.functional.relu6(self.bn2(self.conv_dw(y)))
            y = self.bn3(self.conv_pwl(y))
        else:
            y = self.bn2(self.conv_pw(nn.functional.relu6(self.bn1(self.conv_dw(x)))))
        out: Tensor = x + y if self.adds else y
        return out


class Torchvision(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(conv(3, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU6())]
        channels = 32
        for expansion, width, depth, stride in TABLE:
            for position in range(depth):
                layers.append(TorchvisionBlock(channels, width, stride if position == 0 else 1, expansion))
                channels = width
        self.features = nn.Sequential(*layers, nn.Sequential(conv(320, 1280), nn.BatchNorm2d(1280), nn.ReLU6()))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class Timm(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = conv(3, 32, 3, 2), nn.BatchNorm2d(32)
        channels, stages = 32, []
        for expansion, width, depth, stride in TABLE:
            blocks = []
            for position in range(depth):
                blocks.append(TimmBlock(channels, width, stride if position == 0 else 1, expansion))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head, self.bn2 = conv(320, 1280), nn.BatchNorm2d(1280)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(nn.functional.relu6(self.bn1(self.conv_stem(x))))
        x = nn.functional.relu6(self.bn2(self.conv_head(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


MAKERS: dict[str, Callable[[int], nn.Module]] = {"torchvision": Torchvision, "timm": Timm}


def trained_mobilenetv2(library: str, classes: int) -> nn.Module:
    """A network whose weights and running statistics are those of no initialisation."""
    torch.manual_seed(4)
    return with_statistics(MAKERS[library](classes))


def with_statistics(network: nn.Module) -> nn.Module:
    """Draw the weights and running statistics of batch norms; return the network in eval mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()
