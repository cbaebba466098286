"""Very deep convolutional networks for texts, character by character (Conneau et al., EACL 2017, arXiv:1606.01781).

Embeddings of 16; a convolution to 64 channels; four stages of 64, 128, 256, 512 channels, each but the first after a max-pool that
halves the text's length; a stage has 1, 1, 1, 1 (`vdcnn9`), 2, 2, 2, 2 (`vdcnn17`) or 5, 5, 2, 2 (`vdcnn29`) blocks of two convolutions
of width 3, each with bias, batch norm and ReLU; the 8 largest values of each channel in the order in which they stand (k-max pooling);
three linear layers. No shortcuts by default (the paper's are optional); with them, a block adds its input to its result, through a
convolution of width 1 and a batch norm where the number of channels changes, before the last ReLU. `vdcnn9` has 14,180,165 parameters
with 5 classes, 14,353,989 with shortcuts.

Padding takes part in nothing: behind a text's end convolutions meet zeros, maxima are over text, and batch norm's statistics are of
positions with text alone. So a prediction is that of the text alone. If fewer than 8 positions are left before k-max pooling, zeros
follow them. Of equal values, it takes the first.
Initialisation: convolutions Kaiming normal, fan-out, bias 0 (He et al., ICCV 2015, as in the paper); else torch's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.errors import UserError
from studygroup.networks.chain import Chain
from studygroup.networks.layers import TokenEmbedding
from studygroup.networks.padded import Padded, Positions, masked


def convolution(channels: int, width: int, kernel: int = 3, *, bias: bool = True) -> nn.Conv1d:
    """A convolution that keeps the length. Weights Kaiming normal, fan-out; bias 0."""
    layer = nn.Conv1d(channels, width, kernel, padding=kernel // 2, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def convolved(layer: nn.Conv1d, values: Tensor) -> Tensor:
    """A convolution of (B, T, c) -> (B, T, width): as one of images in channels-last layout, which (B, T, c) is, uncopied."""
    images = values.transpose(1, 2).unsqueeze(2)
    return F.conv2d(images, layer.weight.unsqueeze(2), layer.bias, padding=(0, layer.kernel_size[0] // 2)).squeeze(2).transpose(1, 2)


def halved(x: Padded) -> Padded:
    """Max-pool of width 3 and stride 2 over the text, (B, T, d) -> (B, ceil(T / 2), d); a text of n positions has ceil(n / 2) then."""
    values, mask = x
    images = values.masked_fill(~mask.unsqueeze(-1), -float("inf")).transpose(1, 2).unsqueeze(2)
    largest = F.max_pool2d(images, (1, 3), (1, 2), (0, 1)).squeeze(2).transpose(1, 2)
    mask = mask[:, ::2]
    return Padded(largest.masked_fill(~mask.unsqueeze(-1), 0.0), mask)


class Stem(nn.Module):
    """A convolution: `Padded` (B, T, c) -> (B, T, width)."""

    def __init__(self, channels: int, width: int) -> None:
        """Args: channels: of the input. width: of the output."""
        super().__init__()
        self.conv = convolution(channels, width)

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, c)."""
        return masked(convolved(self.conv, x.values), x.mask)


