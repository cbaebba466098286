"""Layers that several families share."""

from __future__ import annotations

from torch import Tensor, nn

from studygroup.networks.padded import Padded, masked

PAD = 0  # the id that stands where there is no text


def convolution(channels: int, width: int, kernel: int, stride: int = 1, *, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size of the map at stride 1. Weights Kaiming normal, fan-out; bias 0."""
    layer = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def normalised(layer: nn.Conv2d) -> list[nn.Module]:
    """A convolution and its batch norm."""
    return [layer, nn.BatchNorm2d(layer.out_channels)]


def activated(layer: nn.Conv2d) -> list[nn.Module]:
    """A convolution, its batch norm and a ReLU."""
    return [*normalised(layer), nn.ReLU()]


def classifier(channels: int, num_classes: int) -> nn.Linear:
    """A linear layer with small weights, N(0, 0.01), and bias 0."""
    layer = nn.Linear(channels, num_classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class Shuffle(nn.Module):
    """Interleaves groups of channels: channel i of group g goes to place i G + g."""

    def __init__(self, groups: int) -> None:
        """Args: groups: G; the channels are a multiple of it."""
        super().__init__()
        self.groups = groups

    def forward(self, maps: Tensor) -> Tensor:
        """Args: maps: (B, c, h, w). Returns: the same shape."""
        batch, channels, height, width = maps.shape
        return maps.view(batch, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(maps.shape)


class TokenEmbedding(nn.Module):
    """A vector for every token: ids (B, T) -> `Padded` (B, T, width). The vector of the pad id is zero and stays so."""

    def __init__(self, vocabulary: int, width: int) -> None:
        """Args: vocabulary: ids are 0 .. vocabulary - 1, 0 being the pad's. width: of a vector."""
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=PAD)

    def forward(self, ids: Tensor) -> Padded:
        """Args: ids: (B, T) int64."""
        return masked(self.tokens(ids), ids != PAD)
