"""Layers that several families share."""

from __future__ import annotations

from torch import Tensor, nn

from studygroup.networks.padded import Padded, masked

PAD = 0  # token id of padding


def convolution(channels: int, width: int, kernel: int, stride: int = 1, *, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Make a convolution that keeps the size of the map at stride 1. Weights Kaiming normal, fan-out; bias 0."""
    layer = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def with_batch_norm(layer: nn.Conv2d) -> list[nn.Module]:
    """Return a convolution and a batch norm."""
    return [layer, nn.BatchNorm2d(layer.out_channels)]


def with_relu(layer: nn.Conv2d) -> list[nn.Module]:
    """Return a convolution, a batch norm and a ReLU."""
    return [*with_batch_norm(layer), nn.ReLU()]


def classifier(channels: int, num_classes: int) -> nn.Linear:
    """Make a linear layer with weights N(0, 0.01) and bias 0."""
    layer = nn.Linear(channels, num_classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class Shuffle(nn.Module):
    """Channel shuffle: channel i of group g becomes channel i G + g."""

    def __init__(self, groups: int) -> None:
        """Args: groups: G, a divisor of the number of channels."""
        super().__init__()
        self.groups = groups

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, c, h, w). Returns: the same shape."""
        batch, channels, height, width = maps.shape
        return maps.view(batch, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(maps.shape)


class TokenEmbedding(nn.Module):
    """Token embedding: ids (B, T) -> `Padded` (B, T, width). The vector of padding is zero and is not trained."""

    def __init__(self, vocabulary: int, width: int) -> None:
        """Args: vocabulary: number of ids; 0 is padding. width: of a vector."""
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=PAD)

    def forward(self, ids: Tensor) -> Padded:
        """Args: ids: (B, T) int64."""
        return masked(self.tokens(ids), ids != PAD)