class ConvolutionBlock(nn.Module):
    """Twice a convolution, batch norm and ReLU: `Padded` (B, T, c) -> (B, T, width), T halved first if wanted."""

    def __init__(self, channels: int, width: int, *, halve: bool, shortcut: bool) -> None:
        """Args: channels: of the input. width: of the output. halve: the length. shortcut: whether the (halved) input is added."""
        super().__init__()
        self.halve = halve
        self.shortcut = shortcut
        self.conv1 = convolution(channels, width)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = convolution(width, width)
        self.bn2 = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()
        changes = shortcut and channels != width
        self.projection = convolution(channels, width, 1, bias=False) if changes else None
        self.bn3 = nn.BatchNorm1d(width) if changes else None

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, c)."""
        x = halved(x) if self.halve else x
        positions = Positions(x.mask)
        y = self.relu(positions.normalised(self.bn1, convolved(self.conv1, x.values)))
        y = positions.normalised(self.bn2, convolved(self.conv2, y))
        if self.projection is not None and self.bn3 is not None:
            y = y + positions.normalised(self.bn3, convolved(self.projection, x.values))
        elif self.shortcut:
            y = y + x.values
        return Padded(self.relu(y), x.mask)


class ConvolutionLayer(nn.Module):
    """Half a block without shortcut: a convolution, batch norm and ReLU, `Padded` (B, T, c) -> (B, T, width), T halved first if wanted."""

    def __init__(self, channels: int, width: int, *, halve: bool) -> None:
        """Args: channels: of the input. width: of the output. halve: the length."""
        super().__init__()
        self.halve = halve
        self.conv = convolution(channels, width)
        self.bn = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()

    def forward(self, x: Padded) -> Padded:
        """Args: x: (B, T, c)."""
        values, mask = halved(x) if self.halve else x
        return Padded(self.relu(Positions(mask).normalised(self.bn, convolved(self.conv, values))), mask)


class KMaxPool(nn.Module):
    """The k largest values of each channel, in the order in which they stand: `Padded` (B, T, d) -> (B, d k), channel by channel.

    Of equal values the first are taken: so it does not depend on the padding which. Zeros follow where a text has fewer positions.
    """

    def __init__(self, k: int) -> None:
        """Args: k: values per channel."""
        super().__init__()
        self.k = k

    def forward(self, x: Padded) -> Tensor:
        """Args: x: (B, T, d)."""
        values, mask = x.values.transpose(1, 2), x.mask.unsqueeze(1)  # (B, d, T), (B, 1, T)
        missing = max(self.k - mask.shape[2], 0)
        values, mask = F.pad(values, (0, missing)).contiguous(), F.pad(mask, (0, missing))
        order = values.detach().masked_fill(~mask, -float("inf")).argsort(dim=2, descending=True, stable=True)
        kept = order[..., : self.k].sort(2).values
        return (values.gather(2, kept) * mask.expand(values.shape).gather(2, kept)).flatten(1)


def vdcnn(
    depths: Sequence[int],
    *,
    num_classes: int,
    vocabulary: int = 72,
    embedding: int = 16,
    width: int = 64,
    k: int = 8,
    hidden: int = 2048,
    shortcut: int = 0,
    convolutions: int = 0,
) -> Chain:
    """A network of Conneau et al. as a chain `embedding | stem | stage1 | ... | stage4 | head`.

    Args:
        depths: number of blocks of each stage.
        num_classes: C, length of the logits.
        vocabulary: ids are 0 .. vocabulary - 1, 0 being the pad's: 69 characters, pad, unknown and space by default.
        embedding: width of a character's vector.
        width: channels of the first stage; each stage has twice as many as the one before.
        k: values that the last pooling leaves of each channel.
        hidden: width of the two hidden linear layers.
        shortcut: 1: each block's input is added to what it gives; 0: not.
        convolutions: 0: two convolutions make a block; 1: each is a block of its own, among which routes choose separately: the "9 layers"
            of `vdcnn9` in the CGL paper. It changes nothing else.

    Returns:
        A network of ids (B, T) -> logits (B, C) for any T of at least 1. Its block `classifier`, the linear layers, takes (B, 8 width k).

    Raises:
        UserError: `shortcut` or `convolutions` is neither 0 nor 1, or both are 1.
    """
    for option, value in (("shortcut", shortcut), ("convolutions", convolutions)):
        if value not in (0, 1):
            raise UserError(f"{option} is {value}; it must be 0 or 1")
    if shortcut and convolutions:
        raise UserError("shortcut and convolutions are both 1, but a shortcut leads around two convolutions; leave one out")
    stages: dict[str, dict[str, nn.Module]] = {
        "embedding": {"embedding": TokenEmbedding(vocabulary, embedding)},
        "stem": {"stem": Stem(embedding, width)},
    }
    channels = width
    for number, depth in enumerate(depths, start=1):
        blocks: dict[str, nn.Module] = {}
        for position in range(depth):
            name = f"stage{number}_block{position + 1}"
            halve = number > 1 and position == 0  # no block of its own: blocks are what routes choose among
            if convolutions:
                blocks[f"{name}_conv1"] = ConvolutionLayer(channels, width, halve=halve)
                blocks[f"{name}_conv2"] = ConvolutionLayer(width, width, halve=False)
            else:
                blocks[name] = ConvolutionBlock(channels, width, halve=halve, shortcut=bool(shortcut))
            channels = width
        stages[f"stage{number}"] = blocks
        width *= 2
    linear = [nn.Linear(channels * k, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
    stages["head"] = {"pool": KMaxPool(k), "classifier": nn.Sequential(*linear)}
    return Chain(stages)
